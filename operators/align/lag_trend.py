"""Trend of a lag, constant, rising or walking, from readings at some moments.

A lag at time t, counted from the first reading, is a Gaussian process

    lag(t) = a + b t + walk(t) + wander(t),
    cov(s, t) = A^2 + B^2 s t + q s + p s^2 (3 t - s) / 6      for s <= t,

with a the level, b a rate (the skew of one clock against another), a random walk of q s^2/s and a
rate that walks by p 1/s. Fourteen motions are compared: three sizes of b, one of them 0, and
several q and p. Each is weighted with its likelihood given the readings, so that a constant lag is
estimated without a rate as soon as the readings show none. The result is the mean of all motions;
its covariance includes the spread between them.

A motion has a state of two numbers, lag and rate, so that a filter and a smoother replace the
inverse of its covariance.

Cost: 40 operations a motion and reading: 15 us for 24 compiled, 0.5 ms in numpy. State: none.

Sources: Hartikainen & Sarkka, IEEE MLSP (2010), for the process as a state; Kalman, J. Basic Eng.
82 (1960); de Jong, Biometrika 76 (1989), for the smoother; bank of models, Magill, IEEE Trans.
Autom. Control 10 (1965).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from operators import native
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
MAX_VAR = 1e12
"""Variance of a reading without information (s^2)."""
RARE = 0.01
"""Motions with a smaller share do not widen the gate (operators/align/lag_filter.py)."""


class Motions(NamedTuple):
    """Motions of a lag: q (s^2/s), B^2, p (1/s) and the log of the prior share of each.

    `room`: the largest density of a walk that is not rare (s^2/s).
    """

    walk: F64
    rate: F64
    drift: F64
    share: F64
    room: float


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
    walks, squares, drifts, shares = np.array([x for x in rows if x[-1] > 0]).T.copy()
    log = np.log(shares / shares.sum())
    return Motions(walks, squares, drifts, log, float(walks[np.exp(log) >= RARE].max()))


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

    With S_i and e_i the variance and the error of a motion's prediction of reading i, the motion
    has the log likelihood -sum (e_i^2 / S_i + log S_i) / 2.

    Parameters
    ----------
    at, lag, var : float64 (m,)
        Times (s, rising), readings (s) and their variances (s^2).
    when : float
        No earlier than the last reading (s).
    kinds : Motions
        Motions of the lag and their shares.
    """
    base = float(lag[0])
    step = np.empty(len(at))
    step[0] = 0.0
    np.subtract(at[1:], at[:-1], out=step[1:])
    ahead = when - float(at[-1])
    smoothed = _smoothed if native.kernels is None else _smoothed_compiled
    state, spread, off, path = smoothed(step, lag - base, np.minimum(var, MAX_VAR), ahead, kinds)
    # The sum of e^2 / S + log S, off being e / S.
    log = kinds.share - 0.5 * (off * off * spread + np.log(spread)).sum(axis=0)
    weight = np.exp(log - log.max())
    weight /= weight.sum()
    mean = state[:2] @ weight
    level_off, rate_off = state[:2] - mean[:, None]
    level_var, cross_var, rate_var = state[2:]
    trend = Trend(
        at=when,
        lag=base + float(mean[0]),
        rate=float(mean[1]),
        var=float(weight @ (level_var + level_off**2)),
        cross_var=float(weight @ (cross_var + level_off * rate_off)),
        rate_var=float(weight @ (rate_var + rate_off**2)),
        growth=float(weight @ kinds.walk),
    )
    return trend, base + path @ weight


def _smoothed(
    step: F64, lag: F64, var: F64, ahead: float, kinds: Motions
) -> tuple[F64, F64, F64, F64]:
    """Return the state of each motion at the end, and of each reading S, e / S, smoothed lag.

    The process has the state (lag, rate) with mean (0, 0) and covariance diag(A^2, B^2) at first.
    In dt it moves by F = [[1, dt], [0, 1]], its covariance P by

        F P F' + [[q dt + p dt^3 / 3, p dt^2 / 2], [p dt^2 / 2, p dt]].

    A reading of variance R has S = P_00 + R. It moves the state by (P_00, P_01) e / S, and P to
    P R / S in its first row, P_11 - P_01^2 / S. Backwards, what later readings add to the lag is
    P_00 g + P_01 h, with

        g = e / S + (R / S) g' - (P_01 / S) h',  h = h' + dt g

    of the next reading, dt before it and P_01 as predicted; g' and h' are 0 after the last one.

    Parameters
    ----------
    step, lag, var : float64 (m,)
        Time since the previous reading (s), the reading (s) and its variance (s^2).
    ahead : float
        Time from the last reading to the end (s).
    kinds : Motions
        k motions.

    Returns
    -------
    state : float64 (5, k)
        Lag (s), rate (s/s), and their covariance P_00, P_01, P_11.
    spread, off, path : float64 (m, k)
        S (s^2), e / S (1/s) and the smoothed lag (s).
    """
    m, k = len(step), len(kinds.walk)
    spread, off, path, own, shared, rest = np.empty((6, m, k))
    state: Sequence[F64] = (*np.zeros((2, k)), np.full(k, LEVEL_SD**2), np.zeros(k), kinds.rate)
    steps = step.tolist()
    rows = zip(steps, _grown(step[:, None], kinds), lag.tolist(), var.tolist(), strict=True)
    for i, (dt, grown, x, r) in enumerate(rows):
        level, rate, level_var, cross_var, rate_var = _moved(state, dt, grown)
        s = spread[i] = level_var + r
        e = off[i] = (x - level) / s
        left = rest[i] = r / s
        path[i] = level + level_var * e
        own[i], shared[i] = level_var * left, cross_var * left
        last = rate_var - cross_var * cross_var / s
        state = path[i], rate + cross_var * e, own[i], shared[i], last
    g, h = np.zeros((2, k))
    for i in range(m - 1, 0, -1):
        g = g * rest[i] - shared[i] / var[i] * h + off[i]
        h = h + g * steps[i]
        path[i - 1] += own[i - 1] * g + shared[i - 1] * h
    return np.array(_moved(state, ahead, _grown(np.array([ahead]), kinds))), spread, off, path


def _grown(dt: F64, kinds: Motions) -> F64:
    """Return the growth of P_00, P_01 and P_11 of each motion in dt (..., 1), as (..., 3, k)."""
    q, p = kinds.walk, kinds.drift
    growth = q * dt + p * (dt * dt * dt / 3), p * (dt * dt / 2), p * dt
    return np.stack(growth, axis=-2)


def _moved(state: Sequence[F64], dt: float, grown: F64) -> Sequence[F64]:
    """Return the state (5, k) after dt without a reading (s)."""
    level, rate, level_var, cross_var, rate_var = state
    more = dt * rate_var
    return (
        level + dt * rate,
        rate,
        level_var + (dt * (2 * cross_var + more) + grown[0]),
        cross_var + (more + grown[1]),
        rate_var + grown[2],
    )


def _smoothed_compiled(
    step: F64, lag: F64, var: F64, ahead: float, kinds: Motions
) -> tuple[F64, F64, F64, F64]:
    """Return the result of `_smoothed`."""
    assert native.kernels is not None
    state = np.empty((5, len(kinds.walk)))
    spread, off, path = np.empty((3, len(step), len(kinds.walk)))
    readings = step, lag, var, ahead, LEVEL_SD**2
    native.kernels.trend(*readings, kinds.walk, kinds.rate, kinds.drift, state, spread, off, path)
    return state, spread, off, path
