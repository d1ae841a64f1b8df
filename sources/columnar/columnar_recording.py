"""A Parquet or Arrow file as a recording: columns, without a line to decode.

Rows are numbered in their order; a row is a line, as are the rows of an array together. The place
of a reject is the row group (of Arrow: the record batch) and the row in it: `a.parquet:2[1017]`.
A resumed file is read from its row group on; an Arrow file is read and dropped up to the mark.

State: `BATCH_ROWS` rows, a page of each column; of Arrow one record batch. Cost: 0.2 us a row.
Losses: a damaged row group ends the file with one reject (`archive`), as a cut archive does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BytesIO
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from configs.files import open_file
from configs.inert import inert
from operators.events import Reject
from operators.limits import MAX_SAMPLE
from sources.recordings.recording import ColumnPiece, Mark
from sources.rows.names import REJECT, Names
from sources.rows.rows import DecodedRows, no_notes

try:
    from arro3 import io as arrow_io
    from arro3.core import Field, RecordBatch, RecordBatchReader, Schema
except ImportError:
    raise ImportError("a columnar recording needs the extra: lumen-fusion[columnar]") from None

from sources.columnar.arrow_file import ArrowFile
from sources.columnar.parquet_file import ParquetFile
from sources.columnar.table import COLUMNS, DICTIONARY, TEXTS, TableReader, merged, why_not
from sources.rows.written import LineDetails

BATCH_ROWS = 16_384
"""Decoded at once: their columns stay in the cache of the processor."""
_PANIC = "PanicException"


class _Tables:
    """The tables of a file, in order.

    Parameters
    ----------
    path : str
    raw : binary file

    Attributes
    ----------
    firsts : list of int
        Number of the first row of each row group or record batch, and of the row behind the last.

    Raises
    ------
    ValueError
        The file is no recording.
    """

    def __init__(self, path: str, raw: BinaryIO) -> None:
        self.path = path
        size = raw.seek(0, 2)
        self._parquet: ParquetFile | None = None
        if path.lower().endswith(".parquet"):
            self._parquet = ParquetFile(raw, size, COLUMNS)
            counts = [group.count for group in self._parquet.groups]
            form = _opened(arrow_io.read_parquet, self._parquet.view(None)).schema
        else:
            counts = ArrowFile(raw, size).counts
            form = _opened(arrow_io.read_ipc, path).schema
        self.firsts = [0, *accumulate(counts)]
        if why := why_not(form):
            raise ValueError(why)
        if self._parquet:
            self._parquet.hint = _hint(form)

    def batches(self, row: int) -> Iterator[tuple[int, RecordBatch]]:
        """Yield tables from a row on, each with the number of its first row.

        Raises
        ------
        ValueError
            A row group cannot be read, with the reason.
        """
        if self._parquet is None:
            yield from _from(_read(_opened(arrow_io.read_ipc, self.path)), 0, row)
            return
        for number, group in enumerate(self._parquet.groups):
            if group.first + group.count > row:
                self._parquet.check(number)
                view = self._parquet.view(number)
                reader = _opened(arrow_io.read_parquet, view, batch_size=BATCH_ROWS)
                yield from _from(_read(reader), group.first, row)

    def place(self, row: int) -> str:
        """Return the place of a row: row group and row in it."""
        group = max(int(np.searchsorted(self.firsts, row, "right")) - 1, 0)
        group = min(group, max(len(self.firsts) - 2, 0))
        return f"{inert(self.path)}:{group}[{row - self.firsts[group]}]"


def _from(
    batches: Iterator[RecordBatch], first: int, row: int
) -> Iterator[tuple[int, RecordBatch]]:
    """Yield the rows from a row on, in tables of a bounded number of rows."""
    for batch in batches:
        count = batch.num_rows
        begin = max(row - first, 0)
        for at in range(begin, count, BATCH_ROWS):
            yield first + at, batch.slice(at, min(BATCH_ROWS, count - at))
        first += count


def _opened(read: Any, *arguments: Any, **options: Any) -> RecordBatchReader:
    try:
        reader: RecordBatchReader = read(*arguments, **options)
        return reader
    except BaseException as error:
        raise _reason(error) from None


def _read(reader: RecordBatchReader) -> Iterator[RecordBatch]:
    while True:
        try:
            batch = reader.read_next_batch()
        except StopIteration:
            return
        except BaseException as error:
            raise _reason(error) from None
        yield batch


def _reason(error: BaseException) -> BaseException:
    """Return a ValueError for an error of the library; a panic of it is no `Exception`."""
    if isinstance(error, OSError) or not (
        isinstance(error, Exception) or type(error).__name__ == _PANIC
    ):
        return error
    return ValueError(
        f"cannot be read: {str(error).splitlines()[0][:200] if str(error) else error}"
    )


def _hint(form: Schema) -> bytes:
    """Return the library's note on the types of columns, with texts as dictionaries."""
    types = [
        DICTIONARY if name in TEXTS else type_
        for name, type_ in zip(form.names, form.types, strict=True)
    ]
    wanted = Schema([Field(n, t, nullable=True) for n, t in zip(form.names, types, strict=True)])
    file = BytesIO()
    arrow_io.write_parquet(RecordBatchReader.from_batches(wanted, ()), file)
    data = file.getvalue()
    return ParquetFile(BytesIO(data), len(data), ()).note(b"ARROW:schema")


def _open(path: str) -> BinaryIO:
    return open(path, "rb", buffering=0)  # noqa: PTH123


class ColumnarRecording(ColumnPiece):
    """A Parquet or Arrow file, read from a mark on; the interface is that of `Recording`.

    Parameters
    ----------
    path : str
    follow : bool
        Not supported: an error if set.
    mark : Mark, optional
        Its offset is the number of a row; by offset, that of a line (bytes).
    by_offset : bool
        The file is a segment of a tape: lines are numbered by the column `offset`.
    own : bool
        Its name comes from data: it has to be a plain file, no link.

    Raises
    ------
    OSError, ValueError
        The file cannot be used; or it is shorter than its mark.
    """

    before = 0
    idle = False

    def __init__(
        self,
        path: str,
        follow: bool = False,
        mark: Mark | None = None,
        *,
        by_offset: bool = False,
        own: bool = False,
    ) -> None:
        if follow:
            raise ValueError(f"{path}: a columnar file cannot be followed")
        self.path, self.follow, self.ended = path, False, False
        try:
            self._raw: BinaryIO = open_file(Path(path), os.O_RDONLY) if own else _open(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"recording not found: {path}") from None
        try:
            self.size = self._raw.seek(0, 2)
            self._tables = _Tables(path, self._raw)
        except ValueError as error:
            self._raw.close()
            raise ValueError(f"{path}: {error}") from None
        self.total = self._tables.firsts[-1]
        self.at = mark.offset if mark else 0
        self._by_offset, self._skip = by_offset, self.at if by_offset else 0
        self._row = 0 if by_offset else self.at
        if self._row > self.total:
            self._raw.close()
            raise ValueError(f"{path}: shorter than when it was read ({self._row} rows)")
        self._batches = self._tables.batches(self._row)
        self._reader = TableReader(self._tables.place, by_offset)
        self._open: tuple[DecodedRows, LineDetails] | None = None
        self._over = False

    def read(self) -> list[ColumnarRecording]:
        """Return itself while rows are left, to be read by `rows`."""
        self.ended = self._over
        return [] if self.ended else [self]

    def rows_and_details(
        self, names: Names, per_second: float = 1.0
    ) -> tuple[DecodedRows, LineDetails]:
        """Return the next rows and the details of their lines."""
        try:
            found = next(self._batches, None)
        except ValueError as error:
            return self._ended([self._fault(str(error), names)], names)
        if found is None:
            return self._ended([], names)
        first, batch = found
        rows, details = self._reader.rows(batch, first, names, per_second)
        self._row = first + batch.num_rows
        rows, details = self._joined([(rows, details)], names)
        keep = len(rows)
        if len(rows) and details.place[-1] >= 0:  # the array may go on
            keep = int(np.searchsorted(rows.line, rows.line[-1]))
        self._open = None
        self.at = self._row if not self._by_offset else int(rows.line[-1]) + 1 if len(rows) else 0
        if keep < len(rows):
            rest = slice(keep, None)
            self._open, self.at = (rows.take(rest), details.take(rest)), int(rows.line[-1])
        rows, details = rows.take(slice(0, keep)), details.take(slice(0, keep))
        if self._skip:
            begin = slice(int(np.searchsorted(rows.line, self._skip)), None)
            rows, details = rows.take(begin), details.take(begin)
        return rows, details

    def _ended(
        self, faults: list[tuple[DecodedRows, LineDetails]], names: Names
    ) -> tuple[DecodedRows, LineDetails]:
        rows, details = self._joined(faults, names)
        self._open, self._over, self.at = None, True, self.total
        return rows, details

    def _joined(
        self, parts: list[tuple[DecodedRows, LineDetails]], names: Names
    ) -> tuple[DecodedRows, LineDetails]:
        """Return parts behind the open array."""
        if self._open is not None:
            parts = [(self._open[0].renamed(names), self._open[1]), *parts]
        if not parts:
            nothing = self._fault("", names)
            return nothing[0].take(slice(0, 0)), nothing[1].take(slice(0, 0))
        return merged(parts)

    def _fault(self, why: str, names: Names) -> tuple[DecodedRows, LineDetails]:
        """Return the reject of a place from which on the file cannot be read."""
        note, nan = no_notes(1), np.full(1, np.nan)
        where = self._tables.place(self._row)
        note[0] = Reject(0, "archive", "?", where, why.encode()[:MAX_SAMPLE])
        rows = DecodedRows(
            names=names,
            name=np.full(1, REJECT, np.int32),
            ts=nan,
            rx=nan,
            value=nan,
            stamped=np.zeros(1, np.bool_),
            seq=np.full(1, -1),
            line=np.full(1, self._row),
            notes=note,
        )
        return rows, LineDetails(np.full(1, -1), nan)

    def finish(self) -> list[ColumnarRecording]:
        """Return nothing: only a followed file has pending lines."""
        return []

    def position(self) -> int:
        """Return the position in the file (bytes)."""
        return self.size * self._row // max(self.total, 1)

    def mark(self, line: int | None) -> Mark:
        """Return the mark of a line, or of the end of the read rows."""
        return Mark(self.at if line is None else line)

    def close(self) -> None:
        """Close the file."""
        self._raw.close()
