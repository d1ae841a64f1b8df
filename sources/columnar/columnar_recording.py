"""A Parquet or Arrow file as a recording: columns, without a line to decode.

Rows are numbered in their order; a row is a line, as are the rows of an array together. The place
of a reject is the row group (of Arrow: the record batch) and the row in it: `a.parquet:2[1017]`.
A resumed file is read from its row group on; an Arrow file is read and dropped up to the mark.

Bytes of others are decoded in a process of their own: the library may end its process for them.

State: `BATCH_ROWS` rows, a page of each column; of Arrow one record batch. Cost: 0.2 us a row.
Losses: a damaged row group ends the file with one reject (`archive`), as a cut archive does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
from arro3 import io as arrow_io
from arro3.core import RecordBatch, RecordBatchReader

from configs.files import open_file
from configs.inert import inert
from operators.events import Reject
from operators.limits import MAX_SAMPLE
from sources.columnar.arrow_file import ArrowFile
from sources.columnar.parquet_file import ParquetFile
from sources.columnar.row_tables import TableReader, merged, why_not
from sources.columnar.table_process import COLUMNS, REASON
from sources.recordings.recording import ColumnPiece, Mark, UnusableError
from sources.rows.names import Names
from sources.rows.rows import DecodedRows
from sources.rows.written import LineDetails

BATCH_ROWS = 16_384
"""Decoded at once: their columns stay in the cache of the processor."""
_MAX_REASON = 1 << 16
_PIPE = 1 << 20
# Else glibc returns each column to the system, and half of the time goes into fetching it again.
_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 26), "MALLOC_TRIM_THRESHOLD_": str(1 << 26)}


class _Tables:
    """The tables of a file, in order, from a process of their own (`table_process`).

    Parameters
    ----------
    path : str
    raw : binary file
    row : int
        Number of the first row to be read.

    Attributes
    ----------
    firsts : list of int
        Number of the first row of each row group or record batch, and of the row behind the last.

    Raises
    ------
    ValueError
        The file is no recording.
    """

    def __init__(self, path: str, raw: BinaryIO, row: int) -> None:
        self.path, self._row = path, row
        size = raw.seek(0, 2)
        if path.lower().endswith(".parquet"):
            counts = [group.count for group in ParquetFile(raw, size, COLUMNS).groups]
        else:
            counts = ArrowFile(raw, size).counts
        self.firsts = [0, *accumulate(counts)]
        self._errors = cast(BinaryIO, tempfile.TemporaryFile(prefix="lumen-"))  # noqa: SIM115
        command = [sys.executable, "-m", f"{__package__}.table_process", path, str(row)]
        # A session of its own: Ctrl-C is for the run, which reads on to its end.
        self._child = subprocess.Popen(
            [*command, str(BATCH_ROWS)],
            stdin=raw.fileno(),
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env=os.environ | _ALLOCATOR | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self._child.stdout is not None
        _widen(self._child.stdout)
        try:
            self._stream = _opened(self._child.stdout)
            if self._stream is None:
                raise ValueError(self._why() or "cannot be read")
            if why := why_not(self._stream.schema):
                raise ValueError(why)
        except ValueError:
            self.close()
            raise

    def batches(self) -> Iterator[tuple[int, RecordBatch]]:
        """Yield tables, each with the number of its first row.

        Raises
        ------
        ValueError
            A row group cannot be read, with the reason.
        """
        row = self._row
        while (batch := _next(self._stream)) is not None:
            yield row, batch
            row += batch.num_rows
        if (why := self._why()) or row < self.firsts[-1]:
            raise ValueError(why or "its rows are fewer than it claims")

    def _why(self) -> str:
        """Return the reason why the process ended early; empty if it ended well."""
        if not self._child.wait():
            return ""
        self._errors.seek(0)
        lines = self._errors.read(_MAX_REASON).decode(errors="replace").splitlines()
        known = [line for line in lines if line.startswith(REASON)]
        return known[-1].removeprefix(REASON) if known else "cannot be read: its reader failed"

    def place(self, row: int) -> str:
        """Return the place of a row: row group and row in it."""
        group = max(int(np.searchsorted(self.firsts, row, "right")) - 1, 0)
        group = min(group, max(len(self.firsts) - 2, 0))
        return f"{inert(self.path)}:{group}[{row - self.firsts[group]}]"

    def close(self) -> None:
        """End the process."""
        self._child.kill()
        self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()
        self._errors.close()


def _widen(pipe: IO[bytes]) -> None:
    """Let a pipe hold a whole table, where the system can."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, _PIPE)


def _opened(pipe: IO[bytes]) -> RecordBatchReader | None:
    """Return the tables in a pipe; None if the process ended before it wrote their columns."""
    try:
        return arrow_io.read_ipc_stream(pipe)
    except Exception:  # the library raises bare exceptions; the process states the reason
        return None


def _next(stream: RecordBatchReader | None) -> RecordBatch | None:
    """Return the next table; None at the end of the stream, and where it is cut off."""
    assert stream is not None
    try:
        return stream.read_next_batch()
    except Exception:  # as above
        return None


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
    OSError
        The file cannot be opened.
    UnusableError
        It is no recording; or it is shorter than its mark.
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
            raise UnusableError(f"{path}: a columnar file cannot be followed")
        self.path, self.follow, self.ended = path, False, False
        try:
            self._raw: BinaryIO = open_file(Path(path), os.O_RDONLY) if own else _open(path)
        except FileNotFoundError:
            raise FileNotFoundError(f"recording not found: {path}") from None
        self.at = mark.offset if mark else 0
        self._by_offset, self._skip = by_offset, self.at if by_offset else 0
        self._row = 0 if by_offset else self.at
        try:
            self.size = self._raw.seek(0, 2)
            self._tables = _Tables(path, self._raw, self._row)
        except ValueError as error:
            self._raw.close()
            raise UnusableError(f"{path}: {error}") from None
        self.total = self._tables.firsts[-1]
        if self._row > self.total:
            self.close()
            raise UnusableError(f"{path}: shorter than when it was read ({self._row} rows)")
        self._batches = self._tables.batches()
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
        where = self._tables.place(self._row)
        reject = Reject(0, "archive", "?", where, why.encode()[:MAX_SAMPLE])
        rows = DecodedRows.of_reject(reject, self._row, names)
        return rows, LineDetails(np.full(1, -1), np.full(1, np.nan))

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
        self._tables.close()
        self._raw.close()
