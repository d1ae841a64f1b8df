"""The grain of a channel's stamps: the step of the grid that a sender rounds them to.

A window is sixteen distinct stamps in a row. They lie on the coarsest grid of `STEPS` of which at
least 13 of their 15 differences d are whole multiples n,

    |d / step - n| step <= 1 us + 4 ulp.

This alone is weak evidence. The stamps of a sample clock may all lie on a grid, even with losses;
their rounding is then a constant, which the offset or the lag absorbs. The grid is a grain where
the readings are shown to fall between its points:

- *strong*: the multiples are irregular (min n > gcd n), or the channel repeats stamps;
- *weak*: n / gcd is 1 or 2, each at least three times, and the stamps lie within 1.3 steps of a
  straight line. This is typical of a rate between one and half of the grid's, and rare for random
  losses. Also arrival less stamp, where both are known, spreads over half a step.

A strong grain holds until stamps leave its grid; a weak one while windows confirm it.

State: sixteen stamps a channel. Cost: about 20 numpy calls a block with sixteen new stamps.
Losses: none.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool, State

STEPS = (1.0, 0.1, 0.01, 0.001)
"""Candidate grids of stamps (s), the coarsest first."""
WINDOW = 16
MIN_ON_GRID = 0.85
"""Allows one wild stamp or clock reset in a window: two differences of fifteen."""
MIN_REPEATED = 2
CLOSE_S, ULPS, MAX_DOUBT = 1e-6, 4.0, 0.1
MIN_OF_EACH, MAX_UNEVEN, MIN_SPREAD = 3, 1.3, 0.5
_LINE = np.stack((np.ones(WINDOW), np.arange(WINDOW)))
_OFF_LINE = np.eye(WINDOW) - np.linalg.pinv(_LINE) @ _LINE
"""Projects the stamps of a window off their least-squares line."""
_NEVER = np.iinfo(np.int64).max


class _GrainWindows(NamedTuple):
    """Of windows (w,): the grid, 0 for none, and the evidence that it is a grain."""

    grid: F64
    strong: Bool
    weak: Bool


@dataclass
class Grain:
    """The grain of one channel's stamps.

    Attributes
    ----------
    grain_s : float
        Grain in force (s); 0 for none.
    strong : bool
        The grain holds until stamps leave its grid.
    """

    grain_s: float = 0.0
    strong: bool = False
    stamps: F64 = field(default_factory=lambda: np.empty(0))
    delays: F64 = field(default_factory=lambda: np.empty(0))
    repeated: I64 = field(default_factory=lambda: np.empty(0, np.int64))
    """Of each waiting stamp: arrival less stamp (s), and the number of its repetitions."""

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> Grain:
        """Return the grain of a snapshot."""
        return cls(**state)

    def feed(self, stamps: F64, delays: F64, watermark: F64) -> list[tuple[float, float]]:
        """Process a channel's stamps in order of arrival.

        Parameters
        ----------
        stamps, watermark : float64 (n,)
            Source time and watermark of each row (s).
        delays : float64 (n,)
            Arrival less stamp (s), NaN where a row has only one of them.

        Returns
        -------
        list of (watermark, grain)
            Each change of the grain (s), with the watermark of the row that completed it.
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
        # The last stamp may still be repeated: a window is complete once another stamp follows.
        n = (len(distinct) - 1) // WINDOW
        used = n * WINDOW
        self.stamps, self.delays = distinct[used:].copy(), delay[used:].copy()
        self.repeated = repeated[used:].copy()
        if not n:
            return []
        shape = n, WINDOW
        with np.errstate(over="ignore", invalid="ignore"):
            found = _grids(
                stamps=distinct[:used].reshape(shape),
                delays=delay[:used].reshape(shape),
                repeated=repeated[:used].reshape(shape),
            )
        dated = watermark[first[WINDOW : used + 1 : WINDOW] - waiting]
        return self._changes(found, dated)

    def _changes(self, found: _GrainWindows, dated: F64) -> list[tuple[float, float]]:
        """Return the changes of the grain over windows."""
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


def _grids(stamps: F64, delays: F64, repeated: I64) -> _GrainWindows:
    """Return the grids of windows (w, 16), and the evidence of readings between their points."""
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
        # One sum per row: the rounding of a matrix product may depend on the number of rows.
        stray = np.add.reduce((stamps - stamps[:, :1])[:, None] * _OFF_LINE, 2)
        stray /= size * common[:, None]
        even = stray.max(axis=1) - stray.min(axis=1) <= MAX_UNEVEN
        between = ~(spread < MIN_SPREAD * size * common)
        weak |= lies & (ones | twos).all(axis=1) & ~few & even & between
    return _GrainWindows(grid, strong, weak & ~strong)
