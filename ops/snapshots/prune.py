"""The choice of snapshots to delete; it depends on the names alone, not on the clock."""

from __future__ import annotations

from collections.abc import Sequence

from sinks.snapshots.names import SnapshotName


def kept_names(names: Sequence[SnapshotName], keep: int, daily: int) -> set[SnapshotName]:
    """Return the newest `keep` names, and the last one of each of the newest `daily` days (UTC).

    Parameters
    ----------
    names : sequence of SnapshotName
        All of one kind.
    keep, daily : int
        At least 0.
    """
    newest = sorted(names, reverse=True)
    last_of_day: dict[object, SnapshotName] = {}
    for name in newest:
        last_of_day.setdefault(name.time.date(), name)
    return {*newest[:keep], *list(last_of_day.values())[:daily]}


def deleted_names(
    names: Sequence[SnapshotName], sound: SnapshotName | None, keep: int, daily: int
) -> list[SnapshotName]:
    """Return the names to delete, oldest first.

    Parameters
    ----------
    names : sequence of SnapshotName
        All of one kind.
    sound : SnapshotName or None
        The newest one that passed its check now: it stays. None: all stay.
    keep, daily : int
        As `kept_names`.
    """
    if sound is None:
        return []
    return sorted(set(names) - kept_names(names, keep, daily) - {sound})
