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

State: sixteen stamps a channel. Cost: about 80 numpy calls a block with sixteen new stamps; none
for a block of few rows. Most windows are decided in 1 us where that is compiled
(operators/native/stamps.c).
Losses: none.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators import native
from operators.limits import MAX_FEW, MAX_STAMP_S
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
STRONG, UNDECIDED = 1, 2
"""Evidence that the compiled form finds: enough, or the array form has to decide."""


class _GrainWindow(NamedTuple):
    """Of one window: the grid, 0 for none, and the evidence that it is a grain."""

    grid: float
    strong: bool
    weak: bool


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
    stamps: list[float] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)
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
        if len(stamps) <= MAX_FEW:
            return self.feed_few(stamps.tolist(), delays.tolist(), watermark.tolist())
        waiting = len(self.stamps)
        every = np.append(self.stamps, stamps)
        fresh = np.ones(len(every), bool)
        np.not_equal(every[1:], every[:-1], out=fresh[1:])
        fresh[:waiting] = True
        first = np.flatnonzero(fresh)
        repeated = np.diff(first, append=len(every)) - 1
        repeated[:waiting] += np.array(self.repeated, np.int64)
        distinct, delay = every[first], np.append(self.delays, delays)[first]
        # The last stamp may still be repeated: a window is complete once another stamp follows.
        n = (len(distinct) - 1) // WINDOW
        used = n * WINDOW
        self.stamps, self.delays = distinct[used:].tolist(), delay[used:].tolist()
        self.repeated = repeated[used:].tolist()
        if not n:
            return []
        shape = n, WINDOW
        found = _windows(
            distinct[:used].reshape(shape),
            delay[:used].reshape(shape),
            repeated[:used].reshape(shape),
        )
        dated = watermark[first[WINDOW : used + 1 : WINDOW] - waiting].tolist()
        return [
            (moment, self.grain_s)
            for each, moment in zip(found, dated, strict=True)
            if self._changed(each)
        ]

    def feed_few(
        self, stamps: list[float], delays: list[float], watermark: list[float]
    ) -> list[tuple[float, float]]:
        """Process few stamps; as `feed`."""
        changes = []
        for stamp, delay, moment in zip(stamps, delays, watermark, strict=True):
            if self.stamps and stamp == self.stamps[-1]:
                self.repeated[-1] += 1
                continue
            if len(self.stamps) == WINDOW:
                if self._changed(_window(self.stamps, self.delays, self.repeated)):
                    changes.append((moment, self.grain_s))
                self.stamps, self.delays, self.repeated = [], [], []
            self.stamps.append(stamp)
            self.delays.append(delay)
            self.repeated.append(0)
        return changes

    def _changed(self, found: _GrainWindow) -> bool:
        """Process a window; return whether it changes the grain."""
        before = self.grain_s
        if found.strong:
            self.grain_s, self.strong = found.grid, True
        elif not (self.strong and self.grain_s <= found.grid):
            self.grain_s, self.strong = found.grid if found.weak else 0.0, False
        return self.grain_s != before


def _windows(stamps: F64, delays: F64, repeated: I64) -> list[_GrainWindow]:
    """Return the grids of windows (w, 16)."""
    kernels = native.kernels
    if kernels is not None:
        again = np.add.reduce(repeated, 1).tolist()
        found = [kernels.grid(stamps.ravel(), WINDOW * k, n) for k, n in enumerate(again)]
        if all(evidence != UNDECIDED for _, evidence in found):
            return [_GrainWindow(grid, evidence == STRONG, weak=False) for grid, evidence in found]
    with np.errstate(over="ignore", invalid="ignore"):
        columns = _grids(stamps, delays, repeated)
    return [_GrainWindow(*each) for each in zip(*(x.tolist() for x in columns), strict=True)]


def _window(stamps: list[float], delays: list[float], repeated: list[int]) -> _GrainWindow:
    """Return the grid of one window; the numbers of `_grids`, bit for bit."""
    if native.kernels is not None:
        grid, evidence = native.kernels.grid(array("d", stamps), 0, sum(repeated))
        if evidence == UNDECIDED:
            return _by_arrays(stamps, delays, repeated)
        return _GrainWindow(grid, strong=evidence == STRONG, weak=False)
    steps = [b - a for a, b in pairwise(stamps)]
    far = [abs(x) for x in stamps]
    if not sum(far) <= WINDOW * MAX_STAMP_S:
        return _by_arrays(stamps, delays, repeated)
    close = [CLOSE_S + ULPS * math.ulp(max(a, b)) for a, b in pairwise(far)]
    most_off = (1 - MIN_ON_GRID) * len(steps)
    for size in STEPS:
        multiple = []
        off = 0
        for d, near in zip(steps, close, strict=True):
            n = round(d / size)
            if n and abs(d - n * size) <= near and near < MAX_DOUBT * size:
                multiple.append(abs(n))
                continue
            off += 1
            if off > most_off:
                break
        else:
            common = math.gcd(*multiple)
            if min(multiple) > common or sum(repeated) >= MIN_REPEATED:
                return _GrainWindow(size, strong=True, weak=False)
            ones, twos = multiple.count(common), multiple.count(2 * common)
            if off or ones + twos < len(multiple) or min(ones, twos) < MIN_OF_EACH:
                return _GrainWindow(size, strong=False, weak=False)
            return _by_arrays(stamps, delays, repeated)
    return _GrainWindow(0.0, strong=False, weak=False)


def _by_arrays(stamps: list[float], delays: list[float], repeated: list[int]) -> _GrainWindow:
    """Return the grid of one window from the array form."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = _grids(np.array([stamps]), np.array([delays]), np.array([repeated]))
    return _GrainWindow(float(found.grid[0]), bool(found.strong[0]), bool(found.weak[0]))


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
