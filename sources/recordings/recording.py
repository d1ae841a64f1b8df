"""A recording as a sequence of whole lines: plain, packed, or still growing.

Cost: one copy of the bytes. State: at most 2 MiB of a file, for any content.
Losses: a line over 1 MiB, the rest of a cut archive, a torn end: each one fault.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

import msgspec

from configs.files import open_file
from operators.errors import SourceError
from operators.limits import MAX_LINE
from operators.types import Reason
from sources.recordings.unpack import Unpacker

if TYPE_CHECKING:
    from sources.rows.names import Names
    from sources.rows.rows import DecodedRows
    from sources.rows.written import LineDetails

COLUMNAR = (".parquet", ".arrow")
"""Endings of columnar recordings."""
NEEDS_EXTRA = "needs the extra: lumen-fusion[columnar]"
READ = 1 << 19
_HEAD = 256


class TopicMark(msgspec.Struct, frozen=True):
    """What a partition of a topic resumes with, beside its position.

    Attributes
    ----------
    count : int
        Partitions of the topic: the partition of a rig depends on it.
    end : int or None
        Offset at which the partition ends, if it is not followed.
    places : dict of str to int
        Newest place read of each tape.
    """

    count: int
    end: int | None = None
    places: dict[str, int] = {}


class Mark(msgspec.Struct, frozen=True):
    """Position from which a file is resumed.

    Attributes
    ----------
    offset : int
        Of the first line not yet emitted (bytes, unpacked).
    before : int
        Bytes of earlier files of this name, if followed.
    inode : int
        Of the file, if followed.
    skipping : bool
        `offset` is inside of a line that is too long.
    topic : TopicMark or None
        Of a partition of a topic.
    """

    offset: int = 0
    before: int = 0
    inode: int = 0
    skipping: bool = False
    topic: TopicMark | None = None


class UnusableError(SourceError, ValueError):
    """A recording that cannot be used or resumed: one line that names it."""


class Piece(NamedTuple):
    """Lines, and with `fault` the reason of a dead letter for the offset after them.

    `last`: the end of a file without a newline, complete or torn. `why` replaces the data in the
    dead letter of a fault.
    """

    data: bytes
    offset: int
    fault: Reason | None = None
    last: bool = False
    why: bytes = b""


class ColumnPiece(ABC):
    """Rows of a columnar recording, which has no lines to decode."""

    @abstractmethod
    def rows_and_details(
        self, names: Names, per_second: float = 1.0
    ) -> tuple[DecodedRows, LineDetails]:
        """Return the next rows with the details of their lines, and advance past them.

        Parameters
        ----------
        names : Names
            Numbers the channels; new ones are entered.
        per_second : float
            Units of the source's stamps in a second.
        """


class Content(Protocol):
    """The lines in a packed file, or in one of another form.

    Attributes
    ----------
    fault : str or None
        The reason why the rest cannot be read.
    """

    fault: str | None

    @property
    def ended(self) -> bool:
        """Whether there is no more readable content."""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of content; an empty result is not the end."""


class Recording:
    """Reads one file from a mark on.

    Parameters
    ----------
    path : str
    follow : bool
        The file grows, may be rotated or truncated, and has no end.
    mark : Mark
    own : bool
        Its name comes from data: it has to be a plain file, no link.
    content : callable, optional
        Returns the lines in an open file of another form.

    Attributes
    ----------
    ended : bool
        The whole file has been read.
    idle : bool
        A followed file that has not grown.
    size : int
        When it was opened (bytes).

    Raises
    ------
    OSError
        It cannot be opened.
    ValueError
        It is shorter than the mark, or packed and to be followed.
    """

    def __init__(
        self,
        path: str,
        follow: bool = False,
        mark: Mark | None = None,
        own: bool = False,
        content: Callable[[BinaryIO], Content] | None = None,
    ) -> None:
        self.path = path
        self._own, self._content = own, content
        self.follow = follow
        self.ended = self.idle = False
        mark = mark or Mark()
        packed = content is not None or Path(path).suffix in (".gz", ".zst")
        if follow and packed:
            raise ValueError(f"{path}: a packed recording cannot be followed")
        self._tail = b""
        self._skipping = mark.skipping
        self._before = mark.before
        self._offset = mark.offset
        self._open(_by_inode(path, mark.inode) if follow and mark.inode else path)
        if follow and (self._inode != (mark.inode or self._inode) or self.size < mark.offset):
            self._before += mark.offset
            self._offset, self._skipping = 0, False
        self._files = [(self._before, self._inode)]  # files of this name, the newest last
        if not self._seek(self._offset):
            self.close()
            raise ValueError(f"{path}: shorter than when it was read ({self._offset} bytes)")

    def _open(self, path: str) -> None:
        try:
            if self._own:
                self._raw = open_file(Path(path), os.O_RDONLY)
            else:
                self._raw = open(path, "rb", buffering=0)  # noqa: SIM115, PTH123
        except FileNotFoundError:
            raise FileNotFoundError(f"recording not found: {path}") from None
        status = os.fstat(self._raw.fileno())
        self.size, self._inode = status.st_size, status.st_ino
        self._packed: Content | None = None
        if self._content is not None:
            self._packed = self._content(self._raw)
        elif path.endswith((".gz", ".zst")):
            self._packed = Unpacker(self._raw, path.endswith(".zst"), self.size)

    def _seek(self, offset: int) -> bool:
        """Continue at an offset; return whether the file reaches it."""
        if self._packed is None:
            self._raw.seek(offset)
            return self.size >= offset
        while offset > 0 and not self._packed.ended:
            offset -= len(self._packed.read(min(offset, READ)))
        return offset == 0

    @property
    def before(self) -> int:
        """Bytes of earlier files of this name."""
        return self._before

    def position(self) -> int:
        """Return the number of bytes of the file, packed or not, that have been read."""
        return self._raw.tell()

    def mark(self, line: int | None) -> Mark:
        """Return the position to resume from.

        Parameters
        ----------
        line : int or None
            Offset of the first line not yet emitted, counted through all files of this name;
            None if all lines read have been emitted.
        """
        if line is None:
            return Mark(self._offset, self._before, self._followed(self._inode), self._skipping)
        before, inode = max((f for f in self._files if f[0] <= line), default=self._files[0])
        return Mark(max(line - before, 0), before, self._followed(inode))

    def _followed(self, inode: int) -> int:
        return inode if self.follow else 0

    def read(self) -> list[Piece]:
        """Return the next pieces; none if a followed file has not grown or the file is read."""
        self.idle = False
        if self._packed is not None:
            pieces = self._lines(data) if (data := self._packed.read(READ)) else []
            if self._packed.ended:
                fault = self._packed.fault
                pieces += self._finish("archive" if fault else None, fault or "")
            return pieces
        if data := self._raw.read(READ):
            return self._lines(data)
        return self._rotate() if self.follow else self._finish(None)

    def _lines(self, data: bytes) -> list[Piece]:
        if self._skipping:
            end = data.find(b"\n") + 1
            self._offset += end or len(data)
            if not end:
                return []
            self._skipping = False
            data = data[end:]
        data = self._tail + data if self._tail else data
        end = data.rfind(b"\n") + 1
        pieces = [Piece(data[:end], self._offset)] if end else []
        self._tail = data[end:]
        self._offset += end
        if len(self._tail) > MAX_LINE:
            pieces.append(Piece(self._tail[:_HEAD], self._offset, "too_long"))
            self._offset += len(self._tail)
            self._tail, self._skipping = b"", True
        return pieces

    def finish(self) -> list[Piece]:
        """End a followed file after the bytes read so far."""
        return self._finish(None)

    def _finish(self, fault: Reason | None, why: str = "") -> list[Piece]:
        if self.ended:
            return []
        self.ended = True
        tail, at = self._end_of_file()
        return [Piece(tail, at, fault, True, why.encode())] if tail or fault else []

    def _end_of_file(self) -> tuple[bytes, int]:
        tail, at = self._tail, self._offset
        self._offset += len(tail)
        self._tail, self._skipping = b"", False
        return tail, at

    def _rotate(self) -> list[Piece]:
        """Continue with a new file of the same name, or from the start of a truncated one."""
        try:
            status = Path(self.path).stat()
        except FileNotFoundError:
            status = os.fstat(self._raw.fileno())
        if status.st_ino == self._inode and status.st_size >= self._raw.tell():
            self.idle = True
            return []
        if status.st_ino != self._inode and (data := self._raw.read(READ)):
            return self._lines(data)  # written between the last read and the rotation
        tail, at = self._end_of_file()
        pieces = [Piece(tail, at, last=True)] if tail else []
        if status.st_ino == self._inode:
            self._raw.seek(0)
        else:
            try:
                raw = self._raw
                self._open(self.path)
                raw.close()
            except FileNotFoundError:
                return pieces
        self._before += self._offset
        self._offset = 0
        self._files = [*self._files[-3:], (self._before, self._inode)]
        return pieces

    def close(self) -> None:
        """Close the file."""
        self._raw.close()


def _by_inode(path: str, inode: int) -> str:
    """Return the path of a file that may have been renamed in its folder."""
    for other in Path(path).parent.iterdir():
        if other.is_file() and other.stat().st_ino == inode:
            return str(other)
    return path


def is_columnar(path: str) -> bool:
    """Whether a path is that of a Parquet or Arrow file, which has columns instead of lines."""
    return path.lower().endswith(COLUMNAR)


def is_xdf(path: str) -> bool:
    """Whether a path is that of an XDF file, which has no lines."""
    return path.lower().endswith((".xdf", ".xdfz", ".xdf.gz"))
