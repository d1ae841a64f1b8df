"""A PostgreSQL server that refuses, crashes, is full or slow; passwords stay out of messages."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from configs.dsn import is_postgres, public_dsn
from ops.fakes.ports import free_port
from ops.fakes.postgres_server import ESCAPED, PASSWORD, PostgresServer
from sinks.history import postgres_store
from sinks.history.back_end import AwayError, HistoryError
from sinks.history.open_store import opened
from sinks.history.postgres_store import PostgresStore
from sinks.history.tables import MINUTE, TICK
from tests.support.waiting import until

NULLS = (None,) * 7


def _tick(ts: float, mode: str = "fused") -> tuple[Any, ...]:
    return 1, 2, ts, ts + 1, mode, 3, *NULLS


def _count(store: PostgresStore) -> int:
    return int(next(store.rows("SELECT count(*) FROM tick", limit_s=60.0))[0])


@pytest.fixture
def dsn(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
def store(dsn: str) -> Iterator[PostgresStore]:
    one = PostgresStore(dsn)
    yield one
    one.close()


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://lumen:S3cret/x@127.0.0.1/db", "postgresql://lumen:S3@S3cret@127.0.0.1/db",
        "postgresql://lumen:12?S3cret@127.0.0.1/db", "postgresql://lumen:12/S3cret@127.0.0.1/db",
        "postgresql://lumen:1#S3cret@127.0.0.1/db", "postgresql://S3cret:x", "postgresql:S3cret",
        "postgresql://lumen:S3cret%zz@127.0.0.1/db", "postgresql://u:S3cret%00@127.0.0.1/db",
        "postgresql://u:p@127.0.0.1/db?password=S3cret@x", "postgresql://u:S3cret @h/db",
        "postgresql://u:p@h/a/S3cret",
    ],
)  # fmt: skip
def test_a_dsn_of_a_wrong_form_is_refused_and_not_shown(dsn: str) -> None:
    with pytest.raises(HistoryError) as caught:
        opened(dsn)
    assert "S3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "expected postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in str(caught.value)


def test_an_unknown_option_is_refused_and_not_shown() -> None:
    with pytest.raises(HistoryError, match="an option of the address is unknown") as caught:
        PostgresStore("postgresql://u:p@h/db?S3cret=1")
    assert "S3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://", "postgres://h", "postgresql:///db?host=/run/postgresql",
        "postgresql://u:a%40b@[::1]:5432/db?sslmode=require&options=-csearch_path%3Dlumen",
    ],
)  # fmt: skip
def test_other_forms_of_libpq_are_accepted(dsn: str) -> None:
    assert is_postgres(dsn)
    assert "%40" not in public_dsn(dsn)


def test_without_the_driver_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sinks.history.postgres_store", None)
    with pytest.raises(HistoryError, match=r"pip install 'lumen-fusion\[postgres\]'"):
        opened("postgresql://127.0.0.1/db")


@pytest.mark.parametrize(
    ("user", "database", "problem"),
    [
        ("lumen:wr0ng", "postgres", "password authentication failed"),
        ("lumen:%77r0ng", "postgres", "password authentication failed"),
        ("lumen", "postgres", "password"),
        ("nobody_here:wr0ng", "postgres", "password authentication failed"),
        (f"lumen:{ESCAPED}", "gone", 'database "gone" does not exist'),
    ],
)
def test_a_refusal_of_the_server_is_one_line_without_the_password(
    postgres: PostgresServer, user: str, database: str, problem: str
) -> None:
    with pytest.raises(HistoryError, match=problem) as caught:
        PostgresStore(postgres.dsn(database, user))
    text = str(caught.value)
    assert text.startswith(f"postgresql://127.0.0.1:{postgres.port}/{database}: ")
    assert "\n" not in text
    assert not any(secret in text for secret in (PASSWORD, ESCAPED, "wr0ng", "77r0ng"))
    assert caught.value.__cause__ is None


def test_a_server_that_is_not_there_is_away() -> None:
    with pytest.raises(AwayError, match=r"(?i)refused") as caught:
        PostgresStore(f"postgresql://u:S3cret@127.0.0.1:{free_port()}/db")
    assert "S3cret" not in str(caught.value)
    assert caught.value.reason == "away"


def test_a_full_server_is_away(
    postgres: PostgresServer, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.psql("CREATE ROLE narrow LOGIN PASSWORD 'p' CONNECTION LIMIT 0")
    with pytest.raises(AwayError, match="too many"):
        PostgresStore(postgres.dsn(user="narrow:p"))


def test_an_old_server_and_another_encoding_are_refused(
    postgres: PostgresServer, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.psql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(HistoryError, match="encoding LATIN1, expected UTF8"):
        PostgresStore(postgres.dsn("latin"))
    monkeypatch.setattr(postgres_store, "MIN_SERVER", 990_000)
    with pytest.raises(HistoryError, match=r"PostgreSQL \d+\.\d+.*, expected 99 or later"):
        PostgresStore(dsn)


def test_a_schema_of_its_own_is_a_store_of_its_own(postgres: PostgresServer, dsn: str) -> None:
    address = f"{dsn}?options=-csearch_path%3Down"
    with pytest.raises(HistoryError, match="search path has no schema"):
        PostgresStore(address)
    postgres.psql("CREATE SCHEMA own; CREATE TABLE public.other (x integer)", dsn)
    first = PostgresStore(address)
    first.hold()
    first.write(TICK, [_tick(1.0)])
    assert postgres.psql("SELECT count(*) FROM own.tick", dsn) == "1\n"
    with pytest.raises(HistoryError, match="not of this project"):
        PostgresStore(dsn)
    postgres.psql("DROP TABLE public.other", dsn)
    second = PostgresStore(dsn)
    second.hold()
    assert _count(second) == 0
    first.close()
    second.close()


def test_a_role_without_rights_is_refused(postgres: PostgresServer, dsn: str) -> None:
    postgres.psql("CREATE ROLE reader LOGIN PASSWORD 'p'")
    poor = f"postgresql://reader:p@{dsn.partition('@')[2]}"
    with pytest.raises(HistoryError, match="permission denied for schema public"):
        PostgresStore(poor)
    PostgresStore(dsn).close()
    postgres.psql("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", dsn)
    reader = PostgresStore(poor, read_only=True)
    assert _count(reader) == 0
    with pytest.raises(HistoryError, match="permission denied for table meta"):
        PostgresStore(poor)
    reader.close()


def test_a_server_that_is_read_only_is_away(
    postgres: PostgresServer, dsn: str, store: PostgresStore
) -> None:
    name = dsn.rpartition("/")[2]
    postgres.psql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with pytest.raises(AwayError, match="read-only") as caught:
        PostgresStore(dsn)
    assert caught.value.reason == "read_only"


def test_a_crash_within_a_copy_loses_and_doubles_nothing(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    store.hold()
    rows = [_tick(float(k)) for k in range(6_000)]
    with store.transaction():
        store.write(TICK, rows[:500])

    def crash() -> Iterator[tuple[Any, ...]]:
        yield from rows[500:4_000]
        postgres.stop("immediate")
        yield from rows[4_000:]

    class Crashing(list[Any]):
        def __iter__(self) -> Iterator[Any]:
            return crash()

    try:
        batch = Crashing(rows[500:])
        with pytest.raises(AwayError), store.transaction(), store._errors():
            assert store._session is not None
            store._copy(store._session.cursor(), TICK, batch)
            store._session.execute(b"SELECT 1")
        with pytest.raises(AwayError, match=r"(?i)refused"), store.transaction():
            pytest.fail("a transaction began")
    finally:
        postgres.start()
    with store.transaction():
        assert _count(store) == 500
        store.write(TICK, rows[500:])
    assert _count(store) == 6_000
    other = PostgresStore(store._dsn)
    with pytest.raises(HistoryError, match=f"process {os.getpid()} writes it"):
        other.hold()
    other.close()


def test_minutes_are_added_once_over_a_crash(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    row = (1, 2, 3, 60.0, 5, 4, *(0, None, None, None) * 7)
    try:
        with pytest.raises(AwayError), store.transaction():
            store.write(MINUTE, [row])
            postgres.stop("immediate")
    finally:
        postgres.start()
    with store.transaction():
        store.write(MINUTE, [row])
    assert list(store.rows("SELECT ticks, fused FROM minute", limit_s=60.0)) == [(5, 4)]


def test_a_lost_connection_is_not_made_anew_within_a_transaction(
    postgres: PostgresServer, store: PostgresStore
) -> None:
    with pytest.raises(AwayError, match="lost in a transaction"), store.transaction():
        store.write(TICK, [_tick(1.0)])
        with pytest.raises(AwayError):
            _end_sessions(postgres)
            _count(store)
        store.numbers("rig", ["main"])
    assert _count(store) == 0


def test_a_writer_that_lost_its_connection_holds_the_store_again(
    postgres: PostgresServer, dsn: str, store: PostgresStore
) -> None:
    store.hold()
    session = store._session
    store._session = None  # the server does not notice the loss
    with store.transaction():
        store.write(TICK, [_tick(1.0)])
    other = PostgresStore(dsn)
    with pytest.raises(HistoryError, match="writes it"):
        other.hold()
    other.close()
    assert session is not None
    session.close()


def test_a_writer_whose_place_was_taken_stops(
    postgres: PostgresServer, dsn: str, store: PostgresStore
) -> None:
    store.hold()
    _end_sessions(postgres)
    with pytest.raises(AwayError):
        _count(store)
    other = PostgresStore(dsn)
    other.hold()
    with pytest.raises(HistoryError, match="writes it"), store.transaction():
        pytest.fail("a transaction began")
    other.close()


def test_a_locked_table_is_away_and_a_slow_write_is_ended(
    postgres: PostgresServer, dsn: str
) -> None:
    import psycopg

    store = PostgresStore(dsn)
    store._write_s = 0.1
    with psycopg.connect(dsn) as other:
        other.execute("LOCK TABLE tick")
        with pytest.raises(AwayError) as caught, store.transaction():
            store.write(TICK, [_tick(1.0)])
        assert caught.value.reason == "slow"
        assert store._session is not None
        store._session.execute("SET lock_timeout = '50ms'")
        store._write_s = 60.0
        with pytest.raises(AwayError) as caught, store.transaction():
            store.write(TICK, [_tick(1.0)])
        assert caught.value.reason == "locked"
    with store.transaction():
        store.write(TICK, [_tick(1.0)])
    assert _count(store) == 1
    store.close()


def test_two_writers_that_begin_together_make_one_store(dsn: str) -> None:
    made: list[PostgresStore] = []
    threads = [threading.Thread(target=lambda: made.append(PostgresStore(dsn))) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(made) == 4)
    for thread, one in zip(threads, made, strict=True):
        thread.join()
        assert list(one.rows("SELECT count(*) FROM meta", limit_s=60.0)) == [(3,)]
        one.close()


def test_views_have_times_with_their_zone(store: PostgresStore) -> None:
    run, rig = store.numbers("run", ["r"])["r"], store.numbers("rig", ["main"])["main"]
    store.write(TICK, [(run, rig, *_tick(1_767_225_600.5)[2:])])
    (row,) = store.rows("SELECT ts, ts_at, released_at FROM ticks WHERE rig = 'main'", limit_s=60.0)
    assert row[0] == 1_767_225_600.5
    assert row[1] == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (row[2] - row[1]).total_seconds() == 1.0


def test_the_log_of_the_server_has_no_password(postgres: PostgresServer, dsn: str) -> None:
    with pytest.raises(HistoryError):
        PostgresStore(dsn.replace(ESCAPED, "wr0ng"))
    assert not any(text in postgres.log() for text in (PASSWORD, ESCAPED, "wr0ng"))


def _end_sessions(postgres: PostgresServer) -> None:
    named = "application_name LIKE 'lumen %'"
    postgres.psql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {named}")
