"""Drills of restores, read from the lines of `audit.jsonl` beside the snapshots."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from configs.files import open_file
from sinks.snapshots.names import AUDIT

DRILL = "drill"
MAX_BYTES = 4 << 20
"""Only so much of the end of the file is read: about 15,000 lines."""


class Drill(msgspec.Struct, frozen=True):
    """One drill: when it ended (s since the epoch), its length (s), and `ok` or `failed`."""

    ts: float
    command: str
    seconds: float
    result: str


class DrillRecord(NamedTuple):
    """Figures of drills.

    Attributes
    ----------
    last_s, longest_s : float or None
        Length of the newest drill and of the longest one that succeeded (s).
    results : dict of str to int
        Number of drills by result.
    """

    last_s: float | None
    longest_s: float | None
    results: dict[str, int]


def drills(folder: Path, since: float = 0.0) -> list[Drill]:
    """Return the drills of a folder of snapshots, in the order of the file.

    Parameters
    ----------
    folder : Path
    since : float
        Drills before this time are left out (s since the epoch).

    Notes
    -----
    Only whole lines count; lines that cannot be read are left out.
    """
    data = b""
    with suppress(OSError), open_file(folder / AUDIT, os.O_RDONLY) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - MAX_BYTES, 0))
        data = file.read(MAX_BYTES)
    found = []
    for line in data.rpartition(b"\n")[0].split(b"\n"):
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            drill = msgspec.json.decode(line, type=Drill)
            if drill.command == DRILL and drill.ts >= since:
                found.append(drill)
    return found


def record(found: Sequence[Drill]) -> DrillRecord:
    """Return the figures of drills."""
    sound = [drill.seconds for drill in found if drill.result == "ok"]
    return DrillRecord(
        sound[-1] if sound else None,
        max(sound, default=None),
        dict(Counter(drill.result for drill in found)),
    )
