"""Opens the store of a DSN."""

from __future__ import annotations

from pathlib import Path

from sinks.history.back_end import BackEnd, HistoryError


def opened(dsn: str, *, read_only: bool = False, folder: Path | None = None) -> BackEnd:
    """Open a store; a writer makes or migrates its tables first.

    Parameters
    ----------
    dsn : str
        `sqlite:PATH` or `postgresql://...`.
    read_only : bool
        Nothing is written; a store that does not exist is a `HistoryError`.
    folder : Path, optional
        Folder of relative paths; the working folder by default.

    Raises
    ------
    HistoryError
        The store is of another project or a newer version, damaged, or has no driver installed.
    AwayError
        The server does not answer.
    """
    if dsn.startswith("sqlite:"):
        from sinks.history.sqlite_store import SqliteStore

        return SqliteStore((folder or Path()) / dsn.removeprefix("sqlite:"), read_only=read_only)
    raise HistoryError("store.dsn: PostgreSQL is not part of this version; use sqlite:PATH")
