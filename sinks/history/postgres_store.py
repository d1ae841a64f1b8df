"""The history in PostgreSQL.

Rows are copied in binary form to a temporary table, and inserted from there: a `COPY` alone cannot
replace rows. A lost connection is made anew at the next transaction or query; the transaction in
which it was lost is undone by the server, or was kept if the loss followed its commit.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from operator import itemgetter
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import PGconn, Ping
from psycopg.types.numeric import NumericLoader

from configs.dsn import EXPECTED, is_postgres, public_dsn, secrets_of
from configs.inert import inert
from sinks.files.run_json import versions
from sinks.history.back_end import (
    MAX_QUERY_S,
    AwayError,
    HistoryError,
    NoStoreError,
    QueryEndedError,
    Row,
)
from sinks.history.sql import MIGRATIONS, POSTGRES, by_rig, created, drop, oldest, on_conflict
from sinks.history.tables import META, MINUTE, NAME, PROJECT, SCHEMA, TABLES, Table

MIN_SERVER = 120_000
"""The oldest supported server: 12."""
WRITE_S = 60.0
"""A statement that writes is ended after this time."""
MAX_NUMBERS = 200_000
"""Numbers of names that are kept in memory."""
HOLD_S = 1.0
"""The lock of another process is waited for so long."""
MIN_SECRET = 4
"""Shorter passwords are not searched for in messages: they are a part of many words."""
_SESSION = (
    "SET client_encoding = 'UTF8'; SET lock_timeout = '5s'; SET client_min_messages = warning;"
    " SET idle_in_transaction_session_timeout = '60s'"
)
# A dead line is noticed within about 25 s.
_LINE = {"connect_timeout": "5", "keepalives_idle": "10", "keepalives_interval": "5",
         "keepalives_count": "3", "tcp_user_timeout": "25000"}  # fmt: skip
_TYPES = {"integer": "int8", "real": "float8", "text": "text"}
_PARAMETER = re.compile(r"'[^']*'|::|:([a-z_]+)|%")
_REASONS = {
    "25006": "read_only", "40001": "locked", "40P01": "locked", "55P03": "locked", "53100": "full",
    "53200": "memory", "53300": "connections", "57014": "slow",
}  # fmt: skip
"""Errors after which the work is tried again, by SQLSTATE."""
_AWAY_CLASSES = ("08", "53", "57", "58")
_FOREIGN = "not of this project; name another database or schema in store.dsn"
_NEXT_NUMBER = "SELECT setval(pg_get_serial_sequence('name', 'id'), (SELECT max(id) FROM name))"
_LOCK = "hashtext(%s), hashtext(current_schema())"


class _Number(NumericLoader):
    """Sums and means of integers, as int or float: the same as in SQLite."""

    def load(self, data: bytes | bytearray | memoryview) -> Any:
        value = super().load(data)
        return int(value) if value == value.to_integral_value() else float(value)


class PostgresStore:
    """One open store on a PostgreSQL server.

    Parameters
    ----------
    dsn : str
        `postgresql://...`; the first schema of its search path is the store.
    read_only : bool
        Nothing is written, and the tables must exist.
    write_s : float
        Limit of a statement that writes (s).

    Raises
    ------
    HistoryError
        The DSN or the password is wrong, the server too old, or the schema foreign or newer.
    AwayError
        The server does not answer.
    """

    def __init__(self, dsn: str, *, read_only: bool = False, write_s: float = WRITE_S) -> None:
        if not is_postgres(dsn):
            raise HistoryError(f"store.dsn: expected {EXPECTED}")
        self._dsn, self._read_only, self._write_s = dsn, read_only, write_s
        self.shown = public_dsn(dsn)
        self._secrets = [text for text in secrets_of(dsn) if len(text) >= MIN_SECRET]
        # Names the process in the server's list of sessions, one store of it by the second part.
        self._own_name = f"lumen {os.getpid()} {secrets.token_hex(4)}"
        self._held = self._in_block = False
        self._limit_s: float | None = None
        self._numbers: dict[tuple[str, str], int] = {}
        self._filled: set[str] = set()
        self._session: psycopg.Connection[Row] | None = None
        try:
            with self._errors():
                self._connected()
                self._prepare()
        except BaseException:
            self.close()
            raise

    def hold(self) -> None:
        """Hold the store as its one writer until `close`.

        Raises
        ------
        HistoryError
            Another process holds it; its process id is named.
        """
        with self._errors():
            session = self._connected()
            if not self._locked(session):
                self._end_own(session)
                # The server notices the end of a killed process a little later.
                end = time.monotonic() + HOLD_S
                while not (locked := self._locked(session)) and time.monotonic() < end:
                    time.sleep(0.02)
                if not locked:
                    holder = next(iter(self._holders(session)), (0, "?"))[1]
                    named = holder.split()[1] if holder.startswith("lumen ") else holder
                    raise HistoryError(
                        f"{self.shown}: process {inert(named)} writes it; end that process first"
                    )
            self._held = True

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together, or none is."""
        with self._errors():
            session = self._connected()
            session.execute("BEGIN")
        self._in_block = True
        try:
            yield
            with self._errors():
                self._limit(session, self._write_s)
                if session.execute("COMMIT").statusmessage != "COMMIT":
                    raise HistoryError(f"{self.shown}: a statement of the transaction failed")
        except BaseException:
            self._numbers.clear()
            self._limit_s = None
            with suppress(psycopg.Error):
                session.rollback()
            raise
        finally:
            self._in_block = False
            self._filled.clear()

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows in the order of the table's columns; those of `minute` are added."""
        if not rows:
            return
        if self._in_block:
            with self._errors():
                self._write(table, rows)
        else:
            with self.transaction(), self._errors():
                self._write(table, rows)

    def _write(self, table: Table, rows: Sequence[Row]) -> None:
        assert self._session is not None
        self._limit(self._session, self._write_s)
        for batch in _batches(table, rows):
            with self._session.cursor() as cursor:
                self._copy(cursor, table, batch)
                cursor.execute(_from_new(table).encode())
                if table is NAME:  # the next number that the server gives is beyond those written
                    cursor.execute(_NEXT_NUMBER.encode())

    def _copy(self, cursor: psycopg.Cursor[Row], table: Table, rows: Sequence[Row]) -> None:
        """Fill the temporary table; each commit empties it."""
        if table.name in self._filled:
            cursor.execute(f"TRUNCATE new_{table.name}".encode())
        else:
            cursor.execute(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS new_{table.name} (LIKE {table.name})"
                " ON COMMIT DELETE ROWS".encode()
            )
        self._filled.add(table.name)
        copy_sql = f"COPY new_{table.name} FROM STDIN (FORMAT binary)".encode()
        with cursor.copy(copy_sql) as copy:
            copy.set_types([_TYPES[column.type] for column in table.columns])
            write_row = copy.write_row
            for row in rows:
                write_row(row)

    def numbers(self, kind: str, texts: Sequence[str]) -> dict[str, int]:
        """Return the numbers of names, new ones included."""
        known = self._numbers
        new = [text for text in dict.fromkeys(texts) if (kind, text) not in known]
        if new:
            if len(known) > MAX_NUMBERS:
                known.clear()
                new = list(dict.fromkeys(texts))
            with self._errors():
                session = self._connected()
                self._limit(session, self._write_s)
                find = "SELECT text, id FROM name WHERE kind = %s AND text = ANY(%s)"
                found: dict[str, int] = dict(session.execute(find, (kind, new)).fetchall())
                for text in (text for text in new if text not in found):
                    add = "INSERT INTO name (kind, text) VALUES (%s, %s) RETURNING text, id"
                    found.update(session.execute(add, (kind, text)).fetchall())
            known.update({(kind, text): found[text] for text in new})
        return {text: known[kind, text] for text in texts}

    def rows(
        self, sql: str, values: Mapping[str, Any] | None = None, limit_s: float = MAX_QUERY_S
    ) -> Iterator[Row]:
        """Return the rows of a query with parameters `:name`; `QueryEndedError` after `limit_s`.

        The result is held in memory.
        """
        with self._errors(in_query=True):
            session = self._connected()
            self._limit(session, limit_s)
            found = session.execute(_percent_form(sql).encode(), values or {}).fetchall()
        return iter(found)

    def delete(self, table: Table, before: float, limit: int) -> int:
        """Delete at most `limit` rows before a time, the oldest of a rig first."""
        deleted = 0
        with self._errors():
            session = self._connected()
            self._limit(session, self._write_s)
            sql = _percent_form(_delete(table)).encode()
            pairs: list[Row] = [(None, None)]
            if by_rig(table):
                pairs = session.execute("SELECT DISTINCT run, rig FROM place").fetchall()
            for run, rig in pairs:
                values = {"run": run, "rig": rig, "before": before, "limit": limit - deleted}
                if deleted < limit:
                    deleted += session.execute(sql, values).rowcount
        return deleted

    def drop(self, table: Table, run: int, rig: int, first: float, last: float) -> None:
        """Delete the rows of a run and rig from one time to another, both included."""
        values = {"run": run, "rig": rig, "first": first, "last": last}
        with self._errors():
            session = self._connected()
            self._limit(session, self._write_s)
            session.execute(_percent_form(drop(table)).encode(), values)

    def tidy(self) -> None:
        """Leave unused space to the server, whose own process reuses it."""

    def size(self) -> int:
        """Return the size of the tables and indexes (bytes)."""
        names = [table.name for table in TABLES]
        with self._errors():
            session = self._connected()
            sql = (
                "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
                " WHERE relnamespace = current_schema()::regnamespace AND relname = ANY(%s)"
            )
            (size,) = session.execute(sql, (names,)).fetchone() or (0,)
        return int(size)

    def close(self) -> None:
        """Close the connection and release the store."""
        if self._session is not None:
            if self._held:  # the server ends a session after its client
                with suppress(psycopg.Error):
                    self._session.execute("SELECT pg_advisory_unlock_all()")
            self._session.close()
        self._held = False

    def _connected(self) -> psycopg.Connection[Row]:
        """Return the session, a new one if the last was lost."""
        if self._session is not None and not self._session.closed:
            return self._session
        if self._in_block:
            raise AwayError(f"{self.shown}: the connection was lost in a transaction")
        self._limit_s = None
        self._numbers.clear()
        try:
            given = {key: str(value) for key, value in conninfo_to_dict(self._dsn).items()}
        except psycopg.ProgrammingError:  # its message would show the text of an unknown option
            raise HistoryError(f"{self.shown}: an option of the address is unknown") from None
        address = make_conninfo("", **_LINE | given | {"application_name": self._own_name})
        self._session = session = self._connect(address)
        session.adapters.register_loader("numeric", _Number)
        session.execute(_SESSION.encode())
        if self._read_only:
            session.execute("SET default_transaction_read_only = on")
        if self._held:
            self.hold()
        return session

    def _connect(self, address: str) -> psycopg.Connection[Row]:
        """Connect; `HistoryError` if a server that takes connections refuses this one twice."""
        for _ in range(2):
            try:
                return psycopg.connect(address, autocommit=True)
            except psycopg.OperationalError as error:
                text, last = self._public(str(error)), error
            # Messages are in the server's language; the answer to a ping is not.
            busy = "too many" in text or "remaining connection slots" in text
            if busy or PGconn.ping(address.encode()) != Ping.OK:
                raise last
        raise HistoryError(f"{self.shown}: {text}")

    def _limit(self, session: psycopg.Connection[Row], limit_s: float) -> None:
        if limit_s != self._limit_s:
            milliseconds = 0 if math.isinf(limit_s) else max(1, round(limit_s * 1000))
            session.execute(f"SET statement_timeout = {milliseconds}".encode())
            self._limit_s = limit_s

    def _locked(self, session: psycopg.Connection[Row]) -> bool:
        found = session.execute(f"SELECT pg_try_advisory_lock({_LOCK})".encode(), (PROJECT,))
        return bool((found.fetchone() or (False,))[0])

    def _holders(self, session: psycopg.Connection[Row]) -> list[Row]:
        """Return the server's process id and the name of the session that holds the store."""
        sql = (
            "SELECT a.pid, a.application_name FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
            " WHERE l.locktype = 'advisory' AND l.granted AND l.database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
            " AND (l.classid::bigint, l.objid::bigint) ="
            " (hashtext(%s) & 4294967295::bigint, hashtext(current_schema()) & 4294967295::bigint)"
        )
        return session.execute(sql.encode(), (PROJECT,)).fetchall()

    def _end_own(self, session: psycopg.Connection[Row]) -> None:
        """End an earlier session of this store that the server still takes for alive."""
        for pid, name in self._holders(session):
            if name == self._own_name:
                # With a wait for its end, which servers before 14 do not have.
                wait = ", 5000" if session.info.server_version >= 140_000 else ""
                session.execute(f"SELECT pg_terminate_backend({int(pid)}{wait})".encode())

    def _prepare(self) -> None:
        """Check the server; make the tables, or bring them to the current schema."""
        session = self._connected()
        if session.info.server_version < MIN_SERVER:
            version = session.info.parameter_status("server_version")
            raise HistoryError(
                f"{self.shown}: PostgreSQL {version}, expected {MIN_SERVER // 10_000} or later"
            )
        if (encoding := session.info.parameter_status("server_encoding")) != "UTF8":
            raise HistoryError(f"{self.shown}: encoding {encoding}, expected UTF8")
        if self._read_only:
            if not self._tables(session):
                raise NoStoreError(f"{self.shown}: there is no store yet")
            self._check_schema(session)
            return
        with self.transaction():
            session.execute(
                f"SELECT pg_advisory_xact_lock({_LOCK})".encode(), (f"{PROJECT} schema",)
            )
            if not self._tables(session):
                for statement in created(POSTGRES):
                    session.execute(statement.encode())
                self.write(META, [("project", PROJECT), ("schema", str(SCHEMA))])
            for older in range(self._check_schema(session), SCHEMA):
                for statement in MIGRATIONS[older]:
                    session.execute(statement.encode())
            self.write(META, [("schema", str(SCHEMA)), ("version", versions()["lumen"] or "")])

    def _tables(self, session: psycopg.Connection[Row]) -> set[str]:
        """Return the tables and views of the schema, without those of extensions."""
        if not session.execute("SELECT current_schema()").fetchone()[0]:  # type: ignore[index]
            raise HistoryError(f"{self.shown}: the search path has no schema that exists")
        sql = (
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS"
            " (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')"
        )
        return {name for (name,) in session.execute(sql).fetchall()}

    def _check_schema(self, session: psycopg.Connection[Row]) -> int:
        """Return the version of the tables, at most the current one."""
        meta: dict[str, str] = {}
        if META.name in self._tables(session):
            try:
                meta = dict(session.execute("SELECT key, value FROM meta").fetchall())
            except psycopg.ProgrammingError:
                raise HistoryError(f"{self.shown}: {_FOREIGN}") from None
        schema = meta.get("schema", "")
        if meta.get("project") != PROJECT or not re.fullmatch(r"\d{1,6}", schema):
            raise HistoryError(f"{self.shown}: {_FOREIGN}")
        if int(schema) > SCHEMA:
            raise HistoryError(
                f"{self.shown}: schema {schema} of version {meta.get('version') or '?'} is newer"
                f" than {SCHEMA}; install that version"
            )
        return int(schema)

    @contextmanager
    def _errors(self, in_query: bool = False) -> Iterator[None]:
        """Raise errors of the driver as those of a back end, without the password."""
        try:
            yield
        except psycopg.Error as error:
            code = error.sqlstate or ""
            if in_query and code == "57014":
                raise QueryEndedError(f"{self.shown}: the query took too long") from None
            text = self._public(error.diag.message_primary or str(error))
            if code in _REASONS:
                raise AwayError(f"{self.shown}: {text}", _REASONS[code]) from None
            lost = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            if code.startswith(_AWAY_CLASSES) or (lost and not code):
                raise AwayError(f"{self.shown}: {text}") from None
            raise HistoryError(f"{self.shown}: {text}") from None

    def _public(self, text: str) -> str:
        """Return a message in one line, without the forms of the password."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return inert(" ".join(text.split()))


@cache
def _key_of(table: Table) -> itemgetter[Any]:
    names = [column.name for column in table.columns]
    return itemgetter(*(names.index(name) for name in table.key))


def _batches(table: Table, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Yield rows in batches with no key twice, so that one statement can write each.

    The last row of a key stays. Of `minute`, all rows count, in their order.
    """
    key = _key_of(table)
    by_key = dict(zip(map(key, rows), rows, strict=True))
    if len(by_key) == len(rows):
        yield rows
        return
    if table is not MINUTE:
        yield list(by_key.values())
        return
    left: Sequence[Row] = rows
    while left:
        first: dict[Any, Row] = {}
        later = [row for row in left if first.setdefault(key(row), row) is not row]
        yield list(first.values())
        left = later


@cache
def _from_new(table: Table) -> str:
    """Return the statement that inserts the rows of the temporary table."""
    names = ", ".join(column.name for column in table.columns)
    conflict = on_conflict(table, POSTGRES)
    return f"INSERT INTO {table.name} ({names}) SELECT {names} FROM new_{table.name} {conflict}"


@cache
def _delete(table: Table) -> str:
    """Return the statement that deletes the oldest rows by their places, which is one scan."""
    return f"DELETE FROM {table.name} WHERE ctid = ANY(ARRAY(SELECT ctid {oldest(table)}))"


@cache
def _percent_form(sql: str) -> str:
    """Return a statement with parameters `%(name)s` for `:name`."""

    def changed(found: re.Match[str]) -> str:
        if found[1]:
            return f"%({found[1]})s"
        return found[0].replace("%", "%%")

    return _PARAMETER.sub(changed, sql)
