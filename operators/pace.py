"""How fast a channel speaks and how much it hisses, renewed every so many samples.

The interval is the median of the last 64; nothing is said before 8 of them. The variance of
white noise comes from third differences, which leave nothing of a signal well below the rate:
mean((x3 - 3 x2 + 3 x1 - x0)^2) / 20.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np

from operators.records import F64, State

MEMORY, RENEW, LEAST = 64, 32, 8
THIRD = 20.0
"""1 + 9 + 9 + 1: the gain of a third difference for white noise."""


@dataclass
class Pace:
    """One channel's pace. State: its last 65 samples."""

    time: F64 = field(default_factory=lambda: np.empty(0))
    value: F64 = field(default_factory=lambda: np.empty(0))
    seen: int = 0
    spacing: float = float("nan")
    noise: float = float("nan")

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    def push(self, time: F64, value: F64) -> tuple[F64, F64]:
        """Take in samples in order; return spacing (s) and noise variance as known at each."""
        every, values = np.concatenate((self.time, time)), np.concatenate((self.value, value))
        offset = len(self.time) - self.seen
        spacing, noise = np.empty(len(time)), np.empty(len(time))
        seen, stop = self.seen, self.seen + len(time)
        start = 0
        while seen < stop:
            due = LEAST + 1 if seen <= LEAST else RENEW * (seen // RENEW + 1)
            until = min(due, stop)
            spacing[start : start + until - seen] = self.spacing
            noise[start : start + until - seen] = self.noise
            start, seen = start + until - seen, until
            if seen == due:
                last = slice(max(0, seen + offset - MEMORY - 1), seen + offset)
                apart = np.diff(every[last])
                middle = len(apart) // 2
                self.spacing = max(float(np.partition(apart, middle)[middle]), 1e-9)
                third = np.diff(values[last], 3)
                self.noise = float(np.mean(third * third)) / THIRD
                # The sample that completes the number already knows.
                spacing[start - 1], noise[start - 1] = self.spacing, self.noise
        self.seen = stop
        self.time, self.value = every[-MEMORY - 1 :], values[-MEMORY - 1 :]
        return spacing, noise
