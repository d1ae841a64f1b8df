"""Good and bad ticks: what the service level objectives are counted from.

- phase: `phase_diff` within its budget; sync: `sync_quality` likewise.
- residual: the standard deviation over the last ten minutes of what the engine reports of its
  entropy, or else of `entropy_ratio`, a sample a second. What never changed in that time is
  frozen, and bad.

Before the first value nothing is judged; from then on an unknown one is bad.

State: ten minutes of one sample a second. Cost: about 0.1 ms a second of data.
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
_MANY = 1_000


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
        new = np.diff(second, prepend=self._second) != 0
        self._second = float(second[-1])
        verdicts = [np.array([self._newest])]
        samples = value[new]
        for part in (samples[i : i + _MANY] for i in range(0, len(samples), _MANY)):
            series = np.concatenate((self._window, part))
            self._window = series[-WINDOW:]
            verdicts.append(_verdicts(series))
        good, known = np.concatenate(verdicts)[np.cumsum(new)].T
        self._newest = bool(good[-1]), bool(known[-1])
        return good, known


def _verdicts(series: F64) -> Bool:
    """Return (good, known) at each sample but the first `WINDOW` (k, 2)."""
    windows = np.lib.stride_tricks.sliding_window_view(series, WINDOW)[1:]
    there = np.isfinite(windows)
    n = np.count_nonzero(there, axis=1)
    some = np.maximum(n, 1)
    mean = np.where(there, windows, 0.0).sum(axis=1) / some
    square = np.where(there, (windows - mean[:, None]) ** 2, 0.0).sum(axis=1) / some
    moves = np.fmax.reduce(windows, 1) > np.fmin.reduce(windows, 1)
    known = n >= LEAST
    good = known & there[:, -1] & moves & (np.sqrt(square) <= BUDGETS["residual"].good)
    return np.stack((good, known), axis=1)
