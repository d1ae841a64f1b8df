"""Rows as lines of a recording: the one canonical form, from which the same rows are read again.

An event has its number as float64, its keys in the order ts, source, key, value, rig, meta, and no
key without content. An array is one line. An input that could not be used is a `lost` line with its
first place and sample; within an array it is null, or an empty text for a text.

Cost: about 2 us a row. Losses: keys of `meta` beyond rx, seq and own_time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from operators.events import CommandRow, Reject, StreamStatus
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE
from operators.types import F64, I64
from sources.rows.line_forms import (
    NO_TIME,
    ControlForm,
    EventForm,
    LineMeta,
    TickForm,
    UnreadForm,
)
from sources.rows.names import REJECT, tick_of
from sources.rows.one_line import MAX_ELEMENTS, NAN, Link, UnreadLine
from sources.rows.rows import DecodedRows, as_reject

_ARRAY = re.compile(rb'"value"\s*:\s*\[')
_Form: TypeAlias = EventForm | TickForm | ControlForm | UnreadForm
BOM = b"\xef\xbb\xbf"
_encoder = msgspec.json.Encoder()


class _Step(msgspec.Struct, gc=False):
    step: float | None = None


_STEP = msgspec.json.Decoder(_Step)


class LineDetails(NamedTuple):
    """Properties of lines that their rows do not have.

    Attributes
    ----------
    place : int64 (n,)
        Place of each row in its array, -1 for a row without one.
    step : float64 (n,)
        Step of the wall clock at a tick (s), else NaN.
    """

    place: I64
    step: F64

    def take(self, which: slice) -> LineDetails:
        """Return a selection."""
        return LineDetails(self.place[which], self.step[which])


def details_of(rows: DecodedRows, block: bytes = b"", base: int = 0) -> LineDetails:
    """Return the details of whole lines.

    Parameters
    ----------
    rows : DecodedRows
        Of the block.
    block : bytes
        JSON lines; nothing for rows of other recordings.
    base : int
        Offset of the block in its file.
    """
    n = len(rows)
    step = np.full(n, np.nan)
    if b'"step"' in block:
        for i in np.flatnonzero(rows.name < REJECT).tolist():
            found = _STEP.decode(_line(block, int(rows.line[i]) - base)).step
            step[i] = NAN if found is None else found
    new = np.ones(n, np.bool_)
    new[1:] = rows.line[1:] != rows.line[:-1]
    starts = np.flatnonzero(new)
    sizes = np.diff(np.append(starts, n))
    place = np.arange(n) - np.repeat(starts, sizes)
    place[place >= MAX_ELEMENTS] = -1
    for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True):
        if (rows.name[start : start + size] == REJECT).all():
            place[start : start + size] = -1
    alone = starts[sizes == 1]
    place[alone] = -1
    # An array of one number has the key `key[0]`, and so may a number.
    firsts = [i for i, (_, key) in enumerate(rows.names.channels) if key.endswith("[0]")]
    if firsts and block:
        for i in alone[np.isin(rows.name[alone], firsts)].tolist():
            if _ARRAY.search(_line(block, int(rows.line[i]) - base)):
                place[i] = 0
    return LineDetails(place, step)


def _line(block: bytes, begin: int) -> bytes:
    end = block.find(b"\n", begin)
    begin += 3 * block.startswith(BOM, begin)
    return block[begin : end if end >= 0 else len(block)]


def unread(reject: Reject) -> UnreadLine:
    """Return the recorded form of a reject; the end of a long place is kept."""
    return UnreadLine(
        reject.reason,
        reject.source[:MAX_NAME_LENGTH],
        reject.where[-MAX_NAME_LENGTH:],
        reject.sample[:MAX_SAMPLE],
        reject.count,
    )


def lines_of_rows(rows: DecodedRows, details: LineDetails | None = None) -> bytes:
    """Return the lines of whole rows: of an array all elements.

    Parameters
    ----------
    rows : DecodedRows
        In a table of names whose first rig is that of lines without one.
    details : LineDetails, optional
        Found in the rows by default.
    """
    return _encoder.encode_lines(list(_forms(rows, details or details_of(rows))))


def _forms(rows: DecodedRows, details: LineDetails) -> Iterator[_Form]:
    names = rows.names
    rigs: list[str | UnsetType] = [names.rigs[0] or UNSET, *names.rigs[1:]]
    channels, rig_of = names.channels, names.rig_of().tolist()
    n = len(rows)
    notes = [None] * n if rows.notes is None else rows.notes.tolist()
    step = details.step.tolist()
    columns = (rows.name, rows.ts, rows.rx, rows.stamped, rows.value, rows.seq, details.place)
    lists = [column.tolist() for column in columns]
    array = OpenArray()
    for i, (name, ts, rx, stamped, value, seq, place) in enumerate(zip(*lists, strict=True)):
        note = notes[i]
        if place <= 0:
            yield from array.taken()
        if name < 0 and place >= 0:
            array.add_lost(place, unread(as_reject(note)))
        elif name >= 0:
            meta: LineMeta | UnsetType
            if ts != ts:
                meta = NO_TIME if seq == -1 else LineMeta(own_time=False, seq=seq)
            elif stamped:
                meta = LineMeta(rx=rx, seq=seq)
            else:
                meta = UNSET if seq == -1 else LineMeta(seq=seq)
            source, key = channels[name]
            content = note if isinstance(note, str) else value
            form = EventForm(rx if ts != ts else ts, source, key, content, rigs[rig_of[name]], meta)
            if not array.add(place, form):
                yield from array.taken()
                yield form
        elif name == REJECT:
            yield UnreadForm(unread(as_reject(note)))
        elif isinstance(note, CommandRow):
            yield ControlForm(note.command, ts, rigs[tick_of(name)], note.by)
        else:
            link = Link(note.source, note.up) if isinstance(note, StreamStatus) else None
            moved = None if step[i] != step[i] else step[i]
            yield TickForm(ts, rigs[tick_of(name)], link, moved)
    yield from array.taken()


class OpenArray:
    """An array under construction: its first element with a number, and all contents."""

    def __init__(self) -> None:
        self._first: EventForm | None = None
        self._key = ""
        self._values: list[float | str | None] = []
        self._lost: list[UnreadLine] = []

    def add_lost(self, place: int, lost: UnreadLine) -> None:
        """Add an element that could not be used."""
        if place == len(self._values):
            self._values.append("" if lost.reason == "text" else None)
            self._lost.append(lost)

    def add(self, place: int, form: EventForm) -> bool:
        """Add the event of an element; return whether it belongs to the array."""
        end = f"[{place}]"
        if place < 0 or place != len(self._values) or not form.key.endswith(end):
            return False
        key = form.key[: -len(end)]
        if self._first is None:
            self._first, self._key = form, key
        elif (key, form.ts, form.source, form.rig, form.meta) != (
            self._key,
            self._first.ts,
            self._first.source,
            self._first.rig,
            self._first.meta,
        ):
            return False
        assert not isinstance(form.value, list)
        self._values.append(form.value)
        return True

    def taken(self) -> Iterator[EventForm | UnreadForm]:
        """Yield the line of the array; without a number, that of each loss."""
        if self._first is None:
            yield from (UnreadForm(lost) for lost in self._lost)
        else:
            self._first.key, self._first.value = self._key, self._values
            yield self._first
        self._first, self._values, self._lost = None, [], []
