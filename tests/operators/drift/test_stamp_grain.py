"""The grain of stamps: rounded ones are known from those of a regular cadence."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from operators.drift.stamp_grain import Grain
from tests.support.signals import START


def rounded(step: float, interval: float, n: int = 400, seed: int = 0) -> np.ndarray:
    """Return stamps of uneven readings, rounded down to `step`."""
    rng = np.random.default_rng(seed)
    time = np.cumsum(interval * rng.uniform(0.8, 1.2, n))
    return START + np.floor(time / step) * step


def feed(g: Grain, stamps: np.ndarray, delays: object = np.nan) -> list[tuple[float, float]]:
    return g.feed(stamps, np.broadcast_to(np.asarray(delays, float), stamps.shape), stamps)


def grain(stamps: np.ndarray, delays: object = np.nan) -> float:
    g = Grain()
    feed(g, stamps, delays)
    return g.grain_s


@pytest.mark.parametrize("step", [0.001, 0.01, 0.1, 1.0])
@pytest.mark.parametrize("pace", [0.2, 3.3])
@pytest.mark.parametrize("epoch", [0.0, -START + 17.3])
def test_stamps_that_are_rounded_show_their_grain(step: float, pace: float, epoch: float) -> None:
    assert grain(rounded(step, pace * step) + epoch) == step


@pytest.mark.parametrize("interval", [0.01, 0.02, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("lost", [0.0, 0.3])
def test_a_sample_clock_on_the_same_grid_is_not_coarse(interval: float, lost: float) -> None:
    stamps = START + interval * np.arange(400)
    assert grain(stamps[np.random.default_rng(1).random(400) >= lost]) == 0.0


def test_a_steady_rate_that_fits_no_grid_shows_its_grain_through_repeats() -> None:
    assert grain(START + np.floor(np.arange(800) / 32)) == 1.0
    assert grain(START + np.floor(np.arange(800) / 31.7 * 1000) / 1000) == 0.001


def between(hz: float, step: float, n: int = 800) -> tuple[np.ndarray, np.ndarray]:
    """Return stamps of a steady rate rounded down, and delays with a jitter of 1 ms."""
    time = np.arange(n) / hz + 0.37 * step
    stamps = np.floor(time / step) * step
    return START + stamps, time - stamps + np.random.default_rng(3).exponential(1e-3, n)


@pytest.mark.parametrize(("hz", "step"), [(0.7, 1.0), (0.6, 1.0), (60.0, 0.01), (75.0, 0.01)])
def test_a_rate_between_one_and_half_of_the_grids_shows_it_evenly(hz: float, step: float) -> None:
    stamps, delays = between(hz, step)
    assert grain(stamps, delays) == step
    assert grain(stamps) == step, "without arrivals, too"


def test_delays_that_rest_show_a_sample_clock_however_even_its_losses() -> None:
    stamps, _ = between(0.7, 1.0)
    assert grain(stamps, 0.01) == 0.0


@pytest.mark.parametrize("lost", [0.02, 0.05, 0.1])
def test_random_losses_of_a_sample_clock_are_seldom_and_never_for_long_taken_for_a_grain(
    lost: float,
) -> None:
    kept = np.random.default_rng(4).random(40_000) >= lost
    stamps = START + np.flatnonzero(kept) * 1.0
    g, coarse = Grain(), 0
    for a in range(0, len(stamps), 16):
        feed(g, stamps[a : a + 16])
        coarse += g.grain_s > 0
    assert coarse < 0.1 * len(stamps) / 16
    feed(g, stamps[-1] + np.arange(1.0, 40.0))
    assert g.grain_s == 0.0


@pytest.mark.parametrize("seed", range(5))
def test_fine_stamps_have_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert grain(START + np.cumsum(rng.exponential(0.02, 5000))) == 0.0
    assert grain(START + np.round(np.cumsum(rng.exponential(0.02, 5000)), 6)) == 0.0


def test_samples_that_lie_closer_than_a_microsecond_are_on_no_grid() -> None:
    assert grain(np.cumsum(np.full(100, 2e-7))) == 0.0


def test_a_wild_stamp_and_a_step_of_the_clock_do_not_hide_it() -> None:
    stamps = rounded(0.01, 0.033)
    stamps[100] += 1e6 / 7
    stamps[200:] += 0.5004
    assert [s for _, s in feed(Grain(), stamps)] == [0.01]


def test_a_stretch_without_news_keeps_the_grain_and_fine_stamps_end_it() -> None:
    uneven = rounded(0.001, 0.03)
    even = uneven[-1] + 0.02 * np.arange(1, 200)
    fine = even[-1] + np.cumsum(np.random.default_rng(2).exponential(0.02, 200))
    g = Grain()
    feed(g, uneven)
    assert not feed(g, even) and g.grain_s == 0.001
    assert [s for _, s in feed(g, fine)] == [0.0]


def test_a_change_is_dated_by_the_row_that_made_it_known() -> None:
    stamps = rounded(1.0, 3.3, 40)
    ((known, size),) = Grain().feed(stamps, stamps * np.nan, stamps + 7)
    assert size == 1.0 and known == stamps[16] + 7


@pytest.mark.parametrize("rows", [1, 5, 17, 400])
def test_any_cutting_and_any_resume_give_the_same(rows: int) -> None:
    stamps = np.concatenate((rounded(0.01, 0.004), rounded(1.0, 0.3) + 50, rounded(0.1, 0.33)))
    whole = feed(Grain(), stamps)
    assert [s for _, s in whole] == [0.01, 1.0, 0.1]
    g, parts = Grain(), []
    for a in range(0, len(stamps), rows):
        g = Grain.from_snapshot(copy.deepcopy(g.snapshot()))
        parts += feed(g, stamps[a : a + rows])
    assert parts == whole


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300])
def test_nothing_raises_and_the_state_is_bounded(bad: float) -> None:
    stamps = rounded(0.01, 0.033)
    stamps[::5] = bad
    g = Grain()
    feed(g, stamps)
    assert g.grain_s == 0.0 and len(g.stamps) <= 16
    assert not feed(g, stamps[:0])
