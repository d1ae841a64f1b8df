"""Sync lines: when one is written, and what is in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators.fuse.sync_report import Clocks, Reporter, ScaledGrid
from operators.lines import DeadLine, SyncReport
from operators.presence import ACQUIRING, GONE, LIVE, STALE
from operators.records import ClockReport, DeadLetter, Ends, Grid, Packet
from operators.settings.plan import Plan
from operators.types import End
from tests.support.signals import START, plan

A, B, FACT = "osc_1:/pulse", "osc_2:/pulse", "osc_2:/level"
NAN = float("nan")
DELAY_S = 2.1


def grid(p: Plan, seconds: float, start: float = START, **given: Any) -> Grid:
    """Return ticks at which all lanes are live, but for what is `given`."""
    healthy = {
        "state": LIVE,
        "ramp": 1.0,
        "lag_s": 0.25,
        "lag_var": 1e-6,
        "lag_rate": NAN,
        "lag_rate_var": NAN,
        "search_hz": NAN,
        "confidence": 0.9,
        "rate_hz": 50.0,
        "gaps": 0.0,
        "value": 1.0,
        "coverage": 1.0,
        "noise_var": 0.01,
        "gain": NAN,
        "gain_var": NAN,
        "level": NAN,
        "level_var": NAN,
        "scale_state": np.int8(0),
    }
    n, first = round(seconds * p.tick_hz), round(start * p.tick_hz)
    columns = {k: np.broadcast_to(x, (n, len(p.lanes))) for k, x in (healthy | given).items()}
    due = (first + np.arange(n)) / p.tick_hz + DELAY_S
    return Grid(first, due, due, **columns)


def clock(source: str, known: float, stepped: bool = False, **given: Any) -> ClockReport:
    fields = {
        "watermark": known,
        "known": known,
        "at": START,
        "offset_s": 0.5,
        "slope": -1e-5,
        "offset_var": 1e-6,
        "cross_var": 0.0,
        "slope_var": 1e-12,
        "jitter_p95_s": 0.004,
        "resets": 0,
        "reset_at": NAN,
    }
    return ClockReport(source, **(fields | given), stepped=stepped)


def reported(
    p: Plan,
    g: Grid,
    *clocks: ClockReport,
    ends: tuple[Ends, ...] = (),
    letters: tuple[DeadLetter, ...] = (),
    end: bool = False,
    piece: int = 10_000,
) -> tuple[list[SyncReport], list[DeadLine]]:
    """Return the lines of a run whose ticks come `piece` at a time, all else with the first."""
    reporter = Reporter(p)
    sync: list[SyncReport] = []
    dead: list[DeadLine] = []
    for a in range(0, len(g), piece):
        part = {name: getattr(g, name)[a : a + piece] for name in Grid.__slots__[1:]}
        first = {"clocks": clocks, "ends": ends, "letters": letters} if a == 0 else {}
        reporter.add(Packet("studio", 0.0, False, np.empty(0), **first))
        last = end and a + piece >= len(g)
        some, others = reporter.lines(
            "studio", ScaledGrid(Grid(g.first + a, **part), p.tick_hz), last
        )
        sync += some
        dead += others
    return sync, dead


def lines(p: Plan, g: Grid, *clocks: ClockReport, **given: Any) -> list[SyncReport]:
    return reported(p, g, *clocks, **given)[0]


def of(found: list[SyncReport], why: str) -> list[SyncReport]:
    return [x for x in found if x.why == why]


# -- when ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [2.0, 10.0])
def test_each_channel_has_a_line_every_sync_every_s(every: float) -> None:
    p = plan((A, B), facts=(FACT,), sync_every_s=every)
    hops = of(lines(p, grid(p, 60)), "hop")
    for channel in (A, B, FACT):
        times = [x.ts for x in hops if x.channel == channel]
        assert len(times) == 60 / every
        assert np.diff(times) == pytest.approx(every)


def test_a_change_of_state_has_a_line_at_its_tick() -> None:
    p = plan((A, B))
    state = np.full((50, 2), LIVE)
    state[:5], state[30:, 1], state[40:, 1] = ACQUIRING, STALE, GONE
    found = of(lines(p, grid(p, 10, state=state)), "state")
    assert [(round(x.ts - START, 9), x.channel, x.state) for x in found] == [
        (1.0, A, "live"),
        (1.0, B, "live"),
        (6.0, B, "stale"),
        (8.0, B, "lost"),
    ]


def test_a_reset_has_a_line_for_each_channel_of_its_source_when_it_was_known() -> None:
    p = plan((A, B), facts=(FACT,))
    step = clock("osc_2", START + 4.37, True, resets=1, reset_at=START + 4.25)
    found = of(lines(p, grid(p, 10), clock("osc_2", START - 1), step), "reset")
    assert [(x.ts, x.channel, x.clock_resets, x.reset_at) for x in found] == [
        (START + 4.37, c, 1, START + 4.25) for c in (B, FACT)
    ]


def test_a_reset_known_after_the_newest_tick_waits_for_the_next() -> None:
    p = plan((A,))
    reporter = Reporter(p)
    step = clock("osc_1", START + 4.37, True, resets=1, reset_at=START + 4.25)
    reporter.add(Packet("studio", 0.0, False, np.empty(0), clocks=(step,)))
    first = reporter.lines("studio", ScaledGrid(grid(p, 3), p.tick_hz), False)[0]
    again = Reporter.from_snapshot(reporter.snapshot(), p)
    second = again.lines("studio", ScaledGrid(grid(p, 3, START + 3), p.tick_hz), False)[0]
    third = again.lines("studio", ScaledGrid(grid(p, 3, START + 6), p.tick_hz), False)[0]
    assert [len(of(list(x), "reset")) for x in (first, second, third)] == [0, 1, 0]


def test_a_step_known_too_late_is_dated_after_the_released_ticks() -> None:
    p = plan((A,))
    late = clock("osc_1", START + 1.0, True, watermark=START + 8.0, resets=1)
    found = of(lines(p, grid(p, 10), late), "reset")
    assert [x.ts for x in found] == [pytest.approx(START + 8.0 - p.base_delay_s)]
    assert found[0].ts > START + 8.0 - p.base_delay_s


def test_the_end_has_a_line_a_channel_at_the_last_tick() -> None:
    p = plan((A, B), facts=(FACT,))
    found = lines(p, grid(p, 10), end=True)
    assert [(x.channel, x.ts) for x in found[-3:]] == [(c, START + 9.8) for c in (A, B, FACT)]
    assert len(of(found, "end")) == 3


def test_the_end_has_its_lines_also_when_the_last_packet_releases_no_tick() -> None:
    p = plan((A,))
    reporter = Reporter(p)
    reporter.lines("studio", ScaledGrid(grid(p, 10), p.tick_hz), False)
    again = Reporter.from_snapshot(reporter.snapshot(), p)
    again.add(
        Packet(
            "studio",
            0.0,
            True,
            np.empty(0),
            ends=(Ends("osc_1", A, "late", np.array([START + 50])),),
        )
    )
    found = again.lines("studio", None, True)[0]
    assert [(x.why, x.channel, x.ts, x.late) for x in found] == [("end", A, START + 9.8, 1)]


def test_a_run_without_a_tick_has_no_line_at_its_end() -> None:
    assert Reporter(plan((A,))).lines("studio", None, True)[0] == ()


def test_lines_are_in_order_of_time_for_any_packets() -> None:
    p = plan((A, B), facts=(FACT,))
    state = np.full((200, 3), LIVE)
    state[47:90, 0], state[100:, 1] = STALE, STALE
    clocks = (
        clock("osc_1", START - 1),
        clock("osc_2", START + 9.95, True, resets=1),
        clock("osc_1", START + 20.1, True, resets=1),
        clock("osc_2", START + 30),
    )
    ends = (Ends("osc_1", A, "used", START + np.arange(0, 40, 0.02)),)
    whole, *cut = (
        lines(p, grid(p, 40, state=state), *clocks, ends=ends, end=True, piece=n)
        for n in (1000, 1, 7, 50)
    )
    times = [x.ts for x in whole]
    assert times == sorted(times)
    assert {x.why for x in whole} == {"hop", "state", "reset", "end"}
    assert all(x == whole for x in cut)


@pytest.mark.parametrize(("hz", "every"), [(5.0, 0.3), (0.3, 10.0), (7.0, 3.0)])
def test_hops_at_odd_rates_do_not_depend_on_the_packets(hz: float, every: float) -> None:
    p = plan((A,), tick_hz=hz, sync_every_s=every)
    whole, cut = (lines(p, grid(p, 400), piece=n) for n in (10_000, 1))
    assert [x.ts for x in whole] == [x.ts for x in cut]


# -- contents -----------------------------------------------------------------------------------


def test_a_line_has_the_clock_and_the_lag_in_force() -> None:
    p = plan((A,))
    x = of(lines(p, grid(p, 30), clock("osc_1", START - 1, cross_var=1e-9)), "hop")[-1]
    age = x.ts - START
    assert x.offset_s == pytest.approx(0.5 - 1e-5 * age)
    assert x.offset_sd_s == pytest.approx(np.sqrt(1e-6 + 2e-9 * age + 1e-12 * age**2))
    assert x.skew_ppm == pytest.approx(10.0)
    assert x.skew_sd_ppm == pytest.approx(1.0)
    assert (x.lag_s, x.lag_sd_s, x.confidence) == pytest.approx((0.25, 1e-3, 0.9))
    assert (x.rate_hz, x.jitter_p95_s, x.gaps) == (50.0, 0.004, 0)
    assert (x.clock_resets, x.reset_at) == (0, None)


def test_a_source_without_a_clock_has_null_and_not_zero() -> None:
    p = plan((A, B))
    found = lines(p, grid(p, 30), clock("osc_2", START - 1), end=True)
    for x in (x for x in found if x.channel == A):
        assert x.offset_s is x.offset_sd_s is x.skew_ppm is x.skew_sd_ppm is None
        assert x.reset_at is x.jitter_p95_s is None
        assert x.clock_resets == 0
        assert x.lag_s == 0.25


def test_without_a_clock_the_rate_of_the_lag_is_the_skew_relative_to_the_references() -> None:
    p = plan((A, B))
    g = grid(p, 30, lag_rate=20e-6, lag_rate_var=4e-12, search_hz=10.0)
    found = lines(p, g, clock("osc_2", START - 1))
    mine, other = (next(x for x in found if x.channel == c) for c in (A, B))
    # A lag that grows: the source's stamps run ahead, its clock is fast.
    assert (mine.skew_ppm, mine.skew_sd_ppm) == pytest.approx((20.0, 2.0))
    assert mine.offset_s is None
    assert (other.skew_ppm, other.skew_sd_ppm) == pytest.approx((10.0, 1.0))
    assert mine.search_hz == other.search_hz == 10.0


def test_a_clock_is_not_reported_before_it_was_known() -> None:
    p = plan((A,))
    found = of(lines(p, grid(p, 30), clock("osc_1", START + 15)), "hop")
    assert [x.offset_s is None for x in found] == [x.ts < START + 15 for x in found]


def test_unknown_properties_of_the_lag_are_null() -> None:
    p = plan((A,))
    g = grid(p, 30, lag_s=NAN, lag_var=NAN, confidence=NAN, rate_hz=NAN, gaps=2)
    x = of(lines(p, g), "hop")[0]
    assert x.lag_s is x.lag_sd_s is x.confidence is x.rate_hz is None
    assert x.gaps == 2


def test_a_fact_has_no_lag() -> None:
    p = plan((A,), facts=(FACT,))
    x = next(x for x in lines(p, grid(p, 30)) if x.channel == FACT)
    assert x.lag_s is x.lag_sd_s is x.confidence is None


def test_counts_are_those_known_when_the_tick_was_released() -> None:
    p = plan((A,))
    arrivals = START + np.arange(0, 30, 0.02)
    kinds: tuple[End, ...] = ("received", "used")
    found = of(
        lines(p, grid(p, 30), ends=tuple(Ends("osc_1", A, e, arrivals) for e in kinds)), "hop"
    )
    known = [int((arrivals < x.ts + DELAY_S).sum()) for x in found]
    assert [x.received for x in found] == [x.used for x in found] == known
    assert len(known) == 3


def test_the_last_lines_count_everything() -> None:
    p = plan((A,))
    kinds: tuple[End, ...] = ("received", "used", "outliers", "late", "duplicate", "rejected")
    ends = tuple(
        Ends("osc_1", A, end, START + np.linspace(0, 100, n)) for n, end in enumerate(kinds, 1)
    )
    x = lines(p, grid(p, 10), ends=ends, end=True)[-1]
    assert (x.received, x.used, x.outliers, x.late, x.duplicate, x.rejected) == (1, 2, 3, 4, 5, 6)


def test_the_final_line_has_the_newest_clock() -> None:
    p = plan((A,))
    x = lines(p, grid(p, 10), clock("osc_1", START + 500, offset_s=7.0), end=True)[-1]
    assert x.offset_s == pytest.approx(7.0, abs=1e-3)


def test_dead_lines_are_written_with_the_ticks_that_close_their_window_and_at_the_end() -> None:
    p = plan((A,))
    letters = tuple(
        DeadLetter(START + s, "receive", "json", "osc_1", f"demo:{s}", "{") for s in (1, 2, 11)
    )
    before, after = (reported(p, grid(p, 12), letters=letters, end=end)[1] for end in (False, True))
    assert [(x.ts - START, x.count) for x in before] == [(1, 2)]
    assert [(x.ts - START, x.count) for x in after] == [(1, 2), (11, 1)]


# -- clocks -------------------------------------------------------------------------------------


def test_the_clock_in_force_is_the_newest_that_was_known() -> None:
    clocks = Clocks()
    clocks.add(tuple(clock("osc_1", START + k, offset_s=float(k)) for k in range(5)))
    found = [clocks.at("osc_1", START + t) for t in (-1, 0, 2.5, 99)]
    assert [x and x.offset_s for x in found] == [None, 0.0, 2.0, 4.0]


def test_clock_reports_that_no_tick_needs_are_dropped() -> None:
    clocks = Clocks()
    clocks.add(tuple(clock("osc_1", START + k) for k in range(5)))
    clocks.forget(START + 2.5)
    assert [r[2] - START for r in clocks.snapshot()["osc_1"]] == [2, 3, 4]


def test_a_source_without_a_clock_has_no_variance_of_one() -> None:
    clocks = Clocks()
    assert clocks.variance(("osc_1",), np.array([START])).tolist() == [[0.0]]
    clocks.add((clock("osc_2", START + 1, at=START + 1, cross_var=1e-7),))
    both = clocks.variance(("osc_1", "osc_2"), START + np.array([0.0, 1.0, 2.0]))
    assert both[0].tolist() == [0.0, 0.0, 0.0]
    assert both[1] == pytest.approx([0.0, 1e-6, 1e-6 + 2e-7 + 1e-12])
