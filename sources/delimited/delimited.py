"""Decoder of delimited text into columns; a bad cell costs that cell only.

Each line is one moment; each other column is a channel `<file>:<column>`. An empty cell is no
event. A column without a number in the first lines holds markers. Plain numbers and dates are read
as columns (rows/columns.py, dates.py), all others cell by cell. Both ways agree, and the choice
depends on the cell alone. Quotes are those of RFC 4180, but a quoted cell ends with its line.

Cost: about 0.2 us a number. State: the names of the columns. Losses: none; unusable input is a
reject in its place: `value` for a cell, `stamp` for a line without a time, `schema` for a line
with another number of cells than the header.
"""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np

from configs.inert import inert
from configs.inputs import TimeUnit, stem
from operators.events import Reject
from operators.limits import MAX_LINE, MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import F64, I32, I64, Bool, Reason
from sources.delimited.dates import date_of, read_dates
from sources.delimited.dialect import PER_SECOND, Dialect, is_number
from sources.rows.columns import Text, read_digits, read_numbers
from sources.rows.names import REJECT, Names
from sources.rows.one_line import Row
from sources.rows.rows import DecodedRows, no_notes

_CHUNK = 512 << 10
_PADDING = 64
_MAX_TRIMMED = 8
"""Spaces at an end of a cell that are trimmed as columns."""
_QUOTE, _CR, _SPACE = 34, 13, 32
_NOTHING = np.empty(0, np.int64)


class TableDecoder:
    """Decodes the lines of one delimited file, with the interface of `Decoder`.

    Parameters
    ----------
    file : str
        Name of the file in rejects; its stem is the source.
    dialect : Dialect
    """

    torn: Reason = "schema"
    """Reason of the reject of an incomplete last line."""

    def __init__(self, file: str, dialect: Dialect) -> None:
        self.file, self.dialect = inert(file), dialect
        self.source = stem(file)
        self._width = len(dialect.names)
        self._delimiter, self._point = ord(dialect.delimiter), ord(dialect.point)
        self._values = np.array(dialect.values, np.int64)
        self._is_text = np.array([i in dialect.texts for i in dialect.values], bool)
        self._names: Names | None = None
        self._number = np.empty(0, np.int32)

    def decode(self, block: bytes, base: int, names: Names) -> DecodedRows:
        """Decode whole lines, as `Decoder.decode`; the header gives no rows."""
        if base < self.dialect.begin:
            block = block[self.dialect.begin - base :]
            base = self.dialect.begin
        if block and not block.endswith(b"\n"):
            block += b"\n"
        self.numbers(names)
        parts, i = [self._rows(names, _NOTHING, np.empty(0), np.empty(0))], 0
        while i < len(block):
            j = block.find(b"\n", min(i + _CHUNK, len(block)) - 1) + 1
            parts.append(self._chunk(block[i:j], base + i, names))
            i = j
        return DecodedRows.join(parts[1:] or parts)

    def numbers(self, names: Names) -> I32:
        """Return the number of each channel in a table of names."""
        if names is not self._names:
            self._names = names
            every = self.dialect.names
            self._number = np.array(
                [names[None, self.source, every[i]] for i in self.dialect.values], np.int32
            )
        return self._number

    def reject(self, row: Row, offset: int, line: bytes) -> Reject:
        """Return the reject of a line."""
        assert row.reason is not None
        return self._reject(row.reason, offset, line)

    def _reject(self, reason: Reason, offset: int, sample: bytes) -> Reject:
        return Reject(0, reason, self.source, f"{self.file}:{offset}", sample[:MAX_SAMPLE])

    def _chunk(self, chunk: bytes, base: int, names: Names) -> DecodedRows:
        padding = bytes(_PADDING)
        bytes_ = np.frombuffer(b"".join((padding, chunk, padding)), np.uint8)
        body = bytes_[_PADDING:-_PADDING]
        is_mark = body == self._delimiter
        is_mark |= body == self._point
        is_mark |= body == 10
        marks = np.flatnonzero(is_mark)
        marks += _PADDING
        kind = bytes_[marks]
        is_end = kind == 10
        if self._delimiter == self._point:
            is_end[:] = True
        else:
            is_end |= kind == self._delimiter
        ends = np.flatnonzero(is_end)
        stop = marks[ends]
        start = np.concatenate(([_PADDING], stop[:-1] + 1))
        # A decimal sign is the mark directly before the end of a cell; without one, point is stop.
        pointed = np.diff(ends, prepend=-1) > 1
        point = np.where(pointed, marks[ends - 1], stop)
        last = np.flatnonzero(kind[ends] == 10)
        first = np.concatenate(([0], last[:-1] + 1))
        offset = start[first] - _PADDING + base
        _trim(bytes_, start, stop)
        regular = last - first + 1 == self._width
        blank = (last == first) & (start[first] == stop[first])
        if b'"' in chunk:
            regular &= _unquote(bytes_, start, stop, first, last)
        odd = np.flatnonzero(~regular & ~blank)
        np.minimum(point, stop, out=point)
        text = Text(bytes_, _NOTHING, _NOTHING, _NOTHING, _NOTHING, _NOTHING)
        fits = np.flatnonzero(regular & ~blank)
        # cells[i, j] = first[i] + j: index of cell j of line i
        cells = first[fits, None] + np.arange(self._width)
        spans = np.stack((start, point, stop))
        rows = self._regular(text, spans[:, cells], offset[fits], names)
        if not len(odd):
            return rows
        begin = np.concatenate(([0], marks[ends[last]] - _PADDING + 1))
        read = [
            self._line(chunk[begin[i] : begin[i + 1]], int(offset[i]), names) for i in odd.tolist()
        ]
        rows = DecodedRows.join([rows, *read])
        return rows.take(np.argsort(rows.line, kind="stable"))

    def _regular(self, text: Text, spans: I64, offset: I64, names: Names) -> DecodedRows:
        """Return the rows of lines with one cell a column.

        Parameters
        ----------
        spans : int64 (3, n, columns)
            Start, point and end of each cell.
        offset : int64 (n,)
        """
        dialect = self.dialect
        ts = self._times(text, spans[:, :, dialect.time], dialect.dated, dialect.unit)
        rx = np.full(len(ts), np.nan)
        if dialect.arrival is not None:
            own = spans[:, :, dialect.arrival]
            rx = self._times(text, own, None, dialect.arrival_unit)
        timed = np.abs(ts) <= MAX_STAMP_S
        wanted = np.ascontiguousarray(spans[:, :, self._values])
        filled = (wanted[2] > wanted[0]) & timed[:, None]
        if not timed.all():
            filled[~timed, :1] = True  # one reject for the line
        at = np.flatnonzero(filled)
        line, column = np.divmod(at, max(len(self._values), 1))
        start, point, stop = (x.ravel()[at] for x in wanted)
        value, good = self._numbers(text, np.stack((start, point, stop)))
        rows = self._rows(names, offset[line], ts[line], rx[line], value, self._number[column])
        good &= ~self._is_text[column] & timed[line]
        good &= rows.name != REJECT
        bad = np.flatnonzero(~good)
        if not len(bad):
            return rows
        notes = no_notes(len(rows))
        for i in bad.tolist():
            cell = text.bytes_[start[i] : stop[i]].tobytes()
            where = int(rows.line[i])
            if not timed[line[i]]:
                moment = spans[:, line[i], dialect.time]
                cell = text.bytes_[moment[0] : moment[2]].tobytes()
                notes[i] = self._untimed(cell, where)
            else:
                notes[i], value[i] = self._cell(cell, int(column[i]), where)
        return _judged(rows, notes, value)

    def _untimed(self, cell: bytes, where: int) -> Reject:
        name = self.dialect.names[self.dialect.time]
        return self._reject("stamp", where, f"{name}=".encode() + cell)

    def _cell(self, cell: bytes, column: int, where: int) -> tuple[Reject | str | None, float]:
        """Return the content of a cell of a channel: a marker or reject, and a number."""
        name = self.dialect.names[self._values[column]]
        if self._number[column] == REJECT:
            return self._reject("schema", where, name[:MAX_NAME_LENGTH].encode()), np.nan
        content = cell.decode(errors="replace").strip()
        if self._is_text[column]:
            if len(content) <= MAX_LINE:
                return content, np.nan
            return self._reject("too_long", where, cell), np.nan
        number = self._float(content)
        if np.isfinite(number):
            return None, number
        return self._reject("value", where, f"{name}=".encode() + cell), np.nan

    def _float(self, cell: str) -> float:
        point = self.dialect.point
        if not is_number(cell, point):
            return np.nan
        return float(cell.replace(",", ".") if point == "," else cell)

    def _numbers(self, text: Text, spans: I64) -> tuple[F64, Bool]:
        value, good = read_numbers(text, spans, self._point)
        return value, good & (spans[2] > spans[0])

    def _times(self, text: Text, spans: I64, dated: bool | None, unit: TimeUnit) -> F64:
        """Return the times of cells (s), NaN for other cells.

        `dated`: the cells are dates; None: dates or numbers.
        """
        seconds = np.full(spans.shape[1], np.nan)
        good = np.zeros(len(seconds), bool)
        if dated is not False:
            seconds, good = read_dates(text, spans[0], spans[2])
        if not dated:
            number, fine = self._numbers(text, spans)
            long, whole = _long(text, spans)
            number = np.where(fine, number, long)
            fine |= whole
            seconds = np.where(good, seconds, number / PER_SECOND[unit])
            good |= fine
        for i in np.flatnonzero(~good).tolist():
            cell = text.bytes_[spans[0, i] : spans[2, i]].tobytes()
            seconds[i] = self._time(cell.decode(errors="replace").strip(), unit)
        return seconds

    def _time(self, cell: str, unit: TimeUnit) -> float:
        date = date_of(cell)
        return date.seconds if date else self._float(cell) / PER_SECOND[unit]

    def _line(self, line: bytes, offset: int, names: Names) -> DecodedRows:
        """Return the rows of a line that is quoted or has another number of cells."""
        text = line.decode(errors="replace").rstrip("\r\n")
        try:
            cells = next(csv.reader(io.StringIO(text), delimiter=self.dialect.delimiter), [])
        except csv.Error:
            cells = []
        if len(cells) != self._width or len(line) > MAX_LINE:
            return self._refused(self._reject("schema", offset, line.rstrip(b"\r\n")), names)
        dialect = self.dialect
        ts = self._time(cells[dialect.time].strip(), dialect.unit)
        if not abs(ts) <= MAX_STAMP_S:
            return self._refused(self._untimed(cells[dialect.time].encode(), offset), names)
        rx = np.nan
        if dialect.arrival is not None:
            rx = self._time(cells[dialect.arrival].strip(), dialect.arrival_unit)
        at = [i for i, j in enumerate(self._values.tolist()) if cells[j].strip()]
        read = [
            self._cell(cells[self._values[i]].strip().encode(errors="replace"), i, offset)
            for i in at
        ]
        n = len(at)
        notes = no_notes(n)
        notes[:] = [note for note, _ in read]
        value = np.array([number for _, number in read], np.float64)
        rows = self._rows(
            names,
            np.full(n, offset),
            np.full(n, ts),
            np.full(n, rx),
            value,
            self._number[at],
        )
        return _judged(rows, notes, value)

    def _refused(self, note: Reject, names: Names) -> DecodedRows:
        line = np.full(1, int(note.where.rpartition(":")[2]))
        rows = self._rows(names, line, np.full(1, np.nan), np.full(1, np.nan))
        notes = no_notes(1)
        notes[0] = note
        return replace(rows, notes=notes)

    def _rows(
        self,
        names: Names,
        line: I64,
        ts: F64,
        rx: F64,
        value: F64 | None = None,
        name: np.ndarray | None = None,
    ) -> DecodedRows:
        n = len(line)
        stamped = np.abs(rx) <= MAX_STAMP_S
        return DecodedRows(
            names=names,
            name=np.full(n, REJECT, np.int32) if name is None else name,
            ts=ts,
            rx=np.where(stamped, rx, ts),
            value=np.full(n, np.nan) if value is None else value,
            stamped=stamped,
            seq=np.full(n, -1),
            line=line,
        )


def _judged(rows: DecodedRows, notes: np.ndarray, value: F64) -> DecodedRows:
    """Enter the notes; a reject has no numbers."""
    refused = np.array([isinstance(note, Reject) for note in notes], bool)
    nan = np.where(refused, np.nan, 0.0)
    some = any(note is not None for note in notes)
    return replace(
        rows,
        name=np.where(refused, REJECT, rows.name).astype(np.int32),
        ts=rows.ts + nan,
        rx=rows.rx + nan,
        value=value + nan,
        stamped=rows.stamped & ~refused,
        notes=notes if some else None,
    )


def _trim(bytes_: np.ndarray, start: I64, stop: I64) -> None:
    """Trim carriage returns and a few spaces off the cells, in place."""
    stop -= (bytes_[stop - 1] == _CR) & (stop > start)
    for _ in range(_MAX_TRIMMED):
        front = (bytes_[start] == _SPACE) & (stop > start)
        start += front
        back = (bytes_[stop - 1] == _SPACE) & (stop > start)
        stop -= back
        if not front.any() and not back.any():
            return


def _unquote(bytes_: np.ndarray, start: I64, stop: I64, first: I64, last: I64) -> Bool:
    """Strip the quotes of the cells, in place; return the lines (n,) without other ones."""
    quoted = (bytes_[start] == _QUOTE) & (bytes_[stop - 1] == _QUOTE) & (stop - start >= 2)
    count = np.cumsum(np.concatenate(([0], bytes_ == _QUOTE)))
    inside = count[stop] - count[start]
    # A cell is complete with two quotes, its first and last byte, or with none.
    sound = inside == 2 * quoted
    start += quoted
    stop -= quoted
    return np.minimum.reduceat(sound, first)


def _long(text: Text, spans: I64) -> tuple[F64, Bool]:
    """Read whole numbers of 17 to 19 digits, such as nanoseconds since 1970.

    number = high 10^9 + low. The product is exact for high below 4.6e9: the sum is rounded once.
    """
    start, point, stop = spans
    size = stop - start
    whole = (size >= 17) & (size <= 19) & (point == stop)
    number = np.full(len(start), np.nan)
    if whole.any():
        end, digits = stop[whole], size[whole]
        nine = np.full(len(end), 9)
        low, fine = read_digits(text, end, nine)
        high, also = read_digits(text, end - 9, digits - 9)
        number[whole] = high * 1e9 + low
        whole[whole] = fine & also & (high < 4.6e9)
    return number, whole
