"""The filter of a lag: segments, time, jumps."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from operators.align.lag_filter import (
    BETA,
    NODES,
    REACH,
    SEGMENT,
    STEP,
    LagFilter,
    SeriesPair,
    _between,
)
from operators.align.lag_trend import CORRECTED, FREE, Trend, motions
from operators.numeric.correlation import Lag, SampledSeries, lag_of
from operators.types import F64
from tests.support.signals import movement

HZ, N = 5.0, 300
NOTHING = Lag(float("nan"), 0.0, 0.0, False, "weak")


def series(lag: float = 0.0, *, noise: float = 0.1, n: int = 3000, seed: int = 0) -> F64:
    """Return ten minutes of a channel that is `lag` s late (a number, or one a sample)."""
    hiss = np.random.default_rng(int(1e4 + 1e3 * np.max(lag))).standard_normal(n)
    return movement(seed)(np.arange(n) / HZ - lag) + noise * hiss


def at(a: F64, b: F64, stop: int) -> tuple[SeriesPair, Lag]:
    """Return the window before sample `stop`, and the peak of its correlation."""
    first = max(stop - N, 0)
    pair = SeriesPair(SampledSeries(a[first:stop]), SampledSeries(b[first:stop]), first, HZ)
    return pair, lag_of(pair.a, pair.b, HZ, 5.0)


def followed(
    a: F64,
    b: F64,
    walk: float | Literal["auto"] = 0.0,
    r: float | None = None,
    hop: int = 50,
    shares: tuple[float, float] = (0.0, 0.0),
) -> list[LagFilter]:
    """Return the track after each hop, from half a window on."""
    track = LagFilter()
    out = []
    for stop in range(N // 2, len(a) + 1, hop):
        track.update(*at(a, b, stop), stop / HZ, motions(walk, *shares), r)
        out.append(LagFilter.from_snapshot(track.snapshot()))
    return out


def test_without_a_peak_there_is_no_lag() -> None:
    track = LagFilter()
    pair, _ = at(series(), series(0.4), N)
    track.update(pair, NOTHING, N / HZ)
    assert not track.locked and np.isnan(track.trend.var)


def test_one_segment_is_not_enough_to_begin() -> None:
    track = LagFilter()
    a, b = series()[: SEGMENT + STEP], series(0.02)[: SEGMENT + STEP]
    track.update(
        SeriesPair(SampledSeries(a), SampledSeries(b), 0, HZ), Lag(0.02, 0.9, 0.9, True, ""), 20.0
    )
    assert not track.locked


@pytest.mark.parametrize("lag", [-3.3, -0.31, 0.0, 0.1, 0.77, 2.0])
def test_the_longer_it_follows_the_smaller_its_sd(lag: float) -> None:
    tracks = followed(series(), series(lag))
    sds = [np.sqrt(t.trend.var) for t in tracks]
    assert all(abs(t.trend.lag - lag) < 5 * sd for t, sd in zip(tracks, sds, strict=True))
    assert sds[-1] < 0.4 * sds[2]
    assert abs(tracks[-1].trend.lag - lag) < 2e-3


def test_its_variance_is_that_of_its_errors() -> None:
    tracks = [followed(series(seed=s), series(0.001 * s, seed=s))[-1] for s in range(40)]
    z = [(t.trend.lag - 0.001 * s) ** 2 / t.trend.var for s, t in enumerate(tracks)]
    # The mean of 40 is good to 22 %.
    assert 0.4 < np.mean(z) < 1.6


def test_each_segment_is_used_once() -> None:
    a, b = series(), series(0.4)
    track = LagFilter()
    track.update(*at(a, b, N), N / HZ)
    before = track.snapshot()
    track.update(*at(a, b, N + STEP // 2), N / HZ + 3)
    assert (
        track.trend == Trend(*before["trend"]) and track.segments == before["nodes"]["count"].sum()
    )
    track.update(*at(a, b, N + STEP), N / HZ + 6)
    assert track.segments == before["nodes"]["count"].sum() + 1


def test_time_makes_it_less_sure_by_the_walk_and_by_the_rate() -> None:
    trend = followed(series(), series(0.4), "auto", shares=FREE)[-1].trend
    later = trend.moved(trend.at + 60)
    assert later.lag == pytest.approx(trend.lag + 60 * trend.rate)
    assert later.var == pytest.approx(
        trend.var + 120 * trend.cross_var + 3600 * trend.rate_var + 60 * trend.growth
    )
    assert later.var > trend.var + 60 * 1e-10


def test_a_lag_that_walks_is_followed_by_as_much_as_it_may_walk() -> None:
    t = np.arange(3000) / HZ
    a, b = series(), series(0.4 + 5e-5 * t)
    still, walking = followed(a, b, walk=0.0)[-1].trend, followed(a, b, walk=1e-5)[-1].trend
    assert abs(walking.lag - 0.43) < 7e-3
    assert abs(still.lag - 0.43) > 10e-3
    assert abs(walking.lag - 0.43) < 3 * np.sqrt(walking.var)


@pytest.mark.parametrize("ppm", [5.0, 20.0, 80.0, 150.0])
def test_a_lag_that_rises_is_followed_without_stairs_and_its_rate_is_found(ppm: float) -> None:
    t = np.arange(3000) / HZ
    true = 0.4 + 1e-6 * ppm * t
    z, rates = [], []
    for seed in range(8):
        tracks = followed(series(seed=seed), series(true, seed=seed), "auto", shares=FREE)
        late = [x.trend for x in tracks[-20:]]
        z += [(x.lag - 0.4 - 1e-6 * ppm * x.at) ** 2 / x.var for x in late]
        rates.append(1e6 * late[-1].rate - ppm)
        assert max(x.rejects for x in tracks) == 0
    # Eight seeds whose hops are alike know the mean to a half.
    assert 0.2 < np.mean(z) < 2.0
    assert np.sqrt(np.mean(np.square(rates))) < 8


def test_a_constant_lag_is_known_as_well_beside_the_motions_that_it_does_not_make() -> None:
    pairs = [(series(seed=s), series(0.001 * s, seed=s)) for s in range(20)]
    plain, all_ = (
        [followed(*p, "auto", shares=shares)[-1].trend for p in pairs]
        for shares in ((0.0, 0.0), CORRECTED)
    )
    off = [
        np.sqrt(np.mean([(t.lag - 0.001 * s) ** 2 for s, t in enumerate(x)])) for x in (plain, all_)
    ]
    assert off[1] < 1.1 * off[0]


@pytest.mark.parametrize("q", [1e-8, 1e-6])
def test_a_lag_that_walks_of_itself_is_noticed(q: float) -> None:
    inside, paces = [], []
    for seed in range(6):
        steps = np.random.default_rng([5, seed]).standard_normal(3000)
        true = 0.4 + np.cumsum(np.sqrt(q / HZ) * steps)
        tracks = followed(series(seed=seed), series(true, seed=seed), "auto", shares=FREE)
        inside += [
            abs(x.trend.lag - true[149 + 50 * k]) < 2 * np.sqrt(x.trend.var)
            for k, x in enumerate(tracks)
        ]
        paces.append(tracks[-1].trend.growth)
    assert np.mean(inside) > 0.85
    assert q / 20 < np.median(paces) < 20 * q


def test_an_hour_takes_no_more_nodes_than_ten_minutes() -> None:
    n = 36_000
    tracks = followed(series(n=n), series(0.4, n=n), "auto", shares=FREE)
    late = tracks[-1]
    assert late.size <= NODES
    assert late.nodes["at"].shape == tracks[0].nodes["at"].shape
    at = late.nodes["at"][: late.size]
    assert late.trend.at - at[0] <= 3700
    assert np.diff(at)[-1] < 20
    assert abs(late.trend.lag - 0.4) < 4 * np.sqrt(late.trend.var) < 3e-3


def test_segments_that_are_far_off_are_left_out_twice_and_believed_the_third_time() -> None:
    jump = np.where(np.arange(3000) < 1500, 0.4, 0.46)
    tracks = followed(series(), series(jump))
    left_out = [t.rejects for t in tracks]
    assert max(left_out) == 2
    assert abs(tracks[-1].trend.lag - 0.46) < 2e-3
    i = left_out.index(2)
    assert abs(tracks[i].trend.lag - 0.4) < 3e-3
    assert tracks[i + 1].trend.var > tracks[i].trend.var


def test_a_single_bad_hop_is_forgiven() -> None:
    b = series(0.4)
    b[1450:1500] = np.roll(b, 20)[1450:1500]
    tracks = followed(series(), b)
    assert max(t.rejects for t in tracks) in (1, 2)
    assert all(abs(t.trend.lag - 0.4) < 5e-3 for t in tracks[3:])
    assert tracks[-1].rejects == 0


def test_a_given_variance_takes_the_place_of_the_spectrums() -> None:
    track = followed(series(), series(0.4), r=1e-4)[0]
    # Two or three segments, whose weights are overconfident.
    m = track.segments
    assert track.trend.var == pytest.approx(1e-4 / m * (1 + 1 / (0.83 * m)), rel=0.02)


def test_holes_leave_segments_out() -> None:
    a, b = series(), series(0.4)
    b[1000:1400:7] = np.nan
    tracks = followed(a, b)
    assert tracks[-1].trend.lag == pytest.approx(0.4, abs=2e-3)
    assert tracks[-1].segments < followed(a, series(0.4))[-1].segments


def test_a_track_goes_on_from_its_snapshot() -> None:
    a, b = series(), series(0.4)
    track, other = followed(a, b)[20], LagFilter.from_snapshot(followed(a, b)[20].snapshot())
    for x in (track, other):
        x.update(*at(a, b, 2000), 400.0)
    one, two = track.snapshot(), other.snapshot()
    for name, value in one.pop("nodes").items():
        assert np.array_equal(value, two["nodes"][name])
    for name, value in one.items():
        assert np.array_equal(value, two[name], equal_nan=True)


def test_a_contradicted_lag_is_doubted_until_it_is_settled() -> None:
    jump = np.where(np.arange(3000) < 1500, 0.4, 0.46)
    tracks = followed(series(), series(jump))
    for t in tracks:
        assert (t.doubt > 0) == (t.rejects > 0)
        if t.rejects == 2:
            assert 4 * (t.trend.var + t.doubt) > 0.06**2
    assert tracks[-1].doubt == 0


def test_a_walk_that_is_not_rare_is_let_in() -> None:
    rng = np.random.default_rng(4)
    course = 0.4 + np.cumsum(np.sqrt(1e-6 / HZ) * rng.standard_normal(3000))
    free = followed(series(noise=0.02), series(course, noise=0.02), "auto", shares=FREE)
    assert all(t.rejects == 0 for t in free)


@pytest.mark.parametrize("rest", [0.0, 1e-13, -1e-11, 3e-5, 0.25, -0.4999, 0.5, -0.5])
def test_the_delay_by_a_part_of_a_sample_is_a_windowed_sinc(rest: float) -> None:
    u = np.arange(REACH, -REACH - 1, -1) - rest
    taps = np.sinc(u) * np.i0(BETA * np.sqrt(1 - (u / (REACH + 1)) ** 2))
    np.testing.assert_allclose(_between(rest), taps / taps.sum(), rtol=0, atol=1e-12)
