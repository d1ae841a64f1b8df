"""Good and bad ticks: what the service level objectives are counted from.

- phase: `phase_diff` within its budget; sync: `sync_quality` likewise.
- residual: the standard deviation over the last ten minutes of what the engine reports of its
  entropy, or else of `entropy_ratio`, a sample a second. What did not change in that time is
  frozen, and bad.

Before the first value nothing is judged; from then on an unknown one is bad.

State: ten minutes of one sample a second. Cost: 10 us a packet, and as many where a second begins.
"""

from __future__ import annotations

from math import isfinite, nan
from typing import get_args

import numpy as np

from operators.records import F64, I64, INDICATORS, Bool, Fused
from sinks.budgets import BUDGETS, Slo

SLOS: tuple[Slo, ...] = get_args(Slo)
REPORTED = "ure_residual_entropy_last"
WINDOW = 600
LEAST = 60
"""Samples before a deviation says anything."""
FROZEN_SD = 1e-6


class Judge:
    """Counts by objective.

    Attributes
    ----------
    ticks, bad : dict
        Ticks judged, and those of them that were bad.
    """

    def __init__(self) -> None:
        self.ticks = dict.fromkeys(SLOS, 0)
        self.bad = dict.fromkeys(SLOS, 0)
        self._begun: set[Slo] = set()
        self._second = -np.inf
        self._window = _Window()
        self._newest = (False, False)

    def add(self, *parts: Fused) -> None:
        """Judge consecutive ticks, all at once."""
        phase, sync, entropy = (
            np.concatenate([part.indicators[:, INDICATORS.index(name)] for part in parts])
            for name in ("phase_diff", "sync_quality", "entropy_ratio")
        )
        self._count("phase", phase <= BUDGETS["phase_diff"].good, np.isfinite(phase))
        self._count("sync", sync >= BUDGETS["sync_quality"].good, np.isfinite(sync))
        names = parts[0].fact_names
        told = [i for i, name in enumerate(names) if name.endswith(f":{REPORTED}")]
        if told:
            entropy = np.concatenate([part.facts[:, told[0]] for part in parts])
        ts = np.concatenate([part.ts for part in parts])
        self._count("residual", *self._steady(ts, entropy))

    def _count(self, slo: Slo, good: Bool, known: Bool, ticks: I64 | None = None) -> None:
        """Count verdicts: one a tick, or each over so many ticks."""
        if slo not in self._begun:
            if not known.any():
                return
            self._begun.add(slo)
            first = known.argmax()
            good, ticks = good[first:], None if ticks is None else ticks[first:]
        total, well = (len(good), good.sum()) if ticks is None else (ticks.sum(), ticks[good].sum())
        self.ticks[slo] += int(total)
        self.bad[slo] += int(total - well)

    def _steady(self, ts: F64, value: F64) -> tuple[Bool, Bool, I64]:
        """Return whether a series is steady without being frozen, and whether that is known.

        A verdict a second, beginning with that of the ticks before the first new one, and over
        how many ticks it holds.
        """
        verdicts, edges = [self._newest], np.array([0, len(ts)])
        if np.floor(ts[-1]) != self._second:
            second = np.floor(ts)
            new = np.flatnonzero(second[1:] != second[:-1]) + 1
            if second[0] != self._second:
                new = np.concatenate((edges[:1], new))
            self._second = second[-1]
            verdicts += map(self._window.add, value[new].tolist())
            edges = np.concatenate((edges[:1], new, edges[1:]))
            self._newest = verdicts[-1]
        good, known = np.array(verdicts).T
        return good, known, edges[1:] - edges[:-1]


class _Window:
    """The last samples of a series, and sums over them."""

    def __init__(self) -> None:
        self._values = [nan] * WINDOW
        self._at = 0
        self._begin()

    def add(self, value: float) -> tuple[bool, bool]:
        """Take in a sample; return whether the series is steady, and whether that is known."""
        self._count(self._values[self._at], -1)
        self._values[self._at] = value
        self._at = (self._at + 1) % WINDOW
        if self._at:
            self._count(value, 1)
        else:  # anew, so that what is rounded off does not add up
            self._begin()
            for each in self._values:
                self._count(each, 1)
        if self._n < LEAST or not isfinite(value):
            return False, self._n >= LEAST
        variance = self._squares / self._n - (self._sum / self._n) ** 2
        return FROZEN_SD**2 < variance <= BUDGETS["residual"].good ** 2, True

    def _begin(self) -> None:
        self._n, self._sum, self._squares, self._centre = 0, 0.0, 0.0, nan

    def _count(self, value: float, by: int) -> None:
        if not isfinite(value):
            return
        if not self._n:
            self._centre = value
        x = value - self._centre
        self._n += by
        self._sum += by * x
        self._squares += by * x * x
