"""Honest weights: each member's error variance from how the members differ.

Three-cornered hat: V_ij = mean (y_i - y_j)^2 = v_i + v_j for members with independent errors,
solved for v by least squares over all pairs with weights 1 / V_ij^2, floored at 2 % of the
largest V. It needs three members; then w = (1 - a) prior + a (1 / v) / sum (1 / v), with
a = n / (n + 20) of n independent samples.

Source: Grubbs, J. Am. Stat. Assoc. 43 (1948); Gray & Allan, 28th Symp. Frequency Control (1974).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from operators.records import F64, Bool, State

WINDOW_S = 60.0
FLOOR = 0.02
THIN = 20.0
INFLATION = 1.1
"""By which a variance that can no longer be measured grows a minute."""


def hat(pairs: F64) -> F64:
    """Return the variances (m,) behind mean squared differences (m, m), m >= 3."""
    m = len(pairs)
    off = ~np.eye(m, dtype=bool)
    largest = float(np.max(pairs[off], initial=0.0))
    if largest <= 0:
        return np.zeros(m)
    scaled = np.where(off, np.maximum(pairs / largest, FLOOR), 1.0)
    weight = np.where(off, scaled**-2.0, 0.0)
    matrix = weight + np.diag(weight.sum(axis=1))
    solved = np.linalg.solve(matrix, (weight * scaled).sum(axis=1))
    return np.asarray(np.maximum(solved, FLOOR) * largest)


@dataclass
class Hat:
    """Running differences of one signal's members. State: two m x m tables, two rows of m."""

    members: int
    total: F64 = field(default_factory=lambda: np.empty(0))
    count: F64 = field(default_factory=lambda: np.empty(0))
    variance: F64 = field(default_factory=lambda: np.empty(0))
    measured: F64 = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        m = self.members
        if not len(self.total):
            self.total, self.count = np.zeros((m, m)), np.zeros((m, m))
            self.variance, self.measured = np.full(m, np.nan), np.full(m, np.nan)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    def add(self, total: F64, count: F64, now: float, seconds: float) -> None:
        """Take in the sums of one stretch of `seconds` that ended at `now`."""
        keep = np.exp(-seconds / WINDOW_S)
        self.total = keep * self.total + total
        self.count = keep * self.count + count
        active = np.flatnonzero(np.diag(count) > 0)
        if len(active) < 3:
            return
        pairs = np.ix_(active, active)
        if (self.count[pairs] <= 0).any():
            return
        self.variance = self.variance.copy()
        self.measured = self.measured.copy()
        self.variance[active] = hat(self.total[pairs] / self.count[pairs])
        self.measured[active] = now

    def at(self, now: float) -> F64:
        """Return the variances at a time, grown since they could last be measured."""
        if np.isnan(self.variance).all():
            return self.variance
        grown: F64 = self.variance * INFLATION ** (np.maximum(now - self.measured, 0.0) / 60)
        return grown


def weigh(prior: F64, variance: F64, samples: F64, share: F64, kept: Bool) -> F64:
    """Return weights (m, k) that add up to 1 over the members kept, 0 elsewhere.

    Parameters
    ----------
    prior : float64 (m, k)
        Of the members kept, any scale.
    variance : float64 (m, k)
        NaN where unknown: then the tick goes by the prior alone.
    samples : float64 (m, k) or (k,)
        Independent samples behind the variances; the fewest among those kept count.
    share : float64 (m, k)
        Part of its weight that each may have (ramp and coverage), 0 to 1.
    kept : bool (m, k)
        Who may speak.
    """
    told = ~(kept & np.isnan(variance)).any(axis=0)
    inverse = np.where(kept & told, 1 / np.maximum(variance, 1e-300), 0.0)
    fewest = np.where(kept, samples, np.inf).min(axis=0)
    a = np.where(told, 1 - THIN / (np.minimum(fewest, 1e12) + THIN), 0.0)
    w = (1 - a) * _unit(np.where(kept, prior, 0.0)) + a * _unit(inverse)
    return _unit(np.where(kept, w * share, 0.0))


def _unit(x: F64) -> F64:
    total = x.sum(axis=0)
    return np.asarray(x / np.where(total > 0, total, 1.0))
