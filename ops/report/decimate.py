"""A series of any length in bounded memory: the points of its picture, and its quantiles."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from operators.types import F64

MIN_POINTS = 1000
"""Fewest points of a long series; at most twice as many are kept."""
MIN_VALUE, PER_DECADE, DECADES = 1e-9, 256, 14


@dataclass
class Points:
    """Stretches of a series, one row each: begin time; minimum, mean and maximum by column."""

    time: F64
    low: F64
    mean: F64
    high: F64

    def __len__(self) -> int:
        return len(self.time)


class Decimator:
    """Columns of an even series: every row while it is short, then stretches of rows.

    State: at most 2 `MIN_POINTS` stretches, and the rows of one incomplete stretch.
    """

    def __init__(self, columns: int) -> None:
        self._rows = 1
        self._time = np.empty(0)
        self._low = self._high = self._total = self._count = np.empty((0, columns))
        self._rest = np.empty((0, columns + 1))

    def add(self, rows: F64) -> None:
        """Add rows (k, 1 + columns): time and values, NaN where a value is missing."""
        rows = np.concatenate((self._rest, rows))
        whole = len(rows) // self._rows * self._rows
        self._rest = rows[whole:]
        self._append(rows[:whole])
        while len(self._time) > 2 * MIN_POINTS:
            pairs = np.arange(0, len(self._time), 2)
            self._rows *= 2
            self._time = self._time[pairs]
            self._low = np.fmin.reduceat(self._low, pairs)
            self._high = np.fmax.reduceat(self._high, pairs)
            self._total = np.add.reduceat(self._total, pairs)
            self._count = np.add.reduceat(self._count, pairs)

    def points(self) -> Points:
        """Return the stretches so far."""
        rest, self._rest = self._rest, self._rest[:0]
        if len(rest):
            self._append(rest)
        mean = np.full_like(self._total, np.nan)
        np.divide(self._total, self._count, out=mean, where=self._count > 0)
        return Points(self._time, self._low, mean, self._high)

    def _append(self, rows: F64) -> None:
        if not len(rows):
            return
        first = np.arange(0, len(rows), self._rows)
        time, values = rows[:, 0], rows[:, 1:]
        known = np.isfinite(values)
        self._time = np.concatenate((self._time, time[first]))
        self._low = np.concatenate((self._low, np.fmin.reduceat(values, first)))
        self._high = np.concatenate((self._high, np.fmax.reduceat(values, first)))
        total = np.add.reduceat(np.where(known, values, 0.0), first)
        self._total = np.concatenate((self._total, total))
        count = np.add.reduceat(known.astype(float), first)
        self._count = np.concatenate((self._count, count))


class Quantiles:
    """Quantiles of non-negative numbers, to 0.5 %, by a histogram of their logarithm.

    Bin of value x: k = ceil(PER_DECADE * log10(max(x, MIN_VALUE) / MIN_VALUE)).
    """

    def __init__(self) -> None:
        self._counts = np.zeros(PER_DECADE * DECADES + 1, np.int64)
        self.maximum = math.nan

    @property
    def count(self) -> int:
        """Number of values."""
        return int(self._counts.sum())

    def add(self, values: F64) -> None:
        """Add numbers; NaN is skipped."""
        values = values[np.isfinite(values)]
        if not len(values):
            return
        place = np.ceil(np.log10(np.maximum(values, MIN_VALUE) / MIN_VALUE) * PER_DECADE)
        place = np.minimum(place, len(self._counts) - 1).astype(np.int64)
        self._counts += np.bincount(place, minlength=len(self._counts))
        self.maximum = float(np.fmax(self.maximum, values.max()))

    def at(self, share: float) -> float:
        """Return the quantile at `share` (0 to 1), NaN without a number."""
        if not self.count:
            return math.nan
        place = int(np.searchsorted(np.cumsum(self._counts), share * self.count))
        return float(min(MIN_VALUE * 10 ** (place / PER_DECADE) if place else 0.0, self.maximum))
