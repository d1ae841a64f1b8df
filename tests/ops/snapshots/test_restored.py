"""`lumen restore`: checked first, one step, the replaced store beside it."""

import sqlite3
from contextlib import closing

import pytest

from ops.snapshots import restore
from ops.snapshots.snapshot_folder import digest_of
from sinks.history.follower import Follower, FollowSettings
from sinks.history.sqlite_store import SqliteStore
from tests.support.history_run import HistoryRun
from tests.support.json_lines import json_lines
from tests.support.snapshot_scene import SnapshotScene, add_ticks, ticks


@pytest.fixture
def scene(tmp_path):
    """A store of 150 ticks, whose snapshot has 100."""
    scene = SnapshotScene(tmp_path)
    scene.add(0, 100)
    scene.name = scene.taken()
    scene.add(100, 150)
    scene.before = scene.store.with_name(scene.store.name + ".before")
    return scene


@pytest.mark.parametrize("name", ["newest", "its name", "its path"])
def test_the_store_is_that_of_the_snapshot_and_the_old_one_stays(scene, capsys, name):
    path = scene.snapshots.root / scene.name
    name = {"its name": scene.name, "its path": path}.get(name, name)
    assert scene.lumen("restore", name) == 0
    assert (ticks(scene.store), ticks(scene.before)) == (100, 150)
    assert digest_of(scene.store) == digest_of(path)
    assert str(scene.before) in capsys.readouterr().out
    line = json_lines(scene.snapshots.root / "audit.jsonl")[-1]
    assert (line["command"], line["name"], line["result"]) == ("restore", scene.name, "ok")
    assert line["into"] == str(scene.store)
    SqliteStore(scene.store).close()
    assert scene.store.stat().st_mode & 0o777 == 0o600


def test_rows_in_the_log_of_the_old_store_are_kept_with_it(scene):
    reader = sqlite3.connect(scene.store)
    reader.execute("SELECT count(*) FROM tick").fetchall()  # keeps the log from being removed
    scene.add(150, 170)
    assert scene.store.with_name(scene.store.name + "-wal").stat().st_size
    assert scene.lumen("restore", "newest") == 0
    assert (ticks(scene.store), ticks(scene.before)) == (100, 170)
    reader.close()
    assert (ticks(scene.store), ticks(scene.before)) == (100, 170)


def test_given_twice_it_keeps_the_store_of_before(scene):
    for _ in range(2):
        assert scene.lumen("restore", "newest") == 0
    assert (ticks(scene.store), ticks(scene.before)) == (100, 150)


def test_into_another_path_nothing_is_replaced(scene, tmp_path):
    other = tmp_path / "new" / "copy.sqlite"
    assert scene.lumen("restore", scene.name, "--into", other) == 0
    assert (ticks(other), ticks(scene.store)) == (100, 150)
    assert not scene.before.exists()


def test_a_follower_that_holds_the_store_is_named(scene, capsys):
    store = SqliteStore(scene.store)
    store.hold()
    assert scene.lumen("restore", "newest") == 2
    holder = scene.store.with_name(scene.store.name + ".lock").read_text().strip()
    assert f"process {holder} writes it" in capsys.readouterr().err
    store.close()
    assert ticks(scene.store) == 150


def test_a_reader_within_a_query_is_waited_for_and_then_named(scene, capsys, monkeypatch):
    monkeypatch.setattr(restore, "BUSY_S", 0.05)
    reader = sqlite3.connect(scene.store, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM tick").fetchall()
    scene.add(150, 160)
    assert scene.lumen("restore", "newest") == 2
    assert "a reader holds it" in capsys.readouterr().err
    reader.close()
    assert ticks(scene.store) == 160
    assert scene.lumen("restore", "newest") == 0


def _flipped(scene):
    path = scene.snapshots.root / scene.name
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 4
    path.write_bytes(data)


def _altered(statement):
    """Change the content of a snapshot and its hash: it is of another origin."""

    def change(scene):
        path = scene.snapshots.root / scene.name
        with closing(sqlite3.connect(path)) as base, base:
            base.execute(statement)
        path.with_name(path.name + ".sha256").write_text(f"{digest_of(path)}  {path.name}\n")

    return change


def _text(scene):
    path = scene.snapshots.root / scene.name
    path.write_text("no database")
    path.with_name(path.name + ".sha256").write_text(f"{digest_of(path)}  {path.name}\n")


@pytest.mark.parametrize(
    ("change", "code", "expected"),
    [
        (_flipped, 1, "damaged: its SHA-256 is"),
        (lambda s: (s.snapshots.root / f"{s.name}.sha256").unlink(), 2, ".sha256: missing"),
        (lambda s: (s.snapshots.root / s.name).unlink(), 2, "there is no such snapshot"),
        (_altered("UPDATE meta SET value = 'other' WHERE key = 'project'"), 1, "another project"),
        (_altered("DROP TABLE meta"), 1, "another project"),
        (_altered("UPDATE meta SET value = '99' WHERE key = 'schema'"), 1, "99 is newer than"),
        (_text, 1, "damaged: file is not a database"),
    ],
)
def test_an_unsound_snapshot_is_refused_and_nothing_changes(scene, capsys, change, code, expected):
    change(scene)
    assert scene.lumen("restore", scene.name) == code
    assert expected in capsys.readouterr().err
    assert ticks(scene.store) == 150
    assert not scene.before.exists()
    assert not list(scene.store.parent.glob("*.restoring"))
    line = json_lines(scene.snapshots.root / "audit.jsonl")[-1]
    assert (line["command"], line["result"]) == ("restore", "failed")


@pytest.mark.parametrize("name", ["yesterday", "20261121T120000Z.sqlite", "../x.sqlite"])
def test_an_unknown_name_is_refused(scene, name):
    assert scene.lumen("restore", name) == 2
    assert ticks(scene.store) == 150


@pytest.mark.parametrize("damage", ["text", "cut", "gone"])
def test_a_damaged_store_is_replaced_and_kept(scene, damage):
    if damage == "text":
        scene.store.write_text("notes")
    elif damage == "cut":
        scene.store.write_bytes(scene.store.read_bytes()[:5000])
    else:
        scene.store.unlink()
    kept = scene.store.read_bytes() if scene.store.exists() else None
    assert scene.lumen("restore", "newest") == 0
    assert ticks(scene.store) == 100
    assert (scene.before.read_bytes() if kept else None) == kept


def test_the_log_of_a_damaged_store_stays_beside_it(scene):
    log = scene.store.with_name(scene.store.name + "-wal")
    scene.store.write_text("notes" * 1000)
    log.write_bytes(b"rows")
    assert scene.lumen("restore", "newest") == 0
    assert ticks(scene.store) == 100
    assert scene.before.with_name(scene.before.name + "-wal").read_bytes() == b"rows"


def test_the_follower_takes_in_the_rest(tmp_path):
    scene = SnapshotScene(tmp_path)
    run = HistoryRun(tmp_path / "out", "run-1")
    settings = FollowSettings(f"sqlite:{scene.store}", (str(tmp_path / "out"),))

    def drained():
        follower = Follower(settings)
        while follower.step():
            pass
        follower.close()

    run.ticks(0, 40)
    run.publish()
    drained()
    scene.taken()
    run.ticks(40, 90)
    run.publish()
    drained()
    assert ticks(scene.store) == 90
    assert scene.lumen("restore", "newest") == 0
    assert ticks(scene.store) == 40
    drained()
    assert ticks(scene.store) == 90


def test_a_follower_of_the_replaced_file_writes_no_more(scene):
    store = SqliteStore(scene.store)
    assert scene.lumen("restore", "newest") == 0
    with pytest.raises(Exception, match="moved or replaced"):
        add_ticks(store, 200, 201)
    store.close()
    assert ticks(scene.store) == 100
