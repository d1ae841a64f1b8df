"""Column reader for lines that differ in their numbers only, without an object a line.

A recording repeats few *layouts*: the same text around other numbers. A layout is learnt from
a line that the parser has accepted. A line fits if its text agrees byte for byte and its numbers
are plain decimals, so that a fit gives the result of the parser. The parser reads all other lines.

The numbers equal, bit for bit, those of a parser that rounds correctly: the digits make an
integer m below 2^53 with k decimals. m and 10^k are exact in float64, and IEEE division rounds
m / 10^k correctly (Clinger 1990, "How to read floating point numbers accurately").

Eight digits are read at once from a 64-bit block (the first digit in the lowest byte):
x = 10 x + (x >> 8), then 100 x + (x >> 16), then 10^4 x + (x >> 32), each masked to its lanes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from msgspec.json import Decoder
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from operators import native
from operators.events import Event
from operators.types import F64, I64, Bool
from sources.rows.names import Owner
from sources.rows.one_line import BROKEN

U64: TypeAlias = NDArray[np.uint64]
Blocks: TypeAlias = tuple[np.uint64, ...]

SLOTS = ("ts", "value", "rx", "seq")
"""Meanings of a number."""
_MAX_LAYOUT_LINE = 512
"""Of a line with a layout (bytes)."""
PADDING = _MAX_LAYOUT_LINE + 16
_MAX_NUMBERS = 16
_MAX_DIGITS = 16
"""On one side of the point; the parser reads lines with more."""
_EXACT = 9.0e15
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|(-?[0-9]+(?:\.[0-9]+)?)(?![0-9.eE+-])')
_MARK = re.compile(rb"[,.]")
_KEEP = np.array([(2**64 - 1) ^ (2 ** (64 - 8 * n) - 1) for n in range(9)], np.uint64)
_ZEROS = np.uint64(0x3030303030303030)
_TOP = np.uint64(0x8080808080808080)
_OVER_NINE = np.uint64(0x7676767676767676)
_STEPS = tuple(
    (np.uint64(10**n), np.uint64(8 * n), np.uint64(lanes))
    for n, lanes in ((1, 0x00FF00FF00FF00FF), (2, 0x0000FFFF0000FFFF), (4, 0x00000000FFFFFFFF))
)
_MIN_NUMBER = np.array([np.inf, 0.0, *(10.0**n for n in range(1, _MAX_DIGITS)), np.inf])
"""By number of digits: none is no number, and a leading zero is not JSON."""
_SCALE = np.array([1.0, np.nan, *(10.0**n for n in range(1, _MAX_DIGITS + 1)), np.nan])
"""10^k by length of the fraction with its point: none, a point alone, a point and digits."""


@dataclass(frozen=True, slots=True)
class Text:
    """A chunk of whole lines, padded on both sides; offsets count from the start of the padding.

    Attributes
    ----------
    bytes_ : uint8
    marks : int64
        Offsets of all commas, points and newlines, rising.
    first, count : int64 (lines,)
        Index of each line's first mark, and number of its marks without the newline.
    start, stop : int64 (lines,)
        Offsets of the first byte of each line and of its newline.
    """

    bytes_: NDArray[np.uint8]
    marks: I64
    first: I64
    count: I64
    start: I64
    stop: I64

    def blocks(self, at: I64, count: int) -> U64:
        """Return `count` 64-bit blocks (n, count) from each of the offsets (n,) on."""
        size = 8 * count
        shape = (len(self.bytes_) - size + 1,)
        every: NDArray[Any] = as_strided(self.bytes_[:size].view(f"V{size}"), shape, (1,))
        found: U64 = every[at].view("<u8").reshape(len(at), count)
        return found


def survey(chunk: bytes) -> Text:
    """Find the lines of a chunk, which ends with a newline, and their marks; skip empty lines."""
    padding = bytes(PADDING)
    bytes_ = np.frombuffer(b"".join((padding, chunk, padding)), np.uint8)
    body = bytes_[PADDING:-PADDING]
    is_mark = (body - np.uint8(44)) < 3  # one of , - .
    is_mark &= body != 45
    is_mark |= body == 10
    marks = np.flatnonzero(is_mark)
    marks += PADDING
    newlines = np.flatnonzero(bytes_[marks] == 10)
    stop = marks[newlines]
    start = np.concatenate(([PADDING], stop[:-1] + 1))
    first = np.concatenate(([0], newlines[:-1] + 1))
    count = newlines - first
    filled = stop - start > (bytes_[start] == 13)
    if filled.all():
        return Text(bytes_, marks, first, count, start, stop)
    return Text(bytes_, marks, first[filled], count[filled], start[filled], stop[filled])


@dataclass(frozen=True, slots=True)
class Layout:
    """The text around the numbers of a line.

    Attributes
    ----------
    pieces : tuple of bytes
        Before, between and after the numbers.
    slots : tuple of int
        Meaning of each number, an index into `SLOTS`; -1 without one.
    points : tuple
        Index of the mark that is the number's point; None without one.
    ends : tuple of (mark, back)
        The number ends `back` bytes before the mark. The last
        one is found from the end of the line.
    marks : int
        Number of marks in the line.
    checks : tuple of (piece, blocks, masks)
        The pieces as 64-bit blocks, longest first: the longest one holds the names.
    owner : (rig or None, source, key)
    own_time : bool
        As in `Meta`; True by default.
    """

    pieces: tuple[bytes, ...]
    slots: tuple[int, ...]
    points: tuple[int | None, ...]
    ends: tuple[tuple[int, int], ...]
    marks: int
    checks: tuple[tuple[int, Blocks, Blocks], ...]
    owner: Owner
    own_time: bool

    @property
    def text(self) -> native.Layout:
        """Pieces, slots, and whether each number has a point: the layout in compiled form."""
        return self.pieces, self.slots, tuple(point is not None for point in self.points)

    def fit(self, text: Text, lines: I64) -> tuple[I64, I64]:
        """Find the lines whose text agrees, and the spans of their numbers.

        Parameters
        ----------
        lines : int64 (n,)
            Candidates.

        Returns
        -------
        lines : int64 (m,)
            Lines that fit if their numbers do.
        spans : int64 (numbers, 3, m)
            Start, point and end of each number; without a point, point is end.
        """
        lines = lines[text.count[lines] == self.marks]
        first = text.first[lines]
        at = np.empty((len(self.pieces), len(lines)), np.int64)
        at[0] = text.start[lines]
        for j, (mark, back) in enumerate(self.ends, 1):
            np.subtract(text.marks[first + mark], back, out=at[j])
        np.subtract(text.stop[lines], len(self.pieces[-1]), out=at[-1])
        for piece, blocks, masks in self.checks:
            found = text.blocks(at[piece], len(blocks))
            differ = np.zeros(len(lines), np.uint64)
            for j, (word, mask) in enumerate(zip(blocks, masks, strict=True)):
                differ |= (found[:, j] ^ word) & mask if mask != _ALL else found[:, j] ^ word
            same = differ == 0
            if not same.all():
                lines, first, at = lines[same], first[same], at[:, same]
        spans = np.empty((len(self.slots), 3, len(lines)), np.int64)
        for j, point in enumerate(self.points):
            np.add(at[j], len(self.pieces[j]), out=spans[j, 0])
            spans[j, 1] = at[j + 1] if point is None else text.marks[first + point]
            spans[j, 2] = at[j + 1]
        return lines, spans


_ALL = np.uint64(2**64 - 1)


def learn(line: bytes, parser: Decoder[Event]) -> Layout | None:
    """Return the layout of a line that the parser accepts; None if there is no certain one.

    The parser reads the line with other numbers; their places in the event are their meanings.
    """
    tokens = [m for m in _TOKEN.finditer(line) if m[1] is not None]
    if len(line) > _MAX_LAYOUT_LINE or len(tokens) > _MAX_NUMBERS:
        return None
    cuts = [0, *(i for m in tokens for i in m.span()), len(line)]
    pieces = tuple(line[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True))
    dotted = [b"." in m[1] for m in tokens]
    probes = [b"%d.0" % j if dot else b"%d" % j for j, dot in enumerate(dotted, 100)]
    try:
        event = parser.decode(b"".join(p + n for p, n in zip(pieces, [*probes, b""], strict=True)))
    except BROKEN:
        return None
    meta = event.meta
    seen = (event.ts, event.value, meta.rx if meta else None, meta.seq if meta else None)
    meaning = {number: slot for slot, number in enumerate(seen) if number is not None}
    slots = tuple(meaning.pop(j, -1) for j in range(100, 100 + len(tokens)))
    if meaning:  # a number that is not a plain decimal
        return None
    marks, points, ends = len(_MARK.findall(pieces[0])), [], []
    for dot, piece in zip(dotted, pieces[1:], strict=True):
        points.append(marks if dot else None)
        marks += dot
        after = _MARK.search(piece)
        ends.append((marks, after.start() if after else -1))
        marks += len(_MARK.findall(piece))
    ends.pop()
    if any(back < 0 for _, back in ends):
        return None
    owner = (event.rig, event.source, event.key)
    own_time = meta is None or meta.own_time is not False
    return Layout(
        pieces, slots, tuple(points), tuple(ends), marks, _checks(pieces), owner, own_time
    )


def _checks(pieces: tuple[bytes, ...]) -> tuple[tuple[int, Blocks, Blocks], ...]:
    def blocks(data: bytes) -> Blocks:
        data += bytes(-len(data) % 8)
        return tuple(np.frombuffer(data, "<u8"))

    order = sorted(range(len(pieces)), key=lambda j: -len(pieces[j]))
    return tuple((j, blocks(pieces[j]), blocks(b"\xff" * len(pieces[j]))) for j in order)


def read_numbers(text: Text, spans: I64, sign: int = 46) -> tuple[F64, Bool]:
    """Read decimal numbers.

    Parameters
    ----------
    spans : int64 (3, n)
        Start, point and end; without a point, point is end.
    sign : int
        The byte that is the decimal sign.

    Returns
    -------
    numbers : float64 (n,)
    good : bool (n,)
        False where the parser has to decide: no plain decimal, too many digits, or -0.
    """
    # value = (whole 10^k + fraction) / 10^k, k digits behind the point
    start, point, end = spans
    negative = text.bytes_[start] == 45
    digits = point - start
    digits -= negative
    np.minimum(digits, _MAX_DIGITS + 1, out=digits)
    np.maximum(digits, 0, out=digits)
    number, good = read_digits(text, point, digits)
    good &= number >= _MIN_NUMBER[digits]
    fraction = end - point
    if fraction.any():
        np.minimum(fraction, _MAX_DIGITS + 2, out=fraction)
        np.maximum(fraction, 0, out=fraction)
        scale = _SCALE[fraction]
        fraction -= 1
        decimals, fine = read_digits(text, end, np.maximum(fraction, 0, out=fraction))
        good &= fine
        good &= (text.bytes_[point] == sign) | (point == end)  # the mark may be a comma
        number *= scale
        number += decimals
        good &= number < _EXACT  # False for NaN
        number /= scale
    else:
        good &= number < _EXACT
    if negative.any():
        good &= ~(negative & (number == 0))
        np.negative(number, out=number, where=negative)
    return number, good


def read_digits(text: Text, end: I64, count: I64) -> tuple[F64, Bool]:
    """Read the integer of `count` digits, at most 16, that ends before `end`."""
    if count.max(initial=0) <= 8:
        return _eight(text.blocks(end - 8, 1)[:, 0], count)
    blocks = text.blocks(end - 16, 2)
    number, good = _eight(blocks[:, 1], np.minimum(count, 8))
    high, fine = _eight(blocks[:, 0], np.minimum(np.maximum(count - 8, 0), 8))
    high *= 1e8
    number += high
    good &= fine
    return number, good


def _eight(block: U64, count: I64) -> tuple[F64, Bool]:
    """Read the last `count` of eight bytes as digits.

    A byte is a digit if byte ^ 0x30 <= 9: byte + 0x76 then leaves the top bit clear.
    """
    x = block ^ _ZEROS
    x &= _KEEP[count]
    wrong = x + _OVER_NINE
    wrong |= x
    wrong &= _TOP
    for factor, shift, lanes in _STEPS:
        tail = x >> shift
        x *= factor
        x += tail
        x &= lanes
    return x.astype(np.float64), wrong == 0
