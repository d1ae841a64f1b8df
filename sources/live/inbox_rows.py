"""Contents of the inboxes in order of arrival: rows for the flow, lines for the tape.

The lines of the tape decode to these rows, bit for bit.

Cost: about 2 us an event, with its line 3 us. State: none. Losses: none.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec
import numpy as np

from operators.events import CommandRow, Reject, StreamStatus
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE
from operators.types import I64
from sources import inbox
from sources.inbox import FromSource, InboxItem, Item, Message, Unread
from sources.rows.line_forms import (
    NO_TIME,
    ControlForm,
    EventForm,
    LineMeta,
    TickForm,
    UnreadForm,
)
from sources.rows.names import REJECT, Names, tick_of
from sources.rows.one_line import NAN, Link, UnreadLine
from sources.rows.rows import DecodedRows, no_notes


class HostTick(NamedTuple):
    """Host time of an idle moment, or of a step of the wall clock by `step` (s)."""

    rx: float
    rig: str
    step: float | None = None


_Form: TypeAlias = EventForm | TickForm | ControlForm | UnreadForm
Arrival: TypeAlias = tuple[str, InboxItem | HostTick]
"""A source, mostly the name of the stream, and its item."""


_encoder = msgspec.json.Encoder()


def in_order(taken: dict[str, list[Item]]) -> list[Arrival]:
    """Return the items taken from the inboxes with their sources, by arrival."""
    every: list[Arrival] = [
        (item.source, item.item) if isinstance(item, FromSource) else (stream, item)
        for stream, items in taken.items()
        for item in items
    ]
    if len(taken) > 1:
        every.sort(key=lambda x: x[1].rx)
    return every


def lines_of(items: list[Arrival], rig: str) -> bytes:
    """Return the tape's lines, one an item."""
    return _encoder.encode_lines([_line(stream, item, rig) for stream, item in items])


def _line(stream: str, item: InboxItem | HostTick, rig: str) -> _Form:
    if isinstance(item, Message):
        value: float | str | list[float | str | None]
        if isinstance(item.value, tuple):
            value = [None if x != x else x for x in item.value]
        else:
            value = item.value
        if item.ts != item.ts:
            meta = NO_TIME if item.seq == -1 else LineMeta(own_time=False, seq=item.seq)
            return EventForm(item.rx, stream, item.key, value, meta=meta)
        return EventForm(item.ts, stream, item.key, value, meta=LineMeta(rx=item.rx, seq=item.seq))
    if isinstance(item, HostTick):
        return TickForm(item.rx, item.rig, step=item.step)
    if isinstance(item, inbox.StreamChange):
        return TickForm(item.rx, rig, Link(stream, item.up))
    if isinstance(item, inbox.Commanded):
        return ControlForm(item.command, item.rx, rig, item.by)
    reject = _reject(stream, item)
    return UnreadForm(UnreadLine(reject.reason, stream, reject.where, reject.sample, reject.count))


def starts_of(lines: bytes) -> I64:
    """Return the offset of each line; the text of a line holds no newline."""
    newlines = np.flatnonzero(np.frombuffer(lines, np.uint8) == 10)
    return np.concatenate(([0], newlines[:-1] + 1))


def rows_of(items: list[Arrival], line: I64, names: Names) -> DecodedRows:
    """Return the rows of items.

    Parameters
    ----------
    items : list of (source, item)
        At least one.
    line : int64 (items,)
        Rising; elements of an array share it.
    names : Names
        Numbers the channels; new ones are entered.
    """
    plain = [(s, x) for s, x in items if type(x) is Message and type(x.value) is float]
    if len(plain) == len(items) and (simple := _numbers(plain, line, names)):
        return simple
    rows = _RowLists(names)
    count = [rows.add(source, item) for source, item in items]
    seqs = [item.seq if isinstance(item, Message) else -1 for _, item in items]
    return rows.decoded(np.repeat(line, count), np.repeat(np.array(seqs, np.int64), count))


class _RowLists:
    """Rows under construction, one list a column; a row is a number, marker, tick or reject."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._name: list[int] = []
        self._ts: list[float] = []
        self._rx: list[float] = []
        self._value: list[float] = []
        self._notes: list[tuple[int, str | Reject | StreamStatus | CommandRow]] = []

    def add(self, source: str, item: InboxItem | HostTick) -> int:
        """Append the rows of an item; return their number."""
        if isinstance(item, Message):
            if isinstance(item.value, tuple):
                return self._add_array(source, item, item.value)
            self._add_message(source, item, item.value)
        elif isinstance(item, Unread):
            self._add_reject(_reject(source, item))
        else:
            if isinstance(item, inbox.StreamChange):
                self._notes.append((len(self._name), StreamStatus(0, source, item.up)))
            elif isinstance(item, inbox.Commanded):
                self._notes.append((len(self._name), CommandRow(0, item.command, item.by)))
            rig = item.rig if isinstance(item, HostTick) else None
            self._append(tick_of(self._names.rig(rig)), item.rx, item.rx, NAN)
        return 1

    def decoded(self, line: I64, seq: I64) -> DecodedRows:
        """Return the rows; `line` and `seq` (n,) are those of their items."""
        notes = None
        if self._notes:
            notes = no_notes(len(self._name))
            for at, note in self._notes:
                notes[at] = note
        name, ts = np.array(self._name, np.int32), np.array(self._ts)
        return DecodedRows(
            names=self._names,
            name=name,
            ts=ts,
            rx=np.array(self._rx),
            value=np.array(self._value),
            stamped=~np.isnan(ts) & (name >= 0),
            seq=np.where(name >= 0, seq, -1),
            line=line,
            notes=notes,
        )

    def _append(self, name: int, ts: float, rx: float, value: float) -> None:
        self._name.append(name)
        self._ts.append(ts)
        self._rx.append(rx)
        self._value.append(value)

    def _add_reject(self, reject: Reject) -> None:
        self._notes.append((len(self._name), reject))
        self._append(REJECT, NAN, NAN, NAN)

    def _add_message(self, source: str, item: Message, value: float | str) -> None:
        name = self._names[None, source, item.key]
        if name == REJECT:  # the key is too long
            self._add_reject(Reject(0, "schema", source, item.key[:MAX_NAME_LENGTH], b""))
            return
        if isinstance(value, str):
            self._notes.append((len(self._name), value))
            value = NAN
        self._append(name, item.ts, item.rx, value)

    def _add_array(self, source: str, item: Message, value: tuple[float | str, ...]) -> int:
        """Append one row an element; a text or a number that is not finite is a reject."""
        for i, element in enumerate(value):
            name = self._names.add((None, source, f"{item.key}[{i}]"))
            if isinstance(element, str):
                self._add_reject(Reject(0, "text", source, item.key, b""))
            elif element != element:
                self._add_reject(Reject(0, "value", source, item.key, b""))
            else:
                self._append(name, item.ts, item.rx, element)
        return len(value)


def _numbers(items: list[tuple[str, Message]], line: I64, names: Names) -> DecodedRows | None:
    """Return the rows of items that are all numbers; None where a key is refused."""
    owners = [(None, source, item.key) for source, item in items]
    name = np.array([names[owner] for owner in owners], np.int32)
    if (name < 0).any():
        return None
    ts, rx, value = np.array([(item.ts, item.rx, item.value) for _, item in items]).T.copy()
    return DecodedRows(
        names=names,
        name=name,
        ts=ts,
        rx=rx,
        value=value,
        stamped=~np.isnan(ts),
        seq=np.array([item.seq for _, item in items], np.int64),
        line=line,
    )


def _reject(source: str, item: Unread) -> Reject:
    where, sample = item.where[:MAX_NAME_LENGTH], item.sample[:MAX_SAMPLE]
    return Reject(0, item.reason, source, where, sample, item.events)
