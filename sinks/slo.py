"""Good and bad ticks: what the service level objectives are counted from.

- phase: `phase_diff` within its budget; sync: `sync_quality` likewise.
- residual: the standard deviation over the last ten minutes of what the engine reports of its
  entropy, or else of `entropy_ratio`, a sample a second. What did not change in that time is
  frozen, and bad.

Before the first value nothing is judged; from then on an unknown one is bad.

State: ten minutes of one sample a second. Cost: 30 us a packet.
"""

from __future__ import annotations

from typing import get_args

import numpy as np

from operators.records import F64, INDICATORS, Bool, Fused
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
        self._window = np.full(WINDOW, np.nan)
        self._newest = (False, False)

    def add(self, fused: Fused) -> None:
        """Judge consecutive ticks."""
        phase, sync, entropy = (
            fused.indicators[:, INDICATORS.index(name)]
            for name in ("phase_diff", "sync_quality", "entropy_ratio")
        )
        self._count("phase", phase <= BUDGETS["phase_diff"].good, np.isfinite(phase))
        self._count("sync", sync >= BUDGETS["sync_quality"].good, np.isfinite(sync))
        told = [i for i, name in enumerate(fused.fact_names) if name.endswith(f":{REPORTED}")]
        self._count(
            "residual", *self._steady(fused.ts, fused.facts[:, told[0]] if told else entropy)
        )

    def _count(self, slo: Slo, good: Bool, known: Bool) -> None:
        if slo not in self._begun:
            if not known.any():
                return
            self._begun.add(slo)
            good = good[known.argmax() :]
        self.ticks[slo] += len(good)
        self.bad[slo] += len(good) - int(np.count_nonzero(good))

    def _steady(self, ts: F64, value: F64) -> tuple[Bool, Bool]:
        """Return where a series is steady without being frozen, and where that is known (k,)."""
        second = np.floor(ts)
        new = np.concatenate((second[:1] != self._second, second[1:] != second[:-1]))
        self._second = float(second[-1])
        verdicts = np.array([self._newest])
        if new.any():
            series = np.concatenate((self._window, value[new]))
            self._window = series[-WINDOW:]
            verdicts = np.concatenate((verdicts, _verdicts(series)))
        good, known = verdicts[np.cumsum(new)].T
        self._newest = bool(good[-1]), bool(known[-1])
        return good, known


def _verdicts(series: F64) -> Bool:
    """Return (good, known) at each sample but the first `WINDOW` (k, 2)."""
    there = np.isfinite(series)
    known = series[there]
    x = np.where(there, series - known[:1], 0.0) if len(known) else np.zeros(len(series))
    sums = np.cumsum((there, x, x * x), axis=1)
    n, total, squares = sums[:, WINDOW:] - sums[:, :-WINDOW]
    many = np.maximum(n, 1.0)
    variance = squares / many - (total / many) ** 2
    enough = n >= LEAST
    steady = (variance > FROZEN_SD**2) & (variance <= BUDGETS["residual"].good ** 2)
    return np.stack((enough & there[WINDOW:] & steady, enough), axis=1)
