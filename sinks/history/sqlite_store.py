"""The history in SQLite: one file in WAL mode, so that readers never hold up the writer."""

from __future__ import annotations

import math
import os
import re
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from configs.files import LinkError, open_own
from sinks.files.run_json import versions
from sinks.history.back_end import MAX_QUERY_S, AwayError, HistoryError, QueryEndedError, Row
from sinks.history.sql import MIGRATIONS, SQLITE, created, delete, drop, insert
from sinks.history.tables import META, PROJECT, SCHEMA, Table

if sys.platform != "win32":
    import fcntl

BUSY_S = 5.0
"""A locked database is waited for so long."""
MAX_NUMBERS = 200_000
"""Numbers of names that are kept in memory."""
_CHUNK = 256
_STEPS = 10_000
"""Instructions of the database between two looks at the time."""
_FREE = 0.25
"""Share of unused pages from which on they are returned to the disk."""
_TIDY_PAGES = 500
LOG_ENDINGS = ("-wal", "-shm")
"""Endings of the files that SQLite keeps beside an open store."""
_NO_FILE = "not a plain file; name another in store.dsn"
_FOREIGN = "not of this project; name another file in store.dsn"
_DAMAGED = "damaged, or no SQLite file; restore a snapshot, or move it away and rebuild the store"
_REASONS = {
    sqlite3.SQLITE_BUSY: "locked",
    sqlite3.SQLITE_LOCKED: "locked",
    sqlite3.SQLITE_FULL: "full",
    sqlite3.SQLITE_IOERR: "disk",
    sqlite3.SQLITE_CANTOPEN: "disk",
    sqlite3.SQLITE_READONLY: "read_only",
    sqlite3.SQLITE_PROTOCOL: "locked",
    sqlite3.SQLITE_NOMEM: "memory",
}


def held(path: Path) -> int:
    """Return the lock of a store as a descriptor, which holds it until it is closed.

    Raises
    ------
    HistoryError
        Another process holds it; its process id is named.
    """
    name = path.with_name(path.name + ".lock")
    try:
        lock = open_own(name, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        raise HistoryError(f"{name}: {error.strerror}") from error
    if sys.platform != "win32":
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 64, 0).strip().decode("ascii", "replace")
            os.close(lock)
            raise HistoryError(
                f"{path}: process {holder or '?'} writes it; end that process first"
            ) from error
    os.truncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return lock


class SqliteStore:
    """One open SQLite file.

    Parameters
    ----------
    path : Path
    read_only : bool
        Nothing is written, and the file must exist.
    busy_s : float
        A locked database is waited for so long (s).

    Raises
    ------
    HistoryError
        The file is foreign, newer, damaged, a link, or may not be written.
    AwayError
        It is locked, or the disk fails.
    """

    def __init__(self, path: Path, *, read_only: bool = False, busy_s: float = BUSY_S) -> None:
        self.path, self._read_only = path, read_only
        self._lock: int | None = None
        self._numbers: dict[tuple[str, str], int] = {}
        self._deadline = math.inf
        self._check_file()
        mode = "ro" if read_only else "rw"
        with self._errors():
            self._base = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                timeout=busy_s,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self._errors():
                self._prepare()
        except BaseException:
            self._base.close()
            raise
        self._base.set_progress_handler(self._is_over, _STEPS)

    def hold(self) -> None:
        """Hold the store as its one writer until `close`.

        Raises
        ------
        HistoryError
            Another process holds it; its process id is named.
        """
        self._lock = held(self.path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All writes inside are kept together, or none is."""
        with self._errors():
            self._check_place()
            self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._errors():
                self._base.execute("COMMIT")
        except BaseException:
            self._numbers.clear()
            with suppress(sqlite3.Error):
                self._base.execute("ROLLBACK")
            raise

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows in the order of the table's columns; those of `minute` are added."""
        with self._errors():
            self._base.executemany(insert(table, SQLITE), rows)

    def numbers(self, kind: str, texts: Sequence[str]) -> dict[str, int]:
        """Return the numbers of names, new ones included."""
        if len(self._numbers) > MAX_NUMBERS:
            self._numbers.clear()
        known = self._numbers
        with self._errors():
            for text in texts:
                if (kind, text) not in known:
                    known[kind, text] = self._number(kind, text)
        return {text: known[kind, text] for text in texts}

    def _number(self, kind: str, text: str) -> int:
        values = (kind, text)
        select = "SELECT id FROM name WHERE kind = ? AND text = ?"
        found = self._base.execute(select, values).fetchone()
        if found is None:
            new = "INSERT INTO name (kind, text) VALUES (?, ?) RETURNING id"
            found = self._base.execute(new, values).fetchone()
        return int(found[0])

    def rows(
        self, sql: str, values: Mapping[str, Any] | None = None, limit_s: float = MAX_QUERY_S
    ) -> Iterator[Row]:
        """Return the rows of a query with parameters `:name`; `QueryEndedError` after `limit_s`."""
        deadline = time.monotonic() + limit_s
        with self._until(deadline):
            cursor = self._base.execute(sql, values or {})
        while True:
            with self._until(deadline):
                rows = cursor.fetchmany(_CHUNK)
            if not rows:
                return
            yield from rows

    def delete(self, table: Table, before: float, limit: int) -> int:
        """Delete at most `limit` rows before a time, the oldest of a rig first."""
        sql, deleted = delete(table), 0
        with self._errors():
            pairs: list[tuple[Any, Any]] = [(None, None)]
            if ":run" in sql:
                pairs = self._base.execute("SELECT DISTINCT run, rig FROM place").fetchall()
            for run, rig in pairs:
                values = {"run": run, "rig": rig, "before": before, "limit": limit - deleted}
                if values["limit"] > 0:
                    deleted += self._base.execute(sql, values).rowcount
        return deleted

    def drop(self, table: Table, run: int, rig: int, first: float, last: float) -> None:
        """Delete the rows of a run and rig from one time to another, both included."""
        values = {"run": run, "rig": rig, "first": first, "last": last}
        with self._errors():
            self._base.execute(drop(table), values)

    def tidy(self) -> None:
        """Return unused pages to the disk, a small step, if they are many."""
        with self._errors():
            free, pages = self._pragma("freelist_count"), self._pragma("page_count")
            if free > _FREE * pages:
                self._base.execute(f"PRAGMA incremental_vacuum({_TIDY_PAGES})").fetchall()

    def size(self) -> int:
        """Return the size of the file and its log (bytes)."""
        total = 0
        for path in (self.path, self.path.with_name(self.path.name + "-wal")):
            with suppress(FileNotFoundError):
                total += path.stat().st_size
        return total

    def close(self) -> None:
        """Close the file and release it."""
        with suppress(sqlite3.Error):
            self._base.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _check_file(self) -> None:
        """Make the file with private rights, or refuse one that is no plain file."""
        try:
            if not self._read_only:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    os.close(open_own(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL))
            # The file is not opened here: closing it would release the locks of this process.
            found = self.path.lstat()
        except FileNotFoundError:
            raise HistoryError(f"{self.path}: there is no store yet") from None
        except LinkError as error:
            raise HistoryError(f"{self.path}: {_NO_FILE}") from error
        except OSError as error:
            raise AwayError(f"{self.path}: {error.strerror}", "disk") from error
        if not stat.S_ISREG(found.st_mode):
            raise HistoryError(f"{self.path}: {_NO_FILE}")
        if not os.access(self.path, os.R_OK if self._read_only else os.R_OK | os.W_OK):
            raise HistoryError(f"{self.path}: this user may not write it; see to its rights")
        self._place = found.st_dev, found.st_ino

    def _check_place(self) -> None:
        """Raise an error if the file was moved or replaced since it was opened."""
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._place:
                return
        raise AwayError(f"{self.path}: moved or replaced by another program", "replaced")

    def _prepare(self) -> None:
        base = self._base
        base.execute("PRAGMA trusted_schema = OFF")
        if self._read_only:
            base.execute("PRAGMA query_only = ON")
            self._check_schema()
            return
        if not self._pragma("page_count"):
            base.execute("PRAGMA auto_vacuum = INCREMENTAL")
        base.execute("PRAGMA journal_mode = WAL").fetchall()
        base.execute("PRAGMA synchronous = FULL")  # the files behind a place may be deleted
        base.execute(f"PRAGMA journal_size_limit = {64 << 20}")
        base.execute("PRAGMA cache_size = -16384")
        with self.transaction():
            if not self._tables():
                for statement in created(SQLITE):
                    base.execute(statement)
                self.write(META, [("project", PROJECT), ("schema", str(SCHEMA))])
            older = self._check_schema()
        if older < SCHEMA:
            self._migrate(older)
        version = versions()["lumen"] or ""
        if self._meta().get("version") != version:
            self.write(META, [("version", version)])

    def _migrate(self, older: int) -> None:
        """Copy the store aside, then bring it to the current schema in one transaction."""
        with sqlite3.connect(self.path.with_name(f"{self.path.name}.schema-{older}")) as aside:
            self._base.backup(aside)
        aside.close()
        with self.transaction():
            for version in range(older, SCHEMA):
                for statement in MIGRATIONS[version]:
                    self._base.execute(statement)
            self.write(META, [("schema", str(SCHEMA))])

    def _tables(self) -> set[str]:
        return {name for (name,) in self._base.execute("SELECT name FROM sqlite_master")}

    def _meta(self) -> dict[str, str]:
        return dict(self._base.execute("SELECT key, value FROM meta"))

    def _check_schema(self) -> int:
        """Return the version of the tables, at most the current one."""
        meta = self._meta() if META.name in self._tables() else {}
        schema = meta.get("schema", "")
        if meta.get("project") != PROJECT or not re.fullmatch(r"\d{1,6}", schema):
            raise HistoryError(f"{self.path}: {_FOREIGN}")
        if int(schema) > SCHEMA:
            raise HistoryError(
                f"{self.path}: schema {schema} of version {meta.get('version') or '?'} is newer"
                f" than {SCHEMA}; install that version"
            )
        return int(schema)

    def _pragma(self, name: str) -> int:
        return int(self._base.execute(f"PRAGMA {name}").fetchone()[0])

    def _is_over(self) -> bool:
        return time.monotonic() > self._deadline

    @contextmanager
    def _until(self, deadline: float) -> Iterator[None]:
        self._deadline = deadline
        try:
            with self._errors():
                yield
        finally:
            self._deadline = math.inf

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise errors of SQLite as those of a back end."""
        try:
            yield
        except sqlite3.Error as error:
            # An extended code has its primary code in the lowest byte.
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code == sqlite3.SQLITE_INTERRUPT:
                raise QueryEndedError(f"{self.path}: the query took too long") from error
            if code in _REASONS:
                raise AwayError(f"{self.path}: {error}", _REASONS[code]) from error
            if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                raise HistoryError(f"{self.path}: {_DAMAGED}") from error
            raise HistoryError(f"{self.path}: {error}") from error
