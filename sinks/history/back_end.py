"""A database of the history: SQLite or PostgreSQL behind one interface.

Statements of questions have parameters `:name`; their SQL is the common part of both dialects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from operators.errors import InUseError, LumenError
from sinks.history.tables import Table

Row = tuple[Any, ...]
MAX_QUERY_S = 2.0
"""A query is ended after this time."""


class HistoryError(InUseError):
    """A history store that cannot be used: foreign, newer, damaged, or held by another process."""


class AwayError(LumenError):
    """The database does not answer now, or is locked; the work is tried again.

    Parameters
    ----------
    text : str
    reason : str
        A word for the count of errors.
    """

    def __init__(self, text: str, reason: str = "away") -> None:
        self.reason = reason
        super().__init__(text)


class QueryEndedError(LumenError):
    """A query lasted longer than its limit."""


class BackEnd(Protocol):
    """One open store.

    Every method raises `AwayError` where the database is away, and `HistoryError` where it cannot
    be used at all.
    """

    def hold(self) -> None:
        """Hold the store as its one writer until `close`.

        Raises
        ------
        HistoryError
            Another process holds it; its process id is named.
        """

    def transaction(self) -> AbstractContextManager[None]:
        """All writes inside are kept together, or none is."""

    def write(self, table: Table, rows: Sequence[Row]) -> None:
        """Write rows in the order of the table's columns; the last row of a key stays.

        Rows of `MINUTE` are added to those of their key.
        """

    def numbers(self, kind: str, texts: Sequence[str]) -> dict[str, int]:
        """Return the numbers of names, new ones included."""

    def rows(
        self, sql: str, values: Mapping[str, Any] | None = None, limit_s: float = MAX_QUERY_S
    ) -> Iterator[Row]:
        """Return the rows of a query with parameters `:name`; `QueryEndedError` after `limit_s`."""

    def delete(self, table: Table, before: float, limit: int) -> int:
        """Delete at most `limit` rows before a time, the oldest of a rig first.

        Returns
        -------
        int
            Number of deleted rows.
        """

    def drop(self, table: Table, run: int, rig: int, first: float, last: float) -> None:
        """Delete the rows of a run and rig from one time to another, both included."""

    def tidy(self) -> None:
        """Return unused space to the disk, a small step, while nothing is to be written."""

    def size(self) -> int:
        """Return the size of the store (bytes)."""

    def close(self) -> None:
        """Close the connection."""
