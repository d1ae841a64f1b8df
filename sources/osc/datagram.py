"""Decoder of one OSC datagram into messages; a bad datagram affects no other.

Pure: the only input is bytes. It accepts OSC 1.0 as senders implement it, and is safe against
arbitrary bytes: no recursion, every size checked before use, all work bounded by the size of the
datagram. All or nothing: one fault rejects the whole datagram as one event (`osc`; `osc_limit`
beyond a limit of this module). A message without type tags, as some mixers send it, is rejected
alone (`no_type_tags`), since its bytes cannot be interpreted. A valid message without numbers is
rejected alone (`value`).

- a number (i f d h) is a value; T, F and I are 1, 0 and 1; a text (s S) is a marker; N, blobs and
  other types are rejected
- several arguments are an array; its non-finite elements are NaN and rejected alone, its texts
  are ignored
- the timetag of the innermost bundle is the source time; none, 0 and 1 (immediately) are no time

Cost: about 2 us a message with a cached header (address and type tags). State: 4,096 headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

from operators.errors import SourceError
from operators.limits import MAX_NAME_LENGTH, MAX_SAMPLE
from operators.types import Reason
from sources.inbox import NO_TIME, Message, Unread

MAX_DATAGRAM = 8_192
MAX_DEPTH = 8
MAX_MESSAGES = 256
MAX_ARGUMENTS = 1_024
_MAX_HEADERS = 4_096
_MAX_HEADER = 512

_BUNDLE = b"#bundle\0"
_HEAD = 16
"""Size of a bundle's name and timetag (bytes)."""
_UNIX = 2_208_988_800
"""The year 1970 in NTP seconds, which begin in 1900."""
_SIZES = dict.fromkeys(b"ifcrm", 4) | dict.fromkeys(b"hdt", 8) | dict.fromkeys(b"TFIN", 0)
_FORMATS = {ord("i"): "i", ord("f"): "f", ord("d"): "d", ord("h"): "q"}
_TEXTS = b"sS"
_CONSTANTS = {ord("T"): 1.0, ord("F"): 0.0, ord("I"): 1.0}
_MAX_NEWS = 16
_LENGTH = struct.Struct(">i")
_TIMETAG = struct.Struct(">II")


class _BrokenError(SourceError):
    """A datagram that is not OSC, or exceeds a limit."""

    def __init__(self, reason: Reason = "osc") -> None:
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class _Header:
    """The decoded address and type tags of a message.

    `numbers` unpacks the arguments if all are numbers; `tags` are the tags of the arguments.
    """

    key: str
    tags: bytes
    numbers: struct.Struct | None
    wanted: bool


class Datagrams:
    """Decoder of datagrams; its cache affects the speed only.

    Parameters
    ----------
    wants : callable
        Whether a message is used, given its address; others are rejected (`filtered`).
    timed : bool
        Timetags are used.
    """

    def __init__(self, wants: Callable[[str], bool] = lambda key: True, timed: bool = True) -> None:
        self._wants, self._timed = wants, timed
        self._headers: dict[bytes, _Header] = {}
        self._reported: set[str] = set()
        self._news: list[str] = []

    def news(self) -> list[str]:
        """Return the addresses with texts in their arrays, each once, at most 16."""
        news, self._news = self._news, []
        return news

    def decode(self, data: bytes, rx: float) -> list[Message | Unread]:
        """Return the messages of a datagram, in its order, without their sender.

        Parameters
        ----------
        data : bytes
        rx : float
            Arrival (s).
        """
        try:
            if data.startswith(_BUNDLE):
                return self._bundle(data, rx)
            if len(data) > MAX_DATAGRAM:
                raise _BrokenError
            return [self._message(data, rx, NO_TIME)]
        except _BrokenError as error:
            reason: Reason = "too_long" if len(data) > MAX_DATAGRAM else error.reason
            return [Unread(rx, reason, "", data[:MAX_SAMPLE])]

    def _bundle(self, data: bytes, rx: float) -> list[Message | Unread]:
        if len(data) < _HEAD or len(data) % 4 or len(data) > MAX_DATAGRAM:
            raise _BrokenError
        messages: list[Message | Unread] = []
        # Open bundles: next element, end, time.
        todo = [(_HEAD, len(data), self._time_of(data, 8))]
        while todo:
            at, end, ts = todo.pop()
            if at == end:
                continue
            if at + 4 > end:
                raise _BrokenError
            (length,) = _LENGTH.unpack_from(data, at)
            start, stop = at + 4, at + 4 + length
            if length <= 0 or length % 4 or stop > end:
                raise _BrokenError
            todo.append((stop, end, ts))
            if data.startswith(_BUNDLE, start):
                if length < _HEAD:
                    raise _BrokenError
                if len(todo) >= MAX_DEPTH:
                    raise _BrokenError("osc_limit")
                todo.append((start + _HEAD, stop, self._time_of(data, start + 8)))
            else:
                if len(messages) >= MAX_MESSAGES:
                    raise _BrokenError("osc_limit")
                messages.append(self._message(data[start:stop], rx, ts))
        return messages

    def _time_of(self, data: bytes, at: int) -> float:
        seconds, fraction = _TIMETAG.unpack_from(data, at)
        if not self._timed or (seconds == 0 and fraction <= 1):
            return NO_TIME
        return float(seconds - _UNIX + fraction / 2**32)

    def _message(self, data: bytes, rx: float, ts: float) -> Message | Unread:
        tags = data.find(b"\0") + 4 & -4
        if 4 <= tags <= len(data) and data[tags : tags + 1] != b",":
            address = _text(data[:tags])
            if not _is_address(address):
                raise _BrokenError
            if not self._wants(address.decode("ascii")):
                return Unread(rx, "filtered", "", data[:MAX_SAMPLE])
            return Unread(rx, "no_type_tags", "", data[:MAX_SAMPLE])
        arguments = data.find(b"\0", tags) + 4 & -4
        if not 4 <= tags < arguments <= len(data):
            raise _BrokenError
        name = data[:arguments]
        header = self._headers.get(name) or self._learn(name, tags)
        numbers = header.numbers
        if numbers is None:
            value = _mixed(header.tags, data, arguments)
        elif len(data) - arguments != numbers.size:
            raise _BrokenError
        else:
            found = numbers.unpack_from(data, arguments)
            if len(found) == 1:
                number = float(found[0])
                value = number if isfinite(number) else None
            else:
                value = tuple(float(x) if isfinite(x) else NO_TIME for x in found)
        if not header.wanted:
            return Unread(rx, "filtered", "", data[:MAX_SAMPLE], max(len(header.tags), 1))
        if value is None:
            return Unread(rx, "value", "", data[:MAX_SAMPLE])
        return Message(rx, header.key, value, ts)

    def _learn(self, name: bytes, tags_at: int) -> _Header:
        """Decode a new header, or reject it."""
        address, tags = _text(name[:tags_at]), _text(name[tags_at:])
        if not _is_address(address):
            raise _BrokenError
        arguments = _flat(tags[1:])
        if len(address) > MAX_NAME_LENGTH or len(arguments) > MAX_ARGUMENTS:
            raise _BrokenError("osc_limit")
        formats = [_FORMATS.get(tag) for tag in arguments]
        numbers = None
        if formats and None not in formats:
            numbers = struct.Struct(">" + "".join(f for f in formats if f))
        key = address.decode("ascii")
        header = _Header(key, arguments, numbers, self._wants(key))
        if header.wanted and len(arguments) > 1 and set(_TEXTS) & set(arguments):
            self._report_texts(key)
        if len(name) <= _MAX_HEADER:
            if len(self._headers) >= _MAX_HEADERS:
                self._headers.clear()
            self._headers[name] = header
        return header

    def _report_texts(self, key: str) -> None:
        if key not in self._reported and len(self._reported) < _MAX_NEWS:
            self._reported.add(key)
            self._news.append(key)


def _is_address(address: bytes) -> bool:
    return address.startswith(b"/") and address.isascii() and address.decode("ascii").isprintable()


def _text(padded: bytes) -> bytes:
    """Return a text without its padding of one to four NULs."""
    text = padded.rstrip(b"\0")
    if not 1 <= len(padded) - len(text) <= 4 or b"\0" in text:
        raise _BrokenError
    return text


def _flat(tags: bytes) -> bytes:
    """Return type tags without the brackets of nested arrays, which must be balanced."""
    if b"[" not in tags and b"]" not in tags:
        return tags
    depth = 0
    for tag in tags:
        depth += (tag == ord("[")) - (tag == ord("]"))
        if depth < 0:
            raise _BrokenError
    if depth:
        raise _BrokenError
    return tags.translate(None, b"[]")


def _mixed(tags: bytes, data: bytes, at: int) -> float | str | tuple[float | str, ...] | None:
    """Decode arguments of mixed types; None for a single one without a value."""
    values: list[float | str] = []
    for tag in tags:
        number: float | str = NO_TIME
        if tag in _TEXTS:
            stop = data.find(b"\0", at)
            if stop < 0:
                raise _BrokenError
            end = stop + 4 & -4
            with suppress(UnicodeDecodeError):
                number = data[at:stop].decode()
            if any(data[stop:end]):
                raise _BrokenError
        elif tag == ord("b"):
            if at + 4 > len(data):
                raise _BrokenError
            (length,) = _LENGTH.unpack_from(data, at)
            end = at + 4 + length + 3 & -4
            if length < 0 or any(data[at + 4 + length : end]):
                raise _BrokenError
        elif tag in _SIZES:
            end = at + _SIZES[tag]
            if tag in _FORMATS and end <= len(data):
                read = float(struct.unpack_from(">" + _FORMATS[tag], data, at)[0])
                number = read if isfinite(read) else NO_TIME
            elif tag in _CONSTANTS:
                number = _CONSTANTS[tag]
        else:
            raise _BrokenError
        if end > len(data):
            raise _BrokenError
        values.append(number)
        at = end
    if at != len(data):
        raise _BrokenError
    if len(values) == 1 and values[0] == values[0]:
        return values[0]
    return tuple(values) if len(values) > 1 else None
