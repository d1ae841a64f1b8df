"""Differences of a signal's members from the moments of their pairs: noise, slopes, spread.

Shapes: n seconds, m members; of [:, i, j] the first is i.

Sources: Deming, Statistical Adjustment of Data (1943); Paule & Mandel, J. Res. NBS 87 (1982);
Grubbs, J. Am. Stat. Assoc. 43 (1948), for two members.
"""

from __future__ import annotations

import numpy as np

from operators.types import F64, Bool
from operators.weights.moments import TINY, PairMoments

INDEPENDENT = 0.83
"""Independent part of the ticks behind the resampler's kernel."""
MIN_COMMON_TICKS = 8.0
"""Independent ticks in common from which on two members count as compared."""
MAX_NEWTON_STEPS, NEWTON_TOLERANCE = 25, 1e-12
MEAN_RIDGE = 1e-9
"""Addition to the diagonal, in pairs, that sets the mean of all members to 0."""
MIN_NOISE = 1e-9
"""Smallest plausible noise, as a part of a member's variance."""


def deming(pairs: PairMoments, looks: F64, noise: F64) -> tuple[F64, F64, F64]:
    """Return log slope of i on j, its variance, and the signal's variance in j's units, (n, m, m).

    b = [S_ii - d S_jj + sqrt((S_ii - d S_jj)^2 + 4 d S_ij^2)] / (2 S_ij), d = n_i / n_j;
    var(log b) = (n_i / b^2 + n_j) / (N X), X = S_ij / b, N = `looks` independent ticks.

    `noise` (n, m) is each member's variance in its own units. Results are invalid if S_ij <= 0.
    """
    mine, other = noise[:, :, None], noise[:, None]
    ratio = mine / other
    over = pairs.var - ratio * pairs.var.transpose(0, 2, 1)
    root = np.sqrt(over * over + 4 * ratio * pairs.cov**2)
    # The form of the root without cancellation.
    slope = np.where(
        over >= 0, (over + root) / (2 * pairs.cov), 2 * ratio * pairs.cov / (root - over)
    )
    slope = np.where(pairs.cov > 0, slope, 1.0)
    signal = pairs.cov / slope
    return np.log(slope), (mine / slope**2 + other) / (looks * signal), signal


def paule_mandel(z: F64, var: F64, valid: Bool) -> F64:
    """Return the variance tau^2 (n,) of n sets of c readings `z` (n, c) in excess of their `var`.

    The root of sum w (z - mean)^2 = count - 1, w = 1 / (var + tau^2), 0 without a root.
    """
    tau = np.zeros(len(z))
    wanted = np.add.reduce(valid, 1, dtype=int) - 1
    several = wanted > 0
    if not np.count_nonzero(several):
        return tau
    for _ in range(MAX_NEWTON_STEPS):
        weight = np.where(valid, 1 / np.maximum(var + tau[:, None], TINY), 0.0)
        total = np.maximum(np.add.reduce(weight, 1, keepdims=True), TINY)
        off = weight * (z - np.add.reduce(weight * z, 1, keepdims=True) / total)
        square = off * off
        over = np.add.reduce(square / np.maximum(weight, TINY), 1) - wanted
        # The sum is convex in tau^2: Newton's steps from 0 never pass the root.
        step = np.where(
            several & (over > 0), over / np.maximum(np.add.reduce(square, 1), TINY), 0.0
        )
        tau += step
        if np.count_nonzero(step <= NEWTON_TOLERANCE * tau) == len(tau):
            break
    return tau


def noise_of(pairs: PairMoments, met: Bool) -> F64:
    """Return each member's noise variance (n, m): out-of-band noise plus half of the excess.

    The excess is that against the best fitting member, both scaled to one size. With
    b = sqrt(S_ii / S_jj) and correlation r, their difference has variance 2 S_ii (1 - r), of which
    n_i + b^2 n_j is out of band.
    """
    both = np.sqrt(pairs.var * pairs.var.transpose(0, 2, 1))
    apart = 2 * pairs.var * (1 - pairs.cov / np.maximum(both, TINY))
    ratio = pairs.var / np.maximum(pairs.var.transpose(0, 2, 1), TINY)
    besides = apart - pairs.noise - ratio * pairs.noise.transpose(0, 2, 1)
    nearest = np.minimum.reduce(np.where(met, np.maximum(besides, 0.0), np.inf), 2)
    own = np.diagonal(pairs.noise, axis1=1, axis2=2)
    moves = np.diagonal(pairs.var, axis1=1, axis2=2)
    found = own + np.where(np.isfinite(nearest), nearest, 0.0) / 2
    return np.asarray(np.maximum(found, MIN_NOISE * moves + TINY))


def of_two(apart: F64, own: F64, looks: F64) -> F64:
    """Return two members' variances (n, 2) from their mean squared difference V (n,).

    v_i = own_i + max(V (1 - sqrt(2 / n) / 2) - sum own, 0) / 2. Half of the relative scatter of V,
    sqrt(2 / n), is subtracted: otherwise chance counts as noise in every other second.
    """
    margin = 1 - 0.5 * np.sqrt(2 / np.maximum(looks, 2.0))
    besides = np.maximum(apart * margin - np.add.reduce(own, 1), 0.0)
    return np.asarray(own + besides[:, None] / 2)


def together(apart: F64, good: Bool) -> F64:
    """Return z (n, m) of mean 0 whose differences z_i - z_j fit `apart` (n, m, m) best.

    Normal equations: count_i z_i - sum_j z_j = sum_j apart_ij.
    """
    count = np.add.reduce(good, 2, dtype=int)
    matrix = np.where(good, -1.0, 0.0)
    index = np.arange(good.shape[1])
    matrix[:, index, index] = count + MEAN_RIDGE
    return np.asarray(np.linalg.solve(matrix, np.add.reduce(apart, 2)[..., None])[..., 0])
