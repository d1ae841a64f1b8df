"""The output clock: limits of the tick, pull-in, steps, silence, gaps, and snapshots."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bridge.bridge_config import CONTROL_S, LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Observer
from operators.bridge.steering import KEPT_S, ClockTick, OutputClock, wrapped
from operators.snapshot import decode_state, encode_state

GAINS = Gains(0.35, 0.08, 0.1)
LOOP = LoopConfig()
K0 = 35_200_000_000
"""First control step."""
START = K0 * CONTROL_S
LEAD_S = 0.2
ROUNDING_S = 1e-6
"""Twice the rounding of a time since 1970."""


def new(loop: LoopConfig = LOOP) -> OutputClock:
    return OutputClock(loop, LEAD_S, 5.0)


def known(hz: float, t: float = START, phase: float = 0.0) -> Observer:
    """Return an observer that has one rate from t on."""
    observer = Observer()
    observer.follow(t - phase / hz, hz)
    observer.quiet_s = 1e6
    return observer


def driven(
    clock: OutputClock,
    observer: Observer,
    seconds: float,
    *,
    first: int = 0,
    stepping: bool = False,
    per_tick: float = 1.0,
    beats: list[float] | None = None,
) -> list[ClockTick]:
    """Return the ticks of some control steps from `first` on."""
    ticks, beats = [], beats or []
    i = 0
    for k in range(first, first + round(seconds / CONTROL_S)):
        s = (K0 + k) * CONTROL_S
        while i < len(beats) and beats[i] < s:
            observer.beat(beats[i], GAINS)
            i += 1
        ticks += clock.step(s, observer, per_tick, GAINS, stepping=stepping)
    return ticks


def check(ticks: list[ClockTick], loop: LoopConfig = LOOP) -> None:
    """Check numbers, intervals and order of ticks that follow one another."""
    for a, b in itertools.pairwise(ticks):
        assert b.beat == a.beat + 1
        assert b.time - a.time == pytest.approx(b.interval_s, abs=ROUNDING_S)
    for tick in ticks:
        assert loop.min_tick_ms - 1e-6 <= 1000 * tick.interval_s <= loop.max_tick_ms + 1e-6


def beats(hz: float, seconds: float, start: float = START, jitter_s: float = 0.005) -> list[float]:
    rng = random.Random(f"{hz} {seconds}")
    return [start + k / hz + rng.gauss(0, jitter_s) for k in range(int(hz * seconds))]


def test_it_runs_freely_before_the_first_lock() -> None:
    clock = new()
    ticks = driven(clock, Observer(), 60)
    check(ticks)
    assert {round(t.interval_s, 9) for t in ticks} == {0.2}
    assert {t.lock for t in ticks} == {"none"}
    assert all(math.isnan(t.phase_error) and math.isnan(t.phase_sd) for t in ticks)
    assert (clock.slips, clock.steps) == (0, 0)


def test_ticks_are_settled_one_lead_ahead() -> None:
    clock = new()
    for k in range(200):
        s = (K0 + k) * CONTROL_S
        for tick in clock.step(s, Observer(), 1.0, GAINS, stepping=False):
            assert s + LEAD_S - ROUNDING_S <= tick.time < s + LEAD_S + CONTROL_S + ROUNDING_S
        assert clock.settled == s + LEAD_S + CONTROL_S


@pytest.mark.parametrize("phase", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_step_sets_the_phase_at_once(phase: float) -> None:
    clock, observer = new(), Observer()
    before = driven(clock, observer, 10)
    observer = known(5.0, START, phase)
    ticks = driven(clock, observer, 10, first=200, stepping=True)
    check([*before, *ticks])
    assert (clock.steps, clock.slips) == (1, 0)
    assert abs(wrapped(observer.phase_at(ticks[1].time))) < 1e-6


@pytest.mark.parametrize("phase", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_without_steps_the_phase_is_slewed(phase: float) -> None:
    clock = new()
    before = driven(clock, Observer(), 10)
    observer = known(5.0, START, phase)
    ticks = driven(clock, observer, 60, first=200)
    check([*before, *ticks])
    assert clock.steps == 0
    assert max(abs(t.rate_hz / 5.0 - 1) for t in ticks) <= LOOP.slew + 1e-9
    assert abs(wrapped(observer.phase_at(ticks[-1].time))) < 1e-3


def test_the_clock_follows_beats_through_a_tempo_step() -> None:
    clock, observer = new(), Observer()
    times = beats(5.0, 60) + beats(7.0, 60, START + 60)
    ticks = driven(clock, observer, 118, beats=times)
    check(ticks)
    late = [t for t in ticks if t.time > START + 70]
    assert all(abs(t.rate_hz / 7.0 - 1) < 0.02 for t in late)
    assert all(abs(wrapped(7.0 * (t.time - START - 60))) < 0.05 for t in late)
    assert {t.lock for t in late} == {"locked"}


@pytest.mark.parametrize("per_tick", [0.25, 0.5, 2.0, 6.0])
def test_ticks_of_several_beats_and_beats_of_several_ticks(per_tick: float) -> None:
    clock, observer = new(), known(5.0 * per_tick)
    ticks = driven(clock, observer, 60, per_tick=per_tick, stepping=True)
    check(ticks)
    phases = [observer.phase_at(t.time) / per_tick for t in ticks[10:]]
    assert all(abs(wrapped(p)) < 1e-4 for p in phases)


@pytest.mark.parametrize(("hz", "limit"), [(12.0, 0.12), (1.0, 0.4), (1e5, 0.12), (1e-3, 0.4)])
def test_out_of_range_it_stays_at_the_limit(hz: float, limit: float) -> None:
    clock, observer = new(), known(hz)
    ticks = driven(clock, observer, 30)
    check(ticks)
    assert ticks[-1].interval_s == pytest.approx(limit, rel=1e-9)
    assert ticks[-1].lock == "saturated"
    observer.follow(START + 30, 5.0)
    back = driven(clock, observer, 20, first=600)
    check([*ticks, *back])
    assert back[-1].lock == "locked"
    assert abs(wrapped(observer.phase_at(back[-1].time))) < 0.01


def test_the_rate_is_frozen_only_while_the_error_pushes_beyond_a_limit() -> None:
    clock, observer = new(), known(12.0)
    frozen = []
    for k in range(100):
        clock.step((K0 + k) * CONTROL_S, observer, 1.0, GAINS, stepping=False)
        frozen.append((observer.frozen, clock.phase_error > 0))
    assert set(frozen) == {(True, True), (False, False)}
    observer.follow(START + 5, 5.0)
    driven(clock, observer, 5, first=100)
    assert not observer.frozen


def test_a_slip_is_counted_for_each_tick_that_is_lost() -> None:
    clock, observer = new(), known(9.0)
    ticks = driven(clock, observer, 60)
    lost = 9.0 * 60 - len(ticks)
    assert clock.slips == pytest.approx(lost, abs=2)
    assert clock.slips > 20


def test_beats_that_are_numbered_anew_are_no_slip() -> None:
    clock, observer = new(), known(5.0)
    driven(clock, observer, 10)
    observer.realign(START + 10)
    driven(clock, observer, 10, first=200)
    assert clock.slips == 0
    assert abs(clock.phase_error) < 0.01


def test_hold_over_goes_on_in_rate_and_phase() -> None:
    clock, observer = new(), Observer()
    ticks = driven(clock, observer, 90, beats=beats(5.0, 60), stepping=True)
    check(ticks)
    late = [t for t in ticks if t.time > START + 65]
    assert {t.lock for t in late} == {"holdover"}
    assert all(abs(wrapped(5.0 * (t.time - START))) < 0.05 for t in late)
    assert late[-1].phase_sd > late[0].phase_sd > 0


def test_a_long_gap_is_cheap_and_lists_its_last_minute() -> None:
    clock, observer = new(), known(5.0)
    before = driven(clock, observer, 10)
    s = START + 3600.0
    ticks = clock.step(s, observer, 1.0, GAINS, stepping=False)
    check(ticks)
    assert len(ticks) == pytest.approx(300, abs=2)
    assert ticks[-1].time <= s + LEAD_S + CONTROL_S
    assert ticks[0].beat - before[-1].beat == pytest.approx(
        5.0 * (ticks[0].time - before[-1].time), abs=0.5
    )
    assert len(clock.step(s + 1e9, observer, 1.0, GAINS, stepping=False)) < 310


def test_one_step_over_a_gap_is_as_many() -> None:
    observer = known(5.0, START, 0.3)
    short, whole = new(), new()
    driven(short, observer, 10)
    driven(whole, observer, 10)
    many = driven(short, observer, 30, first=200)
    one = whole.step(START + 40 - CONTROL_S, observer, 1.0, GAINS, stepping=False)
    check(one)
    assert len(one) == pytest.approx(len(many), abs=1)
    assert one[-1].time == pytest.approx(many[-1].time, abs=0.02)


@pytest.mark.parametrize("s", [START + 4, START - 3600, math.nan, math.inf, -math.inf])
def test_a_control_step_that_is_no_progress_settles_nothing(s: float) -> None:
    clock, observer = new(), known(5.0)
    driven(clock, observer, 5)
    before = clock.snapshot()
    assert clock.step(s, observer, 1.0, GAINS, stepping=False) == []
    assert clock.snapshot() == before


def test_the_error_at_a_time_is_that_of_the_output() -> None:
    clock, observer = new(), known(5.0, START, 0.3)
    ticks = driven(clock, observer, 30)
    s = START + 30 - CONTROL_S
    kept = [t.time for t in ticks if t.time > s - LEAD_S - 1.0]
    assert len(kept) > 5
    for t in kept:
        assert clock.error_at(t) == pytest.approx(0, abs=1e-5)
        assert clock.error_at(t + 0.05) == pytest.approx(-0.25, abs=1e-2)
        assert clock.error_at(t, 7.125) == pytest.approx(0.125, abs=1e-5)
    assert math.isnan(clock.error_at(START - 1))
    assert math.isnan(clock.error_at(clock.settled + 1))
    assert math.isnan(clock.error_at(math.nan))
    assert math.isnan(new().error_at(START))
    assert len(clock.pieces) < 20 * (KEPT_S + LEAD_S) + 10


changes = st.lists(
    st.tuples(
        st.sampled_from(["beats", "silence", "follow", "gap", "realign"]),
        st.floats(0.5, 20.0),
        st.booleans(),
    ),
    max_size=6,
)


def played(
    parts: list[tuple[str, float, bool]], per_tick: float, loop: LoopConfig, cut: int
) -> list[ClockTick]:
    """Return the ticks of some parts of 8 s; observer and clock are stored and read at a step."""
    clock, observer = new(loop), Observer()
    ticks: list[ClockTick] = []
    k = 0
    for kind, hz, stepping in parts:
        s = (K0 + k) * CONTROL_S
        times = beats(hz, 8, s, 0.02) if kind == "beats" else []
        if kind == "follow":
            observer.follow(s, hz)
        if kind == "realign":
            observer.realign(s)
        if kind == "gap":
            k += 600
        for _ in range(160):
            s = (K0 + k) * CONTROL_S
            while times and times[0] < s:
                observer.beat(times.pop(0), GAINS)
            ticks += clock.step(s, observer, per_tick, GAINS, stepping=stepping)
            if k == cut:
                stored = encode_state({"o": observer.snapshot(), "c": clock.snapshot()}, "b", "")
                state = decode_state(stored, "b", "")
                observer = Observer.from_snapshot(state["o"])
                clock = OutputClock.from_snapshot(state["c"], loop, LEAD_S, 5.0)
            k += 1
    return ticks


@settings(max_examples=100, deadline=None)
@given(changes, st.sampled_from([0.25, 1.0, 3.0]), st.floats(0.01, 0.5), st.integers(0, 300))
def test_no_interval_leaves_the_limits_and_a_snapshot_changes_nothing(
    parts: list[tuple[str, float, bool]], per_tick: float, slew: float, cut: int
) -> None:
    loop = LoopConfig(slew=slew)
    ticks = played(parts, per_tick, loop, -1)
    check(ticks, loop)
    assert repr(ticks) == repr(played(parts, per_tick, loop, cut))
