"""Lines that differ in their numbers only, read as columns without an object a line.

A recording repeats few *layouts*: the same text around other numbers. A layout is learnt from
a line that the parser has accepted. A line fits when its text agrees byte for byte and its
numbers are plain decimals, so that a fit means what the parser would have said; all else is
left to the parser.

The numbers come out bit for bit as from a parser that rounds correctly: the digits make an
integer m below 2^53 with k decimals, m and 10^k are exact in float64, and IEEE division rounds
m / 10^k correctly (Clinger 1990, "How to read floating point numbers accurately").

Eight digits are read at once from a 64-bit word (the first digit in the lowest byte):
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

from operators.events import Event
from operators.types import F64, I64, Bool
from sources.rows.names import Owner
from sources.rows.one_line import BROKEN

U64: TypeAlias = NDArray[np.uint64]
Words: TypeAlias = tuple[np.uint64, ...]

SLOTS = ("ts", "value", "rx", "seq")
"""What a number can mean."""
_MAX_LENGTH = 512
"""Of a line that is worth a layout (bytes)."""
PADDING = _MAX_LENGTH + 16
_MAX_NUMBERS = 16
_MAX_DIGITS = 16
"""On one side of the point; with more, the parser reads the line."""
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
_LEAST = np.array([np.inf, 0.0, *(10.0**n for n in range(1, _MAX_DIGITS)), np.inf])
"""The least number of so many digits: no digit is no number, a leading zero is not JSON."""
_SCALE = np.array([1.0, np.nan, *(10.0**n for n in range(1, _MAX_DIGITS + 1)), np.nan])
"""By length of the fraction, its point included: none, a point alone, a point and digits."""


@dataclass(frozen=True, slots=True)
class Text:
    """A chunk of whole lines, padded on both sides; places count from the padding's begin.

    Attributes
    ----------
    bytes_ : uint8
    marks : int64
        Places of all commas, points and newlines, rising.
    first, count : int64 (lines,)
        Of each line's marks in `marks`, its newline not counted.
    start, stop : int64 (lines,)
        Places of the line's first byte and of its newline.
    """

    bytes_: NDArray[np.uint8]
    marks: I64
    first: I64
    count: I64
    start: I64
    stop: I64

    def words(self, at: I64, count: int) -> U64:
        """Return `count` words (n, count) from each of the places (n,) on."""
        size = 8 * count
        shape = (len(self.bytes_) - size + 1,)
        every: NDArray[Any] = as_strided(self.bytes_[:size].view(f"V{size}"), shape, (1,))
        found: U64 = every[at].view("<u8").reshape(len(at), count)
        return found


def survey(chunk: bytes) -> Text:
    """Find the lines of a chunk, which ends with a newline, and their marks; not empty lines."""
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
        What each number means, an index into `SLOTS`; -1 where it has no meaning.
    points : tuple
        Which mark is the number's point, None without one.
    ends : tuple of (mark, back)
        The number ends so far before that mark; the last one's end follows from the line's.
    marks : int
        In the whole line.
    checks : tuple of (piece, words, masks)
        The pieces as words, longest first: that is the one with the names.
    owner : (rig or None, source, key)
    own_time : bool
        As in `Meta`; True where nothing is said.
    """

    pieces: tuple[bytes, ...]
    slots: tuple[int, ...]
    points: tuple[int | None, ...]
    ends: tuple[tuple[int, int], ...]
    marks: int
    checks: tuple[tuple[int, Words, Words], ...]
    owner: Owner
    own_time: bool

    def fit(self, text: Text, lines: I64) -> tuple[I64, I64]:
        """Find the lines whose text agrees, and where their numbers are.

        Parameters
        ----------
        lines : int64 (n,)
            Those to try.

        Returns
        -------
        lines : int64 (m,)
            Those that fit, if their numbers do.
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
        for piece, words, masks in self.checks:
            found = text.words(at[piece], len(words))
            differ = np.zeros(len(lines), np.uint64)
            for j, (word, mask) in enumerate(zip(words, masks, strict=True)):
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
    """Return the layout of a line that the parser accepts; None if there is none to rely on.

    What a number means is asked of the parser: it is shown other numbers in their places.
    """
    tokens = [m for m in _TOKEN.finditer(line) if m[1] is not None]
    if len(line) > _MAX_LENGTH or len(tokens) > _MAX_NUMBERS:
        return None
    cuts = [0, *(i for m in tokens for i in m.span()), len(line)]
    pieces = tuple(line[a:b] for a, b in zip(cuts[::2], cuts[1::2], strict=True))
    dotted = [b"." in m[1] for m in tokens]
    shown = [b"%d.0" % j if dot else b"%d" % j for j, dot in enumerate(dotted, 100)]
    try:
        event = parser.decode(b"".join(p + n for p, n in zip(pieces, [*shown, b""], strict=True)))
    except BROKEN:
        return None
    meta = event.meta
    seen = (event.ts, event.value, meta.rx if meta else None, meta.seq if meta else None)
    meaning = {number: slot for slot, number in enumerate(seen) if number is not None}
    slots = tuple(meaning.pop(j, -1) for j in range(100, 100 + len(tokens)))
    if meaning:  # a number that is no plain decimal
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


def _checks(pieces: tuple[bytes, ...]) -> tuple[tuple[int, Words, Words], ...]:
    def words(data: bytes) -> Words:
        data += bytes(-len(data) % 8)
        return tuple(np.frombuffer(data, "<u8"))

    order = sorted(range(len(pieces)), key=lambda j: -len(pieces[j]))
    return tuple((j, words(pieces[j]), words(b"\xff" * len(pieces[j]))) for j in order)


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
        Where it is False the parser has to judge: no plain decimal, too many digits, or -0.
    """
    start, point, end = spans
    negative = text.bytes_[start] == 45
    digits = point - start
    digits -= negative
    np.minimum(digits, _MAX_DIGITS + 1, out=digits)
    np.maximum(digits, 0, out=digits)
    number, good = read_digits(text, point, digits)
    good &= number >= _LEAST[digits]
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
    """Read the integer of `count` digits that ends before `end`; above 16 it is wrong."""
    if count.max(initial=0) <= 8:
        return _eight(text.words(end - 8, 1)[:, 0], count)
    words = text.words(end - 16, 2)
    number, good = _eight(words[:, 1], np.minimum(count, 8))
    high, fine = _eight(words[:, 0], np.minimum(np.maximum(count - 8, 0), 8))
    high *= 1e8
    number += high
    good &= fine
    return number, good


def _eight(word: U64, count: I64) -> tuple[F64, Bool]:
    """Read the last `count` of eight bytes as digits."""
    x = word ^ _ZEROS
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
