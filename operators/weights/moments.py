"""Running moments of each pair of a signal's members, over the ticks that both have.

Sums are gathered by second of data time and forgotten exponentially. Nothing is kept of a member
alone: members that were there at different times would look biased against each other. Each
member's values are taken from an anchor, its first, so that squares keep their digits.

A window that is `shared` is of the time that the pair has in common and keeps its sums while one
of them is away; any other is of data time.

State: four sums a pair and window, and of the second that is not over. Cost: one matrix product a
packet, 5 numpy calls a second.

Source: exponentially weighted moments of pairwise complete data; Welford, Technometrics 4 (1962),
on taking them from an anchor.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool, State

RENEW_S = 1.0
INDEPENDENT_HZ = 5.0
"""Of a finer grid, ticks that are nearer to one another than this share their noise."""
TINY = 1e-300
PARTS = 4
"""Rows of the product: presence, value, its square, variance of its noise."""


class MomentWindow(NamedTuple):
    """What is forgotten after how long (s), and whether only time in common counts."""

    seconds: float
    shared: bool


class PairMoments(NamedTuple):
    """Moments of pairs over n windows, (n, m, m): [:, i, j] is of i, over the ticks shared with j.

    `ticks` in common; `mean`, `var` and `noise` (variance) of i; `cov` of both. Values are less
    their anchors.
    """

    ticks: F64
    mean: F64
    var: F64
    cov: F64
    noise: F64


class Seconds(NamedTuple):
    """A packet's ticks by second: n stretches, of which the first `over` end a second.

    `size` (n,) ticks each; `begin` (n,) the second of data time; `rows` (over + 1, windows, 4 m,
    2 m) the sums before the first and after each that is over; `active` (over, m) says whether a
    member was there within it.
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
        """Take in ticks from index `first` on.

        Parameters
        ----------
        value, noise : float64 (m, k)
            Values, and the variance of their noise (NaN: unknown, counted as none).
        there : bool (m, k)
            Where the value is known.
        """
        m, k, every = self._members, value.shape[1], self.every
        if np.isnan(self.anchor).any():
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
        both = np.tile(sums[:over, :m, :m] > 0, (1, PARTS, 2))
        rows = np.empty((over + 1, *self._sums.shape))
        rows[0] = self._sums
        for i in range(over):
            keep = np.where(self._shared & ~both[i], 1.0, self._keep)
            rows[i + 1] = keep * rows[i] + sums[i]
        self._sums = rows[over].copy()
        self._open = sums[over].copy() if over < n else np.zeros_like(self._open)
        edges = np.minimum(np.maximum(np.arange(n + 1) * every - phase, 0), k)
        return Seconds(
            edges[1:] - edges[:-1], over, first // every + np.arange(float(n)), rows,
            np.diagonal(sums[:over, :m, :m], axis1=1, axis2=2) > 0,
        )  # fmt: skip

    def _set_anchor(self, value: F64, there: Bool) -> None:
        """Give members that have none their first value, or all of them the first of any."""
        new = np.isnan(self.anchor) & there.any(axis=1)
        at = there.argmax(axis=1)
        if self._one_anchor and new.any():
            i = min(np.flatnonzero(new).tolist(), key=lambda j: int(at[j]))
            self.anchor[:] = value[i, at[i]]
        elif new.any():
            self.anchor[new] = value[new, at[new]]

    def pairs(self, rows: F64) -> PairMoments:
        """Return the moments that sums (n, 4 m, 2 m) of one window come to."""
        m = self._members
        count = rows[:, :m, :m]
        total = np.maximum(count, TINY)
        mean = rows[:, m : 2 * m, :m] / total
        return PairMoments(
            count, mean,
            np.maximum(rows[:, 2 * m : 3 * m, :m] / total - mean * mean, 0.0),
            rows[:, m : 2 * m, m:] / total - mean * mean.transpose(0, 2, 1),
            rows[:, 3 * m :, :m] / total,
        )  # fmt: skip
