import itertools
from pathlib import Path

import msgspec
import numpy as np
import pytest

from configs.schema import Config
from operators.events import Batch
from operators.snapshot import seal, unseal
from sources.host_clock import HostClock
from sources.inbox import Message, Unread
from sources.live.idle_clock import TICK_S
from sources.live.live import LivePartition
from sources.replay.replay import ReplayPartition
from sources.shutdown import Shutdown
from sources.tape.reader import read_manifest

START = 1_750_000_000.0


def config(*streams, **more):
    return msgspec.convert(
        {
            "version": 2,
            "streams": streams or [{"name": "a", "type": "osc", "addr": "127.0.0.1:9000"}],
            "signals": {"pulse": {"members": {"a:x": {}}}},
        }
        | more,
        Config,
    )


class Sender:
    """A stream whose events a test sends."""

    def __init__(self, name="a"):
        self.name = name
        self.running = False

    def start(self, inbox):
        self.inbox, self.running = inbox, True
        inbox.turn(True, "a test")

    def stop(self):
        self.running = False

    def facts(self):
        return ()

    def send(self, rx, value, key="x", ts=float("nan")):
        self.inbox.put([Message(START + rx, key, value, START + ts)])


class Clock:
    """A monotonic time, and the step of the wall clock (s)."""

    def __init__(self, at=0.0, ahead=0.0):
        self.now, self.ahead = at, ahead

    def __call__(self):
        return self.now

    def steady(self):
        return round(self.now * 1e9)

    def wall(self):
        return round(START) * 10**9 + self.steady() + round(self.ahead * 1e9)


class Live:
    """A partition whose streams and clocks are a test's."""

    def __init__(
        self, *names, state=None, at=0.0, tap=None, ahead=0.0, boot="this", recovering=False
    ):
        self.streams = [Sender(name) for name in names or ("a",)]
        self.clock = Clock(at, ahead)
        self.waited = []
        self.shutdown = Shutdown()
        self.host = HostClock(self.clock.wall, self.clock.steady, boot)
        more = {} if tap is None else {"tap": {"dir": str(tap)}}
        self.part = LivePartition(
            config(**more),
            "print",
            state,
            self.streams,
            self.clock,
            self.host,
            self.waited.append,
            recovering=recovering,
            shutdown=self.shutdown,
        )

    def batches(self, at=None):
        self.clock.now = self.clock.now if at is None else at
        return [batch for rig, batch in self.part.next_batch()]

    def drain(self):
        """Read the tape as far as it goes."""
        found = []
        while self.part.next_awake() is None:
            found += self.batches()
        return found


def rows(batches):
    """Return the rows: channel (or `tick`), arrival and value."""
    found = []
    for batch in batches:
        for name, rx, value in zip(batch.name, batch.rx, batch.value, strict=True):
            channel = ":".join(batch.names[name]) if name >= 0 else "tick"
            found.append((channel, round(rx - START, 6), value if name >= 0 else None))
    return found


def events(batches):
    return [row for row in rows(batches) if row[0] != "tick"]


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


def test_the_next_look_is_a_few_milliseconds_later_for_any_wall_clock():
    live = Live()
    for t in (0.0, 0.001, 0.5):
        live.batches(t)
    assert live.waited == [pytest.approx(0.003)]
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


@pytest.mark.parametrize(
    ("ahead", "boot"), [(-3600.0, "this"), (3600.0, "this"), (-7200.0, "next")]
)
def test_a_resumed_run_keeps_its_axis_after_a_step_in_the_pause(ahead, boot, capsys):
    live = Live(at=100.0, recovering=True)
    live.streams[0].send(100.0, 1.0)
    live.batches()
    state = live.part.snapshot()

    again = Live(state=state, at=110.0, ahead=ahead, boot=boot, recovering=True)
    again.batches(110.05)
    report = capsys.readouterr().err
    if boot == "this":
        assert again.host() == START + 110.05
        assert f"by {abs(ahead):g} s: host time goes on" in report
    else:
        assert again.host() == pytest.approx(START + 100.05, abs=1e-5)
        assert "7190.000 s behind the newest event of this run" in report
    again.streams[0].send(again.host() - START, 2.0)
    (batch,) = again.batches(110.06)
    assert events([batch])
    assert not batch.wild.any()


def test_a_run_keeps_its_distance_to_the_wall_clock_over_a_restart_of_the_machine(capsys):
    live = Live(at=100.0, recovering=True)
    live.clock.ahead = -3600.0
    live.batches(100.1)
    state = live.part.snapshot()
    capsys.readouterr()

    again = Live(state=state, at=5.0, ahead=-3600.0 + 200.0, boot="next", recovering=True)
    assert again.host() == START + 205.0
    again.batches(5.05)
    assert "clock" not in capsys.readouterr().err


def test_a_tape_without_a_snapshot_is_resumed_at_its_end(tmp_path):
    live = Live(at=100.0, tap=tmp_path, recovering=True)
    live.streams[0].send(100.0, 1.0)
    live.batches()
    live.part._tape.writer._lock.release()  # as a killed process does

    again = Live(at=5.0, tap=tmp_path, boot="next", recovering=True)
    assert events(again.drain()) == [("a:x", 100.0, 1.0)]
    assert START + 100.0 < again.host() < START + 101.0
    again.part.close()


def test_a_run_resumed_after_more_than_a_day_ends(capsys):
    live = Live(at=100.0, recovering=True)
    live.streams[0].send(100.0, 1.0)
    live.batches()
    again = Live(state=live.part.snapshot(), at=90_000.0, recovering=True)
    again.batches()
    with pytest.raises(StopIteration):
        for _ in range(3):
            again.batches()
    assert "no events for 89900 s: this run ends here" in capsys.readouterr().err


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


def test_a_stop_under_recovery_emits_received_events_and_ends_no_rig(tmp_path):
    live = Live(tap=tmp_path, recovering=True)
    live.streams[0].send(0.01, 1.0)
    live.clock.now = 0.05
    live.shutdown.request()

    (batch,) = live.batches()
    assert (len(events([batch])), batch.end) == (1, False)
    state = live.part.snapshot()
    with pytest.raises(StopIteration):
        live.part.next_batch()
    live.part.close()

    again = Live(tap=tmp_path, state=state, at=1.0, recovering=True)
    assert events(again.drain()) == []
    again.streams[0].send(1.01, 2.0)
    assert events(again.batches()) == [("a:x", 1.01, 2.0)]
    again.part.close()


def test_a_run_that_had_ended_stays_so():
    live = Live()
    live.shutdown.request()
    live.batches()
    state = live.part.snapshot()

    again = Live(state=state)
    assert again.part.snapshot() == state
    with pytest.raises(StopIteration):
        again.part.next_batch()
    again.part.close()


def test_events_are_on_the_tape_before_they_are_emitted(tmp_path):
    live = Live(tap=tmp_path)
    live.streams[0].send(0.01, 0.5)
    live.batches()

    (tape,) = tmp_path.glob("2*/000000.ndjson")
    assert '"source":"a","key":"x","value":0.5' in tape.read_text()
    live.part.close()


def send_all(live, count, begin=0.0):
    """Let streams send all kinds of items; return the batches."""
    a, b = live.streams
    found = []
    for i in range(count):
        t = begin + i * 0.013
        a.send(t, float(i), ts=t - 3.3)
        if i % 3 == 0:
            b.send(t + 0.001, (1.0, float("nan"), float(i)), key="/acc")
        if i % 7 == 0:
            b.send(t + 0.002, f"marker {i}", key="/text")
            b.inbox.put([Unread(START + t, "osc", "10.0.0.9:1", b"\xff\x00")])
        if i % 20 == 0:
            b.inbox.turn(i % 40 == 0, "a test")
        if i % 11 == 0:
            a.send(t + 0.003, 1e9, key="other")
        if i % 5 == 0:
            found += live.batches(t)
    return found + live.batches(begin + count * 0.013)


def columns(batches):
    """Return all rows of batches as columns, and their rejects, markers and turns."""
    place = list(itertools.accumulate((len(b.name) for b in batches), initial=0))
    return {
        "channel": [b.names[n] if n >= 0 else n for b in batches for n in b.name.tolist()],
        "markers": [(p + m.row, m.text) for p, b in zip(place, batches) for m in b.markers],  # noqa: B905
        "turned": [t._replace(row=p + t.row) for p, b in zip(place, batches) for t in b.turned],  # noqa: B905
        "rejects": [
            (p + r.row, r.reason, r.source, r.count)
            for p, b in zip(place, batches)  # noqa: B905
            for r in b.rejects
        ],
        **{
            c: np.concatenate([getattr(b, c) for b in batches]).tobytes()
            for c in ("ts", "rx", "stamped", "wild", "value", "seq", "line")
        },
    }


def replayed(tape: Path, lines=10_000) -> list[Batch]:
    part = ReplayPartition(
        config({"name": "t", "type": "file", "path": str(tape), "batch_lines": lines})
    )
    found = []
    with pytest.raises(StopIteration):
        while True:
            found += [batch for _, batch in part.next_batch()]
    part.close()
    return found


@pytest.mark.parametrize("lines", [1, 7, 10_000])
def test_a_replay_of_the_tape_hands_on_the_same_rows(tmp_path, lines):
    live = Live("a", "b", tap=tmp_path)
    found = send_all(live, 200)
    live.shutdown.request()
    found += live.batches()
    live.part.close()

    (tape,) = tmp_path.glob("2*")
    assert columns(replayed(tape, lines)) == columns(found)


@pytest.mark.parametrize("cut", [1, 50, 137])
def test_a_killed_run_resumes_from_its_snapshot_with_every_taped_row_once(tmp_path, cut):
    live = Live("a", "b", tap=tmp_path, recovering=True)
    found = send_all(live, cut)
    state = live.part.snapshot()
    send_all(live, 60, begin=cut * 0.013)  # emitted after the snapshot
    live.part._tape.writer._lock.release()  # as a killed process does

    again = Live("a", "b", tap=tmp_path, state=state, at=9.0, recovering=True)
    found += again.drain()
    found += send_all(again, 50, begin=9.0)
    again.part.close()

    (tape,) = tmp_path.glob("2*")
    replay = replayed(tape)
    assert columns(replay) == columns(found)
    assert sum(channel == ("a", "x") for channel in columns(found)["channel"]) == cut + 110


def test_a_run_without_a_tape_resumes_with_new_events():
    live = Live(recovering=True)
    live.streams[0].send(0.01, 1.0)
    before = live.batches()
    state = live.part.snapshot()
    live.part.close()

    again = Live(state=state, at=1.0, recovering=True)
    again.streams[0].send(1.0, 2.0)
    after = again.batches()
    assert events(after) == [("a:x", 1.0, 2.0)]
    assert set(before[0].line.tolist()).isdisjoint(after[0].line.tolist())


def test_a_state_of_another_version_is_refused():
    live = Live()
    state = msgspec.msgpack.decode(unseal(live.part.snapshot(), "live"))
    with pytest.raises(ValueError, match="of version 99"):
        Live(state=seal(msgspec.msgpack.encode(state | {"version": 99})))


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
