"""Test of one series for a nonlinear dependence on another: running regression on a cubic.

With phi = (1, x, x^2, x^3) made orthonormal over the data, q_k = mean phi_k y is the contribution
of the k-th term to y, and t_k^2 = N q_k^2 / var(rest) its significance. An even nonlinearity (for
example x^2) appears in k = 2, an odd one (tanh) in k = 3.

State: a 5 x 5 matrix of sums a pair, over 300 s of common ticks. Cost: about 25 numpy calls a
packet and signal.

Source: Draper & Smith, Applied Regression Analysis (1998), orthogonal polynomials.
"""

from __future__ import annotations

import numpy as np

from operators.types import F64
from operators.weights.moments import TINY

TERMS = 4
RIDGE = 1e-12


def products(x: F64, y: F64, both: F64) -> F64:
    """Return sums (n, a, 5, 5) of products of (1, x, x^2, x^3, y) by stretch.

    `x` (n, 1, e), `y` (n, a, e) relative to their anchors, `both` (n, a, e) 1 where both exist.
    """
    rows = np.stack((both, x * both, x**2 * both, x**3 * both, y * both), axis=2)
    return np.asarray(rows @ rows.swapaxes(2, 3))


def bends(sums: F64, looks: F64) -> F64:
    """Return the larger |t| of the square and the cubic term.

    `sums` (..., 5, 5) from `products`, `looks` (...) their number of independent ticks. The result
    is 0 where x is constant.
    """
    count = np.maximum(sums[..., :1, :1], TINY)
    mean = sums / count
    middle = mean[..., 0, 1]
    spread = np.sqrt(np.maximum(mean[..., 1, 1] - middle**2, 0.0))
    moves = spread > 1e-9 * np.abs(middle) + TINY
    # u = (x - middle) / spread; u^k is a sum of powers of x with binomial coefficients.
    unit = np.where(moves, spread, 1.0)
    turn = np.zeros((*spread.shape, TERMS, TERMS))
    for k, row in enumerate(((1,), (-1, 1), (1, -2, 1), (-1, 3, -3, 1))):
        for j, factor in enumerate(row):
            turn[..., k, j] = factor * middle ** (k - j) / unit**k
    gram = turn @ mean[..., :TERMS, :TERMS] @ turn.swapaxes(-1, -2)
    cross = turn @ mean[..., :TERMS, TERMS:]
    good = moves & np.isfinite(gram).all(axis=(-1, -2)) & np.isfinite(cross).all(axis=(-1, -2))
    plain = np.eye(TERMS)
    gram = np.where(good[..., None, None], gram + RIDGE * plain, plain)
    try:
        root = np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        # With two distinct values of x the powers are linearly dependent.
        root, good = plain + 0 * gram, np.zeros_like(good)
    part = np.linalg.solve(root, np.where(good[..., None, None], cross, 0.0))[..., 0]
    rest = np.maximum(mean[..., TERMS, TERMS] - (part * part).sum(axis=-1), TINY)
    t = np.abs(part[..., 2:]) * np.sqrt(np.maximum(looks, 0.0) / rest)[..., None]
    return np.where(good, t.max(axis=-1), 0.0)
