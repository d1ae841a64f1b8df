"""The stamps of one bin of a clock, summed up: the lowest, and the spread above it.

Bins of few stamps are summed up in plain numbers, compiled where there is an extension
(operators/native); all forms give the same figures, bit for bit.

Cost: 0.3 us a stamp up to `MAX_PLAIN_BIN` (compiled: 0.03), else about 15 numpy calls. State: none.
"""

from __future__ import annotations

import math
from array import array
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators import native
from operators.types import F64, Bool

MAX_PLAIN_BIN = 48
ROUNDED_S = 1e-3
"""Stamps of whole milliseconds are assumed to be rounded (s)."""
_NEAR = 2e-3


class Bin(NamedTuple):
    """Figures of a bin's distinct stamps, n in `number`; e is the delay less the predicted one (s).

    `at`, `delay`: source time and delay (s) of the stamp of the least e. `least`: that e. `middle`,
    `high`: e at rank n // 2 and 0.95 (n - 1), less the least. `whole`: stamps of whole
    milliseconds.
    """

    number: int
    at: float
    delay: float
    least: float
    middle: float
    high: float
    whole: bool


def summed(source: array[float], delay: array[float], line: tuple[float, float, float]) -> Bin:
    """Return the figures of at least one stamp.

    Parameters
    ----------
    source, delay : array of float
        Source time and delay of the stamps (s), in order; one that repeats its predecessor's source
        time does not count.
    line : (offset, slope, at)
        The predicted delay is offset + slope * (source - at).
    """
    if len(source) <= MAX_PLAIN_BIN:
        if native.kernels is not None:
            figures = native.kernels.lowest(source, delay, line)
            if figures is not None:
                return Bin._make(figures)
        elif math.isfinite(sum(source) + sum(delay)):
            return _plain(list(source), list(delay), *line)
    return _arrays(np.array(source), np.array(delay), *line)


def _plain(s: list[float], d: list[float], offset: float, slope: float, at: float) -> Bin:
    if any(a == b for a, b in pairwise(s)):
        kept = [k for k in range(len(s)) if not k or s[k] != s[k - 1]]
        s, d = [s[k] for k in kept], [d[k] for k in kept]
    e = [y - (offset + slope * (x - at)) for x, y in zip(s, d, strict=True)]
    ranked, n = sorted(e), len(s)
    least = ranked[0]
    k = e.index(least)
    whole = all(abs(x / ROUNDED_S - round(x / ROUNDED_S)) < _NEAR for x in s)
    middle, high = ranked[n // 2] - least, ranked[int(0.95 * (n - 1))] - least
    return Bin(n, s[k], d[k], least, middle, high, whole)


def _arrays(s: F64, d: F64, offset: float, slope: float, at: float) -> Bin:
    if not (new := fresh(s)).all():
        s, d = s[new], d[new]
    e, n = d - (offset + slope * (s - at)), len(s)
    k = int(e.argmin())
    least, first, delay = float(e[k]), float(s[k]), float(d[k])
    e -= least
    e.sort()
    counts = s / ROUNDED_S
    whole = bool((np.abs(counts - np.round(counts)) < _NEAR).all())
    return Bin(n, first, delay, least, float(e[n // 2]), float(e[int(0.95 * (n - 1))]), whole)


def fresh(source: F64) -> Bool:
    """Return which stamps differ from their predecessor."""
    new = np.ones(len(source), bool)
    np.not_equal(source[1:], source[:-1], out=new[1:])
    return new
