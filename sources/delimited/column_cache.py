"""Cache of decoded rows of delimited files, as columns on disk, for a second reading.

The guess of `lumen replay` and both passes of a run read a file in the same pieces. A decoded
piece is found by its offset, its size and its end. A piece with texts, rejects or repeated names
is decoded again, as are the pieces of a changed file.

State in memory: 160 bytes a piece of 1 MiB; on disk 37 bytes a number. Cost: 0.03 us a number.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from operators.events import Reject
from sources.delimited.delimited import TableDecoder
from sources.delimited.dialect import Dialect
from sources.recordings.spool import Spool, SpoolColumn
from sources.rows.names import Names
from sources.rows.one_line import Row
from sources.rows.rows import DecodedRows

MAX_FILES = 16
"""Files with cached columns in a process."""
_ENDS = 64


class CachedColumns:
    """The columns of one file, by piece."""

    def __init__(self) -> None:
        spool = Spool()
        self.number = SpoolColumn(spool, "<i4")
        self.stamped = SpoolColumn(spool, "?")
        self.ts, self.rx, self.value = (SpoolColumn(spool, "<f8") for _ in range(3))
        self.line = SpoolColumn(spool, "<i8")
        self.places: dict[tuple[int, int, bytes], tuple[int, int]] = {}

    def put(self, key: tuple[int, int, bytes], rows: DecodedRows, number: np.ndarray) -> None:
        """Store the rows of a piece; `number` (n,) is the channel of each."""
        first = len(self.value)
        self.number.add(number)
        self.stamped.add(rows.stamped)
        self.ts.add(rows.ts)
        self.rx.add(rows.rx)
        self.value.add(rows.value)
        self.line.add(rows.line)
        self.places[key] = first, len(self.value)

    def get(self, first: int, last: int, names: Names, numbers: np.ndarray) -> DecodedRows:
        """Return rows; `numbers` has the number of each channel in `names`."""
        return DecodedRows(
            names=names,
            name=numbers[self.number.read(first, last)],
            ts=self.ts.read(first, last),
            rx=self.rx.read(first, last),
            value=self.value.read(first, last),
            stamped=self.stamped.read(first, last),
            seq=np.full(last - first, -1),
            line=self.line.read(first, last),
        )


_kept: OrderedDict[tuple[object, ...], CachedColumns] = OrderedDict()


def kept(path: str, dialect: Dialect, *, begin: bool) -> CachedColumns | None:
    """Return the cached columns of a file in its present state; None without any.

    Parameters
    ----------
    path : str
    dialect : Dialect
    begin : bool
        Create them if missing.
    """
    status = Path(path).stat()
    key = (path, status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, dialect)
    if key in _kept:
        _kept.move_to_end(key)
    elif begin:
        _kept[key] = CachedColumns()
        while len(_kept) > MAX_FILES:
            _kept.popitem(last=False)
    return _kept.get(key)


class CachedDecoder:
    """A `TableDecoder` with cached rows.

    Parameters
    ----------
    decoder : TableDecoder
    columns : CachedColumns
    """

    def __init__(self, decoder: TableDecoder, columns: CachedColumns) -> None:
        self._decoder, self._columns = decoder, columns
        self.torn = decoder.torn

    def decode(self, block: bytes, base: int, names: Names) -> DecodedRows:
        """Decode whole lines, as `TableDecoder.decode`."""
        key = base, len(block), block[-_ENDS:]
        numbers = self._decoder.numbers(names)
        if key in self._columns.places:
            return self._columns.get(*self._columns.places[key], names, numbers)
        rows = self._decoder.decode(block, base, names)
        if rows.notes is None and len(rows) and len(np.unique(numbers)) == len(numbers):
            order = np.argsort(numbers)
            number = order[np.searchsorted(numbers[order], rows.name)]
            self._columns.put(key, rows, number.astype(np.int32))
        return rows

    def reject(self, row: Row, offset: int, line: bytes) -> Reject:
        """Return the reject of a line."""
        return self._decoder.reject(row, offset, line)
