"""How fast channels speak and how much they hiss, as known at each sample."""

from __future__ import annotations

import numpy as np
import pytest

from operators.align.rate_noise import RateNoise
from operators.types import F64


def pace(time: F64, value: F64 | None = None) -> tuple[F64, F64]:
    """Return spacing and noise of one channel."""
    spacing, noise = RateNoise().push(
        [("a", time, np.zeros(len(time)) if value is None else value)]
    )
    return spacing, noise


def test_nothing_is_said_before_eight_intervals() -> None:
    spacing, noise = pace(np.arange(10) / 4)
    assert np.isnan(spacing[:8]).all() and np.isnan(noise[:8]).all()
    assert spacing[8:].tolist() == [0.25, 0.25]


def test_numbers_are_renewed_at_doubling_counts_and_then_at_each_multiple() -> None:
    spacing, _ = pace(np.cumsum(np.arange(200.0)))
    assert (np.flatnonzero(np.diff(spacing[8:])) + 9).tolist() == [17, 35, 63, 127, 191]
    # The median of the intervals 1 to 8, of 1 to 17, ..., of 128 to 191.
    assert spacing[[8, 17, 35, 63, 199]].tolist() == [5, 9, 18, 32, 160]


def test_the_interval_is_the_median_so_that_holes_do_not_count() -> None:
    apart = np.full(200, 0.02)
    apart[::5] = 0.7
    spacing, _ = pace(np.cumsum(apart))
    assert spacing[8:] == pytest.approx(0.02)


def test_a_new_rate_is_known_within_two_renewals() -> None:
    apart = np.repeat([0.02, 0.1], [256, 128])
    spacing, _ = pace(np.cumsum(apart))
    assert spacing[255] == pytest.approx(0.02)
    assert spacing[-1] == pytest.approx(0.1)


def test_noise_is_told_from_a_slow_signal() -> None:
    time = np.arange(6400) / 50
    slow = 3 * np.sin(2 * np.pi * 0.7 * time)
    hiss = 0.2 * np.random.default_rng(1).standard_normal(len(time))
    assert np.nanmax(pace(time, slow)[1]) < 1e-4
    assert np.mean(pace(time, slow + hiss)[1][64:]) == pytest.approx(0.04, rel=0.05)


def test_samples_of_one_time_have_a_pace_too() -> None:
    spacing, noise = pace(np.zeros(20), np.ones(20))
    assert 0 < spacing[-1] < 1e-6
    assert noise[-1] == 0


@pytest.mark.parametrize("cuts", [[1], [8, 9, 10], [63, 64, 65], [200], list(range(3, 300, 3))])
def test_channels_together_and_in_pieces_have_the_pace_they_have_alone(cuts: list[int]) -> None:
    rng = np.random.default_rng(2)
    data = {c: (np.cumsum(rng.random(n)), rng.standard_normal(n)) for c, n in
            (("a", 300), ("b", 40), ("c", 150))}  # fmt: skip
    core = RateNoise()
    got: dict[str, list[F64]] = {c: [] for c in data}
    for i, j in zip([0, *cuts], [*cuts, 300], strict=True):
        parts = [(c, t[i:j], x[i:j]) for c, (t, x) in data.items() if i < len(t)]
        out = core.push(parts)
        edge = np.cumsum([len(t) for _, t, _ in parts])
        for (c, _, _), piece in zip(parts, np.split(out, edge[:-1], axis=1), strict=True):
            got[c].append(piece)
        core = RateNoise.from_snapshot(core.snapshot())
    for c, (t, x) in data.items():
        alone = np.stack(pace(t, x))
        assert np.array_equal(np.concatenate(got[c], axis=1), alone, equal_nan=True)
        assert core.of(c) == tuple(alone[:, -1])


def test_no_samples_have_no_pace() -> None:
    assert RateNoise().push([]).shape == (2, 0)
    assert np.isnan(RateNoise().of("a")).all()


def test_packets_of_several_have_the_mean_as_their_interval() -> None:
    paces = RateNoise()
    time = np.repeat(np.arange(200) * 0.1, 5)
    spacing = paces.push([("a", time, np.zeros(len(time)))])[0]
    assert spacing[-1] == pytest.approx(0.02, rel=0.1)
    assert spacing[20] == pytest.approx(0.02, rel=0.4)


@pytest.mark.parametrize("n", [20, 300])
def test_what_a_signal_moves_by_over_a_gap_is_no_noise(n: int) -> None:
    time = np.arange(n) / 10
    time[n // 2 :] += 30.0
    hiss = 0.01 * np.random.default_rng(3).standard_normal(n)
    noise = pace(time, 5.0 * time + hiss)[1]
    assert np.nanmax(noise) < 5e-4
