"""A new snapshot: copied under a hidden name, checked, hashed, named last."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ops.snapshots.audit import AuditEntry
from ops.snapshots.faults import SnapshotFailedError
from ops.snapshots.snapshot_folder import SnapshotFolder, remove
from sinks.snapshots.names import Kind, SnapshotName

Copy = Callable[[Path], str | None]
"""Writes a copy to a path and checks it; returns the problem of the copy."""


class Taken(NamedTuple):
    """A new snapshot; `clock` if the newest one is in the future of this clock."""

    name: SnapshotName
    bytes: int
    hash: str
    clock: SnapshotName | None


def take(folder: SnapshotFolder, kind: Kind, copy: Copy, entry: AuditEntry) -> Taken:
    """Take a snapshot.

    Parameters
    ----------
    folder : SnapshotFolder
    kind : str
    copy : callable
    entry : AuditEntry
        Name and hash are entered.

    Raises
    ------
    SnapshotFailedError
        The copy failed its check, and is kept under `.bad`.
    SnapshotError
        Another command works in the folder.
    """
    with folder.hold():
        name = folder.new(kind, datetime.now(UTC))
        entry.name = str(name)
        draft = folder.draft(name)
        try:
            if problem := copy(draft):
                bad = folder.put_aside(name)
                raise SnapshotFailedError(f"the snapshot failed its check: {problem}; see {bad}")
            entry.hash = folder.finish(name)
        finally:
            remove(draft)
        size = folder.path(name).stat().st_size
        newest = folder.names(kind)[-1]
        return Taken(name, size, entry.hash, newest if newest > name else None)
