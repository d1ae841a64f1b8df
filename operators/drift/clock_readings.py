"""Two-way readings of a source's clock, as the rows of their channels have them.

A reading is an event of the key `clock_offset`. Its value is an array of two numbers: host - source
(s) at its source time, and the largest error of it (s), half the round trip. Its two rows have the
same source time and arrival. A row without the other one is rejected.

State: one row a source. Losses: rejected (`schema`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from operators.records import Block
from operators.types import State


class ReadingRow(NamedTuple):
    """A row of a reading: times in s, `value` that of the element."""

    row: int
    element: int
    ts: float
    arrival: float
    value: float
    watermark: float
    line: int
    stamped: bool


class ClockReading(NamedTuple):
    """A reading: `offset` = host - source (s) at source time `ts`, wrong by `error` (s) at most."""

    row: int
    ts: float
    arrival: float
    offset: float
    error: float
    rows: tuple[ReadingRow, ...]


@dataclass
class ReadingPairs:
    """The readings of each source; `open`: first rows without their second."""

    open: dict[str, ReadingRow] = field(default_factory=dict)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {source: list(row) for source, row in self.open.items()}

    @classmethod
    def from_snapshot(cls, state: State) -> ReadingPairs:
        """Return the pairs of a snapshot."""
        return cls({source: ReadingRow(*row) for source, row in state.items()})

    def feed(
        self, blocks: Iterable[Block], element: dict[str, int], end: float | None
    ) -> tuple[dict[str, list[ClockReading]], dict[str, list[ReadingRow]]]:
        """Process the rows of a packet.

        Parameters
        ----------
        blocks : iterable of Block
            Rows of the channels of readings.
        element : dict
            Element of the array by channel.
        end : float or None
            The watermark of the end, None while rows follow.

        Returns
        -------
        readings, lost : dict
            By source: the complete readings in order, and the rows without the other one.
        """
        rows: dict[str, list[ReadingRow]] = {}
        for b in blocks:
            columns = (b.source_time, b.arrival, b.value, b.watermark, b.line, b.stamped)
            numbers = zip(b.row.tolist(), *(c.tolist() for c in columns), strict=True)
            rows.setdefault(b.source, []).extend(
                ReadingRow(row, element[b.channel], *rest) for row, *rest in numbers
            )
        readings: dict[str, list[ClockReading]] = {}
        lost: dict[str, list[ReadingRow]] = {}
        for source, mine in rows.items():
            for row in sorted(mine):
                first = self.open.pop(source, None)
                # Its end is decided here.
                first = first and first._replace(watermark=row.watermark)
                if row.element == 0:
                    lost.setdefault(source, []).extend([first] if first else [])
                    self.open[source] = row._replace(row=0)
                elif first and (first.ts, first.arrival) == (row.ts, row.arrival):
                    reading = ClockReading(
                        row.row, row.ts, row.arrival, first.value, row.value, (first, row)
                    )
                    readings.setdefault(source, []).append(reading)
                else:
                    lost.setdefault(source, []).extend([first, row] if first else [row])
        if end is not None:
            for source, row in self.open.items():
                lost.setdefault(source, []).append(row._replace(watermark=end))
            self.open = {}
        return readings, lost
