import numpy as np
import pytest

from ops.report.decimate import MIN_POINTS, Decimator, Quantiles


def series(n):
    rng = np.random.default_rng(n)
    rows = np.column_stack((np.arange(n) / 5.0, rng.normal(size=n), rng.normal(size=n)))
    rows[rng.random(n) < 0.1, 2] = np.nan
    return rows


@pytest.mark.parametrize("n", [0, 1, 7, 2 * MIN_POINTS, 2 * MIN_POINTS + 1, 9_999, 123_457])
@pytest.mark.parametrize("cut", [1_000, 4_096])
def test_nothing_that_sticks_out_is_lost_and_the_room_is_bounded(n, cut):
    rows = series(n)
    envelope = Decimator(2)
    for i in range(0, n, cut):
        envelope.add(rows[i : i + cut])
    points = envelope.points()
    assert min(n, MIN_POINTS) <= len(points) <= 2 * MIN_POINTS + 1
    assert (np.diff(points.time) > 0).all()
    for k in range(2 if n > 1 else 0):
        known = rows[np.isfinite(rows[:, k + 1]), k + 1]
        assert np.nanmin(points.low[:, k]) == known.min()
        assert np.nanmax(points.high[:, k]) == known.max()


@pytest.mark.parametrize("n", [300, 50_000])
def test_a_point_is_of_the_rows_from_its_time_to_the_next(n):
    rows = series(n)
    envelope = Decimator(2)
    envelope.add(rows)
    points = envelope.points()
    edges = [*np.searchsorted(rows[:, 0], points.time), n]
    for at in (0, len(points) // 2, len(points) - 1):
        mine = rows[edges[at] : edges[at + 1], 1]
        assert points.low[at, 0] == mine.min()
        assert points.high[at, 0] == mine.max()
        assert points.mean[at, 0] == pytest.approx(mine.mean())


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95, 1.0])
def test_quantiles_are_right_within_half_a_percent(share):
    rng = np.random.default_rng(3)
    values = np.exp(rng.normal(-6, 2, 40_000))
    quantiles = Quantiles()
    for part in np.array_split(values, 9):
        quantiles.add(np.concatenate((part, [np.nan])))
    assert quantiles.count == len(values)
    assert quantiles.at(share) == pytest.approx(np.quantile(values, share), rel=0.01)
    assert quantiles.maximum == values.max()


def test_quantiles_of_nothing_are_unknown_and_of_zeros_zero():
    assert np.isnan(Quantiles().at(0.5))
    zeros = Quantiles()
    zeros.add(np.zeros(5))
    assert zeros.at(0.95) == zeros.maximum == 0.0
