"""Rows of a delimited file decoded once, kept as columns on disk for who reads it again.

The guess of `lumen replay` and both passes of a run read a file in the same pieces. A piece that
was decoded is in the spool by its place, its size and its end; one with texts, rejects or names of
its own is decoded anew, as are pieces of a file that has changed since.

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

MAX_KEPT = 16
"""Files whose columns are kept in a process."""
_ENDS = 64


class Kept:
    """The columns of one file, by piece."""

    def __init__(self) -> None:
        spool = Spool()
        self.number = SpoolColumn(spool, "<i4")
        self.stamped = SpoolColumn(spool, "?")
        self.ts, self.rx, self.value = (SpoolColumn(spool, "<f8") for _ in range(3))
        self.line = SpoolColumn(spool, "<i8")
        self.places: dict[tuple[int, int, bytes], tuple[int, int]] = {}

    def put(self, key: tuple[int, int, bytes], rows: DecodedRows, number: np.ndarray) -> None:
        """Keep the rows of a piece; `number` (n,) is the channel of each."""
        first = len(self.value)
        for column, values in (
            (self.number, number), (self.stamped, rows.stamped), (self.ts, rows.ts),
            (self.rx, rows.rx), (self.value, rows.value), (self.line, rows.line),
        ):  # fmt: skip
            column.add(values)
        self.places[key] = first, len(self.value)

    def get(self, first: int, last: int, names: Names, of: np.ndarray) -> DecodedRows:
        """Return rows; `of` has the number among `names` of each channel."""
        n = last - first
        return DecodedRows(
            names=names, name=of[self.number.read(first, last)], ts=self.ts.read(first, last),
            rx=self.rx.read(first, last), value=self.value.read(first, last),
            stamped=self.stamped.read(first, last), seq=np.full(n, -1),
            line=self.line.read(first, last),
        )  # fmt: skip


_kept: OrderedDict[tuple[object, ...], Kept] = OrderedDict()


def kept(path: str, dialect: Dialect, *, begin: bool) -> Kept | None:
    """Return the columns of a file as it is now; None where there are none.

    Parameters
    ----------
    path : str
    dialect : Dialect
    begin : bool
        Begin to keep them.
    """
    status = Path(path).stat()
    key = (path, status.st_ino, status.st_dev, status.st_size, status.st_mtime_ns, dialect)
    if key in _kept:
        _kept.move_to_end(key)
    elif begin:
        _kept[key] = Kept()
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
    return _kept.get(key)


class Remembered:
    """A `TableDecoder` whose rows are kept.

    Parameters
    ----------
    decoder : TableDecoder
    columns : Kept
    """

    def __init__(self, decoder: TableDecoder, columns: Kept) -> None:
        self._decoder, self._columns = decoder, columns
        self.torn = decoder.torn

    def decode(self, block: bytes, base: int, names: Names) -> DecodedRows:
        """Decode whole lines, as `TableDecoder.decode`."""
        key = base, len(block), block[-_ENDS:]
        of = self._decoder.numbers(names)
        if key in self._columns.places:
            return self._columns.get(*self._columns.places[key], names, of)
        rows = self._decoder.decode(block, base, names)
        if rows.notes is None and len(rows) and len(np.unique(of)) == len(of):
            order = np.argsort(of)
            number = order[np.searchsorted(of[order], rows.name)]
            self._columns.put(key, rows, number.astype(np.int32))
        return rows

    def reject(self, row: Row, offset: int, line: bytes) -> Reject:
        """Return the reject of a line."""
        return self._decoder.reject(row, offset, line)
