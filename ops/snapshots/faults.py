"""Errors of snapshots: a refused request exits 2, a failed one exits 1."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from operators.errors import ToolError


class SnapshotError(ToolError):
    """A request that is refused; nothing has been changed."""


class SnapshotFailedError(SnapshotError):
    """A request that failed on the way: a full disk, a damaged file, a failed check."""

    exit_code = 1


@contextmanager
def of_disk() -> Iterator[None]:
    """Raise errors of the disk and of SQLite as a `SnapshotFailedError` of one line."""
    try:
        yield
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        raise SnapshotFailedError(f"{place}{error.strerror or error}") from error
    except sqlite3.Error as error:
        raise SnapshotFailedError(str(error)) from error
