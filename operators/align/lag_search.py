"""Search for an unknown lag: several rates, two views, a confirmation.

At each rate (operators/align/even_series.py) a window has two views: the series as they are, and
both series through one filter 1 - sum a_k z^-k that whitens their common spectrum. The filter is
AR(8) by Yule-Walker on the mean of their autocorrelations, with 2 % of the variance added, so that
an empty band stays empty. One filter for both keeps the lag. A view counts if its correlation has
a single peak (operators/numeric/correlation.py) and the other view's highest peak lies at the same
place. The rate with the highest confidence counts.

A lag is found once two counts agree within 0.1 s, from windows of 13 s or more whose ends lie half
a window apart. A chance agreement in one window is absent from the next. Of the rates that count
by then, the one with the least variance of the lag is kept.

Cost: 0.2 to 0.7 ms a window of 60 s and rate. State: the counts of one window. Losses: none.

Sources: Box & Jenkins, Time Series Analysis (1970), and Haugh, J. Am. Stat. Assoc. 71 (1976), for
the whitening; Knapp & Carter, IEEE Trans. ASSP 24 (1976), for why an empty band must stay empty.
"""

from __future__ import annotations

import numpy as np

from operators.numeric.correlation import Lag, SampledSeries, lag_of
from operators.types import F64

RATES_HZ = (5.0, 10.0, 20.0, 40.0)
MIN_WINDOW_S, MIN_COMMON_S = 13.0, 12.6
"""Shortest window, and the part of it that both series must fill: its ends are not read."""
AGREE_S = 0.1
SAME_S, SAME_SAMPLES = 0.15, 1.5
ORDER, RIDGE = 8, 0.02
MAX_COUNTS = 1024
_APART = np.abs(np.subtract.outer(np.arange(ORDER), np.arange(ORDER)))
_RIDGE = RIDGE * np.eye(ORDER)


def look(a: SampledSeries, b: SampledSeries, hz: float, max_lag_s: float) -> Lag:
    """Return the lag of b against a that both views of a window confirm.

    Parameters
    ----------
    a, b : SampledSeries of n
        Reference and channel on one grid of `hz`.
    max_lag_s : float
        Largest lag searched, either sign (s).
    """
    raw = lag_of(a, b, hz, max_lag_s)
    if np.isnan(raw.confidence) or raw.note == "anti-correlated":
        return raw
    taps = whitening(a, b)
    white = lag_of(_filtered(a, taps), _filtered(b, taps), hz, max_lag_s)
    apart = abs(raw.peak_s - white.peak_s)
    if not (raw.ok or white.ok):
        return raw
    if not apart <= max(SAME_S, SAME_SAMPLES / hz):
        return (raw if raw.ok else white)._replace(
            lag_s=float("nan"), confidence=0.0, ok=False, note="ambiguous"
        )
    return white if white.confidence > raw.confidence else raw


def whitening(a: SampledSeries, b: SampledSeries) -> F64:
    """Return the taps (9,) of the filter that whitens the common spectrum of two series.

    (1, -a), a = (R + 0.02 I)^-1 r, r the mean autocorrelation.
    """
    r = (a.auto[: ORDER + 1] + b.auto[: ORDER + 1]) / 2
    taps = np.ones(ORDER + 1)
    np.negative(np.linalg.solve(r[_APART] + _RIDGE, r[1:]), out=taps[1:])
    return taps


def _filtered(x: SampledSeries, taps: F64) -> SampledSeries:
    """Return a filtered series, NaN where one of its inputs is unknown."""
    n = len(x.x)
    y = np.convolve(x.x, taps)[:n]
    y[: ORDER + (x.lead or 0)] = np.nan
    if x.lead is None:
        y[np.convolve(~x.known, np.ones(ORDER + 1))[:n] > 0.5] = np.nan
    return SampledSeries(y)


def agree(one: Lag, other: Lag) -> bool:
    """Return whether two counts agree on one lag."""
    return abs(one.lag_s - other.lag_s) <= AGREE_S


class Ladder:
    """One pair's counts, oldest first: end and length of the window (s), lag (s)."""

    def __init__(self) -> None:
        self.counts: list[list[float]] = []

    @classmethod
    def from_snapshot(cls, state: list[list[float]]) -> Ladder:
        """Return the ladder of a snapshot."""
        ladder = cls()
        ladder.counts = [list(c) for c in state]
        return ladder

    def snapshot(self) -> list[list[float]]:
        """Return the state as plain values."""
        return [list(c) for c in self.counts]

    def confirms(self, found: Lag, end_s: float, window_s: float, keep_s: float) -> bool:
        """Add a count; return whether an earlier one agrees. Drops counts older than `keep_s`."""
        if window_s < MIN_COMMON_S:
            return False
        agrees = any(
            abs(lag - found.lag_s) <= AGREE_S and end_s - end >= window / 2
            for end, window, lag in self.counts
        )
        self.counts = [c for c in self.counts if c[0] > end_s - keep_s][1 - MAX_COUNTS :]
        self.counts.append([end_s, window_s, found.lag_s])
        return agrees
