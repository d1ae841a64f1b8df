"""A live run goes on after a stop, a kill and a restart of the machine."""

import msgspec
import pytest

from operators.snapshot import seal, unseal
from tests.sources.live.driven import START, Live, columns, events, replayed, send_all


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
