"""The state file: the newest tick, whole at any moment, at most five times a second."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from configs.files import ACCESS
from sinks.conductor.state_file import StateFile
from tests.support.bridge_frames import frame, packet


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "bridge_tick.json"


def test_the_newest_tick_is_written_at_most_five_times_a_second(path) -> None:
    clock = Clock()
    made = StateFile(path, ACCESS["private"], clock)
    made.start("studio")
    inodes = set()
    for step in range(100):
        clock.now = step * 0.01
        made.consume([packet(frame(step, 100.0 + step, tick_ms=150.0, state="E3"))])
        inodes.add(path.stat().st_mtime_ns)
    assert len(inodes) <= 5
    made.stop()

    assert json.loads(path.read_bytes()) == {"tick_ms": 150.0, "ts": 199.0, "state": "E3"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_tick_waits_for_its_turn_without_a_newer_one(path) -> None:
    clock = Clock()
    made = StateFile(path, ACCESS["private"], clock)
    made.consume([packet(frame(1, 1.0)), packet(frame(2, 2.0))])
    clock.now = 0.1
    made.consume([packet(frame(3, 3.0))])
    assert json.loads(path.read_bytes())["ts"] == 2.0
    clock.now = 0.3
    made.consume([packet()])
    assert json.loads(path.read_bytes())["ts"] == 3.0


def test_a_change_of_state_keeps_the_time_of_the_tick(path) -> None:
    made = StateFile(path, ACCESS["private"], Clock())
    made.consume([packet(frame(1, 10.0), frame(1, 8.0, why="entropy", state="E3"))])

    assert json.loads(path.read_bytes()) == {"tick_ms": 200.0, "ts": 10.0, "state": "E3"}


def test_other_rigs_are_left_out(path) -> None:
    made = StateFile(path, ACCESS["private"], Clock())
    made.start("studio")
    made.consume([packet(frame(1, 1.0), rig="other")])
    made.stop()

    assert not path.exists()


def test_a_failure_is_reported_once(path, capsys) -> None:
    path.parent.write_text("a file")
    clock = Clock()
    made = StateFile(path, ACCESS["private"], clock)
    for step in range(3):
        clock.now = float(step)
        made.consume([packet(frame(step, step))])

    assert capsys.readouterr().err.count("bridge.state_file is not written") == 1


def test_a_file_of_someone_else_stays(path, capsys) -> None:
    path.parent.mkdir()
    path.write_text("my notes")
    made = StateFile(path, ACCESS["private"], Clock())
    made.consume([packet(frame())])

    assert path.read_text() == "my notes"
    assert "no run wrote this file" in capsys.readouterr().err


def test_the_file_of_an_earlier_run_is_replaced(path) -> None:
    first = StateFile(path, ACCESS["private"], Clock())
    first.consume([packet(frame(1, 1.0))])
    second = StateFile(path, ACCESS["private"], Clock())
    second.consume([packet(frame(2, 2.0))])

    assert json.loads(path.read_bytes())["ts"] == 2.0
