"""Good and bad ticks: what the service level objectives are counted from.

- phase: `phase_diff` within its budget; sync: `sync_quality` likewise.
- residual: the standard deviation over the last ten minutes of what the engine reports of its
  entropy, or else of `entropy_ratio`, a sample a second. What did not change in that time is
  frozen, and bad.

Before the first value nothing is judged; from then on an unknown one is bad. Where it is unknown
because fewer than two members are present (and sampled densely enough for the movement) there is
nothing to compare: such ticks, and those until the next value, as at the start, are *uncompared*,
counted apart.

State: ten minutes of one sample a second. Cost: 10 us a packet, and as many where a second begins.
"""

from __future__ import annotations

from math import isfinite, nan
from typing import get_args

import numpy as np

from configs.thresholds import THRESHOLDS, Slo
from operators.records import INDICATORS, Fused
from operators.types import F64, I64, Bool
from sinks.advice.sparse import counted

SLOS: tuple[Slo, ...] = get_args(Slo)
REPORTED = "ure_residual_entropy_last"
WINDOW = 600
LEAST = 60
"""Samples before a deviation says anything."""
FROZEN_SD = 1e-6


class Judge:
    """Counts by objective.

    Parameters
    ----------
    signal : str, optional
        Whose members the indicators compare; the first by default.

    Attributes
    ----------
    ticks, bad : dict
        Ticks judged, and those of them that were bad.
    uncompared : dict
        Ticks at which there was nothing to judge, in none of the two others.
    """

    def __init__(self, signal: str | None = None) -> None:
        self.ticks = dict.fromkeys(SLOS, 0)
        self.bad = dict.fromkeys(SLOS, 0)
        self.uncompared = dict.fromkeys(SLOS, 0)
        self._signal = signal
        self._begun: set[Slo] = set()
        self._second = -np.inf
        self._window = _Window()
        self._newest = (False, False, False)
        self._apart = dict.fromkeys(SLOS, False)

    def add(self, *parts: Fused) -> None:
        """Judge consecutive ticks, all at once."""
        phase, sync, entropy = (
            np.concatenate([part.indicators[:, INDICATORS.index(name)] for part in parts])
            for name in ("phase_diff", "sync_quality", "entropy_ratio")
        )
        alone = np.concatenate([self._alone(part) for part in parts])
        known, apart = np.isfinite(phase), self._aside("phase", phase, alone)
        self._count("phase", phase <= THRESHOLDS["phase_diff"].good, known, apart)
        known, apart = np.isfinite(sync), self._aside("sync", sync, alone)
        self._count("sync", sync >= THRESHOLDS["sync_quality"].good, known, apart)
        names = parts[0].fact_names
        told = [i for i, name in enumerate(names) if name.endswith(f":{REPORTED}")]
        if told:
            entropy = np.concatenate([part.facts[:, told[0]] for part in parts])
            alone = np.zeros(len(entropy), bool)
        ts = np.concatenate([part.ts for part in parts])
        apart = self._aside("residual", entropy, alone)
        self._count("residual", *self._steady(ts, entropy, apart))

    def _alone(self, part: Fused) -> Bool:
        """Return at which ticks (k,) fewer than two members can be compared."""
        signals = part.signals
        signal = next((s for s in signals if s.name == self._signal), signals[0])
        return np.asarray(signal.live - counted(part, self._signal) < 2, bool)

    def _aside(self, slo: Slo, value: F64, alone: Bool) -> Bool:
        """Return which ticks (k,) have no value since fewer than two members were compared."""
        known = np.isfinite(value)
        apart = alone & ~known
        last = np.maximum.accumulate(np.where(known | alone, np.arange(len(value)), -1))
        apart = np.where(last >= 0, apart[last], self._apart[slo])
        self._apart[slo] = bool(apart[-1])
        return apart

    def _count(
        self, slo: Slo, good: Bool, known: Bool, apart: Bool, ticks: I64 | None = None
    ) -> None:
        """Count verdicts: one a tick, or each over so many ticks."""
        ticks = np.ones(len(good), np.int64) if ticks is None else ticks
        self.uncompared[slo] += int(ticks[apart].sum())
        judged = ~apart
        if slo not in self._begun:
            if not (known & judged).any():
                return
            self._begun.add(slo)
            judged[: int((known & judged).argmax())] = False
        self.ticks[slo] += int(ticks[judged].sum())
        self.bad[slo] += int(ticks[judged & ~good].sum())

    def _steady(self, ts: F64, value: F64, apart: Bool) -> tuple[Bool, Bool, Bool, I64]:
        """Return whether a series is steady without being frozen, known, and compared at all.

        A verdict a second, beginning with that of the ticks before the first new one, and over
        how many ticks it holds. Of a second whose first tick is uncompared, all are.
        """
        verdicts, edges = [self._newest], np.array([0, len(ts)])
        if np.floor(ts[-1]) != self._second:
            second = np.floor(ts)
            new = np.flatnonzero(second[1:] != second[:-1]) + 1
            if second[0] != self._second:
                new = np.concatenate((edges[:1], new))
            self._second = second[-1]
            verdicts += [
                (*self._window.add(x), aside)
                for x, aside in zip(value[new].tolist(), apart[new].tolist(), strict=True)
            ]
            edges = np.concatenate((edges[:1], new, edges[1:]))
            self._newest = verdicts[-1]
        good, known, aside = np.array(verdicts).T
        return good, known, aside, edges[1:] - edges[:-1]


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
        return FROZEN_SD**2 < variance <= THRESHOLDS["residual"].good ** 2, True

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
