"""Tapes: the recordings that a tap writes, read as one recording.

A tape is a folder: segments of lines, and `tape.json` with their order, their offsets, and the
size and SHA-256 of their unpacked bytes. Each segment is a recording by itself. The tape is one as
well, with offsets that count through all segments, so that segment ends have no effect.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np

from configs.files import read_own
from configs.inert import inert
from configs.inputs import MAX_MANIFEST, TAPE
from operators.collect import BlockRule
from sources.recordings.recording import (
    NEEDS_EXTRA,
    ColumnPiece,
    Mark,
    Piece,
    Recording,
    UnusableError,
)
from sources.rows.names import REJECT, Names
from sources.rows.rows import DecodedRows, as_reject
from sources.rows.written import LineDetails, lines_of_rows

if TYPE_CHECKING:
    from sources.columnar.columnar_recording import ColumnarRecording

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
    """Return the path of a segment, converted, packed or plain: the one form that is read."""
    forms = [folder / f"{segment.name}{ending}" for ending in (".parquet", ".zst")]
    return next((path for path in forms if path.exists()), folder / segment.name)


def faults(folder: Path) -> list[str]:
    """Return a line for each segment that is missing or changed."""
    found = []
    for segment in read_manifest(folder).segments:
        path = segment_path(folder, segment)
        if not path.exists():
            found.append(f"{path}: not there")
        elif segment.sha256 is not None and digest_of(path) != segment.sha256:
            found.append(f"{path}: not as it was written")
    return found


def digest_of(path: Path) -> str:
    """Return the SHA-256 of the lines of a segment."""
    digest = hashlib.sha256()
    with closing(opened(path)) as recording:
        while not recording.ended:
            for piece in recording.read():
                if isinstance(piece, Piece):
                    digest.update(piece.data)
                else:
                    digest.update(lines_of_rows(*piece.rows_and_details(Names(""))))
    return digest.hexdigest()


def opened(path: Path, mark: Mark | None = None) -> Recording | ColumnarRecording:
    """Open a segment, converted, packed or plain."""
    if path.suffix != ".parquet":
        return Recording(str(path), mark=mark, own=True)
    try:
        from sources.columnar.columnar_recording import ColumnarRecording  # an extra
    except ImportError:
        raise UnusableError(f"{path}: {NEEDS_EXTRA}") from None
    return ColumnarRecording(str(path), mark=mark, by_offset=True, own=True)


class SegmentRows(ColumnPiece):
    """The next rows of a converted segment, with offsets of the tape."""

    def __init__(self, recording: ColumnarRecording, begin: int, tape: str) -> None:
        self._recording, self._begin, self._tape = recording, begin, inert(tape)

    def rows_and_details(
        self, names: Names, per_second: float = 1.0
    ) -> tuple[DecodedRows, LineDetails]:
        """Return the next rows and the details of their lines."""
        rows, details = self._recording.rows_and_details(names, per_second)
        rows = replace(rows, line=rows.line + self._begin)
        if rows.notes is not None:
            # An element that could not be used is at the place of its array, on this tape.
            for i in np.flatnonzero((rows.name == REJECT) & (details.place >= 0)).tolist():
                where = f"{self._tape}:{rows.line[i]}"
                rows.notes[i] = msgspec.structs.replace(as_reject(rows.notes[i]), where=where)
        return rows, details


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
        segments = read_manifest(folder).segments
        every = [(s.begin, segment_path(folder, s)) for s in segments]
        self._ends = {s.begin: s.begin + (s.size or 0) for s in segments}
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
        self._current: Recording | ColumnarRecording | None = None
        self._open(offset)

    def _open(self, offset: int) -> None:
        """Continue with the next segment, at an offset of the tape."""
        self.close()
        self._current = None
        if self._parts:
            self._begin, path = self._parts.pop(0)
            self._current = opened(path, Mark(offset - self._begin))

    def read(self) -> list[Piece | ColumnPiece]:
        """Return the next pieces; none at the end."""
        while self._current is not None:
            pieces: list[Piece | ColumnPiece] = []
            if isinstance(self._current, Recording):
                found = self._current.read()
                pieces += [p._replace(offset=p.offset + self._begin) for p in found]
                self._offset = self._current.mark(None).offset + self._begin
            else:
                pieces += [SegmentRows(p, self._begin, self.path) for p in self._current.read()]
                if self._current.ended:
                    self._offset = self._ends[self._begin]
            if self._current.ended:
                self._done += self._current.size
                self._open(self._offset)
            if pieces:
                return pieces
        self.idle, self.ended = self._growing, not self._growing
        return []

    def finish(self) -> list[Piece | ColumnPiece]:
        """End the tape."""
        self.ended = True
        return []

    def mark(self, line: int | None) -> Mark:
        """Return the position to resume from: a line, or the end of the bytes read."""
        if line is None and self._current is not None and not isinstance(self._current, Recording):
            return Mark(max(self._current.mark(None).offset + self._begin, self._offset))
        return Mark(self._offset if line is None else line)

    def position(self) -> int:
        """Return the number of bytes of the segments, packed or not, that have been read."""
        return self._done + (self._current.position() if self._current else 0)

    def close(self) -> None:
        """Close the open segment."""
        if self._current is not None:
            self._current.close()
