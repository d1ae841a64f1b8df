"""Honest weights: each member's error variance from how the members differ.

Three-cornered hat: V_ij = mean (y_i - y_j)^2 = v_i + v_j for members with independent errors,
solved for v by least squares over all pairs with weights 1 / V_ij^2. Of two that differ little, a
third that differs much cannot tell which is the better: the variance of v_i is about V_ij V_ik / n,
j and k its nearest two, and v_i is shrunk by that to V_ij / 2, half of what it differs from its
nearest. It needs three members.

Weights: w = (1 - a) prior + a (1 / v) / sum (1 / v), with a = n / (n + 2) of n independent samples.

Source: Grubbs, J. Am. Stat. Assoc. 43 (1948); Gray & Allan, 28th Symp. Frequency Control (1974).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from operators.types import F64, Bool
from operators.weights.moments import TINY

FLOOR, LEAST = 1e-4, 0.02
"""Of the largest difference, what counts as none; of the least of its own, a member's least."""
THIN = 2.0


def hat(pairs: F64, samples: F64) -> F64:
    """Return the variances (n, m) behind mean squared differences (n, m, m), m >= 3.

    `samples` (n,) independent ones are behind each difference.
    """
    off = _off(pairs.shape[1])
    largest = np.max(pairs, axis=(1, 2), where=off, initial=0.0, keepdims=True)
    scaled = np.maximum(pairs / np.maximum(largest, TINY), FLOOR)
    weight = np.where(off, scaled**-2.0, 0.0)
    matrix = weight + ~off * weight.sum(axis=2, keepdims=True)
    solved = np.linalg.solve(matrix, (weight * scaled).sum(axis=2, keepdims=True))[..., 0]
    nearest, next_nearest = np.partition(np.where(off, scaled, np.inf), 1, axis=2)[..., :2].T
    nearest, next_nearest = nearest.T, next_nearest.T
    solved = np.clip(solved, 0.0, nearest)
    half = nearest / 2
    doubt = nearest * next_nearest / np.maximum(samples, 1.0)[:, None]
    shrunk = (solved * half**2 + half * doubt) / (half**2 + doubt)
    return np.asarray(np.maximum(shrunk, LEAST * nearest) * largest[..., 0])


@lru_cache(maxsize=32)
def _off(m: int) -> Bool:
    return ~np.eye(m, dtype=bool)


def weigh(prior: F64, variance: F64, samples: F64, share: F64 | None, kept: Bool) -> F64:
    """Return weights (m, k) that add up to 1 over the members kept, 0 elsewhere.

    Parameters
    ----------
    prior : float64 (m, k) or (m, 1)
        Of the members kept, any scale.
    variance : float64 (m, k)
        NaN where unknown: then the tick goes by the prior alone.
    samples : float64 (m, k)
        Independent samples behind the variances; the fewest among those kept count.
    share : float64 (m, k), optional
        Part of its weight that each may have (ramp and coverage), 0 to 1.
    kept : bool (m, k)
        Who may speak.
    """
    inverse = 1 / np.maximum(np.where(kept, variance, np.inf), TINY)
    total = np.add.reduce(inverse, 0)
    fewest = np.minimum.reduce(np.where(kept, samples, np.inf), 0)
    w = _unit(prior * kept)
    a = 1 - THIN / (fewest + THIN)
    told = np.isfinite(total)
    if not told.all():
        a, total = np.where(told, a, 0.0), np.where(told, total, 1.0)
        inverse = np.where(told, inverse, 0.0)
    w += a * (inverse / np.maximum(total, TINY) - w)
    return w if share is None else _unit(w * share)


def _unit(x: F64) -> F64:
    return np.asarray(x / np.maximum(np.add.reduce(x, 0), TINY))
