"""A flow that stood still waits for the events of all its streams."""

import numpy as np

from tests.sources.live.driven import START, Live, events, rows


def test_a_sleep_is_bridged_by_ticks_within_the_accepted_delay():
    live = Live()
    live.streams[0].send(0.01, 1.0)
    live.batches()
    live.streams[0].send(30_000.0, 2.0)
    found = [*live.batches(30_000.0), *live.batches(30_000.03)]

    assert events(found) == [("a:x", 30_000.0, 2.0)]
    arrivals = [0.01, *(rx for _, rx, _ in rows(found))]
    assert max(np.diff(arrivals)) <= 30.0
    assert not any(w for b in found for w in b.wild)


def test_a_flow_waits_after_a_standstill_until_its_streams_have_caught_up():
    live = Live("a", "b")
    live.batches(0.0)
    a, b = live.streams
    a.send(1.9, 1.0)
    assert live.batches(2.0) == []
    b.send(0.5, 2.0)
    assert live.batches(2.01) == []
    b.send(1.5, 3.0)
    assert live.batches(2.025) == []
    found = live.batches(2.05)

    assert events(found) == [("b:x", 0.5, 2.0), ("b:x", 1.5, 3.0), ("a:x", 1.9, 1.0)]


def test_a_flow_waits_after_a_standstill_until_each_socket_is_empty():
    live = Live("a", "b")
    live.batches(0.0)
    a, b = live.streams
    for stream in (a, b):
        stream.inbox.settle(START)
    a.send(1.9, 1.0)
    assert live.batches(60.0) == []
    a.inbox.settle(START + 60.0)
    for t in 60 + 0.05 * np.arange(1, 21):  # nothing comes, and b's thread has not had its turn
        assert live.batches(t) == []
    b.send(0.5, 2.0)
    b.inbox.settle(START + 61.0)
    found = live.batches(61.03) + live.batches(61.06)
    assert events(found) == [("b:x", 0.5, 2.0), ("a:x", 1.9, 1.0)]


def test_a_starved_process_takes_what_its_streams_have_settled():
    live = Live()
    live.batches()
    found = []
    for t in 0.2 * np.arange(1, 21):  # each look comes late, and the stream's thread between them
        live.streams[0].inbox.settle(START + t - 0.1)
        live.streams[0].send(t - 0.1, t)
        found.append(len(events(live.batches(t))))
    assert sum(found) >= 17
    assert max(found) <= 4


def test_a_standstill_amid_a_look_makes_nothing_late():
    live = Live("a", "b")
    live.batches(0.0)
    a, b = live.streams
    for stream in (a, b):
        stream.inbox.settle(START)
    a.send(0.01, 1.0)
    take = b.inbox.take

    def stopped():
        live.clock.now = 30.0
        b.inbox.take = take
        return take()

    b.inbox.take = stopped
    assert live.batches(0.02) == []
    b.send(0.015, 2.0)
    a.send(29.0, 3.0)
    for stream in (a, b):
        stream.inbox.settle(START + 30.01)
    found = live.batches(30.03) + live.batches(30.06)
    assert rows(found) == [("a:x", 0.01, 1.0), ("b:x", 0.015, 2.0), ("a:x", 29.0, 3.0)]


def test_a_stream_that_went_down_is_not_waited_for():
    live = Live("a", "b")
    live.batches(0.0)
    a, b = live.streams
    b.inbox.settle(START)
    b.inbox.turn(False, "gone")
    live.batches(0.05)
    a.send(1.9, 1.0)
    assert live.batches(2.0) == []
    assert events(live.batches(2.03)) == [("a:x", 1.9, 1.0)]


def test_streams_that_never_stop_are_waited_for_a_quarter_of_a_second():
    live = Live()
    live.batches(0.0)
    seen = []
    for i in range(40):
        live.streams[0].send(2.0 + i / 100, float(i))
        seen.append(len(events(live.batches(2.0 + i / 100))))
    assert seen[:25] == [0] * 25
    assert seen[25] == 26
    assert seen[26:] == [1] * 14
