"""Append-only JSONL in segments: `fused.jsonl`, `fused.000001.jsonl`, ...

Segments are written under their final names; a new one is begun before the line that would
pass the limit, so that where lines lie depends on the lines alone. A snapshot is a segment and
an offset on the disk; going on from it cuts away whatever came after.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

Position = tuple[int, int]
"""Segment and offset (bytes) of the next line."""


class ShortFileError(ValueError):
    """A file is shorter than the recovery store says, or gone."""


def segment_path(folder: Path, stem: str, segment: int) -> Path:
    """Return where a segment lies."""
    return folder / (f"{stem}.{segment:06d}.jsonl" if segment else f"{stem}.jsonl")


def segments_of(folder: Path, stem: str) -> list[tuple[int, Path]]:
    """Return the segments that are there, in the order in which they are to be read."""
    name = re.compile(re.escape(stem) + r"(?:\.(\d{6,}))?\.jsonl")
    found = ((name.fullmatch(path.name), path) for path in folder.glob(f"{stem}*.jsonl"))
    return sorted((int(match[1] or 0), path) for match, path in found if match)


def sync_folder(folder: Path) -> None:
    """Put a folder's names on the disk; where folders cannot be opened, the system does it."""
    with suppress(PermissionError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class Segments:
    """One file's lines, in segments.

    Parameters
    ----------
    folder, stem : Path, str
        Where, and the name without its ending.
    limit : int
        Bytes that a segment may have; a line that is longer has a segment of its own.
    keep : int
        How many of the newest segments to keep; 0 keeps all.
    durable : bool
        Snapshots are to survive a loss of power.
    announce : callable
        Told the path of a segment before it is begun; of the first one, its maker knows.
    position : (int, int) or None
        Go on from there; None begins anew where no file may be.

    Raises
    ------
    ShortFileError
        At `position` there are fewer bytes than that. Nothing has been changed then.

    Notes
    -----
    No file is held open. An error of the disk is an OSError that names the path; what was
    written of the failed lines stays until `trim`.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        limit: int,
        keep: int = 0,
        durable: bool = True,
        announce: Callable[[Path], None] = lambda path: None,
        position: Position | None = None,
    ) -> None:
        self.folder, self.stem = folder, stem
        self.limit, self.keep, self.durable, self.announce = limit, keep, durable, announce
        self.segment, self.size = position or (0, 0)
        self._unsynced: set[int] = set()
        self._new_names = False
        if position is None:
            self._begin(0)
        elif not self.path.exists() or self.path.stat().st_size < self.size:
            raise ShortFileError(
                f"{self.path}: shorter than the {self.size} bytes that the recovery store knows "
                "of; put the file back, or start again with an empty recovery directory"
            )
        self._vouched = self.segment
        self._oldest = segments_of(folder, stem)[0][0]

    @property
    def path(self) -> Path:
        """The segment that is being written."""
        return segment_path(self.folder, self.stem, self.segment)

    def write(self, lines: bytes) -> None:
        """Append whole lines: one write a segment that they touch."""
        while lines:
            room = max(self.limit - self.size, 0)
            fits = len(lines) if len(lines) <= room else lines.rfind(b"\n", 0, room) + 1
            if not fits and self.size:
                self._begin(self.segment + 1)
                continue
            fits = fits or lines.index(b"\n") + 1
            self._append(lines[:fits])
            lines = lines[fits:]

    def trim(self) -> None:
        """Remove whatever lies beyond the last line that was written whole."""
        for segment, path in segments_of(self.folder, self.stem):
            if segment > self.segment:
                path.unlink()
                self._new_names = True
        if self.path.stat().st_size > self.size:
            os.truncate(self.path, self.size)
            self._unsynced.add(self.segment)

    def snapshot(self) -> Position:
        """Return the position, once all before it is on the disk; let go of old segments.

        The store may yet fall back on the snapshot before this one, so that what that one
        needs stays.
        """
        if self.durable:
            for segment in sorted(self._unsynced):
                with segment_path(self.folder, self.stem, segment).open("rb+") as file:
                    os.fsync(file.fileno())
            if self._new_names:
                sync_folder(self.folder)
        self._unsynced.clear()
        self._new_names = False
        if self.keep:
            needed = self.segment - self.keep + 1
            if self.durable:
                needed = min(needed, self._vouched)
            for segment in range(self._oldest, needed):
                segment_path(self.folder, self.stem, segment).unlink(missing_ok=True)
            self._oldest = max(self._oldest, needed)
        self._vouched = self.segment
        return self.segment, self.size

    def paths(self) -> list[Path]:
        """Return the segments that are kept, oldest first."""
        segments = range(self._oldest, self.segment + 1)
        return [segment_path(self.folder, self.stem, segment) for segment in segments]

    def _begin(self, segment: int) -> None:
        path = segment_path(self.folder, self.stem, segment)
        if segment:
            self.announce(path)
        path.open("xb").close()
        self.segment, self.size = segment, 0
        self._unsynced.add(segment)
        self._new_names = True

    def _append(self, lines: bytes) -> None:
        try:
            with self.path.open("rb+", buffering=0) as file:
                if file.seek(0, os.SEEK_END) != self.size:
                    raise OSError(0, "changed by another hand")
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, f"cannot write: {error.strerror}", str(self.path)) from error
        self.size += len(lines)
        self._unsynced.add(self.segment)
