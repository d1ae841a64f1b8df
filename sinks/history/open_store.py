"""Opens the store of a DSN."""

from __future__ import annotations

from pathlib import Path

from configs.dsn import public_dsn
from sinks.history.back_end import BackEnd, HistoryError
from sinks.history.migration import state_of


def opened(
    dsn: str, *, read_only: bool = False, folder: Path | None = None, unfinished: bool = False
) -> BackEnd:
    """Open a store; a writer makes or migrates its tables first.

    Parameters
    ----------
    dsn : str
        `sqlite:PATH` or `postgresql://...`.
    read_only : bool
        Nothing is written; a store that does not exist is a `NoStoreError`.
    folder : Path, optional
        Folder of relative paths; the working folder by default.
    unfinished : bool
        Accept a store into which another is being copied.

    Raises
    ------
    HistoryError
        The store is of another project or a newer version, damaged, not complete, or has no driver
        installed.
    AwayError
        The server does not answer.
    """
    store = _opened(dsn, read_only, folder or Path())
    try:
        if unfinished or state_of(store) is None:
            return store
    except BaseException:
        store.close()
        raise
    store.close()
    remedy = "`lumen store migrate` goes on with it"
    raise HistoryError(f"{public_dsn(dsn)}: the copy into this store is not complete; {remedy}")


def _opened(dsn: str, read_only: bool, folder: Path) -> BackEnd:
    if dsn.startswith("sqlite:"):
        from sinks.history.sqlite_store import SqliteStore

        return SqliteStore(folder / dsn.removeprefix("sqlite:"), read_only=read_only)
    try:
        from sinks.history.postgres_store import PostgresStore
    except ImportError:
        raise HistoryError(
            "store.dsn: postgresql needs pip install 'lumen-fusion[postgres]'"
        ) from None
    return PostgresStore(dsn, read_only=read_only)
