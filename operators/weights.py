"""Honest weights: each member's error variance from how the members differ.

Three-cornered hat: V_ij = mean (y_i - y_j)^2 = v_i + v_j for members with independent errors,
solved for v by least squares over all pairs with weights 1 / V_ij^2. Of two that differ little, a
third that differs much cannot tell which is the better: the variance of v_i is about V_ij V_ik / n,
j and k its nearest two, and v_i is shrunk by that to V_ij / 2, half of what it differs from its
nearest. It needs three members; then w = (1 - a) prior + a (1 / v) / sum (1 / v), with
a = n / (n + 20) of n independent samples.

Source: Grubbs, J. Am. Stat. Assoc. 43 (1948); Gray & Allan, 28th Symp. Frequency Control (1974).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np

from operators.records import F64, I64, Bool, State

WINDOW_S = 60.0
RENEW_S = 1.0
INDEPENDENT_HZ = 5.0
FLOOR, LEAST = 1e-4, 0.02
"""Of the largest difference, what counts as none; of the least of its own, a member's least."""
THIN = 20.0
INFLATION = 1.1
"""By which a variance that can no longer be measured grows a minute."""
TINY = 1e-300


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


class Hat:
    """Running differences of one signal's members, renewed each second of data time.

    State: two sums a pair over a minute, and over the second that is not over yet; a variance a
    member, and when it was measured.
    """

    def __init__(self, members: int, tick_hz: float, state: State | None = None) -> None:
        m = self._members = members
        self._every = max(1, round(RENEW_S * tick_hz))
        self._seconds = self._every / tick_hz
        self._independent = min(1.0, INDEPENDENT_HZ / tick_hz)
        # Two members give one equation for two variances: only their ticks are counted.
        self._left, self._right = np.triu_indices(m) if m > 2 else (np.arange(m), np.arange(m))
        self._own = np.flatnonzero(self._left == self._right)
        self._square = np.zeros((m, m), int)
        self._square[self._left, self._right] = np.arange(len(self._left))
        self._square[self._right, self._left] = np.arange(len(self._left))
        self._sums, self._open = np.zeros((2, 2, len(self._left)))
        self._variance, self._measured = np.full((2, m), np.nan)
        if state:
            self._sums, self._open = state["sums"], state["open"]
            self._variance, self._measured = state["variance"], state["measured"]

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "sums": self._sums, "open": self._open, "variance": self._variance,
            "measured": self._measured,
        }  # fmt: skip

    def read(self, first: int, value: F64, there: Bool) -> tuple[F64, F64, I64]:
        """Take in ticks from index `first` on.

        Parameters
        ----------
        value : float64 (m, k)
        there : bool (m, k)
            Where the value is known.

        Returns
        -------
        float64 (m, n), float64 (m, n), int64 (n,)
            By stretch of ticks within one second: each member's variance as measured before it
            (NaN where it never was), the independent samples behind that, and its ticks.
        """
        k = value.shape[1]
        n = -(-(k + first % self._every) // self._every)
        edges = np.arange(n + 1) * self._every - first % self._every
        edges[0], edges[n] = 0, k
        start, size = edges[:-1], edges[1:] - edges[:-1]
        over = n if (first + k) % self._every == 0 else n - 1
        sums = self._sum(value, there, start, size)
        sums[0] += self._open
        active = sums[:over, 1, self._own] > 0
        rows = np.empty((n + 1, *self._sums.shape))
        rows[0] = self._sums
        keep = np.exp(-self._seconds / WINDOW_S)
        for i in range(over):
            rows[i + 1] = keep * rows[i] + sums[i]
        self._sums = rows[over].copy()
        self._open = sums[over].copy() if over < n else np.zeros_like(self._open)
        samples = rows[:n, 1, self._own] * self._independent
        second = first // self._every + np.arange(n + 1.0)
        variance, measured = self._solve(rows[1 : over + 1], active, second[1:])
        self._variance, self._measured = variance[-1].copy(), measured[-1].copy()
        age = (second[:n, None] - measured[:n]) * (self._seconds / 60)
        return (variance[:n] * INFLATION ** np.maximum(age, 0.0)).T, samples.T, size

    def _sum(self, value: F64, there: Bool, start: I64, size: I64) -> F64:
        """Return squared differences and common ticks (n, 2, pairs) of each stretch."""
        apart = value[self._left] - value[self._right]
        out = np.empty((len(start), 2, len(apart)))
        if there.all():
            out[:, 1] = size[:, None]
        else:
            both = there[self._left] & there[self._right]
            apart = np.where(both, apart, 0.0)
            out[:, 1] = np.add.reduceat(both, start, axis=1, dtype=float).T
        out[:, 0] = np.add.reduceat(apart * apart, start, axis=1).T
        return out

    def _solve(self, rows: F64, active: Bool, second: F64) -> tuple[F64, F64]:
        """Return variances and when they were measured, before and after each second."""
        shape = (len(rows) + 1, self._members)
        variance, measured = np.empty(shape), np.empty(shape)
        variance[:], measured[:] = self._variance, self._measured
        if self._members < 3 or not len(rows):
            return variance, measured
        turn = np.flatnonzero((active[1:] != active[:-1]).any(axis=1)) + 1
        for a, b in pairwise((0, *turn.tolist(), len(rows))):
            variance[a + 1 :], measured[a + 1 :] = variance[a], measured[a]
            mine = np.flatnonzero(active[a])
            if len(mine) < 3:
                continue
            total, count = rows[a:b, :, self._square[mine[:, None], mine]].swapaxes(0, 1)
            good = np.flatnonzero((count > 0).all(axis=(1, 2)))
            to = (a + 1 + good)[:, None], mine
            variance[to] = hat(
                total[good] / count[good], count[good].min(axis=(1, 2)) * self._independent
            )
            measured[to] = second[a + good, None]
        return variance, measured


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
