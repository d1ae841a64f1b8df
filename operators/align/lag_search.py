"""The search for a lag that nobody knows: several rates, two views, a confirmation.

At each rate (operators/align/even_series.py) a window is looked at twice: as it is, and with both series put
through one filter 1 - sum a_k z^-k that whitens what they have in common (AR(8) by Yule-Walker on
the mean of their autocorrelations, 2 % of the variance added, so that an empty band stays empty).
One filter for both keeps the lag. A view counts if the correlation has its one peak
(operators/correlation.py) and the other view's highest peak lies at the same place. The most
confident rate counts.

A lag is found once two counts agree within 0.1 s, from windows of 13 s or more whose ends lie half
a window apart: what two series share by chance in one window is not there in the next. Of the
rates that count by then, the one whose cross-spectrum knows the lag best goes on.

Cost: 1 to 3 ms a window of 60 s and rate. State: the counts of one window. Losses: none.

Sources: Box & Jenkins, Time Series Analysis (1970), and Haugh, J. Am. Stat. Assoc. 71 (1976), for
the whitening; Knapp & Carter, IEEE Trans. ASSP 24 (1976), for why an empty band must stay empty.
"""

from __future__ import annotations

import numpy as np

from operators.correlation import Lag, SampledSeries, lag_of
from operators.types import F64

RATES_HZ = (5.0, 10.0, 20.0, 40.0)
MIN_WINDOW_S, MIN_COMMON_S = 13.0, 12.6
"""The shortest window, and how much of it both must fill: its ends are not read."""
AGREE_S = 0.1
SAME_S, SAME_SAMPLES = 0.15, 1.5
ORDER, RIDGE = 8, 0.02
MAX_COUNTS = 1024


def look(a: SampledSeries, b: SampledSeries, hz: float, most_s: float) -> Lag:
    """Return the lag of b against a that both views of a window bear out.

    Parameters
    ----------
    a, b : Series of n
        Reference and channel on one grid of `hz`.
    most_s : float
        Largest lag to look for, either sign (s).
    """
    raw = lag_of(a, b, hz, most_s)
    if np.isnan(raw.confidence) or raw.note == "anti-correlated":
        return raw
    taps = whitening(a, b)
    white = lag_of(_filtered(a, taps), _filtered(b, taps), hz, most_s)
    apart = abs(raw.peak_s - white.peak_s)
    if not (raw.ok or white.ok):
        return raw
    if not apart <= max(SAME_S, SAME_SAMPLES / hz):
        return (raw if raw.ok else white)._replace(
            lag_s=float("nan"), confidence=0.0, ok=False, note="ambiguous"
        )
    return white if white.confidence > raw.confidence else raw


def whitening(a: SampledSeries, b: SampledSeries) -> F64:
    """Return the taps (9,) of the filter that whitens what two series have in common."""
    r = (a.auto[: ORDER + 1] + b.auto[: ORDER + 1]) / 2
    order = np.arange(ORDER)
    square = r[np.abs(order[:, None] - order)] + RIDGE * np.eye(ORDER)
    return np.append(1.0, -np.linalg.solve(square, r[1:]))


def _filtered(x: SampledSeries, taps: F64) -> SampledSeries:
    """Return a series filtered, without a value where one that it needs is unknown."""
    n = len(x.x)
    y = np.convolve(x.x, taps)[:n]
    y[:ORDER] = np.nan
    if not x.whole:
        y[np.convolve(~x.known, np.ones(ORDER + 1))[:n] > 0.5] = np.nan
    return SampledSeries(y)


def agree(one: Lag, other: Lag) -> bool:
    """Return whether two counts are of one lag."""
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
        """Take a count; return whether an earlier one agrees. Those older than `keep_s` go."""
        if window_s < MIN_COMMON_S:
            return False
        agrees = any(
            abs(lag - found.lag_s) <= AGREE_S and end_s - end >= window / 2
            for end, window, lag in self.counts
        )
        self.counts = [c for c in self.counts if c[0] > end_s - keep_s][1 - MAX_COUNTS :]
        self.counts.append([end_s, window_s, found.lag_s])
        return agrees
