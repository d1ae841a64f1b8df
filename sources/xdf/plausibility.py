"""Plausibility of the stamps and clock readings of an XDF stream, each stream by itself.

A recorder reads each clock every few seconds and writes the readings between the samples. A sample
between two readings was stamped between them: at most `BEHIND_S` earlier, the longest buffer of
Lab Streaming Layer, and at most `AHEAD_S` later. Before the first reading and after the last, and
if a file does not interleave them with samples, readings are valid for ten times their span, at
least `REACH_S`. A stream without readings is on the recorder's clock: its samples lie within the
readings of the others or, if there are none, with those of most streams.

Samples of one stream are in the order of measurement. A host time against this order by more than
`ORDER_S` is wrong, alone or with the following ones.

Cost: about 0.05 us a sample. State: none.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from operators.limits import MAX_STAMP_S
from operators.types import F64, I64, Bool
from sources.recordings.spool import pieces

BEHIND_S, AHEAD_S = 400.0, 60.0
REACH_S, SPANS = 600.0, 10.0
"""Validity of readings: at least (s); multiple of their span."""
ORDER_S = 1.0
ALONE_S, ALONE_SKEW, MAX_APART_S = 1.0, 1e-3, 3600.0
"""Tolerated difference to a neighbour (s), and its growth with distance (s/s; up to s)."""
MIN_COUNT, AMONG = 3, 0.5
SIDE = 15
DAY_S, ZONE_S = 86_400.0, 1800.0


def is_stamp(stamps: F64) -> Bool:
    """Return the mask of stamps that are finite and within the range of times."""
    return np.asarray(np.abs(stamps) <= MAX_STAMP_S, bool)  # False for NaN


def sound(at: F64, offset: F64) -> Bool:
    """Return the mask of readings that agree with a neighbour.

    Parameters
    ----------
    at, offset : float64 (m,)
        Source time and host - source (s), in the order of the file.
    """
    good = is_stamp(at) & is_stamp(at + offset)
    for _ in range(MIN_COUNT):
        kept = np.flatnonzero(good)
        if len(kept) < 2:
            break
        lone = _alone(at[kept], offset[kept])
        if not lone.any() or lone.all():
            break
        good[kept[lone]] = False
    return good


def _alone(at: F64, offset: F64) -> Bool:
    """Return the mask of readings that agree with neither neighbour."""
    apart = np.abs(np.diff(at))
    unlike = np.abs(np.diff(offset)) > ALONE_S + ALONE_SKEW * np.minimum(apart, MAX_APART_S)
    if len(at) == 2:
        return np.asarray(np.append(False, unlike), bool)
    lone: Bool = np.append(True, unlike) & np.append(unlike, True)
    # A host time that returns at once, or an outlier at an end.
    host = at + offset
    step = np.diff(host)
    spike = (np.abs(step[:-1]) > AHEAD_S) & (np.abs(host[2:] - host[:-2]) < np.abs(step[:-1]) / 2)
    lone[1:-1] |= spike & (np.abs(step[1:]) > AHEAD_S)
    for end, rest in ((0, host[1:]), (-1, host[:-1])):
        falls = len(host) > MIN_COUNT and step[end] < -AHEAD_S
        lone[end] |= falls or abs(step[end]) > max(REACH_S, SPANS * float(np.ptp(rest)))
    return lone


def near(ts: F64, at: F64, before: I64) -> Bool:
    """Return the mask of raw stamps near the readings of their clock.

    Parameters
    ----------
    ts : float64 (n,)
        In the order of the file (s).
    at : float64 (m,)
        Source time of the plausible readings, in the order of the file (s).
    before : int64 (m,)
        Number of samples before each of them in the file.
    """
    reach = max(REACH_S, SPANS * float(np.ptp(at)))
    n, m = len(ts), len(at)
    among = int(before[-1]) - int(before[0])
    if m < MIN_COUNT or among < AMONG * n:
        return np.asarray((ts >= at.min() - reach) & (ts <= at.max() + reach), bool)
    old, new = np.append(at[0], at), np.append(at, at[-1])
    low, high = np.minimum(old, new) - BEHIND_S, np.maximum(old, new) + AHEAD_S
    low[0], high[-1] = at[0] - reach, at[-1] + reach
    good = np.empty(n, bool)
    for s in pieces(n):
        k = np.searchsorted(before, np.arange(s.start, s.stop), "right")
        good[s] = (ts[s] >= low[k]) & (ts[s] <= high[k])
    return good


def distance(ts: F64, at: F64) -> float:
    """Return the median distance of stamps from the nearest of several times (s)."""
    at = np.sort(at)
    i = np.searchsorted(at, ts)
    left, right = at[np.maximum(i - 1, 0)], at[np.minimum(i, len(at) - 1)]
    return float(np.median(np.minimum(np.abs(ts - left), np.abs(ts - right))))


def in_order(host: F64) -> Bool:
    """Return the mask of host times (n,) in the order of their samples, within `ORDER_S`."""
    good = np.ones(len(host), bool)
    if not _falls(host):
        return good
    wide = len(host) > 2 * SIDE
    if wide:
        # Few outliers between good times: outside of both medians, before and after.
        for s in pieces(len(host), 1 << 16):
            first = max(s.start - SIDE, 0)
            part = np.pad(host[first : s.stop + SIDE], SIDE, "edge")
            middle = np.median(sliding_window_view(part, SIDE), axis=1)
            mine = slice(s.start - first, s.stop - first)
            here = host[s]
            ahead = here - middle[SIDE + 1 :][mine] > ORDER_S
            behind = middle[: -SIDE - 1][mine] - here > ORDER_S
            good[s] = ~(ahead | behind)
    if not wide or good.mean() < AMONG or _falls(host[good]):
        rest = np.flatnonzero(good) if good.mean() >= AMONG else np.arange(len(host))
        time = host[rest]
        late = time < np.maximum.accumulate(time) - ORDER_S
        early = time > np.minimum.accumulate(time[::-1])[::-1] + ORDER_S
        good[:] = False
        good[rest] = ~(late if late.sum() <= early.sum() else early)
    return good


def _falls(host: F64) -> bool:
    if not len(host):
        return False
    newest, falls = -np.inf, False
    for s in pieces(len(host)):
        run = np.maximum.accumulate(np.maximum(host[s], newest))
        falls |= bool((run - host[s] > ORDER_S).any())
        newest = float(run[-1])
    return falls


def majority(spans: Sequence[tuple[float, float, int]]) -> list[bool]:
    """Return the mask of streams on the time axis of most of them.

    Parameters
    ----------
    spans : sequence of (first, last, samples)
        Of each stream, if no stream has readings.
    """
    best: tuple[int, int, list[bool]] = (0, 0, [])
    for first, last, _ in spans:
        reach = max(REACH_S, SPANS * (last - first))
        with_it = [b >= first - reach and a <= last + reach for a, b, _ in spans]
        samples = sum(n for (_, _, n), fits in zip(spans, with_it, strict=True) if fits)
        best = max(best, (sum(with_it), samples, with_it), key=lambda x: x[:2])
    return best[2]


def cause(apart_s: float) -> str:
    """Return the likely cause of stamps at this distance from plausible ones."""
    if apart_s >= 1e11:
        return "milliseconds for seconds?"
    if apart_s >= 1e8:
        return "Unix time beside machine time?"
    zones = apart_s / ZONE_S
    if 1 <= round(zones) <= 2 * 14 and abs(zones - round(zones)) * ZONE_S < AHEAD_S:
        return "local time beside another zone's?"
    return "a clock that was set, or started anew?"


def seconds(apart_s: float) -> str:
    """Return a duration as text."""
    if apart_s < 1e6:
        return f"{apart_s:,.0f} s"
    digits, power = f"{apart_s:.3e}".split("e")
    return f"{digits}e{int(power)} s"
