"""`lumen snapshot`: one moment of the store, checked, and nothing unfinished under a name."""

import resource
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.snapshots import snapshot_folder, sqlite_copy
from ops.snapshots.faults import SnapshotError
from sinks.history.sqlite_store import SqliteStore
from sinks.snapshots.listing import listed
from tests.support.json_lines import json_lines
from tests.support.snapshot_scene import SnapshotScene, add_ticks, ticks

ROOT = Path(__file__).parents[3]


@pytest.fixture
def scene(tmp_path):
    scene = SnapshotScene(tmp_path)
    scene.add(0, 100)
    return scene


def test_a_snapshot_is_one_private_file_with_its_hash_beside_it(scene, capsys):
    store = SqliteStore(scene.store)  # its rows are in the log while it is open
    add_ticks(store, 100, 150)
    name = scene.taken()
    store.close()
    path = scene.snapshots.root / name
    assert str(path) in capsys.readouterr().out
    assert ticks(path) == 150
    assert path.stat().st_mode & 0o777 == 0o600
    assert not [p.name for p in path.parent.iterdir() if p.name.endswith(("-wal", "-shm", ".part"))]
    checked = subprocess.run(["sha256sum", "-c", f"{name}.sha256"], cwd=path.parent, check=False)
    assert checked.returncode == 0
    (line,) = json_lines(path.parent / "audit.jsonl")
    assert (line["command"], line["name"], line["result"]) == ("snapshot", name, "ok")
    assert line["hash"] == listed(path.parent)[0].sha256
    assert scene.lumen("snapshot", "--list") == 0
    assert name in capsys.readouterr().out


def test_rows_that_are_written_meanwhile_are_not_in_it(scene, monkeypatch):
    store = SqliteStore(scene.store)
    counts_of = sqlite_copy.counts_of

    def written(base):
        if len(store_rows) == 0:
            store_rows.append(add_ticks(store, 100, 5000))
        return counts_of(base)

    store_rows = []
    monkeypatch.setattr(sqlite_copy, "counts_of", written)
    name = scene.taken()
    assert ticks(scene.snapshots.root / name) == 100
    assert ticks(scene.store) == 5000
    store.close()


def test_writes_between_its_steps_do_not_begin_it_anew(scene, monkeypatch):
    scene.add(100, 20_000)
    store = SqliteStore(scene.store)
    steps = []

    class Stepping(sqlite3.Connection):
        def backup(self, target, *, pages):
            def written(status, remaining, total):
                if remaining:
                    steps.append(remaining)
                    add_ticks(store, 20_000 + 10 * len(steps), 20_010 + 10 * len(steps))

            super().backup(target, pages=10, progress=written)

    connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite_copy.sqlite3, "connect", lambda *a, **k: connect(*a, factory=Stepping, **k)
    )
    name = scene.taken()
    store.close()
    assert steps == sorted(steps, reverse=True)
    assert len(steps) > 5
    assert ticks(scene.snapshots.root / name) == 20_000


def test_a_damaged_store_gives_a_bad_snapshot_and_exit_code_1(scene, capsys):
    scene.add(100, 20_000)
    with scene.store.open("rb+") as file:
        for page in range(100, 140):
            file.seek(page * 4096 + 100)
            file.write(b"\xff" * 2000)
    assert scene.lumen("snapshot") == 1
    assert "failed its check: " in capsys.readouterr().err
    (found,) = listed(scene.snapshots.root)
    assert found.name.endswith(".sqlite.bad")
    assert not found.checked
    (line,) = json_lines(scene.snapshots.root / "audit.jsonl")
    assert line["result"] == "failed"
    assert "failed its check" in line["error"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda path: path.write_text("notes"), "damaged, or no SQLite file"),
        (lambda path: path.unlink(), "there is no store yet"),
        (lambda path: _changed(path, "UPDATE meta SET value = 'mine' WHERE key = 'project'"),
         "not of this project"),
        (lambda path: _changed(path, "UPDATE meta SET value = '999' WHERE key = 'schema'"),
         "is newer"),
    ],
)  # fmt: skip
def test_what_is_no_store_of_this_version_is_refused(scene, capsys, change, expected):
    change(scene.store)
    assert scene.lumen("snapshot") == 2
    assert expected in capsys.readouterr().err
    assert listed(scene.snapshots.root) == []


def _changed(path, statement):
    with closing(sqlite3.connect(path)) as base, base:
        base.execute(statement)


def test_a_second_command_is_refused_with_the_process_of_the_first(scene, capsys):
    with scene.snapshots.hold():
        assert scene.lumen("snapshot") == 2
    assert "process " in capsys.readouterr().err
    assert scene.lumen("snapshot") == 0


def test_a_full_disk_leaves_nothing_unfinished(scene):
    scene.add(100, 20_000)
    code = (
        "import resource, sys; from ops.__main__ import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY));"
        "sys.exit(main(sys.argv[1:]))"
    )
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", code, "snapshot", "--store", f"sqlite:{scene.store}"],
        cwd=ROOT, text=True, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.splitlines()) == 1
    left = {path.name for path in scene.snapshots.root.iterdir()}
    assert left == {".lock", "audit.jsonl"}
    assert ticks(scene.store) == 20_000


def test_remains_of_a_killed_command_are_removed(scene):
    root = scene.snapshots.root
    root.mkdir()
    remains = [
        ".20261121T120000Z.sqlite.part", "20261121T120000Z.sqlite.sha256",
        "20261121T120000Z.dump.sha256.tmp",
    ]  # fmt: skip
    for name in (*remains, "notes.sha256", "20261121T120000Z.sqlite.bad"):
        (root / name).write_bytes(b"x")
    (root / ".20261121T120000Z.recovery.tar.parts.part").mkdir()
    name = scene.taken()
    assert {path.name for path in root.iterdir()} == {
        ".lock", "audit.jsonl", name, f"{name}.sha256", "notes.sha256",
        "20261121T120000Z.sqlite.bad",
    }  # fmt: skip


def test_a_clock_that_was_set_back_is_reported(scene, capsys, monkeypatch):
    scene.taken()
    (found,) = scene.snapshots.names()
    future = f"29990101T000000Z.{found.kind}"
    for ending in ("", ".sha256"):
        (scene.snapshots.root / f"{found}{ending}").rename(
            scene.snapshots.root / f"{future}{ending}"
        )
    assert scene.lumen("snapshot") == 0
    assert f"{future} is newer: the clock was set back" in capsys.readouterr().err


def test_a_snapshot_without_a_store_is_refused(capsys, monkeypatch):
    from ops.__main__ import main

    monkeypatch.delenv("LUMEN_STORE_DSN", raising=False)
    monkeypatch.delenv("LUMEN_CONFIG", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["snapshot"])
    assert end.value.code == 2
    assert "no store is named" in capsys.readouterr().err


def test_a_link_in_the_place_of_a_snapshot_is_not_followed(scene, tmp_path):
    name = scene.taken()
    path = scene.snapshots.root / name
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    (found,) = scene.snapshots.names()
    with pytest.raises((SnapshotError, OSError)):
        scene.snapshots.check(found)
    assert snapshot_folder.recorded_hash(path) is not None
    assert found.time <= datetime.now(UTC)
