"""Weights from error variances, estimated from the differences of the members.

Three-cornered hat: V_ij = mean (y_i - y_j)^2 = v_i + v_j for members with independent errors,
solved for v by least squares over all pairs with weights 1 / V_ij^2. It needs three members. A
third member with a large difference does not separate two similar ones. The variance of v_i is
about V_ij V_ik / n, with j and k its nearest two. v_i is shrunk by it towards V_ij / 2, half of the
difference to its nearest.

Weights: w = (1 - a) prior + a (1 / v) / sum (1 / v), with a = n / (n + 2) of n independent samples.

Source: Grubbs, J. Am. Stat. Assoc. 43 (1948); Gray & Allan, 28th Symp. Frequency Control (1974).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from operators.types import F64, Bool
from operators.weights.moments import TINY, over_members

MIN_DIFFERENCE, MIN_VARIANCE = 1e-4, 0.02
"""Smallest difference, as a part of the largest; smallest variance, as a part of the nearest."""
PRIOR_SAMPLES = 2.0
"""Weight of the prior, in independent samples."""


def hat(pairs: F64, samples: F64) -> F64:
    """Return the variances (n, m) from mean squared differences (n, m, m), m >= 3.

    `samples` (n,) is the number of independent samples of each difference. With d the doubt
    V_ij V_ik / n and h = V_ij / 2: v = (v h^2 + h d) / (h^2 + d).
    """
    off = _off(pairs.shape[1])
    largest = np.max(pairs, axis=(1, 2), where=off, initial=0.0, keepdims=True)
    scaled = np.maximum(pairs / np.maximum(largest, TINY), MIN_DIFFERENCE)
    weight = np.where(off, scaled**-2.0, 0.0)
    matrix = weight + ~off * np.add.reduce(weight, 2, keepdims=True)
    solved = np.linalg.solve(matrix, np.add.reduce(weight * scaled, 2, keepdims=True))[..., 0]
    nearest, next_nearest = np.partition(np.where(off, scaled, np.inf), 1, axis=2)[..., :2].T
    nearest, next_nearest = nearest.T, next_nearest.T
    solved = np.clip(solved, 0.0, nearest)
    half = nearest / 2
    doubt = nearest * next_nearest / np.maximum(samples, 1.0)[:, None]
    shrunk = (solved * half**2 + half * doubt) / (half**2 + doubt)
    return np.asarray(np.maximum(shrunk, MIN_VARIANCE * nearest) * largest[..., 0])


@lru_cache(maxsize=32)
def _off(m: int) -> Bool:
    return ~np.eye(m, dtype=bool)


def weigh(prior: F64, variance: F64, samples: F64, share: F64 | None, kept: Bool) -> F64:
    """Return weights (m, k) that add up to 1 over the fused members, 0 elsewhere.

    w = (1 - a) prior + a (1 / v) / sum (1 / v), a = n / (n + 2).

    Parameters
    ----------
    prior : float64 (m, k) or (m, 1)
        Prior weights, any scale.
    variance : float64 (m, k) or (m, 1)
        NaN where unknown: the tick then has prior weights.
    samples : float64 (m, k) or (m, 1)
        Independent samples behind the variances; n is the smallest of the fused members.
    share : float64 (m, k), optional
        Factor of each weight (ramp and coverage), 0 to 1.
    kept : bool (m, k) or (m, 1)
        Mask of the fused members.

    The result is (m, 1) if all of them are.
    """
    inverse = 1 / np.maximum(np.where(kept, variance, np.inf), TINY)
    total = over_members(inverse)
    fewest = np.minimum.reduce(np.where(kept, samples, np.inf), 0)
    w = _unit(prior * kept)
    a = 1 - PRIOR_SAMPLES / (fewest + PRIOR_SAMPLES)
    known = np.isfinite(total)
    if np.count_nonzero(known) < len(known):
        a, total = np.where(known, a, 0.0), np.where(known, total, 1.0)
        inverse = np.where(known, inverse, 0.0)
    w = w + a * (inverse / np.maximum(total, TINY) - w)
    return w if share is None else _unit(w * share)


def _unit(x: F64) -> F64:
    return np.asarray(x / np.maximum(over_members(x), TINY))
