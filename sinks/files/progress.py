"""How far the files of a run are final, and how far the history has taken them in.

The run publishes the first in its output folder, the follower of the history the second. Both files
are replaced atomically, and neither process waits for the other. A new run in the folder sets the
lines that were not taken in aside, under `taken-later/`.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from configs.files import PRIVATE, Access, LinkError, read_own, write_whole
from sinks.files.jsonl import Position, segments_of

FINAL = ".lumen.final"
TAKEN = ".lumen.taken"
ASIDE = ".lumen.aside"
"""A `.lumen.final` while the files of its run are set aside."""
LATER = "taken-later"
NAMES = (FINAL, f"{FINAL}.tmp", TAKEN, f"{TAKEN}.tmp", ASIDE, LATER)
STEMS = ("fused", "sync", "evidence", "bridge", "dead")
"""Files that the history takes in."""
MAX_BYTES = 64 << 20
_RUN = re.compile(r"[0-9A-Za-z-]{1,64}")
_UNSOUND = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


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
    """

    run: str
    started: float
    version: str
    pid: int
    whole: bool
    lost: int
    rigs: dict[str, RigFiles]

    def write(self, folder: Path, access: Access = PRIVATE) -> None:
        """Publish this in an output folder."""
        write_whole(folder / FINAL, msgspec.json.encode(self), access, durable=False)


class Place(msgspec.Struct, frozen=True):
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
    places: dict[str, dict[str, Place]] = {}
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
    except _UNSOUND:
        return None
    sound = _RUN.fullmatch(final.run) and all(map(_is_below, final.rigs.values()))
    return final if sound else None


def taken_of(folder: Path) -> TakenIn | None:
    """Return what the follower has published; None where there is no sound file."""
    try:
        return msgspec.json.decode(read_own(folder / TAKEN, MAX_BYTES), type=TakenIn)
    except _UNSOUND:
        return None


def settle(folder: Path) -> None:
    """Declare all lines of this process's run final, after its last snapshot is stored."""
    final = final_of(folder)
    if final is not None and final.pid == os.getpid() and not final.whole:
        final.whole = True
        with suppress(OSError):
            final.write(folder)


def waiting(folder: Path, final: Final, taken: TakenIn | None) -> Iterator[Path]:
    """Yield the segments of a run with lines that are not taken in."""
    places = taken.places if taken is not None and taken.run == final.run else {}
    for rig, files in final.rigs.items():
        for stem in STEMS:
            place = places.get(rig, {}).get(stem, Place())
            for segment, path in segments_of(folder / files.folder, stem):
                byte = place.byte if segment == place.segment else 0
                if segment >= place.segment and not path.is_symlink():
                    with suppress(OSError):
                        if path.stat().st_size > byte:
                            yield path


def set_aside(root: Path, access: Access) -> None:
    """Move the lines of an earlier run that are not taken in out of the way of a new one.

    First the run is no longer published, last it is so in its new place: a kill in between leaves
    files that the next call moves, and no file is read under the name of another run.
    """
    with suppress(FileNotFoundError):
        (root / FINAL).replace(root / ASIDE)
    final = final_of(root, ASIDE)
    if final is None:
        (root / ASIDE).unlink(missing_ok=True)
        return
    if (root / LATER).is_symlink():
        raise LinkError(errno.ELOOP, "a link, not a folder", str(root / LATER))
    aside = root / LATER / final.run
    for path in waiting(root, final, taken_of(root)):
        to = aside / path.relative_to(root)
        to.parent.mkdir(mode=access.folder, parents=True, exist_ok=True)
        path.replace(to)
    if aside.is_dir():
        (root / ASIDE).replace(aside / FINAL)
    else:
        (root / ASIDE).unlink()


def later_runs(root: Path) -> list[Path]:
    """Return the folders of runs that were set aside, in the order of their names."""
    folder = root / LATER
    if folder.is_symlink() or not folder.is_dir():
        return []
    found = (path for path in folder.iterdir() if _RUN.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def lessen(root: Path, most: float) -> int:
    """Remove the oldest runs that were set aside until the rest has at most so many bytes.

    Returns
    -------
    int
        Removed lines.
    """
    runs = []
    for folder in later_runs(root):
        if (final := final_of(folder)) is not None:
            paths = list(waiting(folder, final, None))
            runs.append((final.started, folder, paths, sum(p.stat().st_size for p in paths)))
    total, lost = sum(size for *_, size in runs), 0
    for _, folder, paths, size in sorted(runs):
        if total <= most:
            break
        lost += sum(_lines(path) for path in paths)
        forget(folder)
        total -= size
    return lost


def forget(folder: Path) -> None:
    """Remove a run that was set aside; files that no run wrote stay."""
    for stem in STEMS:
        for inside in (folder, *(path for path in folder.iterdir() if path.is_dir())):
            for _, path in [] if inside.is_symlink() else segments_of(inside, stem):
                path.unlink(missing_ok=True)
    (folder / FINAL).unlink(missing_ok=True)
    with suppress(OSError):
        for inside in [path for path in folder.iterdir() if path.is_dir()]:
            inside.rmdir()
        folder.rmdir()
        folder.parent.rmdir()


def _is_below(files: RigFiles) -> bool:
    """Whether a rig's folder lies in the output folder."""
    return "/" not in files.folder and "\0" not in files.folder and files.folder != ".."


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))
