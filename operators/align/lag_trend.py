"""How a lag goes on: constant, rising, walking; from readings of it at some moments.

A lag at time t, counted from the first reading, is a Gaussian process

    lag(t) = a + b t + walk(t) + wander(t),
    cov(s, t) = A^2 + B^2 s t + q s + p s^2 (3 t - s) / 6      for s <= t,

with a the level, b a rate (the skew of one clock against another), a random walk of q s^2/s and a
rate that walks p 1/s. Fourteen motions (three sizes of b, none among them, paces of q and p) stand
beside each other, each with the likelihood that the readings give it: a constant lag is estimated
as if it had no rate as soon as the readings show none. The result is the mean of all; its
covariance has the spread between them in it.

Cost: one Cholesky factor of m x m a motion, for m readings: 0.3 ms for 24. State: none.

Sources: Rasmussen & Williams, Gaussian Processes for Machine Learning (2006), algorithm 2.1; bank
of models, Magill, IEEE Trans. Autom. Control 10 (1965).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from operators.types import F64

LEVEL_SD = 0.1
"""A, about the first reading (s)."""
RATE_SDS, RATE_SHARES = (10e-6, 120e-6), (0.25, 0.75)
"""B (s/s): good crystals, and others; two are rarely further apart than 150 ppm."""
STILL, WALKS = 3e-11, (1e-8, 1e-7, 1e-6)
"""Paces of a walk (s^2/s): 0.13 ms in ten minutes, where nothing moves; 2.5, 8 and 25 ms.

Further apart, a walk between two of them is followed by neither: 82 % inside 2 sd, not 95."""
STEADY, DRIFTS = 1e-16, 1e-12
"""Paces of a rate (1/s): 0.25 ppm in ten minutes, a crystal at rest; 25 ppm, one that warms up."""
CORRECTED, FREE = (0.003, 0.002), (0.95, 0.1)
"""Before the readings, the share of lags that rise, and of each pace that is not the calmest (of
the slowest walk GENTLE times as much): between two clocks that are corrected, and with one that
cannot be."""
GENTLE = 2.0
"""The slowest walk shows only after many readings, and a clock that nobody corrects makes one."""
RARE = 0.01
"""Motions of a smaller share leave no room at the gate (operators/align/lag_filter.py)."""


class Motions(NamedTuple):
    """What a lag may do: for each motion q (s^2/s), B^2, p (1/s), and the log of its share."""

    walk: F64
    rate: F64
    drift: F64
    share: F64

    def room(self) -> float:
        """Return the fastest pace of a walk that is not rare (s^2/s)."""
        return float(self.walk[np.exp(self.share) >= RARE].max())


@lru_cache(maxsize=64)
def motions(
    walk: float | Literal["auto"] = "auto", rising: float = 0.0, rare: float = 0.0
) -> Motions:
    """Return the motions for a pace of the walk (s^2/s), the share of lags that rise, and that of
    each pace but the calmest and the slowest walk.
    """
    paces = [(STILL, STEADY), *((q, STEADY) for q in WALKS), (STILL, DRIFTS)]
    if walk != "auto":
        paces = [(walk, STEADY), (walk, DRIFTS)]
    parts = [rare] * (len(paces) - 1)
    parts[0] *= GENTLE if walk == "auto" else 1.0
    parts = [1 - sum(parts), *parts]
    rates = [(0.0, 1 - rising), *zip(RATE_SDS, (rising * x for x in RATE_SHARES), strict=True)]
    rows = [
        (q, b * b, p if b else 0.0, share * part)
        for b, share in rates
        for (q, p), part in zip(paces, parts, strict=True)
        if b or p == STEADY
    ]
    walks, squares, drifts, shares = np.array([x for x in rows if x[-1] > 0]).T
    return Motions(walks, squares, drifts, np.log(shares / shares.sum()))


class Trend(NamedTuple):
    """A lag (s) and its rate (s/s) at a time `at` (s), with covariance and growth of the variance.

    At t the variance is `var + 2 (t - at) cross_var + (t - at)^2 rate_var + growth |t - at|`.
    """

    at: float
    lag: float
    rate: float
    var: float
    cross_var: float
    rate_var: float
    growth: float

    def moved(self, at: float) -> Trend:
        """Return it at another time."""
        dt = at - self.at
        return self._replace(
            at=at,
            lag=self.lag + self.rate * dt,
            var=self.var + dt * (2 * self.cross_var + dt * self.rate_var) + self.growth * abs(dt),
            cross_var=self.cross_var + dt * self.rate_var,
        )


def fitted(at: F64, lag: F64, var: F64, when: float, kinds: Motions) -> tuple[Trend, F64]:
    """Return the trend at `when`, and the lag at each reading (m,) by all of them.

    Parameters
    ----------
    at, lag, var : float64 (m,)
        Times (s, rising), readings (s) and their variances (s^2).
    when : float
        No earlier than the last reading (s).
    kinds : Motions
        What the lag may do.
    """
    t, end, base = at - at[0], when - float(at[0]), float(lag[0])
    early, late = np.minimum(t, t[:, None]), np.maximum(t, t[:, None])
    q, b, p = (x[:, None, None] for x in kinds[:3])
    prior = LEVEL_SD**2 + b * (early * late) + q * early + p * (early**2 * (3 * late - early) / 6)
    inverse = np.linalg.inv(np.linalg.cholesky(prior + np.diag(var)))
    y = inverse @ (lag - base)
    log = kinds.share - 0.5 * (y * y).sum(axis=1)
    log += np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum(axis=1)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    # Covariance of lag and rate at the end with the readings, and with each other.
    q, b, p = (x[:, None] for x in kinds[:3])
    ahead = LEVEL_SD**2 + b * (t * end) + q * t + p * (t**2 * (3 * end - t) / 6)
    with_lag = (inverse @ ahead[:, :, None])[:, :, 0]
    with_rate = (inverse @ (b * t + p * (t**2 / 2))[:, :, None])[:, :, 0]
    q, b, p = kinds[:3]
    level, rate = (y * with_lag).sum(axis=1), (y * with_rate).sum(axis=1)
    mean_level, mean_rate = float(weight @ level), float(weight @ rate)
    level_off, rate_off = level - mean_level, rate - mean_rate
    own = LEVEL_SD**2 + b * end**2 + q * end + p * (end**3 / 3)
    level_var = own - (with_lag * with_lag).sum(axis=1) + level_off**2
    cross = b * end + p * (end**2 / 2) - (with_lag * with_rate).sum(axis=1) + level_off * rate_off
    rate_var = b + p * end - (with_rate * with_rate).sum(axis=1) + rate_off**2
    trend = Trend(
        when, base + mean_level, mean_rate, float(weight @ level_var), float(weight @ cross),
        float(weight @ rate_var), float(weight @ q),
    )  # fmt: skip
    solved = (y[:, None] @ inverse)[:, 0]
    path = base + np.asarray(weight @ (solved[:, None] @ prior)[:, 0])
    return trend, path
