"""A history with ticks, its snapshots, and commands on them in this process."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ops.__main__ import main
from ops.snapshots.snapshot_folder import SnapshotFolder
from sinks.history.sqlite_store import SqliteStore
from sinks.history.tables import TICK

NULLS = (None,) * 7


class SnapshotScene:
    """A folder with a history.

    Parameters
    ----------
    root : Path
    """

    def __init__(self, root: Path) -> None:
        self.store = root / "history" / "history.sqlite"
        self.snapshots = SnapshotFolder(self.store.parent / "snapshots")

    def add(self, first: int, last: int) -> None:
        """Add ticks."""
        store = SqliteStore(self.store)
        add_ticks(store, first, last)
        store.close()

    def lumen(self, *arguments: object) -> int:
        """Run a command on the store; return its exit code."""
        try:
            return main([*map(str, arguments), "--store", f"sqlite:{self.store}"])
        except SystemExit as end:
            return int(end.code or 0)

    def taken(self) -> str:
        """Take a snapshot; return its name."""
        assert self.lumen("snapshot") == 0
        return str(self.snapshots.names()[-1])


def add_ticks(store: SqliteStore, first: int, last: int) -> None:
    """Add ticks to an open store."""
    rows = [(1, 2, float(ts), ts + 1.0, "fused", 3, *NULLS) for ts in range(first, last)]
    with store.transaction():
        store.write(TICK, rows)


def ticks(path: Path) -> int:
    """Return the number of ticks of a sound store."""
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base:
        assert base.execute("PRAGMA quick_check").fetchone() == ("ok",)
        return int(base.execute("SELECT count(*) FROM tick").fetchone()[0])
