"""Cuts the lines of a tape into blocks: whole lines of one rig, each of which names its rig.

A group of blocks ends before its 65th line, before 256 KiB, and where arrival enters another fifth
of a second. The cuts follow from the bytes of the tape alone, beginning at any earlier cut. So a
group that is sent again is the same, and a consumer recognises it by its place.

Cost: about 2 us a line. State: one group.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from io import BytesIO
from math import floor
from typing import NamedTuple

import msgspec

MAX_LINES = 64
MAX_BYTES = 256 << 10
"""Of a group; a longer line is a group of its own."""
_PER_SECOND = 5
_ARRIVAL = re.compile(rb'"(?:rx|tick)":(-?[0-9.eE+-]{1,32})')
_STAMP = re.compile(rb'"ts":(-?[0-9.eE+-]{1,32})')


class Block(NamedTuple):
    """Lines of one rig.

    Attributes
    ----------
    rig : str
    place : int
        Offset of the first line on the tape (bytes).
    lines : int
    value : bytes
    """

    rig: str
    place: int
    lines: int
    value: bytes


class Group(NamedTuple):
    """The blocks of neighbouring lines, by their places.

    Attributes
    ----------
    blocks : tuple of Block
    lines : int
    end : int
        Offset behind the last line on the tape (bytes).
    """

    blocks: tuple[Block, ...]
    lines: int
    end: int


class _Owner(msgspec.Struct):
    rig: str | None = None


_owner = msgspec.json.Decoder(_Owner)


class BlockCutter:
    """Cuts consecutive lines.

    Parameters
    ----------
    rig : str
        Of lines that name none.
    """

    def __init__(self, rig: str) -> None:
        self._rig = rig
        self._named = b',"rig":' + msgspec.json.encode(rig) + b"}\n"
        self._begin()

    def _begin(self) -> None:
        # Nothing is known at a cut: a reader that begins there cuts alike.
        self._blocks: dict[str, tuple[int, list[bytes]]] = {}
        self._lines = self._bytes = 0
        self._span: int | None = None
        self._end = 0

    def cut(self, data: bytes, offset: int) -> Iterator[Group]:
        """Yield the groups that whole lines complete.

        Parameters
        ----------
        data : bytes
            Whole lines.
        offset : int
            Of their first byte on the tape.
        """
        for line in BytesIO(data):
            span = _span_of(line)
            other = None not in (span, self._span) and span != self._span
            full = self._lines >= MAX_LINES or self._bytes + len(line) > MAX_BYTES
            if self._lines and (other or full):
                yield self._group()
            rig, named = self._with_rig(line)
            self._blocks.setdefault(rig, (offset, []))[1].append(named)
            self._span = self._span if span is None else span
            self._lines += 1
            self._bytes += len(line)
            offset += len(line)
            self._end = offset

    def rest(self) -> Group | None:
        """Return the lines of the group that has not ended; None without any."""
        return self._group() if self._lines else None

    def _group(self) -> Group:
        blocks = tuple(
            Block(rig, place, len(lines), b"".join(lines))
            for rig, (place, lines) in self._blocks.items()
        )
        group = Group(blocks, self._lines, self._end)
        self._begin()
        return group

    def _with_rig(self, line: bytes) -> tuple[str, bytes]:
        """Return the rig of a line, and the line with the rig's name in it."""
        if b'"rig"' in line:
            try:
                rig = _owner.decode(line).rig
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return self._rig, line
            if rig is not None:
                return rig, line
        bare = line.rstrip()
        if not bare.endswith(b"}"):
            return self._rig, line
        return self._rig, bare[:-1] + self._named


def _span_of(line: bytes) -> int | None:
    """Return the number of the fifth of a second in which a line arrived; None if unknown."""
    found = _ARRIVAL.search(line) or _STAMP.search(line)
    try:
        return floor(float(found[1]) * _PER_SECOND) if found else None
    except (ValueError, OverflowError):
        return None
