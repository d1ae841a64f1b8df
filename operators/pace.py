"""How fast a channel speaks and how much it hisses.

The interval is the median of the last 64; nothing is said before 8 of them. The variance of
white noise comes from third differences, which leave nothing of a signal well below the rate:
mean((x3 - 3 x2 + 3 x1 - x0)^2) / 20.
"""

from __future__ import annotations

import numpy as np

from operators.records import F64, State
from operators.renewal import Renewal

MEMORY, RENEW, FIRST = 65, 64, 9
THIRD = 20.0
"""1 + 9 + 9 + 1: the gain of a third difference for white noise."""


class Pace:
    """One channel's pace. State: its last 65 samples."""

    def __init__(self, state: State | None = None) -> None:
        nothing = {"memory": MEMORY, "first": FIRST, "every": RENEW, "numbers": np.full(2, np.nan)}
        self._renewal = Renewal(**(state or nothing))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return self._renewal.snapshot()

    @property
    def spacing(self) -> float:
        """The median interval (s), NaN while unknown."""
        return float(self._renewal.numbers[0])

    @property
    def noise(self) -> float:
        """The variance of white noise, NaN while unknown."""
        return float(self._renewal.numbers[1])

    def push(self, time: F64, value: F64) -> tuple[F64, F64]:
        """Take in samples in order; return spacing (s) and noise variance as known at each."""
        spacing, noise = self._renewal.push(np.stack((time, value)), _measure)
        return spacing, noise


def _measure(windows: F64) -> F64:
    time, value = windows[:, 0], windows[:, 1]
    apart = time[:, 1:] - time[:, :-1]
    middle = apart.shape[1] // 2
    spacing = np.maximum(np.partition(apart, middle, axis=1)[:, middle], 1e-9)
    third = value[:, 3:] - 3 * (value[:, 2:-1] - value[:, 1:-2]) - value[:, :-3]
    return np.stack((spacing, np.mean(third * third, axis=1) / THIRD), axis=1)
