"""The movement measured by simulated instruments."""

from __future__ import annotations

import numpy as np

from operators.types import F64

BREATH_HZ, BREATH_WIDTH_HZ = 0.28, 0.06
SWELL_HZ, SWELL = 0.013, 0.3


class Movement:
    """A band-limited signal of RMS 1, defined at any time.

    x(t) = (1 + S sin(2 pi f_s t + p_s)) sum_k a_k sin(2 pi f_k t + p_k)
    """

    def __init__(self, rng: np.random.Generator, count: int = 160, *, flat: bool = False) -> None:
        if flat:
            self._frequency = np.linspace(0.02, 1.5, 2 * count)
            self._amplitude = np.full(2 * count, np.sqrt(1 / count))
            self._phase = rng.random(2 * count + 1) * 2 * np.pi
            self._swell = 0.0
            return
        edges = np.geomspace(0.05, 1.5, count + 1)
        width = np.diff(edges)
        frequency = edges[:-1] + width * rng.random(count)
        breath = np.exp(-(((frequency - BREATH_HZ) / BREATH_WIDTH_HZ) ** 2) / 2)
        power = (0.25 / frequency + breath) * width * rng.gamma(2.0, 0.5, count)
        self._frequency = frequency
        self._amplitude = np.sqrt(2 * power / power.sum() / (1 + SWELL**2 / 2))
        self._phase = rng.random(count + 1) * 2 * np.pi
        self._swell = SWELL

    def at(self, time: F64) -> F64:
        """Return the movement at `time` (n,), in seconds after the start."""
        value = np.zeros(len(time))
        for f, a, p in zip(self._frequency, self._amplitude, self._phase, strict=False):
            value += a * np.sin(2 * np.pi * f * time + p)
        swell: F64 = 1 + self._swell * np.sin(2 * np.pi * SWELL_HZ * time + self._phase[-1])
        return value * swell
