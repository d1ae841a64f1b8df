"""Rows of one channel that wait, in preallocated columns: appended behind, taken in front.

A place is written once, so that rows may be taken as views. When the columns are full the waiting
rows move to new ones. The columns of the first block serve until then.

State: the rows, and room for as many again, at least `MIN_ROOM`. Cost: an assignment a column for
each append, a view a column for each block. Losses: none.
"""

from __future__ import annotations

from operator import attrgetter

import numpy as np

from operators.records import Block
from operators.types import F64, Bool

MIN_ROOM = 64
_FIELDS = (
    "row",
    "source_time",
    "arrival",
    "value",
    "watermark",
    "stamped",
    "line",
    "host_time",
    "straggler",
)
_HOST, _VALUE, _WATERMARK, _STRAGGLER = map(
    _FIELDS.index, ("host_time", "value", "watermark", "straggler")
)
_fields = attrgetter(*_FIELDS)


class RowStore:
    """Rows of one channel between `drift`'s mapping and `align`; at least one block of them.

    Parameters
    ----------
    first : Block
        The first rows, with host times and without texts.
    """

    def __init__(self, first: Block) -> None:
        self.source, self.channel = first.source, first.channel
        self._first: Block | None = first
        self._begin, self._end, self._room = 0, len(first), len(first)
        self._columns: list[np.ndarray] = list(_fields(first))
        if first.weight is not None:
            self._columns.append(first.weight)

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def host_time(self) -> F64:
        """Host times of the rows (n,), as a view."""
        return self._columns[_HOST][self._begin : self._end]

    @property
    def value(self) -> F64:
        """Values of the rows (n,), as a view."""
        return self._columns[_VALUE][self._begin : self._end]

    @property
    def watermark(self) -> F64:
        """Watermarks of the rows (n,), as a view."""
        return self._columns[_WATERMARK][self._begin : self._end]

    @property
    def straggler(self) -> Bool:
        """Whether each row is a straggler (n,), as a view."""
        return self._columns[_STRAGGLER][self._begin : self._end]

    def append(self, block: Block) -> None:
        """Append the rows of a block of this channel."""
        n = len(block)
        if self._end + n > self._room:
            self._move(len(self) + n)
        place = slice(self._end, self._end + n)
        for column, rows in zip(self._columns, _fields(block), strict=False):
            column[place] = rows
        if len(self._columns) > len(_FIELDS):
            self._columns[-1][place] = 1 if block.weight is None else block.weight
        self._end += n

    def block(self, count: int) -> Block:
        """Return the first `count` rows as views."""
        if self._first is not None and count == self._room and not self._begin:
            return self._first
        place = slice(self._begin, self._begin + count)
        row, source_time, arrival, value, watermark, *rest = [c[place] for c in self._columns]
        stamped, line, host_time, straggler, *weight = rest
        return Block(
            source=self.source,
            channel=self.channel,
            row=row,
            source_time=source_time,
            arrival=arrival,
            value=value,
            watermark=watermark,
            stamped=stamped,
            line=line,
            weight=weight[0] if weight else None,
            host_time=host_time,
            straggler=straggler,
        )

    def take(self, count: int) -> Block:
        """Remove and return the first `count` rows."""
        rows = self.block(count)
        self._begin += count
        return rows

    def _move(self, needed: int) -> None:
        """Move the rows to new columns with room for twice the needed ones."""
        self._room = max(MIN_ROOM, 2 * needed)
        place = slice(self._begin, self._end)
        moved = [np.empty(self._room, column.dtype) for column in self._columns]
        for new, old in zip(moved, self._columns, strict=True):
            new[: len(self)] = old[place]
        self._columns, self._first = moved, None
        self._begin, self._end = 0, place.stop - place.start
