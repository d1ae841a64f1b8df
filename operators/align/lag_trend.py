"""Trend of a lag, constant, rising or walking, from readings at some moments.

A lag at time t, counted from the first reading, is a Gaussian process

    lag(t) = a + b t + walk(t) + wander(t),
    cov(s, t) = A^2 + B^2 s t + q s + p s^2 (3 t - s) / 6      for s <= t,

with a the level, b a rate (the skew of one clock against another), a random walk of q s^2/s and a
rate that walks by p 1/s. Fourteen motions are compared: three sizes of b, one of them 0, and
several q and p. Each is weighted with its likelihood given the readings, so that a constant lag is
estimated without a rate as soon as the readings show none. The result is the mean of all motions;
its covariance includes the spread between them.

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
"""Densities of a walk (s^2/s): 0.13 ms in ten minutes for a lag at rest; 2.5, 8 and 25 ms.

A wider spacing does not cover the walks between two densities: 82 % inside 2 sd, not 95."""
STEADY, DRIFTS = 1e-16, 1e-12
"""Densities of a rate's walk (1/s): 0.25 ppm in ten minutes for a crystal at rest; 25 ppm for one
that warms up."""
CORRECTED, FREE = (0.003, 0.002), (0.95, 0.1)
"""Prior shares of lags that rise, and of each density but the least; the slowest walk has
SLOW_WALK_FACTOR times as much. First for two corrected clocks, then with an uncorrectable one."""
SLOW_WALK_FACTOR = 2.0
"""The slowest walk shows only after many readings, and an uncorrected clock causes one."""
RARE = 0.01
"""Motions with a smaller share do not widen the gate (operators/align/lag_filter.py)."""


class Motions(NamedTuple):
    """Motions of a lag: q (s^2/s), B^2, p (1/s) and the log of the prior share of each."""

    walk: F64
    rate: F64
    drift: F64
    share: F64

    def room(self) -> float:
        """Return the largest density of a walk that is not rare (s^2/s)."""
        return float(self.walk[np.exp(self.share) >= RARE].max())


@lru_cache(maxsize=64)
def motions(
    walk: float | Literal["auto"] = "auto", rising: float = 0.0, rare: float = 0.0
) -> Motions:
    """Return the motions with their prior shares.

    Parameters
    ----------
    walk : float or "auto"
        Density of the walk (s^2/s).
    rising, rare : float
        Share of lags that rise, and of each density but the least and the slowest walk.
    """
    paces = [(STILL, STEADY), *((q, STEADY) for q in WALKS), (STILL, DRIFTS)]
    if walk != "auto":
        paces = [(walk, STEADY), (walk, DRIFTS)]
    parts = [rare] * (len(paces) - 1)
    parts[0] *= SLOW_WALK_FACTOR if walk == "auto" else 1.0
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
        """Return the trend at another time."""
        dt = at - self.at
        return self._replace(
            at=at,
            lag=self.lag + self.rate * dt,
            var=self.var + dt * (2 * self.cross_var + dt * self.rate_var) + self.growth * abs(dt),
            cross_var=self.cross_var + dt * self.rate_var,
        )


def fitted(at: F64, lag: F64, var: F64, when: float, kinds: Motions) -> tuple[Trend, F64]:
    """Return the trend at `when`, and the smoothed lag at each reading (m,).

    With S = cov + diag(var) = L L' and y = L^-1 (lag - base), a motion has the log likelihood
    -(y' y) / 2 - log det L; the mean at `when` is (L^-1 c)' y, c its covariance with the readings.

    Parameters
    ----------
    at, lag, var : float64 (m,)
        Times (s, rising), readings (s) and their variances (s^2).
    when : float
        No earlier than the last reading (s).
    kinds : Motions
        Motions of the lag and their shares.
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
        at=when,
        lag=base + mean_level,
        rate=mean_rate,
        var=float(weight @ level_var),
        cross_var=float(weight @ cross),
        rate_var=float(weight @ rate_var),
        growth=float(weight @ q),
    )
    solved = (y[:, None] @ inverse)[:, 0]
    path = base + np.asarray(weight @ (solved[:, None] @ prior)[:, 0])
    return trend, path
