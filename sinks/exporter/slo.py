"""Good and bad ticks, from which the service level objectives are computed.

- phase: `phase_diff` within its threshold; sync: `sync_quality` likewise.
- residual: the standard deviation over the last ten minutes of the entropy that the engine
  reports, else of `entropy_ratio`, one sample a second. A series without any change in that time is
  frozen, and bad.

Before the first value nothing is judged; afterwards an unknown value is bad. A value can be unknown
because fewer than two members are present and densely sampled, so that nothing can be compared.
Such ticks, and those until the next value, as at the start, are *uncompared* and counted apart.

State: ten minutes of one sample a second. Cost: 10 us a packet, and 10 us more at a new second.
"""

from __future__ import annotations

from math import isfinite
from typing import get_args

import numpy as np

from configs.thresholds import THRESHOLDS, Slo
from operators.bridge.trend import FROZEN_SD, LONG_S, MIN_SAMPLES, REPORTED_ENTROPY
from operators.numeric.sample_window import SampleWindow
from operators.records import INDICATORS, Fused
from operators.types import F64, I64, Bool
from sinks.advice.sparse import counted

SLOS: tuple[Slo, ...] = get_args(Slo)


class Judge:
    """Counts by objective.

    Parameters
    ----------
    signal : str, optional
        Signal whose members the indicators compare; the first by default.

    Attributes
    ----------
    ticks, bad : dict
        Ticks judged, and the bad ones among them.
    uncompared : dict
        Ticks without anything to judge, not in the other two counts.
    """

    def __init__(self, signal: str | None = None) -> None:
        self.ticks = dict.fromkeys(SLOS, 0)
        self.bad = dict.fromkeys(SLOS, 0)
        self.uncompared = dict.fromkeys(SLOS, 0)
        self._signal = signal
        self._begun: set[Slo] = set()
        self._second = -np.inf
        self._window = SampleWindow(LONG_S)
        self._newest = (False, False, False)
        self._apart = dict.fromkeys(SLOS, False)

    def add(self, *parts: Fused) -> None:
        """Judge consecutive ticks, all at once."""
        values = np.concatenate([part.indicators for part in parts])
        phase, sync, entropy = (
            values[:, INDICATORS.index(name)]
            for name in ("phase_diff", "sync_quality", "entropy_ratio")
        )
        alone = self._alone(parts)
        known, apart = np.isfinite(phase), self._aside("phase", phase, alone)
        self._count("phase", phase <= THRESHOLDS["phase_diff"].good, known, apart)
        known, apart = np.isfinite(sync), self._aside("sync", sync, alone)
        self._count("sync", sync >= THRESHOLDS["sync_quality"].good, known, apart)
        names = parts[0].fact_names
        reported = [i for i, name in enumerate(names) if name.endswith(f":{REPORTED_ENTROPY}")]
        if reported:
            entropy = np.concatenate([part.facts[:, reported[0]] for part in parts])
            alone = np.zeros(len(entropy), bool)
        ts = np.concatenate([part.ts for part in parts])
        apart = self._aside("residual", entropy, alone)
        self._count("residual", *self._steady(ts, entropy, apart))

    def _alone(self, parts: tuple[Fused, ...]) -> Bool:
        """Return whether fewer than two members can be compared, by tick (k,)."""
        names = [signal.name for signal in parts[0].signals]
        i = names.index(self._signal) if self._signal in names else 0
        live = np.concatenate([part.signals[i].live for part in parts])
        return np.asarray(live - counted(self._signal, *parts) < 2, bool)

    def _aside(self, slo: Slo, value: F64, alone: Bool) -> Bool:
        """Return whether a tick (k,) has no value because fewer than two members were compared."""
        known = np.isfinite(value)
        if known.all():
            self._apart[slo] = False
            return np.zeros(len(value), bool)
        apart = alone & ~known
        last = np.maximum.accumulate(np.where(known | alone, np.arange(len(value)), -1))
        apart = np.where(last >= 0, apart[last], self._apart[slo])
        self._apart[slo] = bool(apart[-1])
        return apart

    def _count(
        self, slo: Slo, good: Bool, known: Bool, apart: Bool, ticks: I64 | None = None
    ) -> None:
        """Count verdicts: one a tick, or each for `ticks` ticks."""
        if ticks is None:
            if slo in self._begun and not apart.any():
                self.ticks[slo] += len(good)
                self.bad[slo] += len(good) - int(np.count_nonzero(good))
                return
            ticks = np.ones(len(good), np.int64)
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
        """Return steady (and not frozen), known, uncompared, and the number of ticks.

        One verdict a second, beginning with that of the ticks before the first new second. A second
        whose first tick is uncompared is uncompared as a whole.
        """
        verdicts, edges = [self._newest], np.array([0, len(ts)])
        if np.floor(ts[-1]) != self._second:
            second = np.floor(ts)
            new = np.flatnonzero(second[1:] != second[:-1]) + 1
            if second[0] != self._second:
                new = np.concatenate((edges[:1], new))
            self._second = second[-1]
            verdicts += [
                (*self._verdict(x), aside)
                for x, aside in zip(value[new].tolist(), apart[new].tolist(), strict=True)
            ]
            edges = np.concatenate((edges[:1], new, edges[1:]))
            self._newest = verdicts[-1]
        good, known, aside = np.array(verdicts).T
        return good, known, aside, edges[1:] - edges[:-1]

    def _verdict(self, value: float) -> tuple[bool, bool]:
        """Add a sample; return whether the series is steady, and whether that is known."""
        window = self._window
        window.add(value)
        if window.known < MIN_SAMPLES or not isfinite(value):
            return False, window.known >= MIN_SAMPLES
        return FROZEN_SD**2 < window.variance <= THRESHOLDS["residual"].good ** 2, True
