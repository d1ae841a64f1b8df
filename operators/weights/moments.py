"""Running moments of each pair of a signal's members, over their common ticks.

Sums are collected by second of data time and decay exponentially. There are no moments of single
members: members present at different times would look biased against each other. Values are taken
relative to an anchor, the member's first value, so that squares keep their digits.

A `shared` window runs in the time common to the pair: its sums are kept while one member is
absent. Other windows run in data time.

State: four sums a pair and window, and those of the open second. Cost: one matrix product a
packet, 5 numpy calls a second.

Source: exponentially weighted moments of pairwise complete data; Welford, Technometrics 4 (1962),
for the anchor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool, State

RENEW_S = 1.0
INDEPENDENT_HZ = 5.0
"""Rate of independent ticks: on a finer grid, neighbouring ticks share their noise."""
TINY = 1e-300
MIN_PAIRWISE = 8
PARTS = 4
"""Rows of the product a member: presence, value, its square, variance of its noise."""


_NO_SECOND: Bool = np.empty((0, 0), bool)


def over_members(x: F64) -> F64:
    """Return the sum over the members (axis 0), one after another for any number of ticks.

    numpy adds up a single column of eight and more in another order.
    """
    if x.shape[1] == 1 and len(x) >= MIN_PAIRWISE:
        return np.asarray(np.add.accumulate(x, 0)[-1])
    return np.asarray(np.add.reduce(x, 0))


class MomentWindow(NamedTuple):
    """Decay time (s), and whether only common time counts."""

    seconds: float
    shared: bool


class PairMoments(NamedTuple):
    """Moments of pairs over n windows, (n, m, m): [:, i, j] is of i, over its ticks with j.

    `ticks` in common; `mean`, `var` and `noise` (variance) of i; `cov` of both. Values are relative
    to their anchors.
    """

    ticks: F64
    mean: F64
    var: F64
    cov: F64
    noise: F64


class Seconds(NamedTuple):
    """A packet's ticks by second: n stretches; the first `over` of them complete a second.

    `size` (n,) ticks each; `begin` (n,) the second of data time; `rows` (over + 1, windows, 4 m,
    2 m) the sums before the first and after each completed second; `active` (over, m) whether a
    member was present within it.
    """

    size: I64
    over: int
    begin: F64
    rows: F64
    active: Bool


class Moments:
    """Sums of pairs of m members, renewed each second."""

    def __init__(
        self,
        members: int,
        tick_hz: float,
        windows: tuple[MomentWindow, ...],
        *,
        one_anchor: bool,
    ) -> None:
        m = self._members = members
        self.every = max(1, round(RENEW_S * tick_hz))
        self.seconds = self.every / tick_hz
        self.independent = min(1.0, INDEPENDENT_HZ / tick_hz)
        self._keep = np.exp([[[-self.seconds / w.seconds]] for w in windows])
        self._shared = np.array([[[w.shared]] for w in windows])
        self._one_anchor = one_anchor
        self.anchor = np.full(m, np.nan)
        self._anchored = False
        self._sums = np.zeros((len(windows), PARTS * m, 2 * m))
        self._open = np.zeros((PARTS * m, 2 * m))

    @classmethod
    def from_snapshot(
        cls,
        state: State,
        members: int,
        tick_hz: float,
        windows: tuple[MomentWindow, ...],
        *,
        one_anchor: bool,
    ) -> Moments:
        """Return the moments of a snapshot."""
        moments = cls(members, tick_hz, windows, one_anchor=one_anchor)
        moments.anchor, moments._sums = state["anchor"], state["sums"]
        moments._open = state["open"]
        return moments

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"anchor": self.anchor.copy(), "sums": self._sums, "open": self._open}

    def read(self, first: int, value: F64, noise: F64, there: Bool) -> Seconds:
        """Add ticks from index `first` on.

        Parameters
        ----------
        value, noise : float64 (m, k)
            Values, and the variance of their noise (NaN: unknown, counted as none).
        there : bool (m, k)
            Mask of known values.
        """
        m, k, every = self._members, value.shape[1], self.every
        if not self._anchored:
            self._set_anchor(value, there)
        phase = first % every
        n = -(-(k + phase) // every)
        over = n if (first + k) % every == 0 else n - 1
        table = np.zeros((PARTS, m, n * every))
        mine = table[:, :, phase : phase + k]
        mine[0] = there
        np.subtract(value, self.anchor[:, None], out=mine[1], where=there)
        np.multiply(mine[1], mine[1], out=mine[2])
        np.copyto(mine[3], noise, where=there & np.isfinite(noise))
        parts = table.reshape(PARTS * m, n, every).transpose(1, 0, 2)
        with np.errstate(over="ignore", invalid="ignore"):
            sums = parts @ parts[:, : 2 * m].transpose(0, 2, 1)
        sums[0] += self._open
        if not over:
            self._open = sums[0]
            rows, active = self._sums[None], _NO_SECOND
        else:
            rows = np.empty((over + 1, *self._sums.shape))
            rows[0] = self._sums
            both = np.tile(sums[:over, None, :m, :m] > 0, (1, 1, PARTS, 2))
            keep = np.where(self._shared & ~both, 1.0, self._keep)
            for i in range(over):
                rows[i + 1] = keep[i] * rows[i] + sums[i]
            self._sums = rows[over].copy()
            self._open = sums[over].copy() if over < n else np.zeros_like(self._open)
            active = np.diagonal(sums[:over, :m, :m], axis1=1, axis2=2) > 0
        if n == 1:
            size, begin = np.array([k]), np.array([float(first // every)])
        else:
            edges = np.minimum(np.maximum(np.arange(n + 1) * every - phase, 0), k)
            size, begin = edges[1:] - edges[:-1], first // every + np.arange(float(n))
        return Seconds(size=size, over=over, begin=begin, rows=rows, active=active)

    def _set_anchor(self, value: F64, there: Bool) -> None:
        """Set missing anchors: each member's first value, or the first value of any member."""
        new = np.isnan(self.anchor) & there.any(axis=1)
        at = there.argmax(axis=1)
        if self._one_anchor and new.any():
            i = min(np.flatnonzero(new).tolist(), key=lambda j: int(at[j]))
            self.anchor[:] = value[i, at[i]]
        elif new.any():
            self.anchor[new] = value[new, at[new]]
        self._anchored = not np.isnan(self.anchor).any()

    def pairs(self, rows: F64) -> PairMoments:
        """Return the moments from the sums (n, 4 m, 2 m) of one window.

        mean = S_y / S_1, var = S_yy / S_1 - mean^2, cov = S_yz / S_1 - mean_y mean_z.
        """
        m = self._members
        count = rows[:, :m, :m]
        total = np.maximum(count, TINY)
        mean = rows[:, m : 2 * m, :m] / total
        return PairMoments(
            ticks=count,
            mean=mean,
            var=np.maximum(rows[:, 2 * m : 3 * m, :m] / total - mean * mean, 0.0),
            cov=rows[:, m : 2 * m, m:] / total - mean * mean.transpose(0, 2, 1),
            noise=rows[:, 3 * m :, :m] / total,
        )
