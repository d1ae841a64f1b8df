"""A phase and its rate, moved by each beat: least squares whose memory grows, then constant gains.

The formulas are those of `operators.bridge.observer`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from operators.bridge.gains_in_force import Gains

MIN_MEMORY, MAX_MEMORY = 4, 1_000
MIN_HZ, MAX_HZ = 1e-6, 1e6
MAX_TIME_S = 1e12
"""A time further from 0 is none."""


class Line(NamedTuple):
    """A phase (beats) at a time (s), its rate (Hz), and the beats behind both."""

    at: float
    phase: float
    rate: float
    memory: int

    def phase_at(self, t: float) -> float:
        """Return the phase at time t."""
        return self.phase + self.rate * (t - self.at)

    def gain(self, gap: float, kp: float) -> float:
        """Return a, the gain in phase, `gap` beats after the last beat."""
        m = self.memory + 1
        return min(1.0, gap * max(kp / self.rate, 2 * (2 * m - 1) / (m * (m + 1))))

    def moved(
        self, t: float, number: float, gap: float, gains: Gains, most: int, *, frozen: bool = False
    ) -> Line:
        """Return the line after a beat `number` at `t`, with a memory of at most `most`.

        Its rate stays where frozen.
        """
        kp, ki, _ = gains
        f = self.rate
        m = self.memory + 1
        a = self.gain(gap, kp)
        b = min(a, gap * gap * max(ki / (f * f), 6 / (m * (m + 1))))
        ahead = self.phase + f * (t - self.at)
        r = number - ahead
        rate = f if frozen else max(f * (1 + b * r / gap), MIN_HZ)
        return Line(t, ahead + a * r, rate, min(m, most))


def memory_limit(rate: float, gains: Gains) -> int:
    """Return the memory (beats) at which the gains have replaced least squares."""
    kp, ki, _ = gains
    if not (kp > 0 and ki > 0):
        return MAX_MEMORY
    beats = rate * max(4 / kp, math.sqrt(6 / ki))
    return int(min(max(beats, MIN_MEMORY), MAX_MEMORY))
