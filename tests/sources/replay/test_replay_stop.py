"""The end of a replay: a stop, a pause, a start after the end."""

import signal

import pytest

from sources.host.shutdown import Shutdown
from tests.sources.replay.replayed import Seen, config, event, part, write


def test_a_finished_run_that_is_started_again_emits_nothing(tmp_path):
    cfg = config(write(tmp_path / "f", [event(0)]))
    source = part(cfg)
    ((_, last),) = source.next_batch()
    assert last.end
    for again in (source, part(cfg, source.snapshot())):
        with pytest.raises(StopIteration):
            again.next_batch()


def test_a_stop_without_recovery_ends_every_rig(tmp_path):
    path = write(tmp_path / "f", [event(i, rig=r) for i, r in enumerate(["hall", "studio"] * 50)])
    shutdown, seen = Shutdown(), Seen()
    source = part(config(path, batch_lines=10), shutdown=shutdown)
    seen.take(source.next_batch())
    shutdown.request()
    seen.take(source.next_batch())
    assert sorted(seen.ended) == ["hall", "studio"]
    with pytest.raises(StopIteration):
        source.next_batch()


def test_a_stop_under_recovery_is_a_pause(tmp_path):
    cfg = config(write(tmp_path / "f", [event(i) for i in range(100)]), batch_lines=10)
    shutdown, seen = Shutdown(), Seen()
    source = part(cfg, recovering=True, shutdown=shutdown)
    seen.take(source.next_batch())
    shutdown.request()
    with pytest.raises(StopIteration):
        source.next_batch()
    assert seen.ended == []
    again = part(cfg, source.snapshot(), recovering=True)
    for _ in range(9):
        seen.take(again.next_batch())
    assert seen.arrivals() == list(range(100))


def test_a_source_without_a_shutdown_leaves_the_handlers_of_signals_alone(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    part(config(write(tmp_path / "f", [event(0)])))
    assert signal.getsignal(signal.SIGINT) is before
