"""Parser of one line, part by part: its usable rows, and the reason for each other part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from operators.errors import SourceError
from operators.events import CommandRow, Reject, StreamStatus
from operators.limits import MAX_LINE, MAX_NAME_LENGTH, MAX_SAMPLE, MAX_STAMP_S
from operators.types import BridgeCommand, Reason
from sources.inbox import MAX_LOST
from sources.rows.names import REJECT, Names, is_rig, tick_of

MAX_ELEMENTS = 65_536
"""Of an array; further ones are one reject with their count."""
_MAX_DEPTH = 128
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')
MAX_SHALLOW = 2 * _MAX_DEPTH
"""A line of JSON of at most this length cannot be nested too deep."""

BROKEN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
NAN = float("nan")


class Row(NamedTuple):
    """The result of a line, or of one element of its array.

    `name` as in `DecodedRows`; `ts`, `rx` are NaN and `seq` -1 where the line has none. A reject
    stands for `events` events. `note` is that of a recorded loss, change of a stream, or command.
    """

    name: int
    ts: float = NAN
    value: float = NAN
    rx: float = NAN
    seq: int = -1
    text: str | None = None
    reason: Reason | None = None
    source: str = "?"
    events: int = 1
    note: Reject | StreamStatus | CommandRow | None = None


class _Parts(msgspec.Struct, gc=False):
    """The raw parts of a line; empty where there is none."""

    ts: Raw = Raw()
    source: Raw = Raw()
    key: Raw = Raw()
    value: Raw = Raw()
    rig: Raw = Raw()
    meta: Raw = Raw()
    tick: Raw = Raw()
    lost: Raw = Raw()
    turned: Raw = Raw()
    step: Raw = Raw()
    control: Raw = Raw()
    rx: Raw = Raw()
    by: Raw = Raw()

    def is_event(self) -> bool:
        return bool(self.ts or self.source or self.key or self.value)


class _MetaParts(msgspec.Struct, gc=False):
    rx: Raw = Raw()
    seq: Raw = Raw()
    own_time: Raw = Raw()


class UnreadLine(msgspec.Struct, gc=False):
    """Inputs that a live run could not use, as recorded."""

    reason: Reason
    source: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)]
    where: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)]
    sample: Annotated[bytes, msgspec.Meta(max_length=MAX_SAMPLE)]
    count: Annotated[int, msgspec.Meta(ge=1, le=MAX_LOST)]


class Link(msgspec.Struct, gc=False):
    """A live stream that came up or went down, as recorded."""

    source: Annotated[str, msgspec.Meta(max_length=MAX_NAME_LENGTH)]
    up: bool


_PARTS = Decoder(_Parts)
_META = Decoder(_MetaParts)
_ARRAY = Decoder(list[Raw])
_RAW = Decoder(Raw)
_LOST = Decoder(UnreadLine)
_LINK = Decoder(Link)
_COMMAND = Decoder(BridgeCommand)
_TEXT = Decoder(str)
_FLOAT = Decoder(float)
_INTEGER = Decoder(int)


class _RefusedError(SourceError):
    def __init__(self, reason: Reason) -> None:
        self.reason: Reason = reason


def is_sound(line: bytes) -> bool:
    """Whether a line is UTF-8 text within the nesting depth that the parser accepts."""
    if len(line) > MAX_SHALLOW and line.count(b"[") + line.count(b"{") > _MAX_DEPTH:
        depth = deepest = 0
        for c in _STRINGS.sub(b"", line):
            depth += (c in b"[{") - (c in b"]}")
            deepest = max(deepest, depth)
        if deepest > _MAX_DEPTH:
            return False
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def read_line(line: bytes, names: Names, per_second: float = 1.0) -> list[Row]:
    """Return the rows of a line: none if it is blank, one a number, one for each rejected part.

    `per_second` units of the source's stamps make a second.
    """
    if len(line) > MAX_LINE:
        return [Row(REJECT, reason="too_long")]
    line = line.strip(b" \t\r")
    if not line:
        return []
    source = "?"
    try:
        parts = _parts(line)
        if parts.tick and not parts.is_event():
            link = _turned(parts.turned)
            _step(parts.step)
            return [Row(tick_of(names.rig(_rig(parts.rig))), ts=_stamp(parts.tick), note=link)]
        if parts.control and not parts.is_event():
            note = CommandRow(0, _command(parts.control), _name(parts.by))
            return [Row(tick_of(names.rig(_rig(parts.rig))), ts=_stamp(parts.rx), note=note)]
        if parts.lost and not parts.is_event():
            return [_lost(parts.lost)]
        source = _name(parts.source)
        return list(_rows(parts, source, names, per_second))
    except _RefusedError as error:
        return [Row(REJECT, reason=error.reason, source=source)]


def _parts(line: bytes) -> _Parts:
    if not is_sound(line):
        raise _RefusedError("json")
    try:
        return _PARTS.decode(line)
    except msgspec.ValidationError:
        reason: Reason = "schema"  # unless it is not JSON
    except BROKEN:
        reason = "json"
    try:
        _RAW.decode(line)
    except BROKEN:
        reason = "json"
    raise _RefusedError(reason)


def _lost(raw: Raw) -> Row:
    try:
        lost = _LOST.decode(raw)
    except BROKEN:
        raise _RefusedError("schema") from None
    note = Reject(0, lost.reason, lost.source, lost.where, lost.sample, lost.count)
    return Row(REJECT, reason=lost.reason, source=lost.source, note=note)


def _turned(raw: Raw) -> StreamStatus | None:
    if not raw:
        return None
    try:
        link = _LINK.decode(raw)
    except BROKEN:
        raise _RefusedError("schema") from None
    return StreamStatus(0, link.source, link.up)


def _command(raw: Raw) -> BridgeCommand:
    try:
        command: BridgeCommand = _COMMAND.decode(raw)
        return command
    except BROKEN:
        raise _RefusedError("schema") from None


def _step(raw: Raw) -> None:
    """Refuse a step of the wall clock that is no number: no tape holds such a line."""
    if raw and _number(raw) is None:
        raise _RefusedError("schema")


def _rows(parts: _Parts, source: str, names: Names, per_second: float) -> Iterator[Row]:
    key, rig, ts = _name(parts.key), _rig(parts.rig), _stamp(parts.ts, per_second)
    rx, seq, own_time = _meta(parts.meta)
    if not own_time:
        ts, rx = NAN, _stamp(parts.ts) if rx != rx else rx
    value = bytes(parts.value)
    if not value:
        raise _RefusedError("schema")
    if value.startswith(b'"'):
        yield Row(names[rig, source, key], ts, NAN, rx, seq, text=_TEXT.decode(value))
        return
    if not value.startswith(b"["):
        yield Row(names[rig, source, key], ts, _value(value), rx, seq)
        return
    elements = _ARRAY.decode(value)
    if not elements:
        raise _RefusedError("value")
    for i, element in enumerate(elements[:MAX_ELEMENTS]):
        try:
            if bytes(element)[:1] == b'"':
                raise _RefusedError("text")
            number = _value(element)
        except _RefusedError as error:
            yield Row(REJECT, reason=error.reason, source=source)
        else:
            yield Row(names.add((rig, source, f"{key}[{i}]")), ts, number, rx, seq)
    if more := len(elements[MAX_ELEMENTS:]):
        yield Row(REJECT, reason="too_many_names", source=source, events=more)


def _number(raw: Raw | bytes) -> float | None:
    """Return a number; infinity beyond float64; None for all else."""
    try:
        return _FLOAT.decode(raw)
    except msgspec.ValidationError:
        return float("inf") if bytes(raw)[:1] in b"-0123456789" else None


def _value(raw: Raw | bytes) -> float:
    number = _number(raw)
    if number is None or number == float("inf"):
        raise _RefusedError("value")
    return number


def _stamp(raw: Raw, per_second: float = 1.0) -> float:
    number = _number(raw) if raw else None
    if number is None:
        raise _RefusedError("schema")
    number /= per_second
    if not abs(number) <= MAX_STAMP_S:
        raise _RefusedError("stamp")
    return number


def _name(raw: Raw) -> str:
    try:
        name = _TEXT.decode(raw)
    except msgspec.DecodeError:
        raise _RefusedError("schema") from None
    if len(name) > MAX_NAME_LENGTH:
        raise _RefusedError("schema")
    return name


def _rig(raw: Raw) -> str | None:
    if not raw or bytes(raw) == b"null":
        return None
    rig = _name(raw)
    if not is_rig(rig):
        raise _RefusedError("schema")
    return rig


def _meta(raw: Raw) -> tuple[float, int, bool]:
    """Return arrival, sequence number, and whether the sender stamped the event."""
    if not raw or bytes(raw) == b"null":
        return NAN, -1, True
    try:
        parts = _META.decode(raw)
    except msgspec.DecodeError:
        raise _RefusedError("schema") from None
    rx = NAN if not parts.rx or bytes(parts.rx) == b"null" else _stamp(parts.rx)
    seq = -1
    if parts.seq and bytes(parts.seq) != b"null":
        try:
            seq = _INTEGER.decode(parts.seq)
        except msgspec.ValidationError:
            number = _number(parts.seq)
            if number is None or not number.is_integer():
                raise _RefusedError("schema") from None
            seq = int(number)
        if not -(2**63) <= seq < 2**63:
            raise _RefusedError("schema")
    return rx, seq, bytes(parts.own_time) != b"false"
