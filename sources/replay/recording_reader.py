"""Reader of one recording for the merge: bytes, rows, arrival verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
import numpy as np

from configs.inert import inert
from operators.events import Reject
from operators.types import Reason
from sources.opening import FileDecoder
from sources.recordings.recording import ColumnPiece, Mark, Piece
from sources.replay.arrival_check import Arrivals
from sources.replay.rig_arrivals import RigChecks
from sources.rows.names import REJECT, Names
from sources.rows.one_line import Row
from sources.rows.rows import Arrived, DecodedRows

if TYPE_CHECKING:
    from sources.xdf import XdfRecording


class FeedState(msgspec.Struct, frozen=True, omit_defaults=True):
    """Position from which a file is resumed, and the state of its arrival check there.

    `rigs`: the checks of a recording that has one for each rig.
    """

    path: str
    mark: Mark
    reference_arrival: float | None = msgspec.field(name="running")
    merge_time: float | None = msgspec.field(name="key")
    verdicts: list[bool]
    rigs: RigChecks | None = None


class RecordingLike(Protocol):
    """A source of pieces: see `Recording`."""

    path: str
    follow: bool
    ended: bool
    idle: bool
    size: int

    @property
    def before(self) -> int:
        """Bytes of earlier files of this name."""

    def read(self) -> Sequence[Piece | ColumnPiece | XdfRecording]:
        """Return the next pieces."""

    def finish(self) -> Sequence[Piece | ColumnPiece | XdfRecording]:
        """End the recording."""

    def mark(self, line: int | None) -> Mark:
        """Return the position to resume from."""

    def position(self) -> int:
        """Return the number of bytes read."""

    def close(self) -> None:
        """Close the file."""


class RecordingReader:
    """The final rows of one file, in its order.

    Parameters
    ----------
    number : int
        Among the files of the run.
    recording : RecordingLike
        Opened at the state's mark.
    arrivals : Arrivals
        Arrival check of the file.
    state : FeedState or None
    reader : FileDecoder
        Decodes the pieces.

    Attributes
    ----------
    ready : list of Arrived
        Final rows that the merge has not taken.
    idle : bool
        A followed file that has not grown: the merge does not wait for it.
    """

    def __init__(
        self,
        number: int,
        recording: RecordingLike,
        arrivals: Arrivals,
        state: FeedState | None,
        reader: FileDecoder,
    ) -> None:
        self.number = number
        self.ready: list[Arrived] = []
        self.idle = False
        self.recording = recording
        self._reader = reader
        self._arrivals = arrivals
        if state:
            self._arrivals.reference_arrival = _or_unknown(state.reference_arrival)
            self._arrivals.merge_time = _or_unknown(state.merge_time)
            self._arrivals.verdicts = list(state.verdicts)
        self._doubtful: list[DecodedRows] = []
        self._done = (self._arrivals.reference_arrival, self._arrivals.merge_time, True)
        self._first_verdicts = list(self._arrivals.verdicts)
        self._line = 0

    @property
    def ended(self) -> bool:
        """Whether no more rows can come."""
        return self.recording.ended

    def fill(self, names: Names) -> bool:
        """Read once; return whether the file delivered rows or its end."""
        self._take(self.recording.read(), names)
        self.idle = self.recording.idle
        return not self.idle

    def finish(self, names: Names) -> None:
        """End the file after the bytes read so far."""
        self._take(self.recording.finish(), names)

    def _take(self, pieces: Sequence[Piece | ColumnPiece | XdfRecording], names: Names) -> None:
        before = self.recording.before
        decoded = (rows_of(piece, self._reader, names) for piece in pieces)
        parts = [rows for found in decoded for rows in found if len(rows)]
        self.add([replace(x, line=x.line + before) for x in parts] if before else parts, names)

    def add(self, fresh: list[DecodedRows], names: Names) -> None:
        """Append rows, and check as many arrivals as possible."""
        if not fresh and not (self.ended and self._doubtful):
            return
        rows = DecodedRows.join([rows.renamed(names) for rows in [*self._doubtful, *fresh]])
        judged = self._arrivals.judge(rows.rx, rows.line, self.ended)
        n = judged.count
        self._doubtful = [rows.take(slice(n, None))] if n < len(rows) else []
        if n:
            final = rows.take(slice(0, n))
            columns = {field: getattr(final, field) for field in DecodedRows.__dataclass_fields__}
            arrived = Arrived(
                **columns,
                feed=np.full(n, self.number, np.int32),
                wild=judged.wild[:n],
                merge_time=judged.merge_time[:n],
                reference_arrival=judged.reference_arrival[:n],
                calm=judged.calm[:n],
            )
            self.ready.append(arrived)

    @property
    def newest(self) -> float:
        """Newest accepted arrival that was emitted."""
        return self._done[1]

    def holds_back(self) -> bool:
        """Whether the merge has to wait for rows of this file."""
        return not self.ended and not self.idle

    def frontier(self) -> tuple[float, int]:
        """Return the lower bound of all later rows of this file: newest merge time, number."""
        if not self.ready:
            return float("-inf"), -1
        return float(self.ready[-1].merge_time[-1]), self.number

    def take_up_to(self, merge_time: float, number: int) -> list[Arrived]:
        """Take the ready rows that no row of file `number` after `merge_time` can precede."""
        taken, left = [], []
        for rows in self.ready:
            side: Literal["left", "right"] = "right" if self.number <= number else "left"
            n = len(rows)
            if merge_time != float("inf"):
                n = int(np.searchsorted(rows.merge_time, merge_time, side))
            taken += [rows.take(slice(0, n))] if n else []
            left += [rows.take(slice(n, None))] if n < len(rows) else []
        self.ready = left
        return taken

    def used(self, rows: Arrived) -> None:
        """Store the state of the arrival check after the newest emitted rows of this file."""
        own = np.flatnonzero(rows.feed == self.number)
        if len(own):
            last = rows.take(own[-1:])
            self._done = (
                float(last.reference_arrival[0]),
                float(last.merge_time[0]),
                bool(last.calm[0]),
            )
            self._line = int(last.line[0])
            self._first_verdicts = []

    def progress(self) -> float:
        """Return the number of bytes of the file, packed or not, before the next row to emit."""
        read = self.recording.mark(None).offset + self.recording.before
        return self.recording.position() * min(self._line / max(read, 1), 1.0)

    def state(self, merged: list[Arrived]) -> FeedState:
        """Return the position and state to resume from.

        Parameters
        ----------
        merged : list of Arrived
            Rows taken by the merge and not emitted.
        """
        pending = [*(x.take(np.flatnonzero(x.feed == self.number)) for x in merged), *self.ready]
        pending = [rows for rows in pending if len(rows)]
        first = next((int(rows.line[0]) for rows in [*pending, *self._doubtful]), None)
        reference_arrival, merge_time, calm = self._done
        verdicts = self._first_verdicts
        if not calm:
            verdicts = _verdicts(pending)
        mark = self.recording.mark(first)
        return FeedState(
            path=inert(self.recording.path),
            mark=mark,
            reference_arrival=_known(reference_arrival),
            merge_time=_known(merge_time),
            verdicts=verdicts,
        )


def rows_of(
    piece: Piece | ColumnPiece | XdfRecording, reader: FileDecoder, names: Names
) -> Iterator[DecodedRows]:
    """Yield the rows of a piece, and a reject for its fault."""
    if not isinstance(piece, Piece):
        yield reader.rows(piece, names)
        return
    fault = piece.fault
    if piece.data and fault != "too_long":
        rows = reader.decode(piece.data, piece.offset, names)
        if piece.last and _is_torn(rows, reader.torn):
            fault = fault or "torn"
        else:
            yield rows
    if fault:
        yield _fault(fault, piece, reader, names)


def _fault(reason: Reason, piece: Piece, reader: FileDecoder, names: Names) -> DecodedRows:
    reject = reader.reject(Row(REJECT, reason=reason), piece.offset, piece.why or piece.data)
    return DecodedRows.of_reject(reject, piece.offset, names)


def _is_torn(rows: DecodedRows, why: Reason) -> bool:
    """Whether a last line is incomplete."""
    notes = [] if rows.notes is None else rows.notes.tolist()
    return len(notes) == 1 and isinstance(notes[0], Reject) and notes[0].reason == why


def _verdicts(pending: list[Arrived]) -> list[bool]:
    """Return the pending verdicts that were decided together with the last emitted one."""
    verdicts: list[bool] = []
    last = -1
    for rows in pending:
        for i in range(len(rows)):
            if not np.isnan(rows.rx[i]) and rows.line[i] != last:
                verdicts.append(bool(rows.wild[i]))
                last = int(rows.line[i])
            if rows.calm[i]:
                return verdicts
    return verdicts


def _known(number: float) -> float | None:
    return None if number == float("-inf") else number


def _or_unknown(number: float | None) -> float:
    return float("-inf") if number is None else number
