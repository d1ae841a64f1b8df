"""A tape that is still written, read to its newest line and onwards.

The manifest names a new segment before its file begins, and has the size of a segment once that is
complete. A segment is left only then: its file grows until that moment. The tape of an ended run
ends.

Cost: that of reading; at rest a look at two files. State: the manifest. Losses: none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sources.recordings.recording import ColumnPiece, Mark, Piece, Recording
from sources.tape.reader import (
    MANIFEST,
    SegmentRows,
    opened,
    read_manifest,
    segment_path,
)

if TYPE_CHECKING:
    from sources.columnar.columnar_recording import ColumnarRecording


class FollowedTape:
    """Reads a growing tape from a mark on, as `Recording` reads a growing file.

    Parameters
    ----------
    path : str
        Of its folder.
    mark : Mark, optional

    Attributes
    ----------
    ended : bool
        The run has ended, and its tape was read to the end.
    idle : bool
        The tape has not grown.
    size : int
        Of the segments on the disk at the start (bytes).

    Raises
    ------
    OSError, ValueError
        The manifest cannot be read, or the segment of the mark is missing.
    """

    follow = True
    before = 0

    def __init__(self, path: str, mark: Mark | None = None) -> None:
        self.path = path
        self.ended = self.idle = False
        self._folder = Path(path)
        self._changed = (0, 0)
        self._look()
        segments = self._manifest.segments
        self._offset = mark.offset if mark else segments[0].begin if segments else 0
        begun = [i for i, segment in enumerate(segments) if segment.begin <= self._offset]
        self._number = begun[-1] if begun else 0
        self._current: Recording | ColumnarRecording | None = None
        paths = [segment_path(self._folder, segment) for segment in segments]
        if self._number < len(segments) and not paths[self._number].exists():
            raise FileNotFoundError(f"segment not found: {paths[self._number]}")
        self.size = sum(path.stat().st_size for path in paths if path.exists())
        self._read = 0

    def _look(self) -> bool:
        """Read the manifest if it has changed; return whether it has."""
        status = (self._folder / MANIFEST).stat()
        changed = (status.st_ino, status.st_mtime_ns)
        if changed == self._changed:
            return False
        self._manifest = read_manifest(self._folder)
        self._changed = changed
        return True

    def read(self) -> list[Piece | ColumnPiece]:
        """Return the next pieces; none if the tape has not grown, or at its end."""
        self.idle = False
        if self._current is None and not self._open():
            self.ended = self._manifest.ended and self._number == len(self._manifest.segments)
            self.idle = not self.ended
            return []
        pieces = self._pieces()
        if pieces or self._current is None:
            return pieces
        if not self._current.idle:
            return self._next()
        self._look()
        segment = self._manifest.segments[self._number]
        last = self._number + 1 == len(self._manifest.segments)
        if segment.size is not None or not last or self._manifest.ended:
            # Lines between the last read and the look at the manifest.
            return self._pieces() or self._next()
        self.idle = True
        return []

    def _pieces(self) -> list[Piece | ColumnPiece]:
        """Return the next pieces of the current segment, with offsets of the tape."""
        begin, current = self._manifest.segments[self._number].begin, self._current
        assert current is not None
        if not isinstance(current, Recording):
            found = current.read()
            self._offset = self._end() if current.ended else self._offset
            return [SegmentRows(piece, begin, self.path) for piece in found]
        pieces = self._shifted(current.read(), begin)
        self._offset = begin + current.mark(None).offset
        return pieces

    def _shifted(self, pieces: list[Piece], begin: int) -> list[Piece | ColumnPiece]:
        return [piece._replace(offset=piece.offset + begin) for piece in pieces]

    def _end(self) -> int:
        segment = self._manifest.segments[self._number]
        return segment.begin + (segment.size or 0)

    def _next(self) -> list[Piece | ColumnPiece]:
        """Leave a complete segment; return its torn end, if it has one."""
        current, pieces = self._current, list[Piece | ColumnPiece]()
        begin = self._manifest.segments[self._number].begin
        if isinstance(current, Recording):
            pieces = self._shifted(current.finish(), begin)
            self._offset = begin + current.mark(None).offset
        assert current is not None
        self._read += current.position()
        current.close()
        self._current = None
        self._number += 1
        return pieces

    def _open(self) -> bool:
        """Open the segment to be read; return whether its file exists."""
        self._look()
        if self._number >= len(self._manifest.segments):
            return False
        segment = self._manifest.segments[self._number]
        path = segment_path(self._folder, segment)
        mark = Mark(max(self._offset - segment.begin, 0))
        try:
            # A plain segment may be that which grows.
            plain = path.suffix == ".ndjson"
            self._current = (
                Recording(str(path), True, mark, own=True) if plain else opened(path, mark)
            )
        except FileNotFoundError:  # not begun yet, or packed since its path was chosen
            return False
        return True

    def finish(self) -> list[Piece | ColumnPiece]:
        """End the tape after the bytes read so far."""
        self.ended = True
        return self._next() if self._current is not None else []

    def mark(self, line: int | None) -> Mark:
        """Return the position to resume from: a line, or the end of the bytes read."""
        return Mark(self._offset if line is None else line)

    def position(self) -> int:
        """Return the number of bytes of the segments, packed or not, that have been read."""
        return self._read + (self._current.position() if self._current else 0)

    def close(self) -> None:
        """Close the open segment."""
        if self._current is not None:
            self._current.close()
