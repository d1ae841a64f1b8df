"""The grain of a channel's stamps: the step of the grid that a sender rounds them to.

Sixteen distinct stamps in a row are looked at together. They lie on the coarsest grid of `STEPS`
of which at least 13 of their 15 differences d are whole multiples n,

    |d / step - n| step <= 1 us + 4 ulp.

That alone is weak evidence: the stamps of a sample clock may all lie on a grid, losses among
them, and their rounding is one constant then, which offset or lag take in. The grid is a grain
where the readings are seen to fall between its points:

- *strong*: the multiples are irregular (min n > gcd n), or the channel repeats stamps;
- *weak*: n / gcd is 1 or 2, either three times or more, and so evenly that the stamps keep within
  1.3 steps of a straight line, as those of a rate between one and half of the grid's do and
  those of random losses do seldom; and arrival less stamp, where both are known, spreads over
  half a step.

A strong grain stays until stamps leave its grid; a weak one while windows confirm it.

State: sixteen stamps a channel. Cost: about 20 numpy calls a block with sixteen new stamps.
Losses: none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool, State

STEPS = (1.0, 0.1, 0.01, 0.001)
"""Grids that stamps are looked for on (s), the coarsest first."""
TOGETHER = 16
MIN_ON_GRID = 0.85
"""One stamp in a window may be wild or a clock reset: two differences of fifteen."""
MIN_REPEATED = 2
CLOSE_S, ULPS, MAX_DOUBT = 1e-6, 4.0, 0.1
MIN_OF_EACH, MAX_UNEVEN, MIN_SPREAD = 3, 1.3, 0.5
_LINE = np.stack((np.ones(TOGETHER), np.arange(TOGETHER)))
_STRAY = np.eye(TOGETHER) - np.linalg.pinv(_LINE) @ _LINE
"""Takes the least-squares line out of the stamps of a window."""
_NEVER = np.iinfo(np.int64).max


class _GrainWindows(NamedTuple):
    """Of windows (w,): the grid, 0 for none, and how its points are missed."""

    grid: F64
    strong: Bool
    weak: Bool


@dataclass
class Grain:
    """Follow one channel's stamps.

    Attributes
    ----------
    grain_s : float
        In force (s); 0 where none is known.
    strong : bool
        It stays until stamps leave its grid.
    """

    grain_s: float = 0.0
    strong: bool = False
    stamps: F64 = field(default_factory=lambda: np.empty(0))
    delays: F64 = field(default_factory=lambda: np.empty(0))
    repeated: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    """Of each stamp that waits: arrival less stamp (s), and how often it came again."""

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> Grain:
        """Return the grain of a snapshot."""
        return cls(**state)

    def feed(self, stamps: F64, delays: F64, before: F64) -> list[tuple[float, float]]:
        """Take in a channel's stamps in order of arrival.

        Parameters
        ----------
        stamps, before : float64 (n,)
            Source time and the newest arrival known before each row (s).
        delays : float64 (n,)
            Arrival less stamp (s), NaN where they are not two.

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
        distinct, delay = every[first], np.concatenate((self.delays, delays))[first]
        # The last stamp may yet come again: a window is whole once another follows it.
        n = (len(distinct) - 1) // TOGETHER
        used = n * TOGETHER
        self.stamps, self.delays = distinct[used:].copy(), delay[used:].copy()
        self.repeated = repeated[used:].copy()
        if not n:
            return []
        shape = n, TOGETHER
        with np.errstate(over="ignore", invalid="ignore"):
            found = _looked_at(
                distinct[:used].reshape(shape), delay[:used].reshape(shape),
                repeated[:used].reshape(shape),
            )  # fmt: skip
        dated = before[first[TOGETHER : used + 1 : TOGETHER] - waiting]
        return self._changes(found, dated)

    def _changes(self, found: _GrainWindows, dated: F64) -> list[tuple[float, float]]:
        """Return the changes that windows make."""
        turned = np.ones(len(dated), bool)
        turned[1:] = np.logical_or.reduce([x[1:] != x[:-1] for x in found])
        changes = []
        for i in np.flatnonzero(turned).tolist():
            grid, before = float(found.grid[i]), self.grain_s
            kept = self.strong and self.grain_s <= grid
            if found.strong[i]:
                self.grain_s, self.strong = grid, True
            elif not kept:
                self.grain_s, self.strong = grid if found.weak[i] else 0.0, False
            if self.grain_s != before:
                changes.append((float(dated[i]), self.grain_s))
        return changes


def _looked_at(stamps: F64, delays: F64, repeated: I64) -> _GrainWindows:
    """Return the grids of windows (w, 16) and whether readings fall between their points."""
    w = len(stamps)
    steps, far = np.diff(stamps, axis=1), np.abs(stamps)
    close = CLOSE_S + ULPS * np.spacing(np.maximum(far[:, 1:], far[:, :-1]))
    again = repeated.sum(axis=1) >= MIN_REPEATED
    spread = delays.max(axis=1) - delays.min(axis=1)
    grid, strong, weak = np.zeros(w), np.zeros(w, bool), np.zeros(w, bool)
    for size in STEPS:
        n = np.rint(steps / size)
        on = (np.abs(steps - n * size) <= close) & (n != 0) & (close < MAX_DOUBT * size)
        lies = (on.mean(axis=1) >= MIN_ON_GRID) & (grid == 0)
        if not lies.any():
            continue
        grid[lies] = size
        multiple = np.where(on, np.minimum(np.abs(n), 1e15), 0.0).astype(np.int64)
        least = np.where(multiple > 0, multiple, _NEVER).min(axis=1)
        common = np.maximum(np.gcd.reduce(multiple, axis=1), 1)
        strong |= lies & ((least > common) | again)
        ones, twos = multiple == common[:, None], multiple == 2 * common[:, None]
        few = np.minimum(ones.sum(axis=1), twos.sum(axis=1)) < MIN_OF_EACH
        # A sum a row: a product of matrices may round otherwise with the number of its rows.
        stray = np.add.reduce((stamps - stamps[:, :1])[:, None] * _STRAY, 2)
        stray /= size * common[:, None]
        even = stray.max(axis=1) - stray.min(axis=1) <= MAX_UNEVEN
        between = ~(spread < MIN_SPREAD * size * common)
        weak |= lies & (ones | twos).all(axis=1) & ~few & even & between
    return _GrainWindows(grid, strong, weak & ~strong)
