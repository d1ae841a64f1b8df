"""Which bytes of an XDF file are whole chunks that make sense.

A chunk is [size of the length: 1, 4 or 8][length][tag: 2 bytes][content]; of tags 2 (stream
header), 3 (samples) and 4 (clock offset) the content begins with the stream's number (4 bytes).
After a damaged place the next boundary chunk (tag 5, sixteen fixed bytes) is looked for. pyxdf
would read past the end of a chunk whose content is not what its header says; so only chunks of
known streams with contents of the right length are shown to it.

Cost: the file read once. State: a few bytes a damaged place, and the headers.

Source: XDF 1.0, https://github.com/sccn/xdf/wiki/Specifications.
"""

from __future__ import annotations

import io
import math
import re
import struct
from bisect import bisect_right
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree.ElementTree import Element, ParseError, fromstring

MAGIC = b"XDF:"
HEADER, SAMPLES, OFFSET = 2, 3, 4
BOUNDARY = bytes.fromhex("43a546dccbf5410fb30ed5467383cbe4")
SIZES = {"double64": 8, "float32": 4, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "string": 0}
MOST_CHANNELS = 16_384
_SCAN = 1 << 20
_MOST_RATE = 1e7
_NAMED = re.compile(rb"<!(DOCTYPE|ENTITY)")


class Span(NamedTuple):
    """Bytes from `start` up to `stop`."""

    start: int
    stop: int


class _Stream(NamedTuple):
    channels: int
    size: int


def survey(file: BinaryIO, size: int) -> tuple[list[Span], list[Span]]:
    """Return the chunks that are good, neighbours joined, and the damaged places.

    Parameters
    ----------
    file : binary file
    size : int
        Of the file (bytes).
    """
    file.seek(0)
    if file.read(4) != MAGIC:
        return [], [Span(0, size)] if size else []
    good, bad = [Span(0, 4)], list[Span]()
    streams: dict[int, _Stream] = {}
    at = 4
    while at < size:
        found = _chunk(file, at, size)
        if found is None:
            stop = _boundary(file, at + 1, size)
            bad.append(Span(at, stop))
            at = stop
            continue
        tag, content, stop = found
        if tag in (HEADER, SAMPLES, OFFSET):
            file.seek(content)
            fits = _fits(tag, file.read(stop - content), streams)
            if not fits:
                bad.append(Span(at, stop))
            elif good[-1].stop == at:
                good[-1] = Span(good[-1].start, stop)
            else:
                good.append(Span(at, stop))
        at = stop
    return good, _joined(bad)


def _chunk(file: BinaryIO, at: int, size: int) -> tuple[int, int, int] | None:
    """Return a chunk's tag, where its content begins and where it ends; None for no chunk."""
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
    """Return where the next boundary chunk ends; the end of the file if there is none."""
    while at < size:
        file.seek(at)
        block = file.read(_SCAN + len(BOUNDARY))
        found = block.find(BOUNDARY)
        if found >= 0:
            return at + found + len(BOUNDARY)
        at += _SCAN
    return size


def _joined(spans: list[Span]) -> list[Span]:
    """Return spans with those that touch as one."""
    out: list[Span] = []
    for span in spans:
        if out and out[-1].stop == span.start:
            out[-1] = Span(out[-1].start, span.stop)
        else:
            out.append(span)
    return out


def _fits(tag: int, content: bytes, streams: dict[int, _Stream]) -> bool:
    """Return whether a chunk's content is what its tag and stream say; enter a header."""
    if len(content) < 4:
        return False
    number, content = int.from_bytes(content[:4], "little"), content[4:]
    if tag == HEADER:
        stream = None if number in streams else _header(content)
        if stream:
            streams[number] = stream
        return stream is not None
    known = streams.get(number)
    if known is None:
        return False
    if tag == OFFSET:
        return len(content) == 16
    try:
        return _samples_end(content, known) == len(content)
    except (IndexError, struct.error):
        return False


def _header(content: bytes) -> _Stream | None:
    """Return what a stream header promises; None if nothing can be made of it."""
    if _NAMED.search(content):
        return None
    try:
        root = fromstring(content.decode("utf-8", "replace"))
        channels = int(_text(root, "channel_count"))
        rate = float(_text(root, "nominal_srate"))
        size = SIZES[_text(root, "channel_format")]
    except (ParseError, ValueError, KeyError, RecursionError):
        return None
    if root.tag != "info" or not root.findtext("name"):
        return None
    if not (1 <= channels <= MOST_CHANNELS and math.isfinite(rate) and 0 <= rate <= _MOST_RATE):
        return None
    return _Stream(channels, size)


def _text(root: Element, tag: str) -> str:
    return root.findtext(tag) or ""


def _number(content: bytes, at: int) -> tuple[int, int]:
    """Return a number of variable length, and where it ends."""
    width = content[at]
    if width not in (1, 4, 8):
        raise IndexError
    return int.from_bytes(content[at + 1 : at + 1 + width], "little"), at + 1 + width


def _samples_end(content: bytes, stream: _Stream) -> int:
    """Return where the samples of a chunk end, by what they say."""
    count, at = _number(content, 0)
    least = 1 + max(stream.size, 1 + (not stream.size)) * stream.channels
    if count * least > len(content):
        raise IndexError
    if stream.size:
        row = 1 + stream.size * stream.channels
        for width, stamped in ((row, False), (row + 8, True)):
            flags = content[at : at + count * width : width]
            if at + count * width == len(content) and (all(flags) if stamped else not any(flags)):
                return len(content)
    for _ in range(count):
        at += 9 if content[at] else 1
        if stream.size:
            at += stream.size * stream.channels
            continue
        for _ in range(stream.channels):
            length, at = _number(content, at)
            at += length
    return at


class Whole(io.RawIOBase):
    """The good parts of a file as if there were nothing else."""

    def __init__(self, path: str, spans: list[Span]) -> None:
        self._file = Path(path).open("rb", buffering=0)  # noqa: SIM115
        self._spans = spans
        self._begin = [0]
        for span in spans:
            self._begin.append(self._begin[-1] + span.stop - span.start)
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it has places."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._begin[-1]}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as one part goes; return how far."""
        view = memoryview(buffer)  # type: ignore[arg-type]
        if self._at >= self._begin[-1]:
            return 0
        k = bisect_right(self._begin, self._at) - 1
        span, inside = self._spans[k], self._at - self._begin[k]
        self._file.seek(span.start + inside)
        data = self._file.read(min(len(view), span.stop - span.start - inside))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
