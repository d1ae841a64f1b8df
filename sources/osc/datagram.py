"""One OSC datagram in, what it says out; a bad one costs itself only.

Pure: bytes are all it sees. Written for OSC 1.0 as senders speak it, and for whoever sends
something else: no recursion, every size checked before it is believed, no work that is not
bounded by the datagram's size. All or nothing: one fault refuses the whole datagram (`osc`, or
`osc_limit` where a bound of this module is passed), as one event. A message without type tags, as
some mixers send it, loses only itself (`no_type_tags`): nobody knows what its bytes are. A sound
message whose arguments are no numbers loses only these (`value`).

- a number (i f d h) is a value, T, F and I are 1, 0 and 1, a text (s S) is a marker; N, blobs and
  the rest are refused
- several arguments are an array; in it all but finite numbers are NaN, to be refused alone, and
  texts, to be ignored
- the innermost bundle's timetag is the source time; none, 0 and 1 (immediately) are no time

Cost: about 2 us a message of a known header (address and type tags). State: 4,096 headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

from operators.errors import SourceError
from operators.limits import MAX_SAMPLE
from operators.types import Reason
from sources.inbox import NO_TIME, Message, Unread
from sources.rows.names import MAX_LENGTH

MAX_DATAGRAM = 8_192
MAX_DEPTH = 8
MAX_MESSAGES = 256
MAX_ARGUMENTS = 1_024
_MAX_HEADERS = 4_096
_MAX_HEADER = 512

_BUNDLE = b"#bundle\0"
_HEAD = 16
"""Of a bundle: its name and its timetag."""
_UNIX = 2_208_988_800
"""1970 in seconds of NTP, which begins with 1900."""
_SIZES = dict.fromkeys(b"ifcrm", 4) | dict.fromkeys(b"hdt", 8) | dict.fromkeys(b"TFIN", 0)
_FORMATS = {ord("i"): "i", ord("f"): "f", ord("d"): "d", ord("h"): "q"}
_TEXTS = b"sS"
_CONSTANTS = {ord("T"): 1.0, ord("F"): 0.0, ord("I"): 1.0}
_MAX_NEWS = 16
_LENGTH = struct.Struct(">i")
_TIMETAG = struct.Struct(">II")


class _BrokenError(SourceError):
    """The datagram is not OSC, or passes a bound."""

    def __init__(self, reason: Reason = "osc") -> None:
        self.reason: Reason = reason


@dataclass(frozen=True, slots=True)
class _Header:
    """What a message's address and type tags say of it.

    `numbers` reads its arguments if all are numbers; `tags` are those of its arguments.
    """

    key: str
    tags: bytes
    numbers: struct.Struct | None
    wanted: bool


class Datagrams:
    """Decodes datagrams; what it remembers only makes it faster.

    Parameters
    ----------
    wants : callable
        Tells by its address whether a message is to be used; others are refused (`filtered`).
    timed : bool
        Timetags are read.
    """

    def __init__(self, wants: Callable[[str], bool] = lambda key: True, timed: bool = True) -> None:
        self._wants, self._timed = wants, timed
        self._headers: dict[bytes, _Header] = {}
        self._told: set[str] = set()
        self._news: list[str] = []

    def news(self) -> list[str]:
        """Return the addresses whose arrays turned out to hold texts, each once, 16 at most."""
        news, self._news = self._news, []
        return news

    def decode(self, data: bytes, rx: float) -> list[Message | Unread]:
        """Return what a datagram says, in its order; who sent it is not known here.

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
        said: list[Message | Unread] = []
        # Bundles begun: next element, end, time.
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
                if len(said) >= MAX_MESSAGES:
                    raise _BrokenError("osc_limit")
                said.append(self._message(data[start:stop], rx, ts))
        return said

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
        """Read a header that is new, or refuse it."""
        address, tags = _text(name[:tags_at]), _text(name[tags_at:])
        if not _is_address(address):
            raise _BrokenError
        arguments = _flat(tags[1:])
        if len(address) > MAX_LENGTH or len(arguments) > MAX_ARGUMENTS:
            raise _BrokenError("osc_limit")
        formats = [_FORMATS.get(tag) for tag in arguments]
        numbers = None
        if formats and None not in formats:
            numbers = struct.Struct(">" + "".join(f for f in formats if f))
        key = address.decode("ascii")
        header = _Header(key, arguments, numbers, self._wants(key))
        if header.wanted and len(arguments) > 1 and set(_TEXTS) & set(arguments):
            self._tell(key)
        if len(name) <= _MAX_HEADER:
            if len(self._headers) >= _MAX_HEADERS:
                self._headers.clear()
            self._headers[name] = header
        return header

    def _tell(self, key: str) -> None:
        if key not in self._told and len(self._told) < _MAX_NEWS:
            self._told.add(key)
            self._news.append(key)


def _is_address(address: bytes) -> bool:
    return address.startswith(b"/") and address.isascii() and address.decode("ascii").isprintable()


def _text(padded: bytes) -> bytes:
    """Return a text without its padding: one to four NULs, nothing else."""
    text = padded.rstrip(b"\0")
    if not 1 <= len(padded) - len(text) <= 4 or b"\0" in text:
        raise _BrokenError
    return text


def _flat(tags: bytes) -> bytes:
    """Return type tags without the brackets of nested arrays, which have to be balanced."""
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
    """Read arguments that are not all numbers; one alone that is neither is None."""
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
