"""A Parquet file by row groups, within bounds: its footer, its pages, a view of one row group.

The reader of the library takes the sizes in a file on trust: a page of 100 bytes may claim, or
hold, gigabytes. So the footer and the headers of all pages are read here first. A page is limited
to `MAX_PAGE` bytes, and its content is checked against the size that its header gives.

A row group is handed to the library as a file of its own: the same bytes with a footer that holds
this row group and the wanted columns only. Texts are then read as dictionaries, so that a long text
which many rows share is stored once.

Cost: 40 us a page, unless it has to be unpacked twice. State: the footer, one page.

Source: parquet.thrift of apache/parquet-format 2.11.
"""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from backports import zstd

from operators.errors import SourceError
from sources.columnar import thrift
from sources.columnar.thrift import BINARY, I64, LIST, STRUCT, Field, Structure, ThriftReader
from sources.columnar.zstd_blocks import ZSTD_BLOCK, most_of_zstd

MAGIC = b"PAR1"
MAX_FOOTER = 64 << 20
MAX_PAGE = 32 << 20
"""Of a page, unpacked (bytes); writers make pages of 1 MiB."""
FREE_ROWS, MAX_ROWS_A_BYTE = 1 << 22, 250
"""Rows of a file of any size; further ones for each of its bytes."""
_HEADER = 1 << 16
_PLAIN, _SNAPPY, _GZIP, _ZSTD, _LZ4_RAW = 0, 1, 2, 6, 7
_CODECS = {_PLAIN: "none", _SNAPPY: "snappy", _GZIP: "gzip", _ZSTD: "zstd", _LZ4_RAW: "lz4_raw"}
_OTHER_CODECS = {3: "lzo", 4: "brotli", 5: "lz4 of Hadoop"}
_BYTE_ARRAY, _FIXED = 6, 7
_DELTA_BYTE_ARRAY = 7
_DATA_PAGE, _INDEX_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_V2 = range(4)


class DamagedError(SourceError, ValueError):
    """A place of a file that cannot be read."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Rows that are stored together: number of the first one, and their count."""

    first: int
    count: int
    structure: Structure


class ParquetFile:
    """The footer of a file.

    Parameters
    ----------
    raw : binary file
        Seekable.
    size : int
        Of the file (bytes).
    wanted : collection of str
        Names of the columns to be read.

    Attributes
    ----------
    groups : list of RowGroup
    columns : list of str
        Names of the wanted columns in the file.

    Raises
    ------
    ValueError
        The file cannot be used, with the reason.
    """

    def __init__(self, raw: BinaryIO, size: int, wanted: Collection[str]) -> None:
        self._raw, self._size = raw, size
        self._meta = self._footer()
        self.groups: list[RowGroup] = []
        self.columns: list[str] = []
        self._places: dict[str, int] = {}
        self._schema: list[Structure] = []
        self.hint: bytes | None = None
        try:
            self._select(wanted)
            self._split()
        except (KeyError, AttributeError, TypeError, UnicodeDecodeError):
            raise ValueError("its footer is not that of a Parquet file") from None

    def _footer(self) -> Structure:
        if self._size == 0:
            raise ValueError("empty (0 bytes)")
        end = read_at(self._raw, max(self._size - 8, 0), 8)
        if read_at(self._raw, 0, 4) != MAGIC:
            raise ValueError("no Parquet file: it does not begin with PAR1")
        if self._size < 12 or end[4:] != MAGIC:
            raise ValueError("cut off: a Parquet file ends with its footer, and this one has none")
        length = int.from_bytes(end[:4], "little")
        if length > min(self._size - 12, MAX_FOOTER):
            raise ValueError(f"its footer claims {length:,} bytes")
        try:
            return ThriftReader(read_at(self._raw, self._size - 8 - length, length)).structure()
        except ValueError as error:
            raise ValueError(f"its footer cannot be read: {error}") from None

    def _select(self, wanted: Collection[str]) -> None:
        """Find the wanted columns among the leaves of the schema."""
        elements: list[Structure] = self._meta[2].value
        leaf, i = 0, 1
        while i < len(elements):
            name = elements[i][4].value.decode()
            leaves, stop = _extent(elements, i)
            if name in wanted:
                if stop > i + 1:
                    raise ValueError(f"column {name} is nested, expected plain values")
                if name in self._places:
                    raise ValueError(f"two columns {name}")
                if elements[i].get(3, Field(thrift.I32, 0)).value == 2:
                    raise ValueError(f"column {name} is repeated, expected one value a row")
                if elements[i][1].value == _FIXED:
                    raise ValueError(f"column {name} has values of a fixed length")
                self.columns.append(name)
                self._places[name] = leaf
                self._schema.append(elements[i])
            leaf, i = leaf + leaves, stop
        root = dict(elements[0]) | {5: Field(thrift.I32, len(self._schema))}
        self._schema.insert(0, root)

    def _split(self) -> None:
        first = 0
        for group in self._meta[4].value:
            count = group[3].value
            if count < 0:
                raise ValueError(f"row group {len(self.groups)} claims {count} rows")
            self.groups.append(RowGroup(first, count, group))
            first += count
        if first > FREE_ROWS + MAX_ROWS_A_BYTE * self._size:
            raise ValueError(f"claims {first:,} rows in {self._size:,} bytes: too much to believe")
        for number, (name, chunk) in self._chunks():
            if 1 in chunk and chunk[1].value:
                raise ValueError("its columns are in other files")
            if 3 not in chunk or 8 in chunk:
                raise ValueError("encrypted")
            codec = chunk[3].value[4].value
            if codec not in _CODECS:
                named = _OTHER_CODECS.get(codec, f"number {codec}")
                expected = ", ".join(_CODECS.values())
                raise ValueError(
                    f"compression {named} in row group {number}, column {name}; expected {expected}"
                )

    def _chunks(self) -> Iterator[tuple[int, tuple[str, Structure]]]:
        for number, group in enumerate(self.groups):
            for name, place in self._places.items():
                chunks = group.structure[1].value
                if place >= len(chunks):
                    raise ValueError(f"row group {number} has no column {name}")
                yield number, (name, chunks[place])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.groups[-1].first + self.groups[-1].count if self.groups else 0

    def note(self, key: bytes) -> bytes:
        """Return a note of the footer.

        Raises
        ------
        ValueError
            There is none.
        """
        for pair in self._meta[5].value if 5 in self._meta else ():
            if pair[1].value == key:
                return bytes(pair[2].value)
        raise ValueError(f"no note {key!r}")

    def view(self, number: int | None) -> IO[bytes]:
        """Return one row group as a file of the wanted columns; None: no row group."""
        group = self.groups[number].structure if number is not None else None
        chosen = []
        if group is not None:
            chunks = [_chunk(group[1].value[place]) for place in self._places.values()]
            chosen = [
                {
                    1: Field(LIST, chunks, STRUCT),
                    2: Field(I64, sum(c[3].value[6].value for c in chunks)),
                    3: group[3],
                }
            ]
        meta = {
            1: self._meta[1],
            2: Field(LIST, self._schema, STRUCT),
            3: Field(I64, chosen[0][3].value if chosen else 0),
            4: Field(LIST, chosen, STRUCT),
        }
        if self.hint is not None:
            hint = {1: Field(BINARY, b"ARROW:schema"), 2: Field(BINARY, self.hint)}
            meta[5] = Field(LIST, [hint], STRUCT)
        return cast(IO[bytes], GroupView(self._raw, self._size, thrift.encoded(meta)))

    def check(self, number: int) -> None:
        """Check the pages of a row group.

        Raises
        ------
        DamagedError
            With the column and the reason.
        """
        group = self.groups[number]
        for name, place in self._places.items():
            try:
                self._check_chunk(group.structure[1].value[place][3].value, group.count)
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                why = str(error) if isinstance(error, ValueError) else "no header of a page"
                raise DamagedError(f"column {name}: {why}") from None

    def _check_chunk(self, meta: Structure, count: int) -> None:
        codec, total = meta[4].value, meta[7].value
        at = meta[9].value
        if 11 in meta and 0 < meta[11].value < at:
            at = meta[11].value
        stop = at + total
        if at < 4 or total < 0 or stop > self._size:
            raise DamagedError("its place is outside of the file")
        values = 0
        while at < stop and values < count:
            reader = ThriftReader(read_at(self._raw, at, min(_HEADER, stop - at)))
            header = reader.structure()
            at += reader.at
            kind, unpacked, packed = (header[i].value for i in (1, 2, 3))
            if not 0 <= packed <= stop - at or not 0 <= unpacked <= MAX_PAGE:
                raise DamagedError(f"a page of {unpacked:,} bytes, packed {packed:,}")
            self._check_page(header, kind, codec, at, meta[1].value)
            if kind in (_DATA_PAGE, _DATA_PAGE_V2):
                data = header[5 if kind == _DATA_PAGE else 8].value
                if data[1].value < 0:
                    raise DamagedError("a page of fewer than no values")
                values += data[1].value
            at += packed
        if values != count:
            raise DamagedError(f"{values:,} values for {count:,} rows")

    def _check_page(self, header: Structure, kind: int, codec: int, at: int, physical: int) -> None:
        unpacked, packed = header[2].value, header[3].value
        skip, is_packed = 0, codec != _PLAIN
        if kind == _DATA_PAGE:
            encoding = header[5].value[2].value
        elif kind == _DATA_PAGE_V2:
            data = header[8].value
            encoding = data[4].value
            skip = data[5].value + data[6].value
            is_packed &= 7 not in data or bool(data[7].value)
            if not 0 <= skip <= min(packed, unpacked):
                raise DamagedError("a page with levels beyond its end")
        elif kind == _DICTIONARY_PAGE:
            encoding = header[7].value[2].value
        else:
            return
        if encoding == _DELTA_BYTE_ARRAY and physical == _BYTE_ARRAY:
            raise DamagedError("texts stored as differences of one another cannot be bounded")
        if not is_packed:
            if packed != unpacked:
                raise DamagedError("an unpacked page of two sizes")
        elif not _fits(codec, read_at(self._raw, at + skip, packed - skip), unpacked - skip):
            raise DamagedError("a page does not hold the bytes that its header claims")


def _fits(codec: int, data: bytes, size: int) -> bool:
    """Whether packed data has a content of exactly so many bytes."""
    try:
        if codec == _SNAPPY:
            length = shift = 0
            for byte in data[:5]:
                length |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return length == size
            return size == 0
        if codec == _ZSTD:
            most = most_of_zstd(data)
            if most is not None and most <= size + 2 * ZSTD_BLOCK:
                return True  # bounded; the reader compares it
            return len(zstd.ZstdDecompressor().decompress(data, size + 1)) == size
        if codec == _GZIP:
            return len(zlib.decompressobj(31).decompress(data, size + 1)) == size
    except (zstd.ZstdError, zlib.error, EOFError):
        return False
    return True


def _extent(elements: list[Structure], i: int) -> tuple[int, int]:
    """Return the number of leaves below an element, and the index behind them."""
    open_, leaves = 1, 0
    while open_ and i < len(elements):
        children = elements[i].get(5, Field(thrift.I32, 0)).value
        open_ += children - 1
        leaves += not children
        i += 1
    return leaves, i


def _chunk(chunk: Structure) -> Structure:
    """Return a column of a row group without its places of statistics and indices."""
    meta = {k: v for k, v in chunk[3].value.items() if k in (1, 2, 3, 4, 5, 6, 7, 9, 11)}
    if 11 in meta and not 0 < meta[11].value < meta[9].value:
        del meta[11]  # no place of a dictionary
    return {2: chunk[2], 3: Field(STRUCT, meta)}


def read_at(raw: BinaryIO, at: int, size: int) -> bytes:
    """Return bytes of a file, fewer at its end."""
    raw.seek(at)
    parts = []
    while size > 0 and (data := raw.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


class GroupView(io.RawIOBase):
    """A file with another footer behind its last byte.

    Parameters
    ----------
    raw : binary file
    size : int
        Of the file (bytes).
    footer : bytes
    """

    def __init__(self, raw: BinaryIO, size: int, footer: bytes) -> None:
        self._raw, self._size = raw, size
        self._end = footer + len(footer).to_bytes(4, "little") + MAGIC
        self._at = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the offset of the next byte."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to an offset."""
        base = {os.SEEK_CUR: self._at, os.SEEK_END: self._size + len(self._end)}.get(whence, 0)
        self._at = max(base + offset, 0)
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes."""
        rest = max(self._size + len(self._end) - self._at, 0)
        size = rest if size < 0 else min(size, rest)
        data = read_at(self._raw, self._at, min(size, max(self._size - self._at, 0)))
        if len(data) < size:
            begin = self._at + len(data) - self._size
            data += self._end[begin : begin + size - len(data)]
        self._at += len(data)
        return data
