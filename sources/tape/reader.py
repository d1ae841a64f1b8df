"""Tapes: the recordings that a tap writes, read as one recording.

A tape is a folder: segments of lines, and `tape.json` with their order, their offsets, and the
size and SHA-256 of their unpacked bytes. Each segment is a recording by itself. The tape is one as
well, with offsets that count through all segments, so that segment ends have no effect.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Annotated

import msgspec

from configs.files import read_own
from configs.schema import MAX_MANIFEST, TAPE
from operators.collect import BlockRule
from sources.recordings.recording import Mark, Piece, Recording, UnusableError

MANIFEST = TAPE
VERSION = 1
_SEGMENT = re.compile(r"\d{6,12}\.ndjson")
_RUN = re.compile(r"\d{8}T\d{6}Z(-\d{1,9})?")
_BROKEN = (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_Bytes = Annotated[int, msgspec.Meta(ge=0, le=2**62)]


class Segment(msgspec.Struct):
    """One file of a tape; `size` (bytes, unpacked), `lines` and `sha256` once it is complete."""

    name: str
    begin: _Bytes
    size: _Bytes | None = None
    lines: _Bytes | None = None
    sha256: str | None = None


class Manifest(msgspec.Struct):
    """The contents of `tape.json`.

    Attributes
    ----------
    rig, config : str
        Of the run; the fingerprint of its configuration.
    snapshots : int
        Number of snapshots from which the run could resume later than at the tape's start.
    ended : bool
        The run has ended.
    block_s : float, "density" or None
        Blocks of arrival time of the run (s), for replays; None in tapes of earlier versions.
    """

    version: int
    rig: str
    config: str
    snapshots: int = 0
    ended: bool = False
    block_s: BlockRule | None = None
    segments: list[Segment] = []


def segment_name(number: int) -> str:
    """Return the name of a segment: no other name is valid."""
    return f"{number:06}.ndjson"


def is_run(name: str) -> bool:
    """Whether a folder in `tap.dir` has the name of a tape."""
    return _RUN.fullmatch(name) is not None


def is_tape(path: str) -> bool:
    """Whether a folder is a tape."""
    return os.path.lexists(Path(path) / MANIFEST)


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of a tape; no name in it leads out of its folder.

    Raises
    ------
    ValueError
        The manifest cannot be read, or was not written by a tap; it is named.
    """
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(read_own(path, MAX_MANIFEST), type=Manifest)
    except OSError as error:
        raise UnusableError(f"{path}: cannot be read: {error.strerror}") from None
    except _BROKEN as error:
        raise UnusableError(f"{path}: cannot be read: {error}") from None
    if manifest.version != VERSION:
        raise UnusableError(f"{path}: of version {manifest.version}, not {VERSION}")
    begin = 0
    for i, segment in enumerate(manifest.segments):
        if not _SEGMENT.fullmatch(segment.name) or segment.name != segment_name(i):
            raise UnusableError(f"{path}: not a tape of ours: segment {i} is {segment.name[:64]!r}")
        if segment.begin < begin:
            raise UnusableError(
                f"{path}: not a tape of ours: segment {i} begins before the last ends"
            )
        if segment.sha256 is not None and (segment.size is None or segment.lines is None):
            raise UnusableError(f"{path}: not a tape of ours: segment {i} has no size")
        begin = segment.begin + (segment.size or 0)
    return manifest


def segment_path(folder: Path, segment: Segment) -> Path:
    """Return the path of a segment, packed or plain."""
    packed = folder / f"{segment.name}.zst"
    return packed if packed.exists() else folder / segment.name


def faults(folder: Path) -> list[str]:
    """Return a line for each segment that is missing or changed."""
    found = []
    for segment in read_manifest(folder).segments:
        path = segment_path(folder, segment)
        if not path.exists():
            found.append(f"{path}: not there")
        elif segment.sha256 is not None and _digest(path) != segment.sha256:
            found.append(f"{path}: not as it was written")
    return found


def _digest(path: Path) -> str:
    recording = Recording(str(path), own=True)
    digest = hashlib.sha256()
    while not recording.ended:
        for piece in recording.read():
            digest.update(piece.data)
    recording.close()
    return digest.hexdigest()


class Tape:
    """Reads a tape from a mark on, as `Recording` reads a file.

    Parameters
    ----------
    path : str
        Of its folder.
    mark : Mark, optional
    growing : bool
        The tape is continued: its end is temporary.

    Attributes
    ----------
    ended, idle : bool
        The tape was read to its final or temporary end.
    size : int
        Of all segments on the disk (bytes).

    Raises
    ------
    OSError, ValueError
        A needed segment is missing, or is shorter than the mark.
    """

    follow = False
    before = 0

    def __init__(self, path: str, mark: Mark | None = None, growing: bool = False) -> None:
        self.path = path
        self.ended = self.idle = False
        self._growing = growing
        folder = Path(path)
        every = [(s.begin, segment_path(folder, s)) for s in read_manifest(folder).segments]
        existing = [part for part in every if part[1].exists()]
        offset = mark.offset if mark else min((begin for begin, _ in existing), default=0)
        needed = max((begin for begin, _ in every if begin <= offset), default=0)
        missing = next((part for b, part in every if b >= needed and not part.exists()), None)
        if missing or (every and every[0][0] > offset):
            raise FileNotFoundError(f"segment not found: {missing or path}")
        self.size = sum(part.stat().st_size for _, part in existing)
        self._parts = [part for part in existing if part[0] >= needed]
        self._done = self.size - sum(part.stat().st_size for _, part in self._parts)
        self._begin = self._offset = offset
        self._current: Recording | None = None
        self._open(offset)

    def _open(self, offset: int) -> None:
        """Continue with the next segment, at an offset of the tape."""
        self.close()
        self._current = None
        if self._parts:
            self._begin, path = self._parts.pop(0)
            self._current = Recording(str(path), mark=Mark(offset - self._begin), own=True)

    def read(self) -> list[Piece]:
        """Return the next pieces; none at the end."""
        while self._current is not None:
            pieces = [p._replace(offset=p.offset + self._begin) for p in self._current.read()]
            self._offset = self._current.mark(None).offset + self._begin
            if self._current.ended:
                self._done += self._current.size
                self._open(self._offset)
            if pieces:
                return pieces
        self.idle, self.ended = self._growing, not self._growing
        return []

    def finish(self) -> list[Piece]:
        """End the tape."""
        self.ended = True
        return []

    def mark(self, line: int | None) -> Mark:
        """Return the position to resume from: a line, or the end of the bytes read."""
        return Mark(self._offset if line is None else line)

    def position(self) -> int:
        """Return the number of bytes of the segments, packed or not, that have been read."""
        return self._done + (self._current.position() if self._current else 0)

    def close(self) -> None:
        """Close the open segment."""
        if self._current is not None:
            self._current.close()
