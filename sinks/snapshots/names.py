"""Names of snapshots: `20261121T120000Z.sqlite`, with the time in UTC and the kind as the ending.

Beside each lies its hash file, `<name>.sha256`, in the form of `sha256sum`. A snapshot that failed
its check has `.bad` behind its name. A name with a leading dot is unfinished.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal, NamedTuple

Kind = Literal["sqlite", "dump", "recovery.tar"]
"""SQLite file; archive of `pg_dump -Fc`; the parts of a recovery store."""

SNAPSHOTS = "snapshots"
"""Folder beside the store."""
RECOVERY: Kind = "recovery.tar"
HASH, BAD, PART = ".sha256", ".bad", ".part"
AUDIT = "audit.jsonl"
_FORM = "%Y%m%dT%H%M%SZ"
_NAME = re.compile(r"(\d{8}T\d{6}Z)\.(sqlite|dump|recovery\.tar)")


class SnapshotName(NamedTuple):
    """Time, to the second, and kind of a snapshot; names of one kind sort by time."""

    time: datetime
    kind: Kind

    def __str__(self) -> str:
        return f"{self.time.strftime(_FORM)}.{self.kind}"

    @property
    def ts(self) -> float:
        """Seconds since the epoch."""
        return self.time.timestamp()


def parsed(text: str) -> SnapshotName | None:
    """Return the name in a text, None if it is no name of a snapshot."""
    found = _NAME.fullmatch(text)
    if found is None:
        return None
    try:
        time = datetime.strptime(found[1], _FORM).replace(tzinfo=UTC)
    except ValueError:  # the 31st of February
        return None
    name = SnapshotName(time, found[2])  # type: ignore[arg-type]
    return name if str(name) == text else None


def new_name(taken: Iterable[str], kind: Kind, now: datetime) -> SnapshotName:
    """Return the first name from `now` on that is not taken."""
    used = set(taken)
    name = SnapshotName(now.astimezone(UTC).replace(microsecond=0), kind)
    while str(name) in used or f"{name}{BAD}" in used:
        name = SnapshotName(name.time + timedelta(seconds=1), kind)
    return name
