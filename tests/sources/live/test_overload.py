"""A flow that is behind: its share of events at a time, and each loss counted."""

from tests.sources.live.driven import Live, events, replayed


def test_events_dropped_by_the_inbox_are_losses_of_the_stream():
    live = Live()
    live.streams[0].inbox.room = 2
    for i in range(5):
        live.streams[0].send(i * 1e-3, float(i))
    live.streams[0].inbox.lose(4)

    (batch,) = live.batches()
    assert {(r.reason, r.source): r.count for r in batch.rejects} == {
        ("inbox_full", "a"): 3, ("kernel_full", "a"): 4,
    }  # fmt: skip


def counts(batches):
    return {(r.reason, r.source): r.count for batch in batches for r in batch.rejects}


def test_a_flow_that_is_behind_takes_a_quarter_of_a_second_at_a_time():
    live = Live()
    live.batches()
    for i in range(1000):
        live.streams[0].send(i * 0.01, float(i))
    live.clock.now = 10.0
    while not (first := live.batches()):
        live.clock.now += 0.05
    assert len(events(first)) == 64
    assert live.part.next_awake() is None
    found = list(first)
    while live.part.next_awake() is None:
        found += live.batches()
    assert [value for _, _, value in events(found)] == list(range(1000))
    assert not any(w for b in found for w in b.wild)


def test_a_stop_of_a_flow_that_is_behind_takes_nothing_and_counts_all(tmp_path, capsys):
    live = Live("a", "b", tap=tmp_path)
    live.batches()
    for i in range(500):
        live.streams[0].send(i * 0.01, float(i))
    live.streams[1].send(1.0, (1.0, 2.0, 3.0))
    live.streams[1].inbox.lose(7)
    live.clock.now = 5.0
    while not (taken := live.batches()):
        live.clock.now += 0.05
    live.shutdown.request()
    (last,) = live.batches()
    live.part.close()

    n = len([row for row in events(taken) if row[0] == "a:x"])
    assert n < 100
    assert events([last]) == []
    assert last.end
    assert counts([*taken, last]) == {
        ("stopped", "a"): 500 - n, ("stopped", "b"): 3, ("kernel_full", "b"): 7,
    }  # fmt: skip
    assert f"stopped: {503 - n} events that still waited are dropped" in capsys.readouterr().err
    (tape,) = tmp_path.glob("2*")
    assert counts(replayed(tape)) == counts([*taken, last])


def test_an_event_after_the_stop_request_is_dropped():
    live = Live()
    live.streams[0].send(0.01, 1.0)
    live.clock.now = 0.05
    live.shutdown.request()
    live.streams[0].send(0.06, 2.0)

    found = live.batches()
    assert events(found) == [("a:x", 0.01, 1.0)]
    assert counts(found) == {("stopped", "a"): 1}


def test_a_process_that_never_has_the_machine_to_itself_still_takes():
    live = Live()
    live.batches()
    found = []
    for i in range(20):
        live.streams[0].send(0.2 * i, float(i))
        found += live.batches(0.2 * (i + 1))  # each time it stood still
    assert len(events(found)) >= 18


def test_random_names_fill_no_table():
    live = Live()
    (stream,) = live.streams
    sizes = []
    for n in range(10_000):
        stream.send(n / 1000, 1.0, key=f"random/{n}")
        if n % 100 == 99:
            sizes += [len(batch.names) for batch in live.batches(at=n / 1000)]
    assert 1000 < max(sizes) < 4400
