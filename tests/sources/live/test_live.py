"""Events of live streams: their order, times, ticks, end and tape."""

import numpy as np
import pytest

from sources.inbox import Unread
from sources.live.idle_clock import TICK_S
from sources.tape.reader import read_manifest
from tests.sources.live.driven import START, Live, columns, events, replayed, rows, send_all


def test_events_of_several_streams_leave_in_order_of_arrival():
    live = Live("a", "b")
    live.batches()
    a, b = live.streams
    a.send(0.01, 1.0)
    a.send(0.03, 3.0)
    b.send(0.02, 2.0)

    assert events(live.batches()) == [("a:x", 0.01, 1.0), ("b:x", 0.02, 2.0), ("a:x", 0.03, 3.0)]


def test_a_source_time_is_kept_and_its_absence_too():
    live = Live()
    live.streams[0].send(0.01, 1.0, ts=-7.5)
    live.streams[0].send(0.02, 2.0)

    (batch,) = live.batches()
    assert batch.ts[-2:].tolist() == pytest.approx([START - 7.5, np.nan], nan_ok=True)
    assert batch.stamped[-2:].tolist() == [True, False]


def test_only_a_silence_has_ticks_ten_times_a_second():
    live = Live()
    live.batches()
    times = np.arange(1, 500) * 0.004
    ticks = [row for t in times for row in rows(live.batches(t))]
    assert 17 <= len(ticks) <= 20
    assert {channel for channel, _, _ in ticks} == {"tick"}
    assert max(np.diff([rx for _, rx, _ in ticks])) < TICK_S + 0.005

    found = []
    for t in times + 2.0:
        live.streams[0].send(t, 1.0)
        found += live.batches(t)
    assert len(events(found)) == len(rows(found)) == len(times)


def test_refused_inputs_do_not_replace_ticks():
    live = Live()
    live.batches()
    found = []
    for t in np.arange(1, 250) * 0.004:
        live.streams[0].inbox.put([Unread(START + t, "osc", "peer", b"noise")])
        found += live.batches(t)

    assert 8 <= len(rows(found)) <= 10
    assert sum(r.count for batch in found for r in batch.rejects) == 249


@pytest.mark.parametrize(("block", "look"), [("auto", 0.02), (0.01, 0.004), ("density", 0.02)])
def test_the_next_look_is_a_part_of_a_block_later_for_any_wall_clock(block, look):
    live = Live(block=block)
    for t in (0.0, 0.001, 0.5):
        live.batches(t)
    assert live.waited == [pytest.approx(look - 0.001)]
    # Past under any clock: the engine compares it with the wall clock.
    assert live.part.next_awake().timestamp() == 0.0


def test_a_lone_implausible_arrival_is_wild_and_five_are_a_gap():
    live = Live()
    for i in range(10):
        live.streams[0].send(i * 0.01, 1.0)
    live.streams[0].send(1e6, 2.0)
    live.streams[0].send(0.11, 3.0)
    batches = live.batches()
    assert [bool(w) for b in batches for w in b.wild if w] == [True]

    for i in range(5):
        live.streams[0].send(5e3 + i, 4.0)
    assert not any(w for b in live.batches() for w in b.wild)


@pytest.mark.parametrize("step", [-3600.0, -25.0, -1.0, 1.0, 3600.0])
def test_a_wall_clock_that_is_set_changes_nothing_but_a_tick_on_the_tape(step, tmp_path, capsys):
    def run(folder, step):
        live = Live(tap=folder)
        found = live.batches()
        capsys.readouterr()
        for i in range(100):
            t = i * 0.01
            live.streams[0].send(t, float(i))
            live.clock.ahead = step if t >= 0.5 else 0.0
            found += live.batches(t)
        live.shutdown.request()
        found += live.batches()
        live.part.close()
        (tape,) = folder.glob("2*")
        assert columns(replayed(tape)) == columns(found)
        return found, (tape / "000000.ndjson").read_text()

    calm, _ = run(tmp_path / "calm", 0.0)
    assert capsys.readouterr().err == ""
    found, tape = run(tmp_path / "set", step)
    assert events(found) == events(calm)
    assert [x for x in rows(found) if x not in rows(calm)] == [("tick", 0.5, None)]
    assert f'{{"tick":{START + 0.5},"rig":"studio","step":{step}}}' in tape
    way = "back" if step < 0 else "forth"
    assert capsys.readouterr().err == (
        f"lumen: the host's clock was set {way} by {abs(step):g} s: host time goes on\n"
    )


def test_a_step_while_events_wait_has_a_tick_in_its_place():
    live = Live()
    live.batches()
    for i in range(500):
        live.streams[0].send(i * 0.01, float(i))
    live.clock.now, live.clock.ahead = 5.0, -3600.0
    found = []
    for _ in range(30):
        found += live.batches(live.clock.now + 0.05)
    arrivals = [rx for _, rx, _ in rows(found)]
    assert len(events(found)) == 500
    assert arrivals == sorted(arrivals)


def test_the_end_of_a_run_without_recovery_is_data(tmp_path):
    live = Live(tap=tmp_path)
    live.streams[0].send(0.01, 1.0)
    live.clock.now = 0.05
    live.shutdown.request()

    (batch,) = live.batches()
    assert (len(events([batch])), batch.end) == (1, True)
    assert not live.streams[0].running
    with pytest.raises(StopIteration):
        live.part.next_batch()
    live.part.close()
    assert read_manifest(next(tmp_path.glob("2*"))).ended


def test_events_are_on_the_tape_before_they_are_emitted(tmp_path):
    live = Live(tap=tmp_path)
    live.streams[0].send(0.01, 0.5)
    live.batches()

    (tape,) = tmp_path.glob("2*/000000.ndjson")
    assert '"source":"a","key":"x","value":0.5' in tape.read_text()
    live.part.close()


@pytest.mark.parametrize("lines", [1, 7, 10_000])
def test_a_replay_of_the_tape_hands_on_the_same_rows(tmp_path, lines):
    live = Live("a", "b", tap=tmp_path)
    found = send_all(live, 200)
    live.shutdown.request()
    found += live.batches()
    live.part.close()

    (tape,) = tmp_path.glob("2*")
    assert columns(replayed(tape, lines)) == columns(found)
