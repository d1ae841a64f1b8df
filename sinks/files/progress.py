"""How far the files of a run are final, and how far the history has taken them in.

The run publishes the first in its output folder, the follower of the history the second. Both files
are replaced atomically, and neither process waits for the other.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

import msgspec

from configs.files import PRIVATE, Access, read_own, write_whole
from sinks.files.jsonl import Position

FINAL = ".lumen.final"
TAKEN = ".lumen.taken"
ASIDE = ".lumen.aside"
"""A `.lumen.final` while the files of its run are set aside."""
LATER = "taken-later"
NAMES = (FINAL, f"{FINAL}.tmp", TAKEN, f"{TAKEN}.tmp", ASIDE, LATER)
STEMS = ("fused", "sync", "evidence", "bridge", "dead")
"""Files that the history takes in."""
MAX_BYTES = 64 << 20
RUN_NAME = re.compile(r"[0-9A-Za-z-]{1,64}")
UNSOUND = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class RigFiles(msgspec.Struct):
    """The files of one rig: their folder below the output folder, and a position each."""

    folder: str
    files: dict[str, Position] = {}


class Final(msgspec.Struct):
    """How far the files of a run are final.

    Attributes
    ----------
    run : str
        Identifies the run.
    started : float
        Start of the run (s since the epoch).
    version : str
        Of the program.
    pid : int
        Of the writing process.
    whole : bool
        All whole lines are final; else those before the positions.
    lost : int
        Lines that were removed before they were taken in.
    rigs : dict
        Files by rig.
    readers : dict
        Files that each follower reads, by the name of its report.
    """

    run: str
    started: float
    version: str
    pid: int
    whole: bool
    lost: int
    rigs: dict[str, RigFiles]
    readers: dict[str, tuple[str, ...]] = msgspec.field(default_factory=lambda: {TAKEN: STEMS})

    def write(self, folder: Path, access: Access = PRIVATE) -> None:
        """Publish this in an output folder."""
        write_whole(folder / FINAL, msgspec.json.encode(self), access, durable=False)


class FilePlace(msgspec.Struct, frozen=True, order=True):
    """Taken in up to this byte of a segment; `lines` of the file in all."""

    segment: int = 0
    byte: int = 0
    lines: int = 0


class TakenIn(msgspec.Struct):
    """How far the history has taken a run in, and its counts since the start of the follower.

    Attributes
    ----------
    pid : int
        Of the follower.
    at : float
        When this was written (s, monotonic clock of the machine).
    up : bool
        The database answered.
    why : str
        Why it did not.
    run : str
        The run of `places`.
    places : dict
        Place by rig and file.
    released : float or None
        When the newest stored tick was released (s).
    size : int
        Size of the store (bytes).
    rows, errors : dict
        Rows by table; errors by reason.
    lost : int
        Lines that could not be taken in.
    """

    pid: int
    at: float
    up: bool = False
    why: str = ""
    run: str = ""
    places: dict[str, dict[str, FilePlace]] = {}
    released: float | None = None
    size: int = 0
    rows: dict[str, int] = {}
    errors: dict[str, int] = {}
    lost: int = 0

    def write(self, folder: Path, access: Access = PRIVATE) -> None:
        """Publish this in an output folder."""
        write_whole(folder / TAKEN, msgspec.json.encode(self), access, durable=False)


def final_of(folder: Path, name: str = FINAL) -> Final | None:
    """Return what a run has published; None where there is no sound file."""
    try:
        final = msgspec.json.decode(read_own(folder / name, MAX_BYTES), type=Final)
    except UNSOUND:
        return None
    sound = RUN_NAME.fullmatch(final.run) and all(map(_is_below, final.rigs.values()))
    return final if sound else None


def taken_of(folder: Path) -> TakenIn | None:
    """Return what the follower has published; None where there is no sound file."""
    try:
        return msgspec.json.decode(read_own(folder / TAKEN, MAX_BYTES), type=TakenIn)
    except UNSOUND:
        return None


def settle(folder: Path) -> None:
    """Declare all lines of this process's run final, after its last snapshot is stored."""
    final = final_of(folder)
    if final is not None and final.pid == os.getpid() and not final.whole:
        final.whole = True
        with suppress(OSError):
            final.write(folder)


def _is_below(files: RigFiles) -> bool:
    """Whether a rig's folder lies in the output folder."""
    return "/" not in files.folder and "\0" not in files.folder and files.folder != ".."
