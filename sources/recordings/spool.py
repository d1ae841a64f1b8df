"""Columns on disk: values decoded once, to be read again from any row.

A spool is one unnamed file in the folder for temporary files. Parts of a column are appended and
found by their rows. The file is written, never mapped, so that a full disk is an OSError at the
write.

State in memory: 40 bytes a part. Cost: one copy of the bytes each way.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Spool:
    """The file of columns; closed with its last reference."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="lumen-", buffering=0)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self.size = 0

    def append(self, data: bytes | memoryview) -> int:
        """Append bytes; return their offset."""
        at, view = self.size, memoryview(data).cast("B")
        while len(view):
            try:
                written = _write_at(self._file, view, self.size)
            except OSError as error:
                reason = f"cannot write: {error.strerror}"
                raise OSError(error.errno, reason, tempfile.gettempdir()) from error
            self.size += written
            view = view[written:]
        return at

    def fill(self, at: int, into: memoryview) -> None:
        """Read bytes from an offset on."""
        while len(into):
            count = _read_at(self._file, into, at)
            if not count:
                raise OSError("the spool of a recording is shorter than it was written")
            at += count
            into = into[count:]


def _write_at(file: Any, data: memoryview, at: int) -> int:
    """Write at an offset; return the number of bytes written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(file.fileno(), data, at)
    file.seek(at)
    return int(file.write(data))


def _read_at(file: Any, into: memoryview, at: int) -> int:
    """Read from an offset; return the number of bytes read."""
    if hasattr(os, "preadv"):
        return os.preadv(file.fileno(), [into], at)
    file.seek(at)
    return int(file.readinto(into))


class SpoolColumn:
    """Rows of one or more items of one type.

    Parameters
    ----------
    spool : Spool
    dtype : str
    width : int
        Items of a row; a row of one item is read as a number.
    """

    def __init__(self, spool: Spool, dtype: str, width: int = 1) -> None:
        self.spool, self.dtype, self.width = spool, np.dtype(dtype), width
        self._bytes = self.dtype.itemsize * width
        self._first: list[int] = []
        self._at: list[int] = []
        self._end = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: Array) -> None:
        """Append rows."""
        if not len(rows):
            return
        data = np.ascontiguousarray(rows, self.dtype)
        at = self.spool.append(data.data)
        if not self._first or at != self._end:
            self._first.append(self._count)
            self._at.append(at)
        self._end = at + data.nbytes
        self._count += len(rows)

    def read(self, first: int, last: int) -> Array:
        """Return rows from `first` up to `last`."""
        last = min(last, self._count)
        n = max(last - first, 0)
        out = np.empty(n * self.width, self.dtype)
        view = out.view(np.uint8).data if n else memoryview(b"")
        k, done = bisect_right(self._first, first) - 1, 0
        while done < n:
            end = self._first[k + 1] if k + 1 < len(self._first) else self._count
            count = min(end, last) - (first + done)
            start = self._at[k] + (first + done - self._first[k]) * self._bytes
            into = view[done * self._bytes : (done + count) * self._bytes]
            self.spool.fill(start, into)
            done, k = done + count, k + 1
        return out if self.width == 1 else out.reshape(n, self.width)


class Texts:
    """Rows of texts, as one column of bytes and one of end offsets."""

    def __init__(self, spool: Spool, width: int = 1) -> None:
        self.width = width
        self._bytes, self._ends = SpoolColumn(spool, "u1"), SpoolColumn(spool, "<i8")
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: list[bytes]) -> None:
        """Append texts, row by row."""
        ends = np.cumsum([len(x) for x in rows], dtype=np.int64) + len(self._bytes)
        self._bytes.add(np.frombuffer(b"".join(rows), np.uint8))
        self._ends.add(ends)
        self._count += len(rows) // self.width

    def read(self, first: int, last: int) -> list[list[bytes]]:
        """Return rows from `first` up to `last`."""
        last = min(last, self._count)
        first = min(first, last)
        a, b = first * self.width, last * self.width
        ends = self._ends.read(a, b).tolist()
        begin = int(self._ends.read(a - 1, a)[0]) if a else 0
        data = self._bytes.read(begin, ends[-1] if ends else begin).tobytes()
        texts, at = [], begin
        for end in ends:
            texts.append(data[at - begin : end - begin])
            at = end
        return [texts[i : i + self.width] for i in range(0, len(texts), self.width)]


def pieces(n: int, size: int = 1 << 17) -> Iterator[slice]:
    """Yield slices of at most `size` that make up n rows."""
    for first in range(0, n, size):
        yield slice(first, min(first + size, n))
