"""The SQLite file of the history: what is refused, locked, migrated and deleted."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sinks.history import sqlite_store
from sinks.history.back_end import AwayError, HistoryError, QueryEndedError
from sinks.history.open_store import opened
from sinks.history.sql import MIGRATIONS
from sinks.history.sqlite_store import SqliteStore
from sinks.history.tables import DEAD, MINUTE, NAME, PLACE, RUN, SIGNAL, TICK, Table

NULLS = (None,) * 7


def _tick(ts: float, mode: str = "fused", run: int = 1, rig: int = 2) -> tuple[object, ...]:
    return run, rig, ts, ts + 1, mode, 3, *NULLS


def _minute(signal: int, ts: float, *values: float) -> tuple[object, ...]:
    known = (len(values), sum(values), min(values), max(values)) if values else (0, *NULLS[:3])
    return 1, 2, signal, ts, len(values), len(values), *known, *(0, *NULLS[:3]) * 6


def _count(store: SqliteStore, table: Table) -> int:
    return int(next(iter(store.rows(f"SELECT count(*) FROM {table.name}")))[0])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history" / "history.sqlite"


def test_rows_come_back_and_the_last_of_a_key_stays(path: Path) -> None:
    store = opened(f"sqlite:{path}")
    with store.transaction():
        store.write(TICK, [_tick(1.0), _tick(2.0), _tick(1.0, "single")])
    store.close()
    reader = opened("sqlite:history.sqlite", read_only=True, folder=path.parent)
    found = list(reader.rows("SELECT ts, mode FROM tick WHERE ts < :t", {"t": 9.0}))
    assert found == [(1.0, "single"), (2.0, "fused")]
    assert path.stat().st_mode & 0o777 == 0o600
    reader.close()


def test_minutes_are_added(path: Path) -> None:
    store = SqliteStore(path)
    store.write(MINUTE, [_minute(1, 60.0), _minute(1, 60.0, 3.0, 5.0), _minute(1, 60.0, -1.0)])
    found = store.rows(
        "SELECT ticks, value_count, value_sum, value_min, value_max, phase_diff_min FROM minute"
    )
    assert list(found) == [(3, 3, 7.0, -1.0, 5.0, None)]
    store.close()


def test_a_failed_transaction_leaves_nothing(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.write(TICK, [_tick(1.0)])
        first = store.numbers("rig", ["main"])
        raise ZeroDivisionError
    assert (_count(store, TICK), _count(store, NAME)) == (0, 0)
    assert store.numbers("rig", ["a", "main", "a"]) == {"a": 1, "main": 2}
    assert first == {"main": 1}
    store.close()


def test_names_are_numbered_by_kind(path: Path) -> None:
    store = SqliteStore(path)
    names = ["\N{MUSICAL SYMBOL G CLEF}" * 63, "x' OR 1=1 --", ""]
    rigs, rules = store.numbers("rig", names), store.numbers("rule", names)
    assert len({*rigs.values(), *rules.values()}) == 6
    store.close()
    assert SqliteStore(path).numbers("rig", names) == rigs


def test_old_rows_go_in_steps_and_those_of_each_rig(path: Path) -> None:
    store = SqliteStore(path)
    rigs = [(1, 2), (1, 3), (4, 2)]
    store.write(PLACE, [(run, rig, "fused", 0, 0, 0) for run, rig in rigs])
    store.write(TICK, [_tick(float(k), run=run, rig=rig) for run, rig in rigs for k in range(10)])
    store.write(
        SIGNAL,
        [(1, 2, float(k), s, 0.0, None, None, "fused", 2, "{}") for k in range(9) for s in (7, 8)],
    )
    store.write(MINUTE, [_minute(1, 60.0 * k, 1.0) for k in range(10)])
    assert [store.delete(TICK, 6.0, 8) for _ in range(4)] == [8, 8, 2, 0]
    assert [store.delete(SIGNAL, 2.0, 3) for _ in range(3)] == [3, 1, 0]
    assert store.delete(MINUTE, 120.0, 5000) == 2
    kept = store.rows("SELECT run, rig, min(ts), count(*) FROM tick GROUP BY run, rig")
    assert list(kept) == [(run, rig, 6.0, 4) for run, rig in rigs]
    assert [r[0] for r in store.rows("SELECT DISTINCT ts FROM signal ORDER BY ts")][:2] == [2, 3]
    store.close()


def test_a_row_without_a_time_is_as_old_as_its_run(path: Path) -> None:
    store = SqliteStore(path)
    store.write(RUN, [(1, 100.0, ""), (2, 300.0, "")])
    letter = ("receive", "json", "?", "w", 1)
    store.write(DEAD, [(run, 2, 0, byte, 0.0, *letter) for run in (1, 2) for byte in (0, 9)])
    assert store.delete(DEAD, 100.0, 9) == 0
    assert store.delete(DEAD, 200.0, 9) == 2
    assert list(store.rows("SELECT DISTINCT run FROM dead")) == [(2,)]
    store.close()


def test_unused_pages_return_to_the_disk(path: Path) -> None:
    store = SqliteStore(path)
    store.write(PLACE, [(1, 2, "fused", 0, 0, 0)])
    with store.transaction():
        store.write(TICK, [_tick(float(k)) for k in range(20_000)])
    store.delete(TICK, 1e9, 20_000)
    store.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    before = next(iter(store.rows("PRAGMA page_count")))[0]
    store.tidy()
    assert next(iter(store.rows("PRAGMA page_count")))[0] < before
    store.close()


def test_a_long_query_is_ended_and_the_store_goes_on(path: Path) -> None:
    store = SqliteStore(path)
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    with pytest.raises(QueryEndedError, match="took too long"):
        list(store.rows(endless, limit_s=0.05))
    assert _count(store, TICK) == 0
    store.close()


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_text("not a database, but long enough for one\n" * 40), "damaged"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE meta (key, value)"), "not of"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE strange (x)"), "not of"),
        (lambda path: path.mkdir(), "not a plain file"),
        (lambda path: path.symlink_to("elsewhere"), "not a plain file"),
    ],
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_foreign_file_is_refused_in_one_line(
    path: Path, make: object, problem: str, read_only: bool
) -> None:
    path.parent.mkdir()
    assert callable(make)
    make(path)
    with pytest.raises(HistoryError, match=problem) as caught:
        SqliteStore(path, read_only=read_only)
    assert caught.value.lines() == [f"lumen: {caught.value}"]
    assert "\n" not in str(caught.value)


def test_a_cut_file_is_refused(path: Path) -> None:
    store = SqliteStore(path)
    store.write(TICK, [_tick(float(k)) for k in range(5_000)])
    store.close()
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(HistoryError, match="damaged"):
        _count(SqliteStore(path), TICK)


def test_a_newer_schema_is_refused_and_left_as_it_is(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as base:
        base.execute("UPDATE meta SET value = '99' WHERE key = 'schema'")
        base.execute("UPDATE meta SET value = '7.0' WHERE key = 'version'")
    base.close()
    before = path.read_bytes()
    with pytest.raises(HistoryError, match=r"schema 99 of version 7\.0 is newer than 1"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_an_older_schema_is_copied_and_migrated(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqliteStore(path)
    store.write(TICK, [_tick(1.0)])
    store.close()
    monkeypatch.setattr(sqlite_store, "SCHEMA", 2)
    monkeypatch.setitem(MIGRATIONS, 1, ("ALTER TABLE tick ADD COLUMN more REAL",))
    store = SqliteStore(path)
    assert list(store.rows("SELECT ts, more FROM tick")) == [(1.0, None)]
    store.close()
    monkeypatch.undo()
    assert _count(SqliteStore(path.with_name("history.sqlite.schema-1")), TICK) == 1
    with pytest.raises(HistoryError, match="newer"):
        SqliteStore(path)


def test_a_failed_migration_leaves_the_store_as_it_was(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteStore(path).close()
    monkeypatch.setattr(sqlite_store, "SCHEMA", 2)
    monkeypatch.setitem(MIGRATIONS, 1, ("ALTER TABLE tick ADD COLUMN more REAL", "nonsense"))
    with pytest.raises(HistoryError, match="nonsense"):
        SqliteStore(path)
    monkeypatch.undo()
    names = [row[1] for row in SqliteStore(path).rows("PRAGMA table_info(tick)")]
    assert "more" not in names


def test_a_locked_file_is_away(path: Path) -> None:
    SqliteStore(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    store = SqliteStore(path, busy_s=0.01)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AwayError, match="locked") as caught, store.transaction():
        pytest.fail("a transaction began")
    assert caught.value.reason == "locked"
    other.execute("COMMIT")
    with store.transaction():
        store.write(TICK, [_tick(1.0)])
    assert _count(store, TICK) == 1
    other.close()
    store.close()


def test_a_full_disk_is_away_and_leaves_what_was_there(path: Path) -> None:
    store = SqliteStore(path)
    store.write(TICK, [_tick(1.0)])
    limit = next(iter(store.rows("PRAGMA page_count")))[0] + 4
    list(store.rows(f"PRAGMA max_page_count = {limit}"))
    with pytest.raises(AwayError, match="full") as caught, store.transaction():
        store.write(TICK, [_tick(float(k)) for k in range(10_000)])
    assert caught.value.reason == "full"
    assert _count(store, TICK) == 1
    store.close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_moved_under_the_writer_is_away(path: Path, replaced: bool) -> None:
    store = SqliteStore(path)
    path.rename(path.with_name("aside"))
    if replaced:
        path.write_text("text")
    with pytest.raises(AwayError, match="moved or replaced") as caught, store.transaction():
        pytest.fail("a transaction began")
    assert caught.value.reason == "replaced"
    store.close()


def test_a_reader_makes_no_store_and_writes_none(path: Path) -> None:
    with pytest.raises(HistoryError, match="there is no store yet"):
        SqliteStore(path, read_only=True)
    assert not path.parent.exists()
    SqliteStore(path).close()
    reader = SqliteStore(path, read_only=True)
    with pytest.raises((AwayError, HistoryError), match="readonly"):
        reader.write(TICK, [_tick(1.0)])
    reader.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no user to change to")
def test_a_file_of_another_user_is_refused(path: Path) -> None:
    SqliteStore(path).close()
    path.chmod(0o444)
    if os.geteuid() != 0:
        with pytest.raises(HistoryError, match="may not write"):
            SqliteStore(path)
        return
    for folder in (path.parent, *path.parent.parents[:2]):
        folder.chmod(0o755)
    code = (
        "import os, sys; from pathlib import Path; from sinks.history.sqlite_store import"
        " SqliteStore as S; os.access = lambda path, mode: not mode & os.W_OK;"
        " S(Path(sys.argv[1]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert "HistoryError" in run.stderr
    assert "this user may not write it" in run.stderr


def test_one_process_holds_a_store_and_is_named(path: Path) -> None:
    held = SqliteStore(path)
    held.hold()
    other = SqliteStore(path)
    with pytest.raises(HistoryError, match=f"process {os.getpid()} writes it"):
        other.hold()
    held.close()
    other.hold()
    other.close()


def test_the_view_has_the_columns_of_the_first_program(path: Path) -> None:
    store = SqliteStore(path)
    store.write(TICK, [(1, 2, 5.0, 6.0, "fused", 2, 0.1, 0.9, 0.8, 0.7, 0.6, 0.05, 0.3)])
    found = store.rows(
        "SELECT id, ts, phase_diff, sync_quality, entropy_ratio FROM resonance_events"
    )
    assert list(found) == [(1, 5.0, 0.1, 0.7, 0.6)]
    store.close()
