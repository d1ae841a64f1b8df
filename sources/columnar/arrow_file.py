"""An Arrow file by record batches, within bounds: the places and sizes in its footer and messages.

The library reads a record batch as a whole and takes sizes on trust. So each is checked first: its
place is inside of the file, and it has at most `MAX_BATCH` bytes. Compressed ones are refused,
since nothing limits their content.

Cost: 30 us a record batch. State: the footer.

Source: Arrow columnar format 1.4 ("IPC file format"), File.fbs, Message.fbs; FlatBuffers internals.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from sources.columnar.parquet_file import read_at

MAGIC = b"ARROW1"
MAX_BATCH = 128 << 20
_MAX_FOOTER, _MAX_HEADER = 64 << 20, 1 << 20
_BLOCK = struct.Struct("<qi4xq")
_RECORD_BATCH, _DICTIONARY = 3, 2


class _FlatTable:
    """A table of FlatBuffers: fields by number.

    Raises
    ------
    ValueError, struct.error
        From every method, for bytes that are no such table.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self._fields = at - _number("<i", data, at)
        self._size = _number("<H", data, self._fields)

    @classmethod
    def root(cls, data: bytes) -> _FlatTable:
        return cls(data, _number("<I", data, 0))

    def place(self, field: int) -> int:
        """Return the offset of a field; 0: absent."""
        entry = 4 + 2 * field
        if entry + 2 > self._size:
            return 0
        offset = _number("<H", self.data, self._fields + entry)
        return self.at + offset if offset else 0

    def number(self, field: int, form: str) -> int:
        place = self.place(field)
        return _number(form, self.data, place) if place else 0

    def table(self, field: int) -> _FlatTable | None:
        place = self.place(field)
        return _FlatTable(self.data, place + _number("<I", self.data, place)) if place else None

    def vector(self, field: int, size: int) -> list[bytes]:
        """Return the elements of a vector of structures."""
        place = self.place(field)
        if not place:
            return []
        begin = place + _number("<I", self.data, place)
        count = _number("<I", self.data, begin)
        if count * size > len(self.data) - begin - 4:
            raise ValueError("a list longer than its table")
        return [self.data[begin + 4 + i * size :][:size] for i in range(count)]


def _number(form: str, data: bytes, at: int) -> int:
    if at < 0:
        raise ValueError("a place before the start")
    found: int = struct.unpack_from(form, data, at)[0]
    return found


class ArrowFile:
    """The record batches of a file.

    Parameters
    ----------
    raw : binary file
        Seekable.
    size : int
        Of the file (bytes).

    Attributes
    ----------
    counts : list of int
        Rows of each record batch.

    Raises
    ------
    ValueError
        The file cannot be used, with the reason.
    """

    def __init__(self, raw: BinaryIO, size: int) -> None:
        self._raw, self._size = raw, size
        if size == 0:
            raise ValueError("empty (0 bytes)")
        if read_at(raw, 0, 6) != MAGIC:
            raise ValueError("no Arrow file: it does not begin with ARROW1 (a stream is not read)")
        end = read_at(raw, max(size - 10, 0), 10)
        length = int.from_bytes(end[:4], "little", signed=True)
        if size < 18 or end[4:] != MAGIC:
            raise ValueError("cut off: an Arrow file ends with its footer, and this one has none")
        if not 0 < length <= min(size - 18, _MAX_FOOTER):
            raise ValueError(f"its footer claims {length:,} bytes")
        self.counts: list[int] = []
        try:
            footer = _FlatTable.root(read_at(raw, size - 10 - length, length))
            dictionaries = sum(self._check(b, _DICTIONARY) for b in footer.vector(2, _BLOCK.size))
            if dictionaries > MAX_BATCH:
                raise ValueError(f"dictionaries of {dictionaries:,} bytes, expected {MAX_BATCH:,}")
            for block in footer.vector(3, _BLOCK.size):
                self._check(block, _RECORD_BATCH)
        except struct.error:
            raise ValueError("its footer is not that of an Arrow file") from None

    def _check(self, block: bytes, kind: int) -> int:
        """Check a message and the places of its buffers; return their size (bytes)."""
        offset, header, body = _BLOCK.unpack(block)
        what = f"record batch {len(self.counts)}" if kind == _RECORD_BATCH else "a dictionary"
        if (
            offset < 0
            or not 0 < header <= _MAX_HEADER
            or body < 0
            or offset + header + body > self._size
        ):
            raise ValueError(f"{what} is outside of the file")
        if body > MAX_BATCH:
            raise ValueError(
                f"{what} has {body:,} bytes, expected at most {MAX_BATCH:,}:"
                " write fewer rows at once"
            )
        data = read_at(self._raw, offset, header)
        prefix = 8 if data[:4] == b"\xff\xff\xff\xff" else 4
        message = _FlatTable.root(data[prefix:])
        batch = message.table(2)
        if batch is not None and kind == _DICTIONARY:
            batch = batch.table(1)
        if message.number(1, "<B") != kind or batch is None:
            raise ValueError(f"{what} is none")
        if batch.place(3):
            raise ValueError(f"{what} is compressed, expected none: Parquet files may be")
        size: int = body
        count = batch.number(0, "<q")
        for buffer in batch.vector(2, 16):
            begin, length = struct.unpack("<qq", buffer)
            if begin < 0 or length < 0 or begin + length > body:
                raise ValueError(f"{what} has a buffer beyond its end")
        if not 0 <= count <= 8 * max(body, 1):
            raise ValueError(f"{what} claims {count:,} rows in {body:,} bytes")
        if kind == _RECORD_BATCH:
            self.counts.append(count)
        return size
