"""Stamps of a sampler that runs at a rate of its own, freed of their jitter.

A sample's place in the row of samples is a better clock than its stamp, where places can be told:
samples can be lost, so that place is not order. Stamps modulo the period keep their phase through
any loss; the mean phase of a block (a mean on the circle) says where the sampler's instants lie,
and each stamp belongs to the nearest. Where jitter is too wide for that, order is place, and a
gap of more than `GAP` periods counts as so many samples. What the sampler's clock does against
the places is followed like any other (`two_way`), wander and steps included: samples that were
lost unseen bend it, where they would break one line over a whole recording. Where more is bent
than jitter is saved, stamps stay as they are.

Cost: 0.5 us a sample. State: none.

Source: circular mean, Mardia & Jupp, Directional Statistics (2000).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from operators.records import F64, I64, Bool
from sources.two_way import courses, follow, straight

BLOCK_S, MOST_BLOCKS = 1.0, 4096
FEWEST = 64
"""Samples; fewer are left as they are."""
GAP = 5.0
BREAK_S, BREAK_PERIODS = 1.0, 50.0
"""Silence after which a sampler may have been started anew."""
CLEAR = 0.5
"""Length of the mean direction from which phases are told: a jitter of a fifth of the period."""
WINDOW, SHARP = 31, 0.1
TELLING = 8
"""Readings of a clock from which a line is drawn."""


class Readings(NamedTuple):
    """How the clock that stamps are on was put right.

    Attributes
    ----------
    sd : float64 (n,)
        Of the clock at each stamp (s): what it can explain is no wander of the sampler.
    at, left : float64 (m,)
        When it was read, on the clock that it was put right to, and what was left over then (s).
    """

    sd: F64
    at: F64
    left: F64


def even(stamps: F64, rate_hz: float, readings: Readings | None = None) -> F64:
    """Return the times at which the samples were taken.

    Parameters
    ----------
    stamps : float64 (n,)
        In the order of the samples (s), on a clock that has been put right.
    rate_hz : float
        Nominal; within a few per cent.
    readings : Readings, optional
        A sampler that kept its pace through all of them is the better clock: it is then the
        line through them all.

    Returns
    -------
    float64 (n,)
        Rising; the stamps themselves where they are too few or do not fit the rate.
    """
    period = 1 / rate_hz
    apart = np.diff(stamps)
    breaks = np.flatnonzero(np.abs(apart) > max(BREAK_S, BREAK_PERIODS * period)) + 1
    none = np.empty(0)
    readings = readings or Readings(np.zeros(len(stamps)), none, none)
    out = []
    for part, sd in zip(np.split(stamps, breaks), np.split(readings.sd, breaks), strict=True):
        within = (readings.at >= part[0]) & (readings.at <= part[-1]) if len(part) else []
        out.append(_run(part, period, Readings(sd, readings.at[within], readings.left[within])))
    return np.concatenate(out)


def _run(stamps: F64, period: float, readings: Readings) -> F64:
    """Free one run of samples from jitter."""
    n = len(stamps)
    if n < FEWEST:
        return stamps
    common = float(np.median(np.diff(stamps)))
    if not 0.9 * period < common < 1.1 * period:
        common = float(stamps[-1] - stamps[0]) / (n - 1)
        if not 0.9 * period < common < 1.1 * period:
            return stamps
    base = stamps[0]
    place = _places(stamps - base, period)
    nominal = place * period
    blocks = max(int(min(nominal[-1] / BLOCK_S, MOST_BLOCKS, n // 16)), 1)
    block = np.minimum((nominal / nominal[-1] * blocks).astype(np.int64), blocks - 1)
    apart = stamps - base - nominal
    calm = _calm(apart, block)
    full, count, at, offset = _means(block, calm, nominal, apart)
    line = straight(at, offset, count, _means(block, calm, nominal, readings.sd)[3])
    if line:
        freed: F64 = base + nominal + line(nominal)
        if len(readings.at) >= TELLING:
            # What was left of each reading over the clock is now over the line.
            asked = readings.at - base
            moved = follow(at + offset, offset - line(at), count)(asked)
            freed += follow(asked, readings.left + moved)(nominal)
        return freed
    lines, edges = courses(at, offset, count)
    freed = np.full(n, np.nan)
    of = np.cumsum(full)[block] - 1
    for course, first, last in zip(lines, edges, edges[1:], strict=False):
        # A step lies somewhere between two blocks: their samples keep their stamps.
        mine = (of >= first + (first > 0)) & (of < last - (last < len(at)))
        freed[mine] = course(nominal[mine])
    left = np.where(np.isnan(freed), 0.0, apart - freed)
    # What blocks half a block further on still hold is no jitter: samples lost unseen.
    shifted = np.minimum((nominal / nominal[-1] * blocks + 0.5).astype(np.int64), blocks)
    _, _, _, unseen = _means(shifted, calm * ~np.isnan(freed), nominal, left)
    jitter = float(np.sqrt(np.mean(left**2)))
    if len(unseen) and np.sqrt(np.mean(unseen**2)) > jitter / 2:
        return stamps
    return np.maximum.accumulate(stamps - left)


def _places(time: F64, period: float) -> F64:
    """Return which of the sampler's instants each sample is, rising by at least one."""
    n = len(time)
    step = np.diff(time)
    usual = float(np.quantile(np.abs(step - period), 0.99))
    gaps = np.where(step > GAP * max(period, usual), np.round(step / period) - 1, 0.0)
    place = np.arange(n, dtype=np.float64) + np.concatenate(([0.0], np.cumsum(gaps)))
    size = max(16, min(round(BLOCK_S / period), 256))
    block = np.arange(n) // size
    turn = np.exp(2j * np.pi * time / period)
    sums = np.bincount(block, turn.real) + 1j * np.bincount(block, turn.imag)
    clear = np.abs(sums) / np.bincount(block)
    if len(clear) < 2 or np.median(clear) < CLEAR:
        return place
    phase = np.unwrap(np.angle(sums)) / (2 * np.pi)
    middle = np.bincount(block, time) / np.bincount(block)
    exact = time / period - np.interp(time, middle, phase)
    # Beyond the middles of the first and last block the phase goes on turning as it did.
    for end, near in ((time < middle[0], 0), (time > middle[-1], -2)):
        slope = (phase[near + 1] - phase[near]) / (middle[near + 1] - middle[near])
        at = middle[0] if near == 0 else middle[-1]
        exact[end] -= slope * (time[end] - at)
    lost: F64 = np.round(exact) - np.arange(n)
    if 1.4826 * np.median(np.abs(exact - np.round(exact))) > SHARP:
        # Samples that are lost are a staircase, which a median leaves as it is.
        lost = np.median(sliding_window_view(np.pad(lost, WINDOW // 2, "reflect"), WINDOW), axis=1)
    found = np.arange(n, dtype=np.float64) + np.maximum.accumulate(lost)
    return np.asarray(found - found[0], np.float64)


def _means(block: I64, weight: F64, at: F64, value: F64) -> tuple[Bool, F64, F64, F64]:
    """Return which blocks have any weight, and of those: weight, mean place, mean value."""
    count: F64 = np.bincount(block, weight).astype(np.float64)
    full = count > 0
    some = count[full]
    return (full, some, np.bincount(block, weight * at)[full] / some,
            np.bincount(block, weight * value)[full] / some)  # fmt: skip


def _calm(apart: F64, block: I64) -> F64:
    """Return 1 for stamps that are near the others of their block, 0 for wild ones."""
    edges = np.searchsorted(block, np.arange(block[-1] + 2)).tolist()
    middle = np.concatenate([np.full(b - a, np.median(apart[a:b]))
                             for a, b in pairwise(edges) if b > a])  # fmt: skip
    off = np.abs(apart - middle)
    return np.asarray(off <= 6 * 1.4826 * np.median(off) + 1e-9, float)
