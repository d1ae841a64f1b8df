"""Indicators of the bridge over time, in the flow.

- `SyncWindow`: circular mean of the phase errors e (cycles) of the beats in the last
  `rebalance_window_s`, R = mean(exp(2 pi i e)): |arg R| / 2 pi is the bias, |R| the spread.
- `Trends`: one sample each whole second of data time, and over these samples the means, the 5th
  percentile and the standard deviation. They are those of Prometheus' `avg_over_time`,
  `quantile_over_time` and `stddev_over_time`.
- `RollbackRatio`: the part of the ticks in E2 and E3 that was silenced or at a limit.

State: at most 15,000 beats; 2,100 samples; a byte for each grid tick in 300 s. Cost: 2 us a beat,
6 us a second, 0.5 us a grid tick.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from operators.bridge.protocol import SENT
from operators.numeric.sample_window import SampleWindow
from operators.types import BridgeState, State

MAX_BEATS = 15_000
"""Beats in a window: 600 s at 25 Hz. Faster beats shorten the window."""
ONE = 1 << 40
"""Sums are whole numbers of this part of 1: exact in any order, without drift."""
KNOWN_PART = 0.25
"""Part of the window that beats must cover before R is known."""
HOLDOVER_S = 2.0
HOLDOVER_BEATS = 4
"""A longer gap between beats is hold-over, and not covered."""
MIN_SAMPLES = 60
"""Known samples of a figure over time."""
MAX_SAMPLE = 1e6
"""A larger sample is unknown: its rounding error would hide the others."""
FROZEN_SD = 1e-6
"""A standard deviation not above it is that of a frozen series, and unknown."""
REPORTED_ENTROPY = "ure_residual_entropy_last"
"""Fact of the entropy that an engine reports; it goes before the measured one."""
MEAN_S = 300
LONG_S = 600
RATIO_S = 300.0
MIN_RATIO_S = 60.0
"""Divisor of the rollback ratio, at least (s of E2 and E3)."""


class SyncWindow:
    """Bias and spread of the phase error.

    Parameters
    ----------
    window_s : float
    """

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._beats: deque[tuple[float, int, int, int]] = deque()
        """(ts, cos, sin, covered time), the last three in parts of `ONE`."""
        self._newest, self._gaps = math.nan, (0.0, 0.0)
        self._cos = self._sin = self._covered = 0
        self._figures: tuple[float, float] | None = None
        """Those of the beats in the window; None since these changed."""

    @classmethod
    def from_snapshot(cls, state: State, window_s: float) -> SyncWindow:
        """Return the window of a snapshot."""
        found = cls(window_s)
        found._newest, found._gaps = state["newest"], tuple(state["gaps"])
        for ts, (cos, sin, covered) in zip(
            state["ts"].tolist(), state["parts"].tolist(), strict=True
        ):
            found._put((ts, cos, sin, covered))
        return found

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "newest": self._newest,
            "gaps": list(self._gaps),
            "ts": np.array([beat[0] for beat in self._beats], np.float64),
            "parts": np.array([beat[1:] for beat in self._beats], np.int64).reshape(-1, 3),
        }

    def add(self, ts: float, error: float, interval_s: float) -> None:
        """Add a beat that found the clock running.

        Parameters
        ----------
        ts : float
            Host time of the beat (s).
        error : float
            Phase error (cycles).
        interval_s : float
            Time between beats at the rate in force.
        """
        if not (math.isfinite(ts) and math.isfinite(error)):
            return
        # Some references date one beat of many: of two gaps the shorter is no silence.
        usual_s = max(min(self._gaps), interval_s if interval_s > 0 else 0.0)
        longest_s = max(HOLDOVER_S, HOLDOVER_BEATS * usual_s)
        gap = ts - self._newest if ts > self._newest else 0.0
        covered = min(gap, self._window_s) if gap <= longest_s else 0.0
        self._newest, self._gaps = ts, (self._gaps[1], gap)
        angle = math.tau * math.fmod(error, 1.0)
        cos, sin = math.cos(angle), math.sin(angle)
        self._put((ts, round(cos * ONE), round(sin * ONE), round(covered * ONE)))
        if len(self._beats) > MAX_BEATS:
            self._drop()

    def at(self, now: float) -> tuple[float, float]:
        """Return |arg R| / 2 pi (cycles) and |R| at a time (s); NaN where unknown."""
        beats = self._beats
        while beats and not abs(now - beats[0][0]) < self._window_s:
            self._drop()
        if self._figures is None:
            self._figures = self._read()
        return self._figures

    def _read(self) -> tuple[float, float]:
        if not self._beats or self._covered < KNOWN_PART * self._window_s * ONE:
            return math.nan, math.nan
        length = math.hypot(self._cos, self._sin)
        phase = abs(math.atan2(self._sin, self._cos)) / math.tau if length else math.nan
        return phase, min(length / (ONE * len(self._beats)), 1.0)

    def _put(self, beat: tuple[float, int, int, int]) -> None:
        self._figures = None
        self._beats.append(beat)
        self._cos += beat[1]
        self._sin += beat[2]
        self._covered += beat[3]

    def _drop(self) -> None:
        self._figures = None
        _, cos, sin, covered = self._beats.popleft()
        self._cos -= cos
        self._sin -= sin
        self._covered -= covered


class TrendFigures(NamedTuple):
    """Figures over time at one second; NaN where fewer than `MIN_SAMPLES` samples are known."""

    phase_diff_mean_5m: float = math.nan
    sync_quality_p05_10m: float = math.nan
    entropy_ratio_mean_10m: float = math.nan
    residual_stddev_10m: float = math.nan


class Trends:
    """Figures over samples of each whole second.

    Attributes
    ----------
    newest : TrendFigures
        Those of the newest second.
    """

    def __init__(self) -> None:
        self.newest = TrendFigures()
        self._second = math.nan
        self._phase = SampleWindow(MEAN_S)
        self._sync = SampleWindow(LONG_S)
        self._entropy = SampleWindow(LONG_S)
        self._residual = SampleWindow(LONG_S)
        self._sorted: list[float] = []
        """The known samples of `_sync`."""

    @classmethod
    def from_snapshot(cls, state: State) -> Trends:
        """Return the figures of a snapshot."""
        found = cls()
        found.newest, found._second = TrendFigures(*state["newest"]), state["second"]
        found._phase, found._sync, found._entropy, found._residual = (
            SampleWindow.from_snapshot(window) for window in state["windows"]
        )
        found._sorted = list(state["sorted"])
        return found

    def snapshot(self) -> State:
        """Return the state as plain values."""
        windows = (self._phase, self._sync, self._entropy, self._residual)
        return {
            "newest": list(self.newest),
            "second": self._second,
            "windows": [window.snapshot() for window in windows],
            "sorted": list(self._sorted),
        }

    def tick(
        self, ts: float, phase: float, sync: float, entropy: float, reported: float
    ) -> TrendFigures:
        """Take the first grid tick of a second as its sample; return the newest figures.

        Parameters
        ----------
        ts : float
            The grid tick (s).
        phase, sync, entropy : float
            `bridge_phase_diff`, `bridge_sync_quality`, `bridge_entropy_ratio`; NaN is unknown.
        reported : float
            The reported entropy where that fact is configured, else `entropy`.
        """
        second = math.floor(ts) if math.isfinite(ts) else self._second
        if second == self._second or math.isnan(second):
            return self.newest
        missed = second - self._second - 1
        if missed > 0:
            for _ in range(int(min(missed, LONG_S))):
                self._add(*(math.nan,) * 4)
        self._second = second
        self._add(phase, sync, entropy, reported)
        variance = self._residual.variance
        # An unknown entropy is no steady one, nor is a frozen one.
        steady = math.isfinite(reported) and variance > FROZEN_SD**2
        self.newest = TrendFigures(
            self._phase.mean if self._phase.known >= MIN_SAMPLES else math.nan,
            quantile(self._sorted, 0.05) if len(self._sorted) >= MIN_SAMPLES else math.nan,
            self._entropy.mean if self._entropy.known >= MIN_SAMPLES else math.nan,
            math.sqrt(variance) if steady and self._residual.known >= MIN_SAMPLES else math.nan,
        )
        return self.newest

    def _add(self, phase: float, sync: float, entropy: float, reported: float) -> None:
        self._phase.add(_sound(phase))
        self._entropy.add(_sound(entropy))
        self._residual.add(_sound(reported))
        sync = _sound(sync)
        oldest = self._sync.add(sync)
        if math.isfinite(oldest):
            del self._sorted[bisect_left(self._sorted, oldest)]
        if math.isfinite(sync):
            insort(self._sorted, sync)


class RollbackRatio:
    """Part of the last 300 s of E2 and E3 that was silenced or at a limit of the tick.

    The divisor is 60 s of ticks at least. A change out of E4 begins anew.

    Parameters
    ----------
    tick_hz : float
        Rate of the grid.
    """

    def __init__(self, tick_hz: float) -> None:
        self._least = MIN_RATIO_S * tick_hz
        self._length = max(1, round(RATIO_S * tick_hz))
        self._flags = bytearray(self._length)
        self._at = self._ticks = self._bad = 0
        self._rolled_back = False

    @classmethod
    def from_snapshot(cls, state: State, tick_hz: float) -> RollbackRatio:
        """Return the ratio of a snapshot."""
        found = cls(tick_hz)
        found._flags = bytearray(state["flags"].tobytes())
        found._at, found._ticks, found._bad = state["at"], state["ticks"], state["bad"]
        found._rolled_back = state["rolled_back"]
        return found

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "flags": np.frombuffer(self._flags, np.uint8).copy(),
            "at": self._at,
            "ticks": self._ticks,
            "bad": self._bad,
            "rolled_back": self._rolled_back,
        }

    def tick(self, state: BridgeState, bad: bool) -> float:
        """Count a grid tick by the state in force at it, before its own change.

        Parameters
        ----------
        state : BridgeState
        bad : bool
            The hard stop held, or the tick was at a limit.

        Returns
        -------
        float
            0 to 1.
        """
        if self._rolled_back and state != "E4":
            self._begin()
        self._rolled_back = state == "E4"
        if state in SENT:
            self._bad += bad - self._flags[self._at]
            self._flags[self._at] = bad
            self._at = (self._at + 1) % self._length
            self._ticks = min(self._ticks + 1, self._length)
        return self.value

    @property
    def value(self) -> float:
        """The ratio of the newest tick."""
        return self._bad / max(self._ticks, self._least)

    def _begin(self) -> None:
        self._flags = bytearray(self._length)
        self._at = self._ticks = self._bad = 0
        self._rolled_back = False


def _sound(value: float) -> float:
    return value if abs(value) <= MAX_SAMPLE else math.nan


def quantile(ordered: Sequence[float], part: float) -> float:
    """Return the quantile of ordered values by linear interpolation; NaN without one."""
    if not ordered:
        return math.nan
    rank = part * (len(ordered) - 1)
    low = int(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (rank - low) * (ordered[high] - ordered[low])
