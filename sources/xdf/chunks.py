"""The chunks of an XDF file, each checked against its header, and the damaged places.

A chunk is [size of the length: 1, 4 or 8][length][tag: 2 bytes][content]. With tags 2 (stream
header), 3 (samples) and 4 (clock offset) the content begins with the stream number (4 bytes).
After a damaged place, reading continues at the next boundary chunk (tag 5, sixteen fixed bytes).
A chunk of samples is complete if its samples, by their flags and lengths, end where it ends.

Cost: the file read once. State: the headers, one chunk. Losses: damaged places, as `Span`.

Source: XDF 1.0, https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple, TypeAlias

from sources.header.xml_header import HeaderTexts

MAGIC = b"XDF:"
HEADER, SAMPLES, OFFSET = 2, 3, 4
BOUNDARY = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
SIZES = {"double64": 8, "float32": 4, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "string": 0}
MAX_CHANNELS, MAX_OF_ALL, MAX_STREAMS = 16_384, 262_144, 1024
"""Maximum channels of a stream; channels of a file; streams of a file."""
MAX_HEADER, MAX_HEADERS = 1 << 24, 1 << 26
"""Maximum size of a stream header; of all headers of a file together (bytes)."""
_SCAN = 1 << 20
_MAX_RATE = 1e7
_NAMED = re.compile(rb"<!(DOCTYPE|ENTITY)")


class Span(NamedTuple):
    """The bytes from `start` up to `stop`."""

    start: int
    stop: int


class Header(NamedTuple):
    """The header of a stream.

    Attributes
    ----------
    number : int
    name, kind, form : str
        Name, content type, number format.
    channels : int
    rate_hz : float
        Nominal rate; 0 if there is none.
    labels, units : tuple of str
        Of the first channels, as many as declared; empty texts if absent.
    may_drop : bool
        The sender declares that its samples are not evenly spaced.
    """

    number: int
    name: str
    kind: str
    form: str
    channels: int
    rate_hz: float
    labels: tuple[str, ...]
    units: tuple[str, ...]
    may_drop: bool

    @property
    def size(self) -> int:
        """Size of a number (bytes), 0 for texts."""
        return SIZES[self.form]


class Samples(NamedTuple):
    """Samples of one chunk.

    The first of `samples` samples begins at `body[at]`; `stamped`: all of them have stamps.
    """

    number: int
    body: bytes
    at: int
    samples: int
    stamped: bool


class Offset(NamedTuple):
    """A clock reading of a stream: source time and host - source, 16 bytes."""

    number: int
    body: bytes


Found: TypeAlias = Header | Samples | Offset | Span


def chunks(file: BinaryIO, size: int) -> Iterator[Found]:
    """Yield headers, samples, readings and damaged places, in the order of the file.

    Parameters
    ----------
    file : binary file
    size : int
        Size of the file (bytes).
    """
    file.seek(0)
    if file.read(4) != MAGIC:
        if size:
            yield Span(0, size)
        return
    streams: dict[int, Header] = {}
    bad: Span | None = None
    at, channels, headers = 4, 0, 0
    while at < size:
        head = _chunk(file, at, size)
        if head is None:
            stop = _boundary(file, at + 1, size)
            found: Found | None = Span(at, stop)
        else:
            tag, content, stop = head
            found = None
            headers += (stop - at) * (tag == HEADER)
            if tag in (SAMPLES, OFFSET) or (tag == HEADER and headers <= MAX_HEADERS):
                found = _read(file, tag, content, stop, streams)
                if isinstance(found, Header):
                    channels += found.channels
                    fits = channels <= MAX_OF_ALL and len(streams) < MAX_STREAMS
                    found = found if fits else None
                    if found:
                        streams[found.number] = found
            if tag in (HEADER, SAMPLES, OFFSET):
                found = found or Span(at, stop)
        if isinstance(found, Span):
            if bad and bad.stop == at:
                found = Span(bad.start, stop)
            elif bad:
                yield bad
            bad = found
        elif found:
            yield found
        at = stop
    if bad:
        yield bad


def _chunk(file: BinaryIO, at: int, size: int) -> tuple[int, int, int] | None:
    """Return the tag of a chunk, the start and end of its content; None for no chunk."""
    file.seek(at)
    head = file.read(11)
    width = head[0]
    if width not in (1, 4, 8) or len(head) < width + 3:
        return None
    length = int.from_bytes(head[1 : 1 + width], "little")
    stop = at + 1 + width + length
    tag = int.from_bytes(head[1 + width : 3 + width], "little")
    if length < 2 or stop > size or not 1 <= tag <= 6:
        return None
    return tag, at + 3 + width, stop


def _boundary(file: BinaryIO, at: int, size: int) -> int:
    """Return the end of the next boundary chunk; the end of the file if there is none."""
    while at < size:
        file.seek(at)
        block = file.read(_SCAN + len(BOUNDARY))
        found = block.find(BOUNDARY)
        if found >= 0:
            return at + found + len(BOUNDARY)
        at += _SCAN
    return size


def _read(
    file: BinaryIO, tag: int, content: int, stop: int, streams: dict[int, Header]
) -> Found | None:
    """Return the content of a chunk; None if it does not match its tag and stream."""
    length = stop - content
    if length < 4:
        return None
    file.seek(content)
    number = int.from_bytes(file.read(4), "little")
    known = streams.get(number)
    if tag == HEADER:
        if known or length > MAX_HEADER:
            return None
        return _header(number, file.read(length - 4))
    if known is None:
        return None
    if tag == OFFSET:
        return Offset(number, file.read(16)) if length == 20 else None
    try:
        return _samples(number, file.read(length - 4), known)
    except IndexError:
        return None


def _header(number: int, content: bytes) -> Header | None:
    """Return a stream header; None if it is invalid."""
    if _NAMED.search(content):
        return None
    try:
        found = HeaderTexts(content)
        channels, rate = int(found["channel_count"]), float(found["nominal_srate"])
    except ValueError:
        return None
    name, form = found["name"], found["channel_format"]
    if not name or form not in SIZES:
        return None
    if not (1 <= channels <= MAX_CHANNELS and math.isfinite(rate) and 0 <= rate <= _MAX_RATE):
        return None
    of_each = found.channels[:channels]
    return Header(
        number=number,
        name=name,
        kind=found["type"],
        form=form,
        channels=channels,
        rate_hz=rate,
        labels=tuple(c.get("label", "") for c in of_each),
        units=tuple(c.get("unit", "") for c in of_each),
        may_drop=found["can_drop_samples"].lower() == "true",
    )


def number_at(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length and its end; IndexError if there is none."""
    width = content[at]
    if width not in (1, 4, 8):
        raise IndexError
    return int.from_bytes(content[at + 1 : at + 1 + width], "little"), at + 1 + width


def _samples(number: int, content: bytes, stream: Header) -> Samples | None:
    """Return the samples of a chunk, if they end where the chunk ends."""
    count, at = number_at(content, 0)
    width = 1 + stream.size * stream.channels
    if count * (width if stream.size else 1 + stream.channels) > len(content):
        return None
    if stream.size:
        rest = len(content) - at
        if rest == count * (width + 8) and 0 not in content[at :: width + 8]:
            return Samples(number, content, at, count, stamped=True)
        if rest == count * width and not any(content[at::width]):
            return Samples(number, content, at, count, stamped=False)
    end = at
    for first, last, flagged in runs(content, at, count, width) if stream.size else ():
        end += (last - first) * (width + 8 * flagged)
    if not stream.size:
        for _ in range(count):
            end += 9 if content[end] else 1
            for _ in range(stream.channels):
                length, end = number_at(content, end)
                end += length
    return Samples(number, content, at, count, stamped=False) if end == len(content) else None


def runs(content: bytes, at: int, count: int, width: int) -> Iterator[tuple[int, int, bool]]:
    """Yield runs of numeric samples: (first, last, whether they have stamps).

    Raises IndexError if the content ends early.
    """
    first = 0
    while first < count:
        flagged = content[at] != 0
        step = width + 8 * flagged
        last = first + 1
        flags = content[at : at + step * (count - first) : step]
        if flagged:
            zero = flags.find(b"\x00")
            last = first + (len(flags) if zero < 0 else zero)
        else:
            last = first + len(flags) - len(flags.lstrip(b"\x00"))
        yield first, last, flagged
        at += step * (last - first)
        first = last
