"""The list of snapshots in a folder, as their names and hash files state it; nothing is hashed."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from configs.files import read_own
from sinks.snapshots.names import BAD, HASH, SnapshotName, parsed

_MAX_HASH = 4096


class ListedSnapshot(NamedTuple):
    """One snapshot.

    Attributes
    ----------
    name : str
        Name of the file.
    ts : float
        When it was taken (s since the epoch).
    bytes : int
        Size.
    sha256 : str or None
        The recorded hash; None without one.
    checked : bool
        It passed its check when it was taken.
    """

    name: str
    ts: float
    bytes: int
    sha256: str | None
    checked: bool


def listed(folder: Path) -> list[ListedSnapshot]:
    """Return all snapshots, newest first; a folder that is missing has none."""
    found: list[tuple[SnapshotName, ListedSnapshot]] = []
    with suppress(OSError):
        for path in folder.iterdir():
            name = parsed(path.name.removesuffix(BAD))
            if name is None or path.is_symlink() or not path.is_file():
                continue
            with suppress(OSError):  # pruned meanwhile
                sha256 = recorded_hash(path)
                checked = sha256 is not None and path.name == str(name)
                size = path.stat().st_size
                found.append((name, ListedSnapshot(path.name, name.ts, size, sha256, checked)))
    return [each for _, each in sorted(found, key=lambda pair: pair[0], reverse=True)]


def recorded_hash(snapshot: Path) -> str | None:
    """Return the hash in the file beside a snapshot, None if there is none of this snapshot."""
    with suppress(OSError, UnicodeDecodeError):
        text = read_own(snapshot.with_name(snapshot.name + HASH), _MAX_HASH).decode("ascii")
        if found := re.fullmatch(r"([0-9a-f]{64})  (\S+)\n", text):
            return found[1] if found[2] == snapshot.name else None
    return None
