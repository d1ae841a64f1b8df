"""The contract of a store, the same for SQLite and PostgreSQL."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sinks.history import postgres_store, sqlite_store
from sinks.history.back_end import BackEnd, HistoryError, NoStoreError, QueryEndedError
from sinks.history.open_store import opened
from sinks.history.sql import MIGRATIONS
from sinks.history.tables import (
    DEAD,
    EVIDENCE,
    MINUTE,
    NAME,
    PLACE,
    RUN,
    SIGNAL,
    TABLES,
    TICK,
    Table,
)

Opens = Callable[..., BackEnd]
NULLS = (None,) * 7
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"


def _tick(ts: float, mode: str = "fused", run: int = 1, rig: int = 2) -> tuple[Any, ...]:
    return run, rig, ts, ts + 1, mode, 3, *NULLS


def _minute(signal: int, ts: float, *values: float) -> tuple[Any, ...]:
    known = (len(values), sum(values), min(values), max(values)) if values else (0, *NULLS[:3])
    return 1, 2, signal, ts, len(values), len(values), *known, *(0, *NULLS[:3]) * 6


def _all(store: BackEnd, sql: str, **values: Any) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in store.rows(sql, values, 60.0)]


def _count(store: BackEnd, table: Table) -> int:
    return int(_all(store, f"SELECT count(*) FROM {table.name}")[0][0])


@pytest.fixture
def dsn(any_dsn: str) -> str:
    return any_dsn


@pytest.fixture
def opens(dsn: str) -> Iterator[Opens]:
    """Opens the store; all are closed at the end."""
    stores: list[BackEnd] = []

    def open_one(**options: Any) -> BackEnd:
        stores.append(opened(dsn, **options))
        return stores[-1]

    yield open_one
    for store in stores:
        store.close()


def test_all_rows_come_back_as_they_were(opens: Opens) -> None:
    store = opens()
    texts = ["", "plain", "tab\t, line\n, \\N, 'quote', %s, :x", "\N{MUSICAL SYMBOL G CLEF}" * 60]
    for table in TABLES:
        sample = {"integer": [0, -1, 2**62, 7], "real": [0.1, -1e308, 5e-324, 1 / 3], "text": texts}
        columns = [sample[c.type] if c.name != "id" else [1, 2, 3, 4] for c in table.columns]
        rows = [tuple(values) for values in zip(*columns, strict=True)]
        rows.append(tuple(None if c.null else sample[c.type][1] for c in table.columns))
        rows = rows[: len(texts)] if rows[-1] == rows[1] else rows[:1] + rows[2:]
        names = ", ".join(c.name for c in table.columns)
        before = set(_all(store, f"SELECT {names} FROM {table.name}"))
        with store.transaction():
            store.write(table, rows)
        assert set(_all(store, f"SELECT {names} FROM {table.name}")) == before | set(rows)


def test_the_last_row_of_a_key_stays(opens: Opens) -> None:
    store = opens()
    with store.transaction():
        store.write(TICK, [_tick(1.0), _tick(2.0), _tick(1.0, "single")])
        store.write(TICK, [_tick(2.0, "none")])
    store.write(TICK, [_tick(3.0)])
    found = _all(store, "SELECT ts, mode FROM tick WHERE ts < :t ORDER BY ts", t=9.0)
    assert found == [(1.0, "single"), (2.0, "none"), (3.0, "fused")]


def test_minutes_are_added_in_their_order(opens: Opens) -> None:
    store = opens()
    store.write(MINUTE, [_minute(1, 60.0), _minute(1, 60.0, 0.1, 0.2), _minute(1, 60.0, 0.3)])
    store.write(MINUTE, [_minute(1, 60.0, -1.0), _minute(2, 60.0)])
    found = _all(
        store,
        "SELECT signal, ticks, value_count, value_sum, value_min, value_max, phase_diff_min"
        " FROM minute ORDER BY signal",
    )
    total = 0.1 + 0.2 + 0.3 - 1.0
    assert found == [(1, 4, 4, total, -1.0, 0.3, None), (2, 0, 0, None, None, None, None)]


def test_a_failed_transaction_leaves_nothing_and_the_store_goes_on(opens: Opens) -> None:
    store = opens()
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.write(TICK, [_tick(1.0)])
        first = store.numbers("rig", ["main"])
        raise ZeroDivisionError
    assert (_count(store, TICK), _count(store, NAME)) == (0, 0)
    with store.transaction():
        again = store.numbers("rig", ["a", "main", "a"])
        store.write(TICK, [_tick(1.0)])
    assert set(again) == {"a", "main"}
    assert len(set(again.values())) == 2
    assert list(first) == ["main"]
    assert _count(store, TICK) == 1


def test_a_row_that_does_not_fit_leaves_nothing(opens: Opens) -> None:
    store = opens()
    with pytest.raises(HistoryError, match=r"(?i)null"), store.transaction():
        store.write(TICK, [_tick(1.0)])
        store.write(TICK, [(1, 2, None, 2.0, "fused", 3, *NULLS)])
    assert _count(store, TICK) == 0


def test_numbers_go_on_beyond_names_that_were_written(opens: Opens) -> None:
    store = opens()
    store.write(NAME, [(41, "rig", "a"), (40, "rule", "a")])
    assert store.numbers("rig", ["a", "b"]) == {"a": 41, "b": 42}


def test_numbers_last_and_differ_by_kind(opens: Opens) -> None:
    store = opens()
    names = ["\N{MUSICAL SYMBOL G CLEF}" * 63, "x' OR 1=1 --", "", "%s :x"]
    rigs, rules = store.numbers("rig", names), store.numbers("rule", names)
    assert len({*rigs.values(), *rules.values()}) == 8
    assert opens().numbers("rig", names[::-1]) == rigs


def test_65536_channels_have_numbers(opens: Opens) -> None:
    store = opens()
    names = [f"stream:{k}" for k in range(65_536)]
    with store.transaction():
        numbers = store.numbers("channel", names)
    assert len(set(numbers.values())) == len(names)
    assert opens().numbers("channel", names) == numbers


def test_old_rows_go_in_steps_and_those_of_each_rig(opens: Opens) -> None:
    store = opens()
    rigs = [(1, 2), (1, 3), (4, 2)]
    store.write(PLACE, [(run, rig, "fused", 0, 0, 0) for run, rig in rigs])
    store.write(TICK, [_tick(float(k), run=run, rig=rig) for run, rig in rigs for k in range(10)])
    store.write(
        SIGNAL,
        [(1, 2, float(k), s, 0.0, None, None, "fused", 2, "{}") for k in range(9) for s in (7, 8)],
    )
    store.write(RUN, [(1, 500.0, "2.0"), (4, 2.0, "2.0")])
    store.write(MINUTE, [_minute(1, 60.0 * k, 1.0) for k in range(1, 11)])
    letters = [(1, 2, 0, k, float(k), "s", "r", "x", "w", 1) for k in range(1, 6)]
    timeless = [(run, 2, 1, 0, 0.0, "s", "r", "x", "w", 1) for run in (1, 4)]
    store.write(DEAD, [*letters, *timeless])
    assert [store.delete(TICK, 6.0, 8) for _ in range(4)] == [8, 8, 2, 0]
    assert [store.delete(SIGNAL, 2.0, 3) for _ in range(3)] == [3, 1, 0]
    assert store.delete(MINUTE, 180.0, 5000) == 2
    assert store.delete(DEAD, 3.0, 5000) == 3
    assert _all(store, "SELECT run, ts FROM dead ORDER BY run, ts")[0] == (1, 0.0)
    assert store.delete(DEAD, 501.0, 5000) == 4
    kept = _all(
        store, "SELECT run, rig, min(ts), count(*) FROM tick GROUP BY run, rig ORDER BY run, rig"
    )
    assert kept == [(run, rig, 6.0, 4) for run, rig in rigs]
    assert _all(store, "SELECT DISTINCT ts FROM signal ORDER BY ts")[:2] == [(2.0,), (3.0,)]


def test_a_span_of_one_rig_is_dropped(opens: Opens) -> None:
    store = opens()
    store.write(TICK, [_tick(float(k), rig=rig) for rig in (2, 3) for k in range(6)])
    with store.transaction():
        store.drop(TICK, 1, 2, 2.0, 4.0)
    found = _all(store, "SELECT rig, ts FROM tick ORDER BY rig, ts")
    assert found == [(2, 0.0), (2, 1.0), (2, 5.0), *((3, float(k)) for k in range(6))]


def test_a_long_query_is_ended_and_the_store_goes_on(opens: Opens) -> None:
    store = opens()
    with pytest.raises(QueryEndedError, match="took too long"):
        list(store.rows(ENDLESS, limit_s=0.05))
    assert _count(store, TICK) == 0


def test_questions_have_numbers_as_in_python(opens: Opens) -> None:
    store = opens()
    store.write(TICK, [_tick(1.0), _tick(2.5)])
    (row,) = _all(
        store,
        "SELECT sum(live), avg(live), 7 / 2, 7 * 1.0 / 2, max(ts), '1:2%', floor(-0.5), :none"
        " FROM tick WHERE cast(:none AS text) IS NULL AND ts <> :ts",
        none=None,
        ts=7.0,
    )
    assert row == (6, 3, 3, 3.5, 2.5, "1:2%", -1.0, None)
    assert not any(type(value).__name__ == "Decimal" for value in row)


def test_the_size_grows_with_the_rows(opens: Opens) -> None:
    store = opens()
    before = store.size()
    with store.transaction():
        store.write(TICK, [_tick(float(k)) for k in range(20_000)])
    assert store.size() > before + 20_000 * 30


def test_a_reader_makes_no_store_and_writes_none(opens: Opens) -> None:
    with pytest.raises(NoStoreError, match="there is no store yet"):
        opens(read_only=True)
    opens().write(TICK, [_tick(1.0)])
    reader = opens(read_only=True)
    assert _count(reader, TICK) == 1
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        reader.write(TICK, [_tick(2.0)])
    assert _count(reader, TICK) == 1


@pytest.mark.parametrize(
    "sql", ["CREATE TABLE strange (x integer)", "CREATE TABLE meta (key text, value text)"]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_foreign_store_is_refused_in_one_line(
    opens: Opens, dsn: str, sql: str, read_only: bool
) -> None:
    _execute(dsn, sql)
    with pytest.raises(HistoryError, match="not of this project; name another") as caught:
        opens(read_only=read_only)
    assert caught.value.lines() == [f"lumen: {caught.value}"]
    assert "\n" not in str(caught.value)


def test_a_newer_schema_is_refused(opens: Opens, dsn: str) -> None:
    opens().close()
    _execute(dsn, "UPDATE meta SET value = '99' WHERE key = 'schema'")
    _execute(dsn, "UPDATE meta SET value = '7.0' WHERE key = 'version'")
    for read_only in (False, True):
        with pytest.raises(HistoryError, match=r"schema 99 of version 7\.0 is newer than 1"):
            opens(read_only=read_only)


def _newer(dsn: str, monkeypatch: pytest.MonkeyPatch, *statements: str) -> None:
    module = sqlite_store if dsn.startswith("sqlite") else postgres_store
    monkeypatch.setattr(module, "SCHEMA", 2)
    monkeypatch.setitem(MIGRATIONS, 1, statements)


def test_an_older_schema_is_migrated(
    opens: Opens, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opens()
    first.write(TICK, [_tick(1.0)])
    first.close()
    _newer(dsn, monkeypatch, "ALTER TABLE tick ADD COLUMN more real")
    store = opens()
    assert _all(store, "SELECT ts, more FROM tick") == [(1.0, None)]
    assert _all(store, "SELECT value FROM meta WHERE key = 'schema'") == [("2",)]
    store.close()
    monkeypatch.undo()
    with pytest.raises(HistoryError, match="newer"):
        opens()


def test_a_failed_migration_leaves_the_store_as_it_was(
    opens: Opens, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opens().close()
    _newer(dsn, monkeypatch, "ALTER TABLE tick ADD COLUMN more real", "nonsense")
    with pytest.raises(HistoryError, match="nonsense"):
        opens()
    monkeypatch.undo()
    store = opens()
    with pytest.raises(HistoryError, match="more"):
        _all(store, "SELECT more FROM tick")


def test_one_process_holds_a_store_and_is_named(opens: Opens) -> None:
    held, other = opens(), opens()
    held.hold()
    with pytest.raises(HistoryError, match=f"process {os.getpid()} writes it"):
        other.hold()
    held.close()
    other.hold()


def test_evidence_has_its_facts_as_written(opens: Opens) -> None:
    store = opens()
    row = (1, 2, 3, 4.0, "firing", "risk", None, None, None, "\\x41 %", '{"a": 1e-3}', 4.0)
    store.write(EVIDENCE, [row])
    assert _all(store, "SELECT * FROM evidence") == [row]


def test_the_view_has_the_columns_of_the_first_program(opens: Opens) -> None:
    store = opens()
    store.write(TICK, [(1, 2, 5.0, 6.0, "fused", 2, 0.1, 0.9, 0.8, 0.7, 0.6, 0.05, 0.3)])
    ((number, ts, *values),) = _all(
        store, "SELECT id, ts, phase_diff, sync_quality, entropy_ratio FROM resonance_events"
    )
    assert (number, values) == (1, [0.1, 0.7, 0.6])
    assert getattr(ts, "timestamp", lambda: ts)() == 5.0


def _execute(dsn: str, sql: str) -> None:
    """Run a statement as a program of others does."""
    if dsn.startswith("sqlite:"):
        import sqlite3

        with sqlite3.connect(dsn.removeprefix("sqlite:")) as base:
            base.execute(sql)
        base.close()
        return
    import psycopg

    with psycopg.connect(dsn) as session:
        session.execute(sql.encode())
