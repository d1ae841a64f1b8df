"""The grain of a channel's stamps: the step of the grid that a sender rounds them to.

Sixteen distinct stamps in a row are looked at together. Their grain is the largest of `STEPS` of
which at least 13 of their 15 differences d are whole multiples n,

    |d / step - n| step <= 1 us + 4 ulp,

where the stamps also show that readings fall between the points of the grid: the multiples have
an irregular pattern (min n > gcd n), or a channel repeats a stamp. Stamps of a regular cadence
on the same grid, such as those of a sample clock with losses, have min n = gcd n: their rounding
is one constant, which offset or lag take in, so that they decide nothing. A grain once found
stays until stamps leave its grid.

State: fifteen stamps a channel. Cost: about 15 numpy calls a block with sixteen new stamps.
Losses: none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from operators.records import F64, I64, State

STEPS = (1.0, 0.1, 0.01, 0.001)
"""Grids that stamps are looked for on (s), the coarsest first."""
TOGETHER = 16
LEAST_ON_GRID = 0.85
"""One stamp in a window may be wild or a clock reset: two differences of fifteen."""
LEAST_REPEATED = 2
CLOSE_S, ULPS, MOST_DOUBT = 1e-6, 4.0, 0.1


@dataclass
class Grain:
    """Follow one channel's stamps.

    Attributes
    ----------
    grain_s : float
        In force (s); 0 where none is known.
    """

    grain_s: float = 0.0
    stamps: F64 = field(default_factory=lambda: np.empty(0))
    repeated: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    """Of each stamp that waits: how often it came again."""

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    def feed(self, stamps: F64, before: F64) -> list[tuple[float, float]]:
        """Take in a channel's stamps in order of arrival.

        Parameters
        ----------
        stamps, before : float64 (n,)
            Source time and the newest arrival known before each row (s).

        Returns
        -------
        list of (before, grain)
            Each change of the grain (s), dated by the row that made it known.
        """
        if not len(stamps):
            return []
        waiting = len(self.stamps)
        every = np.concatenate((self.stamps, stamps))
        fresh = np.ones(len(every), bool)
        np.not_equal(every[1:], every[:-1], out=fresh[1:])
        fresh[:waiting] = True
        first = np.flatnonzero(fresh)
        repeated = np.diff(first, append=len(every)) - 1
        repeated[: len(self.repeated)] += self.repeated
        distinct = every[first]
        # The last stamp may yet come again: a window is whole once another follows it.
        windows = (len(distinct) - 1) // TOGETHER
        used = windows * TOGETHER
        self.stamps, self.repeated = distinct[used:].copy(), repeated[used:].copy()
        if not windows:
            return []
        found = _grains(
            distinct[:used].reshape(windows, TOGETHER), repeated[:used].reshape(windows, TOGETHER)
        )
        dated = before[first[TOGETHER : used + 1 : TOGETHER] - waiting]
        return self._changes(found, dated)

    def _changes(self, found: tuple[F64, F64], dated: F64) -> list[tuple[float, float]]:
        """Return the changes that windows make: their own grain, and the coarsest grid of each."""
        grain, grid = found
        turned = np.ones(len(grain), bool)
        turned[1:] = (grain[1:] != grain[:-1]) | (grid[1:] != grid[:-1])
        changes = []
        for i in np.flatnonzero(turned).tolist():
            now = float(grain[i])
            if not now:
                now = self.grain_s if self.grain_s <= grid[i] else 0.0
            if now != self.grain_s:
                self.grain_s = now
                changes.append((float(dated[i]), now))
        return changes


def _grains(stamps: F64, repeated: I64) -> tuple[F64, F64]:
    """Return the grain, 0 for none, and the coarsest grid, 0 for none, of windows (w, 16)."""
    with np.errstate(over="ignore", invalid="ignore"):
        return _on_grids(stamps, repeated)


def _on_grids(stamps: F64, repeated: I64) -> tuple[F64, F64]:
    step = np.diff(stamps, axis=1)
    size_of = np.abs(stamps)
    close = CLOSE_S + ULPS * np.spacing(np.maximum(size_of[:, 1:], size_of[:, :-1]))
    coarse = repeated.sum(axis=1) >= LEAST_REPEATED
    grain, grid = np.zeros(len(stamps)), np.zeros(len(stamps))
    for size in STEPS:
        n = np.rint(step / size)
        on = (np.abs(step - n * size) <= close) & (n != 0) & (close < MOST_DOUBT * size)
        lies = (on.mean(axis=1) >= LEAST_ON_GRID) & (grid == 0)
        if not lies.any():
            continue
        n = np.where(on, np.minimum(np.abs(n), 1e15), 0.0).astype(np.int64)
        least = np.where(n > 0, n, np.iinfo(np.int64).max).min(axis=1)
        irregular = least > np.gcd.reduce(n, axis=1)
        grid[lies] = size
        grain[lies & (irregular | coarse)] = size
    return grain, grid
