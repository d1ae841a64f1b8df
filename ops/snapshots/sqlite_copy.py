"""Online copy of a history in SQLite, and the check of such a copy.

The copy and the row counts are taken in one read transaction: both show one moment of the store,
and no write of the follower begins the copy anew. Readers never hold up the writer in WAL mode; its
log grows meanwhile.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from configs.files import open_own
from ops.snapshots.faults import SnapshotFailedError
from ops.snapshots.snapshot_folder import remove
from sinks.history.open_store import opened
from sinks.history.tables import PROJECT, SCHEMA, TABLES

PAGES = 2048
"""Pages of one step of a copy."""
BUSY_S = 5.0
Counts = dict[str, int]
"""Rows by table."""


def copy_of_sqlite(store: Path, draft: Path) -> tuple[Counts, str | None]:
    """Copy a store while it is written.

    Parameters
    ----------
    store : Path
    draft : Path
        New file, in one piece: without a log beside it.

    Returns
    -------
    counts : dict
        Rows by table.
    problem : str or None
        Result of the check of the copy.

    Raises
    ------
    HistoryError
        The store is missing, foreign, or of a newer version.
    sqlite3.Error, OSError
        It is locked, or the disk is full.
    """
    opened(f"sqlite:{store}", read_only=True).close()  # refuses a foreign one
    remove(draft)
    os.close(open_own(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL))
    with closing(_connected(store, "ro")) as source, closing(_connected(draft, "rw")) as target:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        target.execute("PRAGMA journal_mode = OFF").fetchone()
        target.execute("PRAGMA synchronous = OFF")
        source.backup(target, pages=PAGES)
        target.execute("PRAGMA journal_mode = DELETE").fetchone()
        try:
            counts = counts_of(source)
        except sqlite3.DatabaseError as error:
            return {}, f"the store itself is damaged: {error}"
    return counts, problem_of(draft, counts)


def problem_of(path: Path, counts: Counts | None = None) -> str | None:
    """Return the first problem of a copy: damaged, foreign, newer, or other counts of rows."""
    try:
        with closing(_connected(path, "ro&immutable=1")) as base:
            found = base.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                return f"damaged: {found}".replace("\n", " ")
            meta = dict(base.execute("SELECT key, value FROM meta"))
            if meta.get("project") != PROJECT:
                return "of another project"
            if int(meta["schema"]) > SCHEMA:
                return f"schema {int(meta['schema'])} is newer than {SCHEMA}; install that version"
            if counts is not None and counts_of(base) != counts:
                return "other numbers of rows than the store"
    except sqlite3.OperationalError as error:
        return "of another project" if "no such table" in str(error) else f"damaged: {error}"
    except (sqlite3.Error, ValueError, KeyError, OverflowError) as error:
        return f"damaged: {error}"
    return None


def refuse_unsound(path: Path, name: str) -> None:
    """Raise an error if a copy has a problem."""
    if problem := problem_of(path):
        raise SnapshotFailedError(f"{name}: {problem}")


def counts_of(base: sqlite3.Connection) -> Counts:
    """Return the rows of each table."""
    return {
        table.name: int(base.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])
        for table in TABLES
    }


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    base = sqlite3.connect(uri, uri=True, timeout=BUSY_S, isolation_level=None)
    base.execute("PRAGMA trusted_schema = OFF")
    return base
