"""The reader of a file's bytes, by its ending: lines of JSON, or delimited text."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from configs.schema import Columns, FileStream, TimeUnit, is_delimited
from operators.records import Reason, Reject
from sources.delimited import TableDecoder
from sources.delimited.column_cache import Remembered, kept
from sources.delimited.dialect import LOOK, PER_SECOND, find
from sources.ndjson import Decoder
from sources.opening import head
from sources.rows.names import Names
from sources.rows.one_line import MAX_STAMP_S, Row
from sources.rows.rows import DecodedRows


class FileDecoder:
    """Makes rows of the pieces of one file, its source stamps in seconds.

    Parameters
    ----------
    decoder : Decoder, TableDecoder or Remembered
    per_second : float
        How many units of the source's stamps make a second, where a file has no lines.
    """

    def __init__(
        self, decoder: Decoder | TableDecoder | Remembered, per_second: float = 1.0
    ) -> None:
        self._decoder, self._per_second = decoder, per_second

    @property
    def torn(self) -> Reason:
        """Why a last line that is not whole is refused."""
        return self._decoder.torn

    def decode(self, block: bytes, base: int, names: Names) -> DecodedRows:
        """Decode whole lines, as `Decoder.decode`."""
        return self._decoder.decode(block, base, names)

    def reject(self, row: Row, offset: int, line: bytes) -> Reject:
        """Return the reject of a line, as `Decoder.reject`."""
        return self._decoder.reject(row, offset, line)

    def scaled(self, rows: DecodedRows) -> DecodedRows:
        """Return rows with source stamps in seconds; arrivals that are the stamps go with them."""
        if self._per_second == 1:
            return rows
        own = (rows.name >= 0) & (np.abs(rows.ts) <= MAX_STAMP_S)
        with_it = own & ~rows.stamped & (rows.rx == rows.ts)
        ts = np.where(own, rows.ts / self._per_second, rows.ts)
        return replace(rows, ts=ts, rx=np.where(with_it, ts, rows.rx))


def reader_of(stream: FileStream, keep: bool = False) -> FileDecoder:
    """Return the reader of a file stream.

    Parameters
    ----------
    stream : FileStream
    keep : bool
        The file is read again in this process: rows of a delimited one are kept.

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
    path: str, columns: Columns | None = None, unit: TimeUnit | None = None, keep: bool = False
) -> FileDecoder:
    """Return the reader of a file, as `reader_of`."""
    if is_delimited(path):
        decoder = TableDecoder(path, find(path, head(path, LOOK), columns, unit))
        before = kept(path, decoder.dialect, begin=keep)
        return FileDecoder(decoder if before is None else Remembered(decoder, before))
    per_second = PER_SECOND[unit or "s"]
    return FileDecoder(Decoder(path, per_second), per_second)
