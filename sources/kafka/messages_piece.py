"""Values of messages as rows: the lines of many messages are decoded as one block.

Each value is a block of whole lines: a line never continues in the next message. A row without a
recorded arrival has the time of its message.

Cost: that of `Decoder`, and about 1 us a message. State: none. Losses: none; an unusable line is a
reject in its place.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from operators.events import Reject
from operators.topic_place import byte_of, shown
from operators.types import F64, I64, Reason
from sources.recordings.recording import ColumnPiece
from sources.rows.rows import DecodedRows
from sources.rows.written import BOM, LineDetails, details_of

if TYPE_CHECKING:
    from sources.ndjson import Decoder
    from sources.rows.names import Names


class Value(NamedTuple):
    """The lines of one message.

    Attributes
    ----------
    place : int
        Of the first byte.
    time_s : float
        Of the message (s since 1970); NaN without one.
    lines : bytes
    """

    place: int
    time_s: float
    lines: bytes


class MessagesPiece(ColumnPiece):
    """Rows of messages.

    Parameters
    ----------
    partition : str
        Topic and partition, for rejects.
    values : list of Value
        In the order of the partition.
    decoder : Decoder
        Of the partition; it keeps what it has learnt of the lines.
    """

    def __init__(self, partition: str, values: list[Value], decoder: Decoder) -> None:
        self._partition, self._values, self._decoder = partition, values, decoder

    def rows_and_details(
        self, names: Names, per_second: float = 1.0
    ) -> tuple[DecodedRows, LineDetails]:
        """Return all rows with their details."""
        parts = [_ended(value) for value in self._values]
        block = b"".join(parts)
        rows = self._decoder.decode(block, 0, names)
        details = details_of(rows, block)
        begin = np.cumsum([0, *map(len, parts[:-1])])
        message = np.searchsorted(begin, rows.line, "right") - 1
        first: I64 = np.array([value.place for value in self._values], np.int64)
        rows = replace(rows, line=first[message] + rows.line - begin[message])
        self._name_rejects(rows)
        return self._arrived(rows, message), details

    def _name_rejects(self, rows: DecodedRows) -> None:
        """Put the place of each reject into words."""
        if rows.notes is None:
            return
        for i, note in enumerate(rows.notes.tolist()):
            # A recorded loss has a place of its own.
            if isinstance(note, Reject) and note.where.startswith(self._decoder.file + ":"):
                where = shown(self._partition, int(rows.line[i]))
                rows.notes[i] = msgspec.structs.replace(note, where=where)

    def _arrived(self, rows: DecodedRows, message: I64) -> DecodedRows:
        """Give rows without an arrival the time of their message."""
        bare = (rows.name >= 0) & ~rows.stamped & ~np.isnan(rows.ts)
        if not bare.any():
            return rows
        times: F64 = np.array([value.time_s for value in self._values])
        arrival = times[message]
        bare &= ~np.isnan(arrival)
        return replace(
            rows, rx=np.where(bare, arrival, rows.rx), stamped=np.where(bare, True, rows.stamped)
        )


class LostPiece(ColumnPiece):
    """Messages that could not be used, as one reject.

    Parameters
    ----------
    partition : str
    place : int
        Of the first one.
    reason : Reason
    sample : bytes
    count : int
        Of the messages.
    """

    def __init__(
        self, partition: str, place: int, reason: Reason, sample: bytes, count: int = 1
    ) -> None:
        where = shown(partition, place)
        self._place = place
        self._reject = Reject(0, reason, "?", where, sample, count)

    def rows_and_details(
        self, names: Names, per_second: float = 1.0
    ) -> tuple[DecodedRows, LineDetails]:
        """Return the row of the reject."""
        rows = DecodedRows.of_reject(self._reject, self._place, names)
        return rows, details_of(rows)


def _ended(value: Value) -> bytes:
    """Return lines of which the last has an end, and the first of a message no byte order mark."""
    lines = value.lines
    if lines.startswith(BOM) and not byte_of(value.place):
        lines = b"   " + lines[3:]
    return lines if lines.endswith(b"\n") else lines + b"\n"
