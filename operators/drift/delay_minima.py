"""Readings of one source's clock: the least delay of each bin of its stamps.

A source with fewer than five stamps in every bin does not show the distribution of its delays
(operators/drift/clock.py): its readings have equal weights. Otherwise the mean delay above the
edge is averaged over the bins on both sides, with weights that fall with distance.

Cost: 0.3 us a stamp and 3 us a bin. State: none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.drift.clock import BIN_S, FLOOR_S, FORGET, MIN_IN_BIN, UNKNOWN_S
from operators.drift.clock_bin import ROUNDED_S
from operators.drift.offset_filter import ROUNDING_VAR
from operators.drift.reset_times import Cuts
from operators.types import F64, I64, Bool

_FORGET_P95 = 0.9


class MinimumReadings(NamedTuple):
    """The lowest stamp of each bin, part by part.

    Attributes
    ----------
    at, least : float64 (m,)
        Its source time and delay (s).
    own : float64 (m,)
        Mean distance of the bin's least delay above the edge (s), 0 where unknown.
    var : float64 (m,)
        Variance of the reading, estimated from the delays (s^2).
    rounding : float64 (m,)
        Step to which the stamps are rounded (s), 0 for none.
    jitter, jitter_p95 : float64 (m,)
        Mean of the delay above the edge, and its 95th percentile above the least (s), NaN where
        unknown.
    edges : int64 (p + 1,)
        Index of each part's first reading, and the number of all.
    """

    at: F64
    least: F64
    own: F64
    var: F64
    rounding: F64
    jitter: F64
    jitter_p95: F64
    edges: I64

    def __len__(self) -> int:
        return len(self.at)

    def mirrored(self) -> MinimumReadings:
        """Return the readings of the time-reversed recording."""
        return MinimumReadings(
            at=-self.at[::-1],
            least=self.least[::-1],
            own=self.own[::-1],
            var=self.var[::-1],
            rounding=self.rounding[::-1],
            jitter=self.jitter[::-1],
            jitter_p95=self.jitter_p95[::-1],
            edges=len(self.at) - self.edges[::-1],
        )

    def blur(self) -> F64:
        """Return the variance of the rounding of each reading (s^2)."""
        return ROUNDING_VAR * self.rounding**2

    def heads(self) -> set[int]:
        """Return the indexes of the first readings of all parts."""
        return {0, *self.edges[1:-1].tolist()}


def lowest(source: F64, delay: F64, ok: Bool, cut: Cuts, slope: float) -> MinimumReadings:
    """Return the readings of a source's stamps.

    Parameters
    ----------
    source, delay : float64 (n,)
        Source time, and arrival - source (s), in order of arrival.
    ok : bool (n,)
        False for stamps that are wild.
    cut : Cuts
        The resets of the clock.
    slope : float
        Growth of the delay with source time (s/s), approximate.
    """
    part = cut.parts()
    keep = np.flatnonzero(ok)
    keep = keep[np.lexsort((source[keep], part[keep]))]
    s, d, p = source[keep], delay[keep], part[keep]
    new = np.append(True, p[1:] != p[:-1])[: len(p)]
    heads = np.flatnonzero(new)
    begin = np.repeat(s[heads], np.diff(np.append(heads, len(s))))
    number = np.floor((s - begin) / BIN_S)
    first = np.flatnonzero(new | np.append(True, number[1:] != number[:-1])[: len(p)])
    count = np.diff(np.append(first, len(s)))
    e = d - slope * (s - begin)
    order = np.lexsort((e, np.repeat(np.arange(len(first)), count)))
    k, e = order[first], e[order]
    many = np.flatnonzero(count >= MIN_IN_BIN)
    low, size = first[many], count[many]
    half, high = size // 2, (0.95 * (size - 1)).astype(np.int64)
    spread, p95 = np.full((2, len(first)), np.nan)
    spread[many] = (e[low + half] - e[low]) / np.log((size - 0.5) / (size - 0.5 - half))
    p95[many] = e[low + high] - e[low]
    jitter = _steady(spread, FORGET)
    own = np.nan_to_num(jitter / count, nan=0.0)
    var = np.where(np.isnan(jitter), UNKNOWN_S, np.maximum(own, FLOOR_S)) ** 2
    ticks = s / ROUNDED_S
    whole = np.abs(ticks - np.round(ticks)) < 2e-3
    rounded = np.logical_and.reduceat(whole, first) if len(s) else whole
    return MinimumReadings(
        at=s[k],
        least=d[k],
        own=own,
        var=var,
        rounding=np.where(rounded, ROUNDED_S, 0.0),
        jitter=jitter,
        jitter_p95=_steady(p95, _FORGET_P95),
        edges=np.searchsorted(p[first], np.arange(len(cut.edges))),
    )


def _steady(values: F64, keep: float) -> F64:
    """Return the exponentially weighted mean of neighbours on both sides, without NaN.

    All NaN if every value is NaN.
    """
    known = ~np.isnan(values)
    x = values[known]
    if not len(x):
        return values
    weights, sums = np.ones(len(x)), x.copy()
    for way in (1, -1):
        weight = total = 0.0
        w, t = np.empty(len(x)), np.empty(len(x))
        for i, value in zip(range(len(x))[::way], x[::way].tolist(), strict=True):
            w[i], t[i] = weight, total
            weight, total = keep * (weight + 1), keep * (total + value)
        weights += w
        sums += t
    return np.asarray((sums / weights)[np.clip(np.cumsum(known) - 1, 0, len(x) - 1)])
