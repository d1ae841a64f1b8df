"""Snapshots of recovery stores: at rest alone, checked, put back in one step."""

import io
import os
import pickle
import sqlite3
import tarfile
from contextlib import closing
from pathlib import Path

import pytest

from flows.store import Store, StoreError
from operators.snapshot import encode_state
from ops.__main__ import main
from ops.snapshots import restore
from ops.snapshots.snapshot_folder import SnapshotFolder, digest_of
from sinks.snapshots.names import parsed
from tests.support.json_lines import json_lines


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def lumen(*arguments):
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as end:
        return int(end.code or 0)


def insert(part, epoch, change=None):
    state = change or pickle.dumps(encode_state({"n": epoch}, "fuse", "print"))
    with closing(sqlite3.connect(part)) as base, base:
        base.execute(
            "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES"
            " ('lumen.fuse', 'a', ?, ?)",
            (epoch, state),
        )


def epochs(part):
    with closing(sqlite3.connect(part)) as base:
        return [epoch for (epoch,) in base.execute("SELECT snap_epoch FROM snaps ORDER BY 1")]


@pytest.fixture
def store(tmp_path):
    """Return a store of two files, with a snapshot in each."""
    folder = tmp_path / "state"
    Store(folder, parts=2).release()
    for number in range(2):
        insert(folder / f"part-{number}.sqlite3", number)
    return folder


def taken(store):
    assert lumen("snapshot", "--recovery", store) == 0
    return SnapshotFolder(store.parent / "snapshots").names()[-1]


def test_a_snapshot_is_put_back_with_the_old_store_beside_it(store, capsys):
    name = taken(store)
    for number in range(2):
        insert(store / f"part-{number}.sqlite3", 5)
    path = store.parent / "snapshots" / str(name)
    for _ in range(2):
        assert lumen("restore", path, "--into", store) == 0
        for number in range(2):
            part = f"part-{number}.sqlite3"
            assert epochs(store / part) == [number]
            assert epochs(store.with_name("state.before") / part) == [number, 5]
    Store(store).release()
    assert {p.stat().st_mode & 0o777 for p in store.glob("part-*")} == {0o600}
    assert not store.with_name("state.restoring").exists()
    lines = json_lines(path.parent / "audit.jsonl")
    assert [line["command"] for line in lines] == ["snapshot", "restore", "restore"]


def test_a_lost_store_is_put_back(store):
    name = taken(store)
    store.rename(store.with_name("moved"))
    assert lumen("restore", store.parent / "snapshots" / str(name), "--into", store) == 0
    assert epochs(store / "part-1.sqlite3") == [1]


def test_without_an_exchange_of_names_it_is_put_back_too(store, monkeypatch):
    monkeypatch.setattr(restore.ctypes, "CDLL", lambda *a, **k: object())
    name = taken(store)
    insert(store / "part-0.sqlite3", 5)
    assert lumen("restore", store.parent / "snapshots" / str(name), "--into", store) == 0
    assert epochs(store / "part-0.sqlite3") == [0]
    assert epochs(store.with_name("state.before") / "part-0.sqlite3") == [0, 5]


def test_the_store_of_a_run_is_neither_copied_nor_replaced(store, capsys):
    name = taken(store)
    held = Store(store)
    assert lumen("snapshot", "--recovery", store) == 2
    assert lumen("restore", store.parent / "snapshots" / str(name), "--into", store) == 2
    assert capsys.readouterr().err.count(f"process {os.getpid()} uses it") == 2
    held.release()


@pytest.mark.parametrize("missing", ["nothing", "an empty folder", "a file"])
def test_no_store_is_made_where_there_is_none(tmp_path, missing):
    folder = tmp_path / "state"
    if missing == "an empty folder":
        folder.mkdir()
    elif missing == "a file":
        folder.write_text("mine")
    assert lumen("snapshot", "--recovery", folder) == 2
    assert not list(tmp_path.glob("state/*"))


def test_each_unusable_file_is_named_in_at_most_four_lines(tmp_path):
    folder = tmp_path / "state"
    Store(folder, parts=5).release()
    name = taken(folder)
    executed = tmp_path / "executed"
    (folder / "part-0.sqlite3").write_text("notes")
    insert(folder / "part-1.sqlite3", 1, pickle.dumps(Command(executed)))
    os.truncate(folder / "part-3.sqlite3", 5000)
    (folder / "part-4.sqlite3").unlink()
    with pytest.raises(StoreError) as caught:
        Store(folder)
    lines = caught.value.lines()
    assert len(lines) == 1
    first, also, remedy, back = lines[0].split("\n")
    assert first.startswith(f"lumen: {folder}/part-0.sqlite3: damaged")
    others = "part-1.sqlite3, part-3.sqlite3, part-4.sqlite3"
    assert also == f"  also unusable: {others}"
    assert remedy.startswith("  move the store away")
    assert back == f"  or put its snapshot back: lumen restore {name} --into {folder}"
    assert lumen("restore", name, "--into", folder) == 0
    Store(folder).release()
    assert not executed.exists()


def test_a_missing_file_alone_is_named(tmp_path):
    folder = tmp_path / "state"
    Store(folder, parts=3).release()
    (folder / "part-1.sqlite3").unlink()
    with pytest.raises(StoreError, match=r"part-1\.sqlite3: not there"):
        Store(folder)


def packed(path, members):
    """Write an archive and its hash."""
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    path.with_name(path.name + ".sha256").write_text(f"{digest_of(path)}  {path.name}\n")


def _link(name, target):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ([], "another project"),
        ([(tarfile.TarInfo("../part-0.sqlite3"), b"x")], "another project"),
        ([(tarfile.TarInfo("notes"), b"x")], "another project"),
        ([(_link("part-0.sqlite3", "/etc/passwd"), b"")], "another project"),
        ([(tarfile.TarInfo("part-0.sqlite3"), b"no database")], "no SQLite file"),
    ],
)
def test_an_archive_of_other_things_is_refused(store, capsys, members, expected):
    path = store.parent / "snapshots" / "20261121T120000Z.recovery.tar"
    path.parent.mkdir()
    packed(path, members)
    before = {p.name: digest_of(p) for p in store.glob("part-*")}
    assert lumen("restore", path, "--into", store) == 1
    assert expected in capsys.readouterr().err
    assert {p.name: digest_of(p) for p in store.glob("part-*")} == before
    assert not store.with_name("state.restoring").exists()


def test_a_crafted_state_is_not_executed(store, capsys):
    executed = store.parent / "executed"
    name = taken(store)
    path = store.parent / "snapshots" / str(name)
    crafted = store.parent / "crafted.sqlite3"
    with tarfile.open(path) as archive:
        contents = {m.name: archive.extractfile(m).read() for m in archive}
    crafted.write_bytes(contents["part-0.sqlite3"])
    with closing(sqlite3.connect(crafted)) as base:
        base.execute("PRAGMA journal_mode = DELETE")
    insert(crafted, 9, pickle.dumps(Command(executed)))
    contents["part-0.sqlite3"] = crafted.read_bytes()
    packed(path, [(tarfile.TarInfo(part), data) for part, data in contents.items()])
    assert lumen("restore", path, "--into", store) == 1
    assert "no plain bytes: not loaded" in capsys.readouterr().err
    assert not executed.exists()


def test_a_flipped_bit_is_found(store, capsys):
    path = store.parent / "snapshots" / str(taken(store))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert lumen("restore", path, "--into", store) == 1
    assert "damaged: its SHA-256 is" in capsys.readouterr().err
    assert parsed(Path(path).name) is not None
