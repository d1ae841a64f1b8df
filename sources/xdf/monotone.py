"""Least-squares correction of times to a non-decreasing sequence.

The non-decreasing times nearest to the given ones in the mean square are their isotonic
regression: decreasing neighbours are pooled into their mean until none decrease. The order of
pooling does not matter: each round pools all decreasing runs at once, and leaves at most half of
the means that took part.

Cost: about 15 numpy calls a round, over the decreasing stretches. State: none.

Source: Barlow, Bartholomew, Bremner & Brunk, Statistical Inference under Order Restrictions (1972).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from operators.types import F64
from sources.recordings.spool import pieces

_MAX_ROUNDS = 200


def rising(time: F64) -> F64:
    """Return the nearest non-decreasing times (n,) (s); the same object if unchanged."""
    if all((time[s.start + 1 : s.stop + 1] >= time[s.start : s.stop]).all() for s in _steps(time)):
        return time
    newest = np.maximum.accumulate(time)
    oldest = np.minimum.accumulate(time[::-1])[::-1]
    # No pooling across a point where all earlier times are below all later ones.
    joined = newest[:-1] > oldest[1:]
    del newest, oldest
    falling = np.append(joined, False)
    falling[1:] |= joined
    where = np.flatnonzero(falling)
    out = time.copy()
    # All decreasing stretches, concatenated: none is pooled with the next.
    out[where] = _pooled(time[where])
    return out


def _steps(time: F64) -> Iterator[slice]:
    return pieces(max(len(time) - 1, 0))


def _pooled(time: F64) -> F64:
    """Return the isotonic regression of times."""
    mean, count = time - time[0], np.ones(len(time))
    for _ in range(_MAX_ROUNDS):
        falls = mean[1:] < mean[:-1]
        if not falls.any():
            return np.asarray(np.repeat(mean, count.astype(np.int64)) + time[0])
        group = np.concatenate(([0], np.cumsum(~falls)))
        sums = np.bincount(group, mean * count)
        count = np.asarray(np.bincount(group, count), np.float64)
        mean = sums / count
    left = np.repeat(mean, count.astype(np.int64)) + time[0]
    # Midpoint of the running maximum and the reverse running minimum: non-decreasing too.
    return np.asarray((np.maximum.accumulate(left) + np.minimum.accumulate(left[::-1])[::-1]) / 2)
