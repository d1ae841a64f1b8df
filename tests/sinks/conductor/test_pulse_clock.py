"""MIDI clock: pulses evenly between ticks, Start and Stop, and a process that shares the port."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.outputs import MidiClockConfig, MidiDestination
from sinks.conductor.clock_process import steady
from sinks.conductor.conductor import MidiTickPlayer
from sinks.conductor.pulse_clock import PULSE, START, STOP, PulseClock
from sinks.conductor.tick_schedule import GO_ON_S, Tick, TickSchedule
from tests.support.logged_port import messages
from tests.support.waiting import until

PORT = "tests.support.logged_port:LoggedPort"


def tick(beat: int, at: float, tick_s: float = 0.2, withheld: bool = False) -> Tick:
    return Tick(at, 1e9 + at, beat, tick_s, 1 / tick_s, 0.0, 2, withheld)


def clock(
    *ticks: Tick, decided: float, per_tick: int = 6, transport: bool = True, offset_s: float = 0.0
) -> PulseClock:
    schedule = TickSchedule(offset_s, 0.0, 0.12)
    schedule.add(ticks, decided)
    return PulseClock(schedule, per_tick, transport)


def played(pulses: PulseClock, until_: float) -> list[tuple[float, tuple[int, ...]]]:
    """Play on time; return (time, message)."""
    found: list[tuple[float, tuple[int, ...]]] = []
    while (now := pulses.due()) <= until_:
        found += [(now, m) for each in pulses.take(now) for m in each.messages]
    return found


def test_pulses_are_even_and_start_and_stop_are_sent() -> None:
    pulses = clock(tick(0, 1.0), tick(1, 1.2), tick(2, 1.4, withheld=True), decided=1.5)
    found = played(pulses, 9.0)

    assert [m for _, m in found] == [START, *[PULSE] * 12, STOP]
    assert [t for t, _ in found] == pytest.approx([1.0, *[1.0 + i / 30 for i in range(12)], 1.4])


def test_without_transport_there_are_pulses_alone() -> None:
    pulses = clock(tick(0, 1.0), tick(1, 1.2, withheld=True), decided=1.3, transport=False)

    assert [m for _, m in played(pulses, 9.0)] == [PULSE] * 6


def test_an_offset_shifts_all_pulses() -> None:
    pulses = clock(tick(0, 1.0), tick(1, 1.2, withheld=True), decided=1.3, offset_s=-0.012)

    assert [t for t, _ in played(pulses, 9.0)][1:3] == pytest.approx([0.988, 0.988 + 1 / 30])


def test_the_next_tick_once_known_takes_the_pulses_along() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add([tick(0, 1.0)], 1.15)
    pulses = PulseClock(schedule, 6, False)
    before = played(pulses, 1.11)
    schedule.add([tick(1, 1.22, withheld=True)], 1.3)
    after = played(pulses, 1.3)

    assert [t for t, _ in before] == pytest.approx([1.0, 1.0 + 1 / 30, 1.0 + 2 / 30, 1.1])
    step = (1.22 - 1.1) / 3
    assert [t for t, _ in after] == pytest.approx([1.1 + step, 1.1 + 2 * step])


def test_a_clock_that_goes_on_ends_with_stop() -> None:
    found = played(clock(tick(0, 1.0), decided=1.05), 60.0)

    assert found[-1][1] == STOP
    assert found[-1][0] == pytest.approx(1.05 + GO_ON_S)
    assert [m for _, m in found].count(PULSE) == 6 * 10 + 2
    assert [m for _, m in found].count(START) == 1


def test_playing_again_starts_again() -> None:
    pulses = clock(tick(0, 1.0), tick(1, 1.2, withheld=True), tick(2, 1.4), decided=1.6)

    assert [m for _, m in played(pulses, 1.4)] == [START, *[PULSE] * 6, STOP, START, PULSE]


def test_a_late_call_keeps_the_order_of_start_and_stop() -> None:
    pulses = clock(
        *(tick(0, 1.0), tick(1, 1.2, withheld=True), tick(2, 1.4)), decided=1.6, per_tick=1
    )
    pulses.take(1.0)

    assert [m for each in pulses.take(1.41) for m in each.messages] == [STOP, START, PULSE]


def test_after_a_standstill_no_pulses_come_in_a_burst() -> None:
    pulses = clock(*(tick(i, 1.0 + 0.2 * i) for i in range(20)), decided=5.0)
    played(pulses, 1.05)
    found = [m for each in pulses.take(3.65) for m in each.messages]

    assert len(found) <= 3


def test_a_port_that_was_gone_gets_start_again() -> None:
    pulses = clock(tick(0, 1.0), tick(1, 1.2), decided=1.3)
    played(pulses, 1.19)
    pulses.begin_anew()

    assert [m for _, m in played(pulses, 1.21)] == [START, PULSE]


@settings(max_examples=100)
@given(st.lists(st.floats(0.12, 0.4), min_size=1, max_size=20), st.integers(1, 24))
def test_each_tick_has_its_number_of_pulses_in_rising_time(
    intervals: list[float], per_tick: int
) -> None:
    at, schedule = 1.0, TickSchedule(0.0, 0.0, 0.12)
    pulses, found = PulseClock(schedule, per_tick, False), []
    for beat, interval in enumerate(intervals):
        schedule.add([tick(beat, at, interval)], at + 0.01)
        found += played(pulses, at + 0.005)
        at += interval
    schedule.add([tick(len(intervals), at, withheld=True)], at + 0.01)
    found += played(pulses, at + 1.0)

    assert len(found) == per_tick * len(intervals)
    assert all(a <= b for (a, _), (b, _) in pairwise(found))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    made = tmp_path / "synth"
    made.touch()
    return made


@pytest.fixture
def play(log: Path) -> Iterator[Callable[..., MidiTickPlayer]]:
    players = []

    def made(**given: object) -> MidiTickPlayer:
        config = MidiClockConfig(**given)
        destination = MidiDestination(
            name="synth", to=str(log), map={"note/1/60": "1"}, rate_hz=1000.0, clock=config
        )
        players.append(MidiTickPlayer(destination, config, 0.001, PORT))
        players[-1].start()
        return players[-1]

    yield made
    for player in players:
        player.stop()


def test_the_process_plays_clock_and_notes_over_one_port(play, log) -> None:
    player = play()
    start = steady() + 1.5
    player.put([tick(0, start), tick(1, start + 0.2)], start + 0.3)
    player.sender.put({"note/1/60": 64.0})
    player.put([tick(2, start + 0.4, withheld=True)], start + 0.5)
    until(lambda: messages(log)[-1:] and messages(log)[-1][1] == "fc")
    found = messages(log)

    assert "90 3c 40" in [m for _, m in found]
    clock_ = [(t, m) for t, m in found if m in ("f8", "fa", "fc")]
    assert [m for _, m in clock_] == ["fa", *["f8"] * 12, "fc"]
    assert clock_[0][0] >= start
    until(lambda: player.totals.total().outcomes == {"sent": 2, "withheld": 1, "dropped": 0})
    player.sender.end_notes()
    until(lambda: messages(log)[-1][1] == "90 3c 00")


def test_an_end_of_the_run_stops_clock_and_notes(play, log) -> None:
    player = play()
    player.sender.put({"note/1/60": 64.0})
    until(lambda: "90 3c 40" in [m for _, m in messages(log)])
    start = steady() + 0.1
    player.put([tick(i, start + 0.2 * i) for i in range(50)], start + 10.0)
    until(lambda: "f8" in [m for _, m in messages(log)])
    player.stop()
    found = [m for _, m in messages(log)]

    assert sorted(found[-2:]) == ["90 3c 00", "fc"]


def test_a_gone_port_drops_ticks_and_starts_anew(play, log) -> None:
    player = play(per_tick=1)
    log.rename(log.with_suffix(".gone"))
    start = steady()
    player.put([tick(i, start + 0.05 * i, 0.05) for i in range(400)], start + 20.0)
    until(lambda: player.totals.total().outcomes["dropped"] > 0)
    log.with_suffix(".gone").rename(log)
    until(lambda: "f8" in [m for _, m in messages(log)])

    found = [m for _, m in messages(log)]
    assert "fa" in found[: found.index("f8")]


def test_a_stopped_process_sends_no_burst(play, log) -> None:
    player = play(per_tick=2)
    start = steady() + 1.0
    player.put([tick(i, start + 0.1 * i, 0.1) for i in range(100)], start + 10.0)
    until(lambda: "f8" in [m for _, m in messages(log)])
    os.kill(player.pid, signal.SIGSTOP)
    time.sleep(1.5)
    before = len(messages(log))
    os.kill(player.pid, signal.SIGCONT)
    until(lambda: len(messages(log)) > before + 4)
    after = messages(log)[before:]

    assert after[3][0] - after[0][0] > 0.04  # four pulses at once would be a burst
    until(lambda: player.totals.total().outcomes["dropped"] > 8)
