"""Opening a recording of any kind: a file of lines, a columnar, MCAP or XDF file, a tape."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from sources.recordings.recording import (
    NEEDS_EXTRA,
    ColumnPiece,
    Mark,
    Piece,
    Recording,
    UnusableError,
    is_columnar,
    is_xdf,
)
from sources.tape.followed import FollowedTape
from sources.tape.reader import Tape, is_tape

if TYPE_CHECKING:
    from sources.columnar.columnar_recording import ColumnarRecording
    from sources.xdf import XdfRecording


import numpy as np

from configs.inputs import PACKED, Columns, FileStream, StampUnit, is_delimited, is_mcap
from operators.events import Reject
from operators.limits import MAX_STAMP_S
from operators.types import Reason
from sources.delimited import TableDecoder
from sources.delimited.column_cache import CachedDecoder, kept
from sources.delimited.dialect import LOOK, PER_SECOND, find
from sources.delimited.event_lines import EventLines
from sources.delimited.event_table import EventTable, event_table, raw_head, table_in
from sources.mcap.mcap_recording import mcap_recording
from sources.ndjson import Decoder
from sources.recordings.unpack import Unpacker
from sources.rows.names import Names
from sources.rows.one_line import Row
from sources.rows.rows import DecodedRows
from sources.rows.written import lines_of_rows


def open_recording(
    path: str,
    follow: bool = False,
    mark: Mark | None = None,
    used: Collection[str] | None = None,
    progress: bool = False,
    stopped: Callable[[], bool] = lambda: False,
    columns: Columns | None = None,
    unit: StampUnit | None = None,
) -> Recording | Tape | FollowedTape | XdfRecording | ColumnarRecording:
    """Open a file of lines, a columnar, MCAP or XDF file, or a tape.

    Parameters
    ----------
    path : str
    follow : bool
    mark : Mark, optional
        Position to resume from.
    used : collection of str, optional
        Channels in use by the configuration; None: all.
    progress : bool
        Show the progress of a file that is loaded as a whole.
    stopped : callable
        Whether to end the load of such a file.
    columns : Columns, optional
    unit : {'s', 'ms', 'us', 'ns', 'iso'}, optional
        Of delimited text with an event a row; found by default.

    Raises
    ------
    OSError, ValueError
        As `Recording` and `Tape`.
    """
    if is_xdf(path):
        from sources.xdf import XdfRecording  # a slow import for a rare format

        return XdfRecording(path, follow, mark, used, progress, stopped)
    if is_columnar(path):
        return columnar(path, follow, mark)
    if is_mcap(path):
        return mcap_recording(path, follow, mark)
    if (table := event_table(path, columns, unit)) is not None:
        return _of_events(path, table, follow, mark)
    if not is_tape(path):
        return Recording(path, follow, mark)
    return FollowedTape(path, mark) if follow else Tape(path, mark)


def _of_events(
    path: str, table: EventTable, follow: bool = False, mark: Mark | None = None
) -> Recording:
    """Open delimited text with an event a row."""
    if follow:
        raise UnusableError(f"{path}: a table of events cannot be followed")

    def content(raw: BinaryIO) -> EventLines:
        packed = path.lower().endswith(PACKED)
        size = Path(path).stat().st_size
        inside = Unpacker(raw, path.lower().endswith(".zst"), size) if packed else None
        return EventLines(raw, path, table, inside)

    return Recording(path, follow, mark, content=content)


def columnar(path: str, follow: bool = False, mark: Mark | None = None) -> ColumnarRecording:
    """Open a Parquet or Arrow file.

    Raises
    ------
    UnusableError
        The extra is not installed.
    OSError, ValueError
        As `ColumnarRecording`.
    """
    try:
        from sources.columnar.columnar_recording import ColumnarRecording  # an extra
    except ImportError:
        raise UnusableError(f"{path}: {NEEDS_EXTRA}") from None
    return ColumnarRecording(path, follow, mark)


def lines_of(piece: ColumnPiece) -> bytes:
    """Return the next rows of a columnar recording as lines."""
    return lines_of_rows(*piece.rows_and_details(Names("")))


def head(path: str, size: int) -> bytes:
    """Return the readable part of the first bytes of a recording; of columns, their lines."""
    recording: Recording | Tape | ColumnarRecording
    if is_columnar(path):
        recording = columnar(path)
    elif is_mcap(path):
        recording = mcap_recording(path)
    elif (table := event_table(path)) is not None:
        recording = _of_events(path, table)
    else:
        recording = Tape(path) if is_tape(path) else Recording(path)
    parts, length = [], 0
    while length < size and not recording.ended:
        for piece in recording.read():
            parts.append(piece.data if isinstance(piece, Piece) else lines_of(piece))
            length += len(parts[-1])
    recording.close()
    return b"".join(parts)[:size]


class FileDecoder:
    """Decodes the pieces of one file, with source stamps in seconds.

    Parameters
    ----------
    decoder : Decoder, TableDecoder or CachedDecoder
    per_second : float
        Units of the source's stamps in a second, for a file without lines.
    """

    def __init__(
        self, decoder: Decoder | TableDecoder | CachedDecoder, per_second: float = 1.0
    ) -> None:
        self._decoder, self.per_second = decoder, per_second

    @property
    def torn(self) -> Reason:
        """Reason of the reject of an incomplete last line."""
        return self._decoder.torn

    def decode(self, block: bytes, base: int, names: Names) -> DecodedRows:
        """Decode whole lines, as `Decoder.decode`."""
        return self._decoder.decode(block, base, names)

    def reject(self, row: Row, offset: int, line: bytes) -> Reject:
        """Return the reject of a line, as `Decoder.reject`."""
        return self._decoder.reject(row, offset, line)

    def rows(self, piece: ColumnPiece | XdfRecording, names: Names) -> DecodedRows:
        """Return the next rows of a recording without lines, with source stamps in seconds."""
        if isinstance(piece, ColumnPiece):
            return piece.rows_and_details(names, self.per_second)[0]
        return self.scaled(piece.rows(names))

    def scaled(self, rows: DecodedRows) -> DecodedRows:
        """Return rows with source stamps in seconds; arrivals equal to stamps are scaled too."""
        if self.per_second == 1:
            return rows
        own = (rows.name >= 0) & (np.abs(rows.ts) <= MAX_STAMP_S)
        is_stamp = own & ~rows.stamped & (rows.rx == rows.ts)
        ts = np.where(own, rows.ts / self.per_second, rows.ts)
        return replace(rows, ts=ts, rx=np.where(is_stamp, ts, rows.rx))


def reader_of(stream: FileStream, keep: bool = False) -> FileDecoder:
    """Return the reader of a file stream.

    Parameters
    ----------
    stream : FileStream
    keep : bool
        The file is read again in this process: decoded columns of a delimited one are kept.

    Raises
    ------
    OSError
        A delimited file cannot be read.
    ValueError
        Its dialect cannot be found.
    """
    keep = keep and not stream.follow
    return reader_at(stream.path, stream.columns, stream.ts_unit, keep)


def reader_at(
    path: str, columns: Columns | None = None, unit: StampUnit | None = None, keep: bool = False
) -> FileDecoder:
    """Return the reader of a file, as `reader_of`."""
    if is_delimited(path):
        start = raw_head(path, LOOK)
        if table_in(path, start, columns, unit) is not None:
            return FileDecoder(Decoder(path))  # its lines have seconds
        decoder = TableDecoder(path, find(path, start, columns, unit))
        before = kept(path, decoder.dialect, begin=keep)
        return FileDecoder(decoder if before is None else CachedDecoder(decoder, before))
    per_second = 1.0 if unit is None or unit == "iso" else PER_SECOND[unit]
    return FileDecoder(Decoder(path, per_second), per_second)
