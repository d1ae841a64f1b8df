"""Connections that read the history: opened at the first query, used by one thread at a time.

State: one connection for each thread that queries at the same time. A connection that failed is
closed; so is one whose file was replaced, as by `lumen restore`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sinks.history.back_end import BackEnd, QueryEndedError
from sinks.history.open_store import opened

_Identity = tuple[int, int] | None


class ReaderPool:
    """Connections to one store.

    Parameters
    ----------
    dsn : str
    """

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._file = Path(dsn.removeprefix("sqlite:")) if dsn.startswith("sqlite:") else None
        self._lock = threading.Lock()
        self._free: list[tuple[_Identity, BackEnd]] = []

    @contextmanager
    def reader(self) -> Iterator[BackEnd]:
        """Lend a connection.

        Raises
        ------
        HistoryError
            There is no store, or it cannot be used.
        AwayError
            The database does not answer.
        """
        identity = self._identity()
        store = self._taken(identity)
        if store is None:
            store = opened(self._dsn, read_only=True)
        try:
            yield store
        except QueryEndedError:
            self._give_back(identity, store)
            raise
        except BaseException:
            store.close()
            raise
        self._give_back(identity, store)

    def close(self) -> None:
        """Close the connections that are not lent."""
        with self._lock:
            free, self._free = self._free, []
        for _, store in free:
            store.close()

    def _taken(self, identity: _Identity) -> BackEnd | None:
        with self._lock:
            old = [store for known, store in self._free if known != identity]
            self._free = [pair for pair in self._free if pair[0] == identity]
            found = self._free.pop()[1] if self._free else None
        for store in old:
            store.close()
        return found

    def _give_back(self, identity: _Identity, store: BackEnd) -> None:
        with self._lock:
            self._free.append((identity, store))

    def _identity(self) -> _Identity:
        """Return device and inode of the store's file; None for a server or a missing file."""
        if self._file is not None:
            with suppress(OSError):
                found = self._file.stat()
                return found.st_dev, found.st_ino
        return None
