"""The run's side of the follower: it starts, is started again, and never ends the run."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from configs.outputs import OutputConfig, StoreConfig
from sinks.files import result_following
from sinks.files.progress import taken_of
from sinks.history.back_end import HistoryError
from sinks.history.following import Following
from sinks.history.sqlite_store import SqliteStore
from tests.support.history_run import HistoryRun
from tests.support.shown import config
from tests.support.waiting import until


def made(folder: Path) -> Following:
    store = StoreConfig(dsn=f"sqlite:{folder}/h.sqlite")
    return Following(config(output=OutputConfig(dir=str(folder / "out")), store=store), store)


def test_a_killed_follower_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_following, "_BEAT_S", 0.0)
    monkeypatch.setattr("sinks.send.child_process._RESTART_S", 0.0)
    run = HistoryRun(tmp_path / "out")
    run.ticks(0, 5)
    history = made(tmp_path)
    history.start()
    until(lambda: (taken := taken_of(run.root)) is not None and taken.up)
    first = taken_of(run.root)
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    run.ticks(5, 9)

    def again() -> bool:
        history.consume([])
        taken = taken_of(run.root)
        return taken is not None and taken.pid != first.pid and taken.up

    until(again)
    history.finish(clean=True)
    store = SqliteStore(tmp_path / "h.sqlite", read_only=True)
    assert next(iter(store.rows("SELECT count(*) FROM tick"))) == (9,)
    store.close()


def test_a_machine_without_processes_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*args: object, **kwargs: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("subprocess.Popen", refused)
    monkeypatch.setattr(result_following, "_BEAT_S", 0.0)
    HistoryRun(tmp_path / "out").ticks(0, 5)
    history = made(tmp_path)
    history.start()
    assert "cannot be started" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.setattr(result_following, "_BEAT_S", 0.0)
    history.consume([])
    history.finish(clean=True)
    taken = taken_of(tmp_path / "out")
    assert taken is not None
    assert taken.rows["tick"] == 5


def test_a_foreign_store_is_refused_before_the_start(tmp_path: Path) -> None:
    (tmp_path / "h.sqlite").write_text("some text\n" * 100)
    with pytest.raises(HistoryError, match="damaged"):
        made(tmp_path)
