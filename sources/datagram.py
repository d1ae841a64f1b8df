"""One OSC datagram in, what it says out; a bad one costs itself only.

Pure: bytes are all it sees. Written for OSC 1.0 as senders speak it, and for whoever sends
something else: no recursion, every size checked before it is believed, no work that is not
bounded by the datagram's size. All or nothing: one fault refuses the whole datagram (`osc`),
as one event. A sound message whose arguments are no numbers loses only these (`value`).

- a number (i f d h) is a value, a text (s S) a marker; T F N I, blobs and the rest are refused
- several arguments are an array; in it all but finite numbers are NaN, to be refused alone
- the innermost bundle's timetag is the source time; none, 0 and 1 (immediately) are no time

Cost: about 2 us a message of a known header (address and type tags). State: 4,096 headers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

from operators.records import Reason
from sources.inbox import NO_TIME, Heard, Refused
from sources.names import LONGEST

MAX_DATAGRAM = 8_192
MAX_DEPTH = 8
MAX_MESSAGES = 256
MAX_ARGUMENTS = 1_024
MAX_SAMPLE = 256
_MOST_HEADERS = 4_096
_LONGEST_HEADER = 512

_BUNDLE = b"#bundle\0"
_HEAD = 16
"""Of a bundle: its name and its timetag."""
_UNIX = 2_208_988_800
"""1970 in seconds of NTP, which begins with 1900."""
_SIZES = dict.fromkeys(b"ifcrm", 4) | dict.fromkeys(b"hdt", 8) | dict.fromkeys(b"TFNI", 0)
_FORMATS = {ord("i"): "i", ord("f"): "f", ord("d"): "d", ord("h"): "q"}
_TEXTS = b"sS"
_LENGTH = struct.Struct(">i")
_TIMETAG = struct.Struct(">II")


class _BrokenError(Exception):
    """The datagram is not OSC."""


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
    """

    def __init__(self, wants: Callable[[str], bool] = lambda key: True) -> None:
        self._wants = wants
        self._headers: dict[bytes, _Header] = {}

    def decode(self, data: bytes, rx: float) -> list[Heard | Refused]:
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
        except _BrokenError:
            reason: Reason = "too_long" if len(data) > MAX_DATAGRAM else "osc"
            return [Refused(rx, reason, "", data[:MAX_SAMPLE])]

    def _bundle(self, data: bytes, rx: float) -> list[Heard | Refused]:
        if len(data) < _HEAD or len(data) % 4 or len(data) > MAX_DATAGRAM:
            raise _BrokenError
        said: list[Heard | Refused] = []
        todo = [(_HEAD, len(data), _time_of(data, 8))]  # bundles begun: next element, end, time
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
                if length < _HEAD or len(todo) >= MAX_DEPTH:
                    raise _BrokenError
                todo.append((start + _HEAD, stop, _time_of(data, start + 8)))
            else:
                if len(said) >= MAX_MESSAGES:
                    raise _BrokenError
                said.append(self._message(data[start:stop], rx, ts))
        return said

    def _message(self, data: bytes, rx: float, ts: float) -> Heard | Refused:
        tags = data.find(b"\0") + 4 & -4
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
            return Refused(rx, "filtered", "", b"", max(len(header.tags), 1))
        if value is None:
            return Refused(rx, "value", "", data[:MAX_SAMPLE])
        return Heard(rx, header.key, value, ts)

    def _learn(self, name: bytes, tags_at: int) -> _Header:
        """Read a header that is new, or refuse it."""
        address, tags = _text(name[:tags_at]), _text(name[tags_at:])
        if (
            not address.startswith(b"/") or len(address) > LONGEST or not tags.startswith(b",")
            or not address.isascii() or not address.decode("ascii").isprintable()
        ):  # fmt: skip
            raise _BrokenError
        arguments = _flat(tags[1:])
        if len(arguments) > MAX_ARGUMENTS:
            raise _BrokenError
        formats = [_FORMATS.get(tag) for tag in arguments]
        numbers = None
        if formats and None not in formats:
            numbers = struct.Struct(">" + "".join(f for f in formats if f))
        key = address.decode("ascii")
        header = _Header(key, arguments, numbers, self._wants(key))
        if len(name) <= _LONGEST_HEADER:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            self._headers[name] = header
        return header


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


def _mixed(tags: bytes, data: bytes, at: int) -> float | str | tuple[float, ...] | None:
    """Read arguments that are not all numbers; one alone may be a text."""
    values: list[float] = []
    text: str | None = None
    for tag in tags:
        number = NO_TIME
        if tag in _TEXTS:
            stop = data.find(b"\0", at)
            if stop < 0:
                raise _BrokenError
            end = stop + 4 & -4
            try:
                text = data[at:stop].decode()
            except UnicodeDecodeError:
                text = None
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
                number = float(struct.unpack_from(">" + _FORMATS[tag], data, at)[0])
        else:
            raise _BrokenError
        if end > len(data):
            raise _BrokenError
        values.append(number if isfinite(number) else NO_TIME)
        at = end
    if at != len(data):
        raise _BrokenError
    return tuple(values) if len(values) > 1 else text


def _time_of(data: bytes, at: int) -> float:
    seconds, fraction = _TIMETAG.unpack_from(data, at)
    if seconds == 0 and fraction <= 1:
        return NO_TIME
    return float(seconds - _UNIX + fraction / 2**32)
