"""Append-only JSONL in segments: `fused.jsonl`, `fused.000001.jsonl`, ...

Segments are written under their final names. A new one begins before the line that would exceed
the limit, so that the places of lines depend on the lines alone. A snapshot is a segment and an
offset on the disk; resuming from it truncates everything after it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from configs.files import PRIVATE, Access, open_file, sync_folder
from operators.errors import LumenError

Position = tuple[int, int]
"""Segment and offset (bytes) of the next line."""
_ALL = -1
"""In place of a segment: all of them."""


class ShortFileError(LumenError, ValueError):
    """A file is missing, or shorter than the position in the recovery store."""


def segment_path(folder: Path, stem: str, segment: int) -> Path:
    """Return the path of a segment."""
    return folder / (f"{stem}.{segment:06d}.jsonl" if segment else f"{stem}.jsonl")


def segments_of(folder: Path, stem: str) -> list[tuple[int, Path]]:
    """Return the existing segments in reading order."""
    name = re.compile(re.escape(stem) + r"(?:\.(\d{6,}))?\.jsonl")
    found = ((name.fullmatch(path.name), path) for path in folder.glob(f"{stem}*.jsonl"))
    return sorted((int(match[1] or 0), path) for match, path in found if match)


class Segments:
    """One file's lines, in segments.

    Parameters
    ----------
    folder, stem : Path, str
        The folder, and the name without its ending.
    limit : int
        Largest size of a segment (bytes); a longer line has a segment of its own.
    keep : int
        Number of the newest segments to keep; 0 keeps all.
    durable : bool
        Snapshots survive a loss of power.
    access : Access
        Rights of new files.
    announce : callable
        Called with the path of a segment before it is begun, except for the first one.
    position : (int, int) or None
        Resume from there; None begins anew, and no file may exist.
    lines : sequence of (int, int)
        Lines before each segment, and those of all, to resume with.

    Attributes
    ----------
    held : int or None
        Segments from this one on stay, whatever `keep` is.
    unkept : OSError or None
        Error of the last old segment that could not be removed.

    Raises
    ------
    ShortFileError
        The file ends before `position`. Nothing has been changed.

    Notes
    -----
    No file is held open. An error of the disk is an OSError that names the path; a partial
    write stays until `trim`.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        limit: int,
        keep: int = 0,
        durable: bool = True,
        access: Access = PRIVATE,
        announce: Callable[[Path], None] = lambda path: None,
        position: Position | None = None,
        lines: Sequence[Position] = (),
    ) -> None:
        self.folder, self.stem = folder, stem
        self.limit, self.keep, self.durable, self.announce = limit, keep, durable, announce
        self.segment, self.size = position or (0, 0)
        self.access = access
        self.held: int | None = None
        self.unkept: OSError | None = None
        self._before = dict(lines)
        self._lines = self._before.pop(_ALL, 0)
        self._unsynced: set[int] = set()
        self._new_names = False
        if position is None:
            self._begin(0)
        elif self.path.is_symlink() or not _has(self.path, self.size):
            raise ShortFileError(
                f"{self.path}: shorter than the {self.size} bytes recorded in the recovery store; "
                "put the file back, or start again with an empty recovery directory"
            )
        self._vouched = self.segment
        self._oldest = 0 if position is None else segments_of(folder, stem)[0][0]

    @property
    def oldest(self) -> int:
        """The oldest kept segment."""
        return self._oldest

    @property
    def path(self) -> Path:
        """The current segment."""
        return segment_path(self.folder, self.stem, self.segment)

    def write(self, lines: bytes) -> None:
        """Append whole lines: one write a segment."""
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
        """Remove everything after the last complete line."""
        for segment, path in segments_of(self.folder, self.stem):
            if segment > self.segment:
                path.unlink()
                self._new_names = True
        with open_file(self.path, os.O_RDWR) as file:
            if os.fstat(file.fileno()).st_size > self.size:
                file.truncate(self.size)
                self._unsynced.add(self.segment)

    def snapshot(self) -> Position:
        """Return the position, once all earlier lines are on the disk; remove old segments.

        The store may fall back on the snapshot before this one, so that its segments stay.
        """
        if self.durable:
            for segment in sorted(self._unsynced):
                path = segment_path(self.folder, self.stem, segment)
                with open_file(path, os.O_RDWR) as file:
                    os.fsync(file.fileno())
            if self._new_names:
                sync_folder(self.folder)
        self._unsynced.clear()
        self._new_names = False
        needed = self.spare()
        self._drop(needed if self.held is None else min(needed, self.held))
        self._vouched = self.segment
        return self.segment, self.size

    def spare(self) -> int:
        """Return the segment before which all may be removed."""
        if not self.keep:
            return 0
        needed = self.segment - self.keep + 1
        return min(needed, self._vouched) if self.durable else needed

    def lines(self) -> list[Position]:
        """Return the number of lines before each kept segment, and that of all."""
        return [*self._before.items(), (_ALL, self._lines)]

    def lines_before(self, segment: int) -> int:
        """Return the number of lines before a segment; 0 where it is unknown."""
        return self._lines if segment > self.segment else self._before.get(segment, 0)

    def _drop(self, needed: int) -> None:
        """Remove the segments before one; a failure is noted in `unkept`, and the segment stays."""
        for segment in range(self._oldest, needed):
            try:
                segment_path(self.folder, self.stem, segment).unlink(missing_ok=True)
            except OSError as error:
                self.unkept = error
            self._before.pop(segment, None)
        self._oldest = max(self._oldest, needed)

    def paths(self) -> list[Path]:
        """Return the kept segments, oldest first."""
        segments = range(self._oldest, self.segment + 1)
        return [segment_path(self.folder, self.stem, segment) for segment in segments]

    def _begin(self, segment: int) -> None:
        path = segment_path(self.folder, self.stem, segment)
        if segment:
            self.announce(path)
        open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, self.access).close()
        self.segment, self.size = segment, 0
        self._before[segment] = self._lines
        self._unsynced.add(segment)
        self._new_names = True

    def _append(self, lines: bytes) -> None:
        try:
            with open_file(self.path, os.O_RDWR) as file:
                if file.seek(0, os.SEEK_END) != self.size:
                    raise OSError(0, "changed by another program")
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
        except OSError as error:
            raise OSError(error.errno, f"cannot write: {error.strerror}", str(self.path)) from error
        self.size += len(lines)
        self._lines += lines.count(b"\n")
        self._unsynced.add(self.segment)


def _has(path: Path, size: int) -> bool:
    """Whether a file has at least `size` bytes."""
    return path.is_file() and path.stat().st_size >= size
