"""A table of events as lines of a recording: each row is a line, the rows of an array are one.

The interface is that of `Unpacker`, so that such a file is read, resumed and cut like an archive of
lines. A quoted cell may hold newlines (RFC 4180), if the row has its number of cells.

Cost: about 3 us a row. State: 256 KiB; an array. Losses, as lines of their own with the place of
the row: `schema` for a row with another number of cells, an unknown kind, no time or no name;
`stamp` and `value` for a cell that is none.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from math import isfinite
from typing import BinaryIO

import msgspec
from msgspec import UNSET

from configs.inert import inert
from operators.errors import SourceError
from operators.limits import MAX_LINE, MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import BRIDGE_COMMANDS, BridgeCommand, Reason
from sources.delimited.dialect import PER_SECOND
from sources.delimited.event_table import EventTable
from sources.recordings.recording import Content
from sources.rows.line_forms import (
    NO_TIME,
    ControlForm,
    EventForm,
    LineMeta,
    TickForm,
    UnreadForm,
)
from sources.rows.one_line import BROKEN, MAX_ELEMENTS, Link, UnreadLine
from sources.rows.written import OpenArray

_READ = 1 << 18
_SEQ = 1 << 63
_MAX_ROW = 1 << 16
"""Bytes within which a quoted cell with newlines has its end."""
_NUMBERED = ("ts", "rx", "value", "seq", "element")
_encoder, _LOST = msgspec.json.Encoder(), msgspec.json.Decoder(UnreadLine)
_Form = EventForm | TickForm | ControlForm | UnreadForm


class _BadRowError(SourceError):
    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason


class _PlainRows:
    """Rows of one number with a time: the usual ones, as `EventLines` reads them, in less time.

    Parameters
    ----------
    place : dict
        Index of each column, -1 without one.
    file : str
        Source of rows without one.
    unit, arrival_unit : float
        Units of the times in a second.
    """

    def __init__(self, place: dict[str, int], file: str, unit: float, arrival_unit: float) -> None:
        self.kind, self.text, self.element = place["kind"], place["text"], place["element"]
        self.ts, self.rx, self.seq = place["ts"], place["rx"], place["seq"]
        self.value, self.key = place["value"], place["key"]
        self.source, self.rig = place["source"], place["rig"]
        self.file, self.unit, self.arrival_unit = file, unit, arrival_unit
        self.numbers = [i for i in (self.ts, self.value, self.rx, self.seq) if i >= 0]

    def event(self, cells: list[str]) -> EventForm | None:
        """Return the event of a row; None if it is another one, or may be refused."""
        if (self.kind >= 0 and cells[self.kind] != "event") or (
            (self.text >= 0 and cells[self.text]) or (self.element >= 0 and cells[self.element])
        ):
            return None
        try:
            ts = float(cells[self.ts]) / self.unit
            value = float(cells[self.value])
            rx = None
            if self.rx >= 0 and (cell := cells[self.rx]):
                rx = float(cell) / self.arrival_unit
                if not abs(rx) <= MAX_STAMP_S:
                    return None
            seq = int(cell) if self.seq >= 0 and (cell := cells[self.seq]) else -1
        except ValueError:
            return None
        source = self.file if self.source < 0 else cells[self.source] or self.file
        key = cells[self.key]
        if (
            not (abs(ts) <= MAX_STAMP_S and isfinite(value) and key and -_SEQ <= seq < _SEQ)
            or len(source) > MAX_NAME_LENGTH
            or any("_" in cells[i] for i in self.numbers)
        ):
            return None
        meta = UNSET if rx is None and seq == -1 else LineMeta(rx=rx, seq=seq)
        rig = cells[self.rig] if self.rig >= 0 else ""
        return EventForm(ts, source, key, value, rig or UNSET, meta)


class EventLines:
    """Reads one file from its beginning.

    Parameters
    ----------
    raw : binary file
        At its beginning.
    path : str
    table : EventTable
    packed : Content, optional
        The text in a packed file.

    Attributes
    ----------
    fault : str or None
        The reason why the rest cannot be read.
    """

    def __init__(
        self, raw: BinaryIO, path: str, table: EventTable, packed: Content | None = None
    ) -> None:
        self._raw, self._packed, self._table = raw, packed, table
        self._file = inert(path)
        self._delimiter, self._width = table.dialect.delimiter, len(table.dialect.names)
        self._place = table.place
        self._array = OpenArray()
        dialect, place = table.dialect, table.place
        self._plain = None
        if dialect.point == "." and place["ts"] >= 0 and not dialect.dated:
            units = PER_SECOND[dialect.unit], PER_SECOND[dialect.arrival_unit]
            self._plain = _PlainRows(place, table.source, *units)
        self._text, self._at, self._skip = b"", 0, table.dialect.begin
        self._ended = False
        self.fault: str | None = None
        self._rest = b""

    @property
    def ended(self) -> bool:
        """Whether there is no more readable content."""
        return self._ended and not self._rest

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of content; an empty result is not the end."""
        if not self._rest and not self._ended:
            self._rest = _encoder.encode_lines(list(self._portion()))
        data, self._rest = self._rest[:size], self._rest[size:]
        return data

    def _portion(self) -> Iterator[_Form]:
        """Yield the lines of the next rows."""
        data, over = self._next()
        self._text += data
        if self._skip:
            skipped, self._text = self._text[: self._skip], self._text[self._skip :]
            self._skip -= len(skipped)
            self._at += len(skipped)
        begin = 0
        while (end := self._end_of_row(begin, over)) > begin:
            row = self._text[begin:end].rstrip(b"\r\n")
            event = None
            if self._plain is not None and b'"' not in row and row.isascii():
                cells = row.decode().split(self._delimiter)
                event = self._plain.event(cells) if len(cells) == self._width else None
            if event is None:
                yield from self._row(row, self._at + begin)
            else:
                yield from self._array.taken()
                yield event
            begin = end
        self._text, self._at = self._text[begin:], self._at + begin
        if over:
            self._ended = True
            yield from self._array.taken()

    def _next(self) -> tuple[bytes, bool]:
        if self._packed is None:
            data = self._raw.read(_READ)
            return data, not data
        data = self._packed.read(_READ)
        self.fault = self._packed.fault
        return data, self._packed.ended

    def _end_of_row(self, begin: int, over: bool) -> int:
        """Return the offset behind the row at an offset; the same offset: more text is needed."""
        text = self._text
        end = text.find(b"\n", begin) + 1 or (len(text) if over else 0)
        if not end:
            return len(text) if len(text) - begin > MAX_LINE else begin
        first = end
        quotes = text.count(b'"', begin, end)
        if not quotes % 2:
            return end
        while quotes % 2 and end - begin < _MAX_ROW:
            further = text.find(b"\n", end) + 1 or (len(text) if over else 0)
            if not further:
                return first if over else begin
            if further == end:
                return first
            quotes += text.count(b'"', end, further)
            end = further
        whole = not quotes % 2 and len(self._cells(text[begin:end])) == self._width
        return end if whole else first

    def _cells(self, row: bytes) -> list[str]:
        text = row.decode(errors="replace")
        if '"' not in text:
            return text.split(self._delimiter)
        try:
            return next(csv.reader([text.rstrip("\r\n")], delimiter=self._delimiter), [])
        except csv.Error:
            return []

    def _row(self, row: bytes, offset: int) -> Iterator[_Form]:
        if not row.strip():
            return
        try:
            if len(row) > MAX_LINE:
                raise _BadRowError("too_long")
            cells = self._cells(row)
            if len(cells) != self._width:
                raise _BadRowError("schema")
            cell = {name: cells[i] if i >= 0 else "" for name, i in self._place.items()}
            for name in _NUMBERED:
                cell[name] = cell[name].strip()
            element = self._integer(cell["element"])
            if not -1 <= element < MAX_ELEMENTS:
                raise _BadRowError("schema")
            if element <= 0:
                yield from self._array.taken()
            yield from self._forms(cell, element)
        except _BadRowError as error:
            yield from self._array.taken()
            where = f"{self._file}:{offset}"[-MAX_NAME_LENGTH:]
            source = self._table.source[:MAX_NAME_LENGTH]
            yield UnreadForm(UnreadLine(error.reason, source, where, row[:MAX_SAMPLE], 1))

    def _forms(self, cell: dict[str, str], element: int) -> Iterator[_Form]:
        """Yield the line of a row; an element of an array waits for the others."""
        kind = cell["kind"] or ("event" if cell["value"] or not cell["text"] else "marker")
        rig = cell["rig"] or UNSET
        if kind in ("event", "marker"):
            event = self._event(cell, kind)
            if not self._array.add(element, event):
                yield from self._array.taken()
                yield event
        elif kind == "tick":
            step = self._table.number(cell["value"]) if cell["value"] else None
            yield TickForm(self._stamp(cell["ts"]), rig, None, step)
        elif kind == "status":
            up = self._table.number(cell["value"])
            if not isfinite(up):
                raise _BadRowError("schema")
            yield TickForm(self._stamp(cell["ts"]), rig, Link(cell["source"], up != 0))
        elif kind == "command":
            command: BridgeCommand | None
            command = next((c for c in BRIDGE_COMMANDS if c == cell["text"]), None)
            if command is None:
                raise _BadRowError("schema")
            yield ControlForm(command, self._stamp(cell["ts"]), rig, cell["source"])
        elif kind == "control":
            try:
                lost = _LOST.decode(cell["text"])
            except BROKEN:
                raise _BadRowError("schema") from None
            if element >= 0:
                self._array.add_lost(element, lost)
            else:
                yield UnreadForm(lost)
        else:
            raise _BadRowError("schema")

    def _event(self, cell: dict[str, str], kind: str) -> EventForm:
        source, key = cell["source"] or self._table.source, cell["key"]
        if not key or len(source) > MAX_NAME_LENGTH:
            raise _BadRowError("schema")
        content: float | str = cell["text"]
        if kind == "event":
            if not cell["value"]:
                raise _BadRowError("schema")
            content = self._table.number(cell["value"])
            if not isfinite(content):
                raise _BadRowError("value")
        seq = self._integer(cell["seq"])
        rx = self._stamp(cell["rx"], arrival=True) if cell["rx"] else None
        meta: LineMeta | msgspec.UnsetType
        if cell["ts"]:
            ts = self._stamp(cell["ts"])
            meta = UNSET if rx is None and seq == -1 else LineMeta(rx=rx, seq=seq)
        elif rx is None:
            raise _BadRowError("stamp")
        else:
            ts, meta = rx, NO_TIME if seq == -1 else LineMeta(own_time=False, seq=seq)
        return EventForm(ts, source, key, content, cell["rig"] or UNSET, meta)

    def _stamp(self, cell: str, *, arrival: bool = False) -> float:
        seconds = self._table.seconds(cell, arrival=arrival)
        if not abs(seconds) <= MAX_STAMP_S:
            raise _BadRowError("stamp")
        return seconds

    def _integer(self, cell: str) -> int:
        if not cell:
            return -1
        try:
            number = int(cell)
        except ValueError:
            raise _BadRowError("schema") from None
        if not -_SEQ <= number < _SEQ:
            raise _BadRowError("schema")
        return number
