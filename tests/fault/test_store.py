"""A recovery store that cannot be used is refused by name before the engine starts."""

import os
import pickle
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from flows.store import LOCK, MAKING, Store, StoreError
from operators.snapshot import encode_state, pickled_bytes, seal
from ops.bench.kill_points import configuration
from ops.cli.verify import digests, write_config

ROOT = Path(__file__).parents[2]
PART = "part-0.sqlite3"


def begin(store):
    Store(store).release()
    return store


def filled(store):
    """Return a store that a run has left, with a snapshot of two steps."""
    begin(store)
    rows = [
        ("lumen.fuse", encode_state({"n": 1}, "fuse", "print")),
        ("lumen.receive", seal(b"place")),
    ]
    with closing(sqlite3.connect(store / PART)) as base, base:
        base.execute("INSERT INTO exs (ex_num, worker_count, resume_epoch) VALUES (0, 1, 1)")
        base.execute("INSERT INTO fronts VALUES (CURRENT_TIMESTAMP, 0, 0, 2)")
        for step, state in rows:
            insert(base, step, pickle.dumps(state))
    return store


def insert(base, step, change):
    base.execute(
        "INSERT INTO snaps (step_id, state_key, snap_epoch, ser_change) VALUES (?, 'a', 1, ?)",
        (step, change),
    )


def changed(store, statement, *values):
    with closing(sqlite3.connect(store / PART)) as base, base:
        base.execute(statement, values)


def overwritten(store, data, at=None):
    part = store / PART
    if at is None:
        part.write_bytes(data)
    else:
        with part.open("rb+") as file:
            file.seek(at)
            file.write(data)


def flipped(store):
    chance, part = random.Random(1), store / PART
    data = bytearray(part.read_bytes())
    for _ in range(500):
        data[chance.randrange(100, len(data))] ^= 1 << chance.randrange(8)
    part.write_bytes(data)


class Command:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def altered(store):
    with closing(sqlite3.connect(store / PART)) as base, base:
        (change,) = base.execute("SELECT ser_change FROM snaps").fetchone()
        at = change.index(b"print")
        base.execute(
            "UPDATE snaps SET ser_change = ? WHERE step_id = 'lumen.fuse'",
            (change[:at] + b"Print" + change[at + 5 :],),
        )


def linked(store):
    (store / PART).rename(store.parent / "elsewhere")
    (store / PART).symlink_to(store.parent / "elsewhere")


DAMAGES = {
    "cut": lambda s: os.truncate(s / PART, 100),
    "empty": lambda s: os.truncate(s / PART, 0),
    "zeros": lambda s: overwritten(s, bytes(32768)),
    "text": lambda s: overwritten(s, b"not a database"),
    "flipped": flipped,
    "missing": lambda s: (s / PART).unlink(),
    "no table": lambda s: changed(s, "DROP TABLE snaps"),
    "a trigger": lambda s: changed(
        s, "CREATE TRIGGER t AFTER INSERT ON snaps BEGIN DELETE FROM exs; END"
    ),
    "a number below zero": lambda s: changed(s, "UPDATE exs SET resume_epoch = -1"),
    "another column": lambda s: changed(s, "ALTER TABLE fronts RENAME COLUMN ex_num TO number"),
    "a foreign pickle": lambda s: changed(
        s, "UPDATE snaps SET ser_change = ?", pickle.dumps(Command(s.parent / "executed"))
    ),
    "another class": lambda s: changed(s, "UPDATE snaps SET ser_change = ?", pickle.dumps("x")),
    "foreign bytes": lambda s: changed(
        s, "UPDATE snaps SET ser_change = ?", pickle.dumps(b"x" * 9)
    ),
    "an altered value": altered,
    "all may write": lambda s: s.chmod(0o777),
    "its group may write": lambda s: (s / PART).chmod(0o660),
    "a link": linked,
    "a linked lock": lambda s: ((s / LOCK).unlink(), (s / LOCK).symlink_to(s / PART)),
    "a pipe": lambda s: ((s / LOCK).unlink(), os.mkfifo(s / LOCK)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_store_is_refused_by_name_and_left_as_it_is(tmp_path, damage):
    store = filled(tmp_path / "store")
    DAMAGES[damage](store)
    before = {p.name: p.lstat().st_size for p in store.iterdir()}
    with pytest.raises(StoreError) as caught:
        Store(store)
    what, remedy = str(caught.value).split("\n")
    assert what.startswith(str(store))
    assert remedy.startswith("  ")
    assert not (tmp_path / "executed").exists()
    after = {p.name: p.lstat().st_size for p in store.iterdir()}
    assert after == {name: size for name, size in before.items() if not name.endswith("-shm")}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to be root")
@pytest.mark.parametrize("name", [".", PART, LOCK])
def test_a_store_of_another_user_is_refused(tmp_path, name):
    store = filled(tmp_path / "store")
    os.chown(store / name, 12345, -1)
    with pytest.raises(StoreError, match="of user 12345, not of 0"):
        Store(store)


def test_a_store_in_use_is_refused_with_its_holder(tmp_path):
    held = Store(tmp_path / "store")
    with pytest.raises(StoreError, match=f"process {os.getpid()} uses it"):
        Store(tmp_path / "store")
    held.release()
    Store(tmp_path / "store").release()


def test_a_store_that_another_process_writes_to_is_refused(tmp_path):
    store = filled(tmp_path / "store")
    with closing(sqlite3.connect(store / PART)) as base:
        base.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="another process has it open"):
            Store(store)


def test_a_folder_of_other_things_is_no_store(tmp_path):
    (tmp_path / "letters").write_text("mine")
    with pytest.raises(StoreError, match=r"not a recovery store: it holds 'letters'"):
        Store(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["letters"]


def test_a_store_is_for_its_owner_alone_and_then_left_as_it_is(tmp_path):
    store = tmp_path / "state" / "store"
    store.mkdir(parents=True, mode=0o755)
    begin(store)
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert {stat.S_IMODE(p.stat().st_mode) for p in store.iterdir()} == {0o600}
    made = (store / PART).read_bytes()
    begin(store)
    assert (store / PART).read_bytes() == made
    assert sorted(p.name for p in store.iterdir()) == [LOCK, PART]


def half_made(store, how):
    """Leave a store as one whose making was cut short."""
    store.mkdir(mode=0o700)
    if how == "nothing":
        return
    if how == "aside":
        (store / MAKING).mkdir()
        (store / MAKING / PART).write_bytes(b"SQLite format 3\0" + bytes(84))
        return
    if how in ("empty", "zeros"):
        (store / PART).write_bytes(bytes(4096 if how == "zeros" else 0))
        return
    with closing(sqlite3.connect(store / PART)) as base, base:
        base.execute("PRAGMA journal_mode = WAL")
        if how != "no table":
            base.execute("CREATE TABLE parts (part_index INTEGER, part_count INTEGER)")


@pytest.mark.parametrize("how", ["nothing", "aside", "empty", "zeros", "no table", "one table"])
def test_a_half_made_store_is_made_anew(tmp_path, how):
    store = tmp_path / "store"
    half_made(store, how)
    begin(store)
    with closing(sqlite3.connect(store / PART)) as base:
        assert base.execute("SELECT part_count FROM parts").fetchall() == [(1,)]
    assert sorted(p.name for p in store.iterdir()) == [LOCK, PART]


def test_a_store_that_was_whole_once_is_damaged_and_not_half_made(tmp_path):
    store = begin(tmp_path / "store")
    (store / PART).write_bytes(b"")
    with pytest.raises(StoreError, match="damaged"):
        Store(store)


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536, 200_000])
@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_bytes_are_taken_out_of_a_pickle_that_holds_nothing_else(size, protocol):
    data = random.Random(size).randbytes(size)
    pickled = pickle.dumps(data, protocol)
    assert pickled_bytes(pickled) == data
    assert pickled_bytes(pickled + b".") is None
    assert pickled_bytes(pickled[:-1]) is None
    assert pickled_bytes(pickle.dumps((data,), protocol)) is None


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """Return a configuration, the digests of a quiet run, and the folder of a killed one."""
    folder = tmp_path_factory.mktemp("quiet")
    config = configuration(folder)
    path = write_config(config, folder / "plain.yaml", folder / "plain")
    assert lumen("run", path).returncode == 0
    return config, digests(folder / "plain")


def lumen(*arguments, environ=None):
    return subprocess.run(
        [sys.executable, "-m", "ops", *map(str, arguments)], cwd=ROOT, text=True, timeout=120,
        capture_output=True, env=os.environ | (environ or {}),
    )  # fmt: skip


def engine(path, store):
    return subprocess.run(
        [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(path)!r})", "-r", str(store),
         "-s", "0", "-b", "0"],
        cwd=ROOT, text=True, timeout=120, capture_output=True,
    )  # fmt: skip


def test_a_command_with_a_damaged_store_ends_with_two_lines_and_code_2(quiet, tmp_path):
    config, _ = quiet
    path = write_config(config, tmp_path / "run.yaml", tmp_path / "out")
    store = filled(tmp_path / "store")
    overwritten(store, b"x" * 200)
    for done in (lumen("run", path, "--recover", store), engine(path, store)):
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith(f"lumen: {store / PART}: damaged")
        assert len(done.stderr.splitlines()) <= 4
    assert not list((tmp_path / "out").glob("*"))


def test_the_store_of_another_configuration_is_refused_before_the_engine_starts(quiet, tmp_path):
    config, _ = quiet
    path = write_config(config, tmp_path / "run.yaml", tmp_path / "out")
    done = lumen("run", path, "--recover", filled(tmp_path / "store"))
    assert done.returncode == 2
    assert "is of another configuration (print, not " in done.stderr
    assert len(done.stderr.splitlines()) <= 4


def test_a_resumed_run_passes_the_preflight_and_repeats_nothing(quiet, tmp_path):
    config, expected = quiet
    path = write_config(config, tmp_path / "run.yaml", tmp_path / "out")
    for _ in range(2):
        done = lumen("run", path, "--recover", tmp_path / "store", "--snapshot-s", 0)
        assert done.returncode == 0, done.stderr
        assert digests(tmp_path / "out") == expected
    done = engine(path, tmp_path / "store")
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "store")
