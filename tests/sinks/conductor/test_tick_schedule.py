"""Which tick is due when: never twice, never more than half a tick late, never in a burst."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sinks.conductor.tick_schedule import GO_ON_S, MAX_TICKS, Tick, TickSchedule

LEAD_S = 0.2


def tick(beat: int, at: float, tick_s: float = 0.2, withheld: bool = False) -> Tick:
    return Tick(at, 1e9 + at, beat, tick_s, 1 / tick_s, 0.0, 2, withheld)


def even(first: int, count: int, start: float, tick_s: float = 0.2, **more: bool) -> list[Tick]:
    return [tick(first + i, start + i * tick_s, tick_s, **more) for i in range(count)]


def run(
    schedule: TickSchedule, until: float, news: list[tuple[float, list[Tick], float]] | None = None
) -> list[tuple[float, int, str]]:
    """Play on time up to `until`; news are (time of arrival, ticks, decided). Return what is."""
    pending, played = list(news or []), []
    while True:
        arrival = pending[0][0] if pending else inf
        now = min(schedule.due(), arrival)
        if now > until:
            return played
        if pending and arrival <= now:
            _, ticks, decided = pending.pop(0)
            schedule.add(ticks, decided)
        played += [(round(now, 6), t.beat, outcome) for t, outcome in schedule.take(now)]


def alive(ticks: list[Tick], until: float, before_s: float = 0.1) -> list:
    """Return the news of a flow that runs: each 0.1 s, all ticks decided by then."""
    news, n = [], 0
    for step in range(round(until / 0.1)):
        now = step * 0.1
        decided = now + LEAD_S - before_s
        known = [t for t in ticks[n:] if t.at < decided]
        n += len(known)
        news.append((now, known, decided))
    return news


def test_each_tick_is_sent_once_at_its_time() -> None:
    played = run(TickSchedule(0.0, 0.0, 0.12), 3.0, alive(even(0, 15, 0.3), 3.0))

    assert [(beat, outcome) for _, beat, outcome in played] == [(i, "sent") for i in range(14)]
    assert [now for now, *_ in played] == pytest.approx([0.3 + 0.2 * i for i in range(14)])


def test_an_offset_shifts_and_ahead_sends_before() -> None:
    schedule = TickSchedule(-0.012, 0.05, 0.12)
    schedule.add([tick(0, 1.0)], 1.0)

    assert schedule.due() == pytest.approx(1.0 - 0.012 - 0.05)


def test_a_withheld_tick_is_not_sent_and_ends_the_playing() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add([*even(0, 2, 1.0), tick(2, 1.4, withheld=True)], 1.5)

    assert [outcome for _, _, outcome in run(schedule, 1.3)] == ["sent", "sent"]
    assert schedule.playing
    assert [outcome for _, _, outcome in run(schedule, 9.0)] == ["withheld"]
    assert not schedule.playing


def test_a_tick_is_late_by_half_a_tick_at_most() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 8, 1.0), 2.5)

    outcomes = [outcome for _, outcome in schedule.take(1.67)]
    assert outcomes == ["dropped"] * 3 + ["sent"]  # at 1.6: 0.07 s late
    assert [outcome for _, outcome in schedule.take(1.89)] == ["sent"]
    assert [outcome for _, outcome in schedule.take(2.11)] == ["dropped"]


def test_after_a_gap_the_first_tick_leaves_the_shortest_tick_to_the_next() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 8, 1.0), 2.5)

    assert [outcome for _, outcome in schedule.take(1.29)] == ["dropped", "dropped"]
    assert [outcome for _, outcome in schedule.take(1.49)] == ["sent"]  # always late


def test_a_tick_sent_ahead_is_late_by_its_time_not_by_its_sending() -> None:
    schedule = TickSchedule(0.0, 0.15, 0.12)
    schedule.add([tick(0, 1.0)], 1.1)

    assert schedule.take(1.05)[0][1] == "sent"


def test_a_slow_flow_that_runs_makes_no_tick_up() -> None:
    ticks = [*even(0, 3, 0.3), *even(3, 3, 0.7 + 0.384, 0.384)]
    played = run(TickSchedule(0.0, 0.0, 0.12), 1.9, alive(ticks, 1.9))

    assert [now for now, *_ in played] == pytest.approx([t.at for t in ticks])


def test_without_frames_the_clock_goes_on_for_two_seconds_and_stops() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 3, 1.0), 1.45)
    played = run(schedule, 60.0)

    assert [beat for _, beat, _ in played] == list(range(13))
    assert {outcome for *_, outcome in played} == {"sent"}
    assert played[-1][0] == pytest.approx(1.4 + 10 * 0.2)
    assert 1.45 + GO_ON_S - 0.2 < played[-1][0] <= 1.45 + GO_ON_S
    assert not schedule.playing
    assert schedule.due() == inf


def test_a_silent_clock_does_not_go_on() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 3, 1.0, withheld=True), 1.45)

    assert [outcome for *_, outcome in run(schedule, 60.0)] == ["withheld"] * 3


def test_a_frame_of_a_tick_that_was_made_up_is_left_out() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 2, 1.0), 1.25)
    before = run(schedule, 1.85)
    schedule.add([tick(i, 1.0 + 0.21 * i, 0.21) for i in range(2, 8)], 2.7)
    after = run(schedule, 2.6)

    assert [beat for _, beat, _ in before] == [0, 1, 2, 3, 4]
    assert [beat for _, beat, _ in after] == [5, 6, 7]
    assert after[0][0] == pytest.approx(1.0 + 0.21 * 5)


def test_frames_that_always_come_too_late_still_lead_the_clock() -> None:
    ticks = even(0, 20, 1.0) + even(20, 40, 5.0, 0.25)
    news = [(t.at - LEAD_S + 0.25, [t], t.at) for t in ticks]
    news[0] = (0.5, [ticks[0]], 1.0)
    played = run(TickSchedule(0.0, 0.0, 0.12), 14.0, news)
    sent = [now for now, _, outcome in played if outcome == "sent"]

    assert [beat for _, beat, _ in played] == list(range(len(played)))
    assert {outcome for *_, outcome in played} == {"sent"}
    assert all(b - a >= 0.12 - 1e-6 for a, b in pairwise(sent))
    assert [b - a for a, b in pairwise(sent)][-10:] == pytest.approx([0.25] * 10, abs=1e-3)
    assert min(abs(sent[-1] - t.at) for t in ticks) < 1e-3


def test_a_withheld_frame_of_a_tick_that_was_made_up_still_silences() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 2, 1.0), 1.25)
    run(schedule, 1.85)
    schedule.add([tick(2, 1.4, withheld=True)], 1.9)
    schedule.take(1.86)

    assert not schedule.playing


def test_a_process_that_stood_still_sends_no_burst() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add(even(0, 3, 1.0), 1.45)
    run(schedule, 1.3)

    assert len(schedule.take(2.41)) == 2  # tick 2 is dropped, one is made up
    assert schedule.take(11.0) == []
    schedule.add(even(3, 50, 1.6), 11.7)
    outcomes = [outcome for _, outcome in schedule.take(11.25)]
    assert outcomes.count("sent") <= 1
    assert schedule.due() > 11.25


def test_a_count_that_begins_anew_is_played() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)
    schedule.add([*even(100, 2, 1.0), *even(0, 2, 1.4)], 1.7)

    assert [beat for _, beat, _ in run(schedule, 1.7)] == [100, 101, 0, 1]


def test_more_ticks_than_fit_are_left_out_and_counted() -> None:
    schedule = TickSchedule(0.0, 0.0, 0.12)

    assert schedule.add(even(0, MAX_TICKS + 5, 1.0), 1e4) == 5


@settings(max_examples=200)
@given(
    st.lists(st.floats(0.13, 0.39), min_size=2, max_size=40),
    st.lists(st.floats(0.0, 1.5), min_size=2, max_size=40),
    st.lists(st.booleans(), min_size=40, max_size=40),
    st.floats(-0.05, 0.05),
    st.floats(0.0, 0.1),
)
def test_whatever_is_late_no_tick_is_sent_twice_or_too_close(
    intervals: list[float],
    delays: list[float],
    withheld: list[bool],
    offset_s: float,
    ahead_s: float,
) -> None:
    at, news, now = 1.0, [], 0.0
    for beat, interval in enumerate(intervals):
        at += interval
        now = max(now, at - LEAD_S + delays[beat % len(delays)])
        news.append((now, [tick(beat, at, interval, withheld[beat])], at))
    schedule = TickSchedule(offset_s, ahead_s, 0.12)
    sent: list[Tick] = []
    pending = list(news)
    for step in range(3000):
        clock = step * 0.01
        while pending and pending[0][0] <= clock:
            _, ticks, decided = pending.pop(0)
            schedule.add(ticks, decided)
        for found, outcome in schedule.take(clock):
            if outcome == "sent":
                sent.append(found)
                assert clock <= found.at + offset_s + found.tick_s / 2 + 0.02
    beats = [t.beat for t in sent]
    assert beats == sorted(set(beats))
    assert all(b.at - a.at >= 0.12 - 2e-3 for a, b in pairwise(sent))
    assert schedule.due() == inf
