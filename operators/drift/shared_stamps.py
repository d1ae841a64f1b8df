"""Samples that share a coarse stamp, spread over the time to the next.

A sender that rounds its stamps down, for instance to whole seconds, gives many samples one stamp.
Their order is a finer clock. If the last two runs of one stamp had n samples over the time d,
sample k of the next run was taken at about

    stamp + min(k spacing, d),    spacing = min of d / n over the two runs, d the shorter one.

This applies where stamps lie on a grid of 10 ms or of its multiples and both runs had four
samples or more. All other stamps are unchanged, as are those of the first two runs. The first
sample stays at the stamp, and so the clock's offset is unchanged. A run cut short by a loss has a
wide spacing, one across a loss a long d: the smaller value of the two runs is used.

State: five numbers a channel. Cost: 40 numpy calls a block with repeated stamps, 3 with few rows.
Losses: none.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from operator import ne

import numpy as np

from operators.limits import MAX_FEW
from operators.types import F64, State

MIN_COUNT = 4
GRID_S, CLOSE_S, ULPS = 0.01, 1e-6, 4.0


@dataclass
class SharedStamps:
    """The runs of one channel.

    Attributes
    ----------
    stamp : float
        Stamp of the open run (s), NaN before the first.
    count : int
        Samples of the open run.
    runs : tuple of (float, float)
        Length (s) and samples of the two runs before it, the newest last.
    stated : bool
        The note on spread samples has been published.
    """

    stamp: float = float("nan")
    count: int = 0
    runs: tuple[tuple[float, float], ...] = field(default_factory=tuple)
    stated: bool = False

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> SharedStamps:
        """Return the runs of a snapshot."""
        return cls(**state)

    def feed(self, stamps: F64) -> F64 | None:
        """Process a channel's stamps in order of arrival.

        Parameters
        ----------
        stamps : float64 (n,)
            Source time (s).

        Returns
        -------
        float64 (n,) or None
            Delay of each sample after its stamp (s); None where all are 0.
        """
        n = len(stamps)
        if n <= MAX_FEW:
            return self._feed_few(stamps.tolist())
        new = np.ones(n, bool)
        new[1:] = stamps[1:] != stamps[:-1]
        new[0] = stamps[0] != self.stamp
        at = np.flatnonzero(new)
        if len(at) == n and self.count < MIN_COUNT and not self.runs:
            self.stamp, self.count = float(stamps[-1]), 1
            return None
        # Runs: the open one, then those that begin here; their first samples and counts.
        first = np.append(-self.count, at)
        value = np.append(self.stamp, stamps[at])
        count = np.diff(first, append=n).astype(np.float64)
        length = np.diff(value)
        whole = np.stack((length, count[:-1]), axis=1)
        if np.isnan(self.stamp):
            whole, first, count = whole[1:], first[1:], count[1:]
            value = value[1:]
        past = np.concatenate((np.array(self.runs).reshape(-1, 2), whole))
        short = len(past) - len(whole)
        missing = 2 - short
        past = np.concatenate((np.full((missing, 2), np.nan), past))
        last, older = past[1:][: len(value)], past[:-1][: len(value)]
        fit = (
            (np.minimum(last[:, 1], older[:, 1]) >= MIN_COUNT)
            & (last[:, 0] > 0)
            & (older[:, 0] > 0)
        )
        fit &= _on_grid(value)
        with np.errstate(invalid="ignore", over="ignore"):
            spacing = np.minimum(last[:, 0] / last[:, 1], older[:, 0] / older[:, 1])
            longest = np.minimum(last[:, 0], older[:, 0])
        self.stamp, self.count = float(value[-1]), int(count[-1])
        known = past[~np.isnan(past[:, 0])][-2:]
        self.runs = tuple((float(a), float(b)) for a, b in known)
        if not fit.any():
            return None
        run = np.cumsum(new) - 1 + (first[0] < 0 or not new[0])
        k = np.arange(n) - first[run]
        with np.errstate(invalid="ignore", over="ignore"):
            later = np.minimum(k * spacing[run], longest[run])
        return np.where(fit[run], later, 0.0)

    def _feed_few(self, stamps: list[float]) -> F64 | None:
        """Process few stamps; as `feed`."""
        if self._pass_single(stamps):
            return None
        later = []
        fits = self._spacing() if stamps and stamps[0] == self.stamp else None
        any_fit = False
        for stamp in stamps:
            if stamp == self.stamp:
                self.count += 1
            else:
                length = stamp - self.stamp
                if length == length:
                    self.runs = (*self.runs[-1:], (length, float(self.count)))
                single = length == length and self.count < MIN_COUNT
                self.stamp, self.count = stamp, 1
                fits = None if single else self._spacing()
            any_fit |= fits is not None
            k = self.count - 1
            later.append(min(k * fits[0], fits[1]) if fits else 0.0)
        return np.array(later) if any_fit else None

    def _pass_single(self, stamps: list[float]) -> bool:
        """Process stamps none of which is shared or spread; False otherwise, nothing changed."""
        if len(stamps) < 3 or self.count >= MIN_COUNT or stamps[0] == self.stamp:
            return False
        if not all(map(ne, stamps, stamps[1:])) or not math.isfinite(sum(stamps)):
            return False
        *_, a, b, c = stamps
        self.runs, self.stamp, self.count = ((b - a, 1.0), (c - b, 1.0)), c, 1
        return True

    def _spacing(self) -> tuple[float, float] | None:
        """Return spacing and largest delay (s) in the open run, None where it is not spread."""
        if len(self.runs) < 2:
            return None
        (d, n), (d_before, n_before) = self.runs
        if min(n, n_before) < MIN_COUNT or d <= 0 or d_before <= 0:
            return None
        if not _on_grid(np.array([self.stamp]))[0]:
            return None
        return min(d / n, d_before / n_before), min(d, d_before)


def _on_grid(stamps: F64) -> np.ndarray:
    """Return which stamps lie on the grid, where their precision suffices to decide it."""
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(stamps - np.rint(stamps / GRID_S) * GRID_S)
        close = CLOSE_S + ULPS * np.spacing(np.abs(stamps))
        return np.asarray((off <= close) & (close < GRID_S / 10))
