"""Agreement of two recorded series: a correlation at some lag.

Numbers are averaged in cells of 1/20 s. Two channels agree if their correlation is significant in
one of a few stretches of two minutes, at a lag of either sign that `align` would find. It has to
exceed the correlations of unrelated series with equal spectra (operators/numeric/correlation.py).

Cost: 0.05 us a number, 1 ms a stretch of a pair. State: 16 bytes a cell and channel, and the
spectra of its stretches, 0.2 MB each.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators.numeric.correlation import SampledSeries, lag_of
from operators.types import F64

HZ = 20.0
MAX_COMPARED_S, STRETCH_S, STRETCHES = 1800.0, 120.0, 4
USUAL_S, MAX_S = 5.0, 29.0
"""Largest lags of the first search, and of the second one after a failure."""
MIN_S = 5.0
MAX_BRIDGED = 3.0
"""Widest gap, in median intervals of a channel, that is interpolated linearly."""


class Agreement(NamedTuple):
    """Result of the comparison of two channels.

    Attributes
    ----------
    agree : bool
    rho, lag_s : float
        The correlation, and the delay of the second channel (s).
    why : str
        Reason for a disagreement.
    """

    agree: bool
    rho: float
    lag_s: float
    why: str = ""


NEVER = Agreement(False, float("nan"), float("nan"), "they share less than 5 s")


class CommonGrid:
    """Means of channels in cells of time.

    Parameters
    ----------
    first, last : float
        Time range (s); at most half an hour from `first` on is compared.
    """

    def __init__(self, first: float, last: float) -> None:
        self.first = first
        self.cells = int(min(max(last - first, 0.0), MAX_COMPARED_S) * HZ) + 1
        self._sums: dict[str, tuple[F64, F64]] = {}
        self._length = min(self.cells, int(STRETCH_S * HZ))
        count = min(STRETCHES, self.cells // self._length)
        begins = np.linspace(0, self.cells - self._length, count).astype(int)
        self.stretches: list[int] = begins.tolist()
        self._series = lru_cache(512)(self._cut)

    def add(self, channel: str, time: F64, value: F64) -> None:
        """Add numbers of a channel."""
        cell = np.floor((time - self.first) * HZ)
        good = (cell >= 0) & (cell < self.cells) & np.isfinite(value)
        at = cell[good].astype(np.int64)
        if not len(at):
            return
        if channel not in self._sums:
            self._sums[channel] = np.zeros(self.cells), np.zeros(self.cells)
        total, count = self._sums[channel]
        low, size = int(at.min()), int(np.ptp(at)) + 1
        total[low : low + size] += np.bincount(at - low, value[good], size)
        count[low : low + size] += np.bincount(at - low, minlength=size)

    def means(self, channel: str) -> F64:
        """Return the means of a channel (cells,), NaN in its silent cells."""
        out = np.full(self.cells, np.nan)
        total, count = self._sums.get(channel, (np.empty(0), np.empty(0)))
        at = np.flatnonzero(count)
        if len(at) > 1:
            out = np.interp(np.arange(self.cells), at, total[at] / count[at], np.nan, np.nan)
            gaps = np.diff(at)
            wide = np.flatnonzero(gaps > MAX_BRIDGED * max(float(np.median(gaps)), 1.0))
            for a, b in zip(at[wide].tolist(), at[wide + 1].tolist(), strict=True):
                out[a + 1 : b] = np.nan
        return out

    def _cut(self, channel: str, begin: int) -> SampledSeries:
        return SampledSeries(self.means(channel)[begin : begin + self._length])

    def agreement(self, one: str, other: str) -> Agreement:
        """Return the agreement of two channels."""
        found = self._within(one, other, self.stretches, USUAL_S)
        return (
            found
            if found.agree
            else max(found, self._within(one, other, self.stretches, MAX_S), key=lambda x: x.agree)
        )

    def glance(self, one: str, other: str) -> Agreement:
        """Return the agreement of two channels in the middle stretch, at usual lags."""
        return self._within(one, other, [self.stretches[len(self.stretches) // 2]], USUAL_S)

    def _within(self, one: str, other: str, stretches: list[int], max_s: float) -> Agreement:
        best = NEVER
        for begin in stretches:
            a, b = self._series(one, begin), self._series(other, begin)
            if np.count_nonzero(a.known & b.known) < MIN_S * HZ:
                continue
            lag = lag_of(a, b, HZ, max_s)
            if lag.ok or lag.note == "ambiguous":
                return Agreement(True, lag.rho, lag.lag_s if lag.ok else lag.peak_s)
            if not np.isfinite(best.rho) or abs(lag.rho) > abs(best.rho):
                best = Agreement(False, lag.rho, lag.peak_s, _REASONS.get(lag.note, lag.note))
        return best


_REASONS = {
    "too little data": "they share too little",
    "constant": "one of them does not move",
    "anti-correlated": "they move against one another",
    "weak": "their series do not agree",
    "too slow": "they only drift, which shows no agreement",
    "at the edge": "the lag at which they agree is too large",
}
