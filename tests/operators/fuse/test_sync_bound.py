"""The bound of the sync error: who is compared, how wide it is, what it holds apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from msgspec import structs

from operators.fuse import Fuse
from operators.fuse.sync_bound import Bound
from operators.presence import LIVE, STALE
from operators.records import ClockReport, Fused, GrainReport, LagReport
from operators.resample import Resample
from operators.settings.plan import Member, Plan, Signal
from tests.operators.fuse.test_fuse import ALL, HZ, URE, A, B, fuse, grid, live
from tests.operators.fuse.test_fuse import packet as ticked
from tests.support.signals import START, block, known, packet, plan

NAN = float("nan")
APART = {"lag_var": [0.0, 9e-6, 1e-6]}
"""A reference and two found lags."""


def clock(
    source: str, at: float = START, var: float = 1e-6, cross: float = 0.0, slope: float = 0.0
) -> ClockReport:
    return ClockReport(source, at, at, at, 0.1, 0.0, var, cross, slope, 0.001, 0, NAN, False)


def coarse(
    p: Plan,
    *grains: GrainReport,
    clocks: tuple[ClockReport, ...] = (),
    ticks: int = 1,
    **given: Any,
) -> Fused:
    fused = Fuse(p).update(ticked(grid(p, ticks, **given), grains=grains, clocks=clocks)).fused
    assert fused is not None
    return fused


# -- compared members ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "bound"),
    [(ALL, 0.02), ((URE, B), 0.002), ((A, B), 0.02), ((URE,), NAN), ((A,), NAN), ((), NAN)],
)
def test_the_bound_is_that_of_the_worst_present_member_and_needs_two(
    there: tuple[str, ...], bound: float
) -> None:
    p = plan(ALL)
    clocks = (clock("osc_1", var=1e-4), clock("osc_2", var=1e-6))
    fused = fuse(p, clocks=clocks, state=live(*there, p=p))
    # Two that are alike share the worst: 2 % wider at a hundredth of its variance.
    assert fused.sync_bound_s == pytest.approx([bound], rel=0.03, nan_ok=True)
    assert fused.sync_estimate_bound_s == pytest.approx([bound], rel=0.03, nan_ok=True)


def test_a_lag_without_variance_is_not_compared() -> None:
    p = plan(ALL)
    both = fuse(p, lag_var=[0.0, NAN, 1e-6]).sync_bound_s
    assert both == pytest.approx([0.002]), "who is not compared is not covered"
    assert np.isnan(fuse(p, lag_var=[0.0, NAN, NAN]).sync_bound_s).all()
    assert np.isnan(fuse(p, lag_var=[0.0, NAN, 1e-6], state=live(URE, A, p=p)).sync_bound_s).all()


def test_each_signal_needs_two_of_its_own() -> None:
    one = Signal("one", (Member("one", URE, "ure"), Member("one", A, "sensors")), URE)
    other = Signal("other", (Member("other", B, "sensors"), Member("other", "c:d", "sensors")), B)
    p = Plan("studio", (one, other))
    var = [0.0, 1e-6, 0.0, 1e-4]
    found = [
        fuse(p, lag_var=var, state=[state]).sync_bound_s[0]
        for state in (
            [LIVE] * 4,
            [LIVE, LIVE, LIVE, STALE],
            [STALE, LIVE, LIVE, LIVE],
            [STALE, LIVE, LIVE, STALE],
        )
    ]
    assert found == pytest.approx([0.02, 0.002, 0.02, NAN], nan_ok=True)


# -- how wide -----------------------------------------------------------------------------------


def test_the_bound_of_one_is_twice_the_sd_of_offset_at_its_age_and_lag() -> None:
    clocks = (clock("osc_1", START - 10, 4e-6, 3e-7, 2e-8),)
    fused = fuse(plan(ALL), 2, clocks=clocks, lag_var=[0.0, 9e-6, 0.0])
    ages = np.array([10.0, 10.2])
    expected = 2 * np.sqrt(4e-6 + 2 * 3e-7 * ages + 2e-8 * ages**2 + 9e-6)
    assert fused.sync_bound_s == pytest.approx(expected)


@pytest.mark.parametrize("sd", [(1.0, 1.0, 1.0), (1.0, 0.7, 0.1), (1.0, 0.9, 0.8), (1.0, 0.0, 0.0)])
def test_the_largest_of_all_errors_keeps_within_the_bound_19_times_out_of_20(
    sd: tuple[float, ...],
) -> None:
    bound = fuse(plan(ALL), lag_var=np.square(sd)).sync_bound_s[0]
    errors = np.random.default_rng(0).standard_normal((100_000, 3)) * sd
    assert 0.95 <= (np.abs(errors).max(axis=1) <= bound).mean() <= 0.965


def test_a_tick_uses_the_clock_that_was_known_at_it() -> None:
    clocks = (clock("osc_1", START - 1, var=4e-4), clock("osc_1", START + 0.3, var=1e-4))
    assert fuse(plan(ALL), 3, clocks=clocks).sync_bound_s == pytest.approx([0.04, 0.04, 0.02])


# -- scraping and coarse stamps, held apart -----------------------------------------------------


def test_a_scraped_member_adds_half_its_period_over_the_root_of_three() -> None:
    fused = coarse(plan(ALL, scrape_s={"ure": 2.0}), **APART)
    assert fused.sync_bound_s == pytest.approx([2 * (2.0 / 2) / np.sqrt(3)], rel=1e-3)
    assert fused.sync_estimate_bound_s == fuse(plan(ALL), **APART).sync_bound_s


def test_a_scraped_member_with_stamps_of_its_own_adds_nothing_once_they_are_known() -> None:
    p = plan(ALL, scrape_s={"ure": 2.0})
    fused = coarse(p, clocks=(clock("ure", START + 0.3),), ticks=3)
    assert (fused.sync_bound_s > 1.0).tolist() == [True, True, False]


@pytest.mark.parametrize("grain", [0.001, 0.01, 1.0])
def test_coarse_stamps_add_their_grain_over_the_root_of_twelve(grain: float) -> None:
    p = plan(ALL)
    fused = coarse(p, GrainReport(A, START, grain), lag_var=[0.0, 9e-6, 0.0])
    assert fused.sync_bound_s == pytest.approx([2 * np.sqrt(9e-6 + grain**2 / 12)])
    assert fused.sync_estimate_bound_s == pytest.approx([2 * 3e-3])


def test_an_absent_member_adds_nothing() -> None:
    p = plan(ALL, scrape_s={"ure": 2.0})
    fused = coarse(p, GrainReport(B, START, 1.0), state=live(A, B, p=p), **APART)
    assert fused.sync_bound_s == pytest.approx([2 * np.sqrt(1 / 12)], rel=1e-3)


def test_a_grain_holds_from_the_first_tick_that_waited_for_its_row() -> None:
    p = plan(ALL)
    reports = (
        GrainReport(A, START + p.base_delay_s + 0.2, 1.0),
        GrainReport(A, START + p.base_delay_s + 0.5, 0.0),
    )
    wide = coarse(p, *reports, ticks=5).sync_bound_s > 0.5
    assert wide.tolist() == [False, False, True, False, False]


def test_unneeded_grains_are_dropped_and_a_snapshot_continues() -> None:
    p = plan(ALL)
    station = Fuse(p)
    reports = tuple(GrainReport(A, START + 0.01 * i, 0.001 * (i % 2)) for i in range(100))
    station.update(ticked(grid(p, 50), grains=reports))
    saved = station.snapshot()
    assert saved["bound"]["grains"] == {A: [[START + 0.99, 0.001]]}
    later = ticked(grid(p, 5, first=round(START * HZ) + 50))
    again, there = Fuse.from_snapshot(saved, p).update(later).fused, station.update(later).fused
    assert again is not None and there is not None
    assert (again.sync_bound_s == there.sync_bound_s).all()
    assert (again.sync_bound_s > again.sync_estimate_bound_s).all()


def test_the_bound_of_no_ticks_is_empty() -> None:
    p = plan(ALL)
    empty = grid(p, 0)
    bound = Bound(p)
    bound.add((GrainReport(A, START, 1.0),))
    found = bound.of(empty, np.empty(0), empty.state == LIVE, Fuse(p)._reporter.clocks)
    assert [len(x) for x in found] == [0, 0]


# -- given lags on the grid ---------------------------------------------------------------------


def variance(*members: Member, lags: tuple[LagReport, ...] = ()) -> list[float]:
    """Return the lag's variance of each member at the last tick."""
    p = plan(members)
    time = START + np.arange(0, 10, 0.02)
    blocks = [
        block(m.channel, time, np.sin(time), spacing=time * 0 + 0.02, noise=time * 0)
        for m in members
    ]
    g = Resample(p, 5.0).update(structs.replace(packet(*blocks), lags=lags)).grid
    assert g is not None
    found: list[float] = g.lag_var[-1].tolist()
    return found


def test_a_lag_given_with_an_sd_has_its_variance_and_one_without_has_none() -> None:
    given = known(A, 0.1, 0.01), known(B, 0.2, 0.0), replace(known(URE, 0.3), lag_sd_s=None)
    assert variance(*given) == pytest.approx([1e-4, 0.0, NAN], nan_ok=True)


def test_a_reference_whose_lag_is_given_is_exact_with_or_without_an_sd() -> None:
    report = LagReport("pulse", A, -np.inf, 0.1, 0.0, 0.0, 1.0, True, "reference")
    bare = replace(known(A, 0.1), lag_sd_s=None)
    assert variance(bare, known(B), lags=(report,)) == pytest.approx([0.0, 1e-6])
