"""Gains of the phase loop as curves over the entropy ratio.

kp(H) and kd(H) are monotone cubics (Fritsch & Carlson 1980, SIAM J. Numer. Anal. 17, 238-246)
through the points of the curves, held flat beyond both ends. The damping of the loop is
kp / (2 sqrt(ki)); it is the same at every entropy, because

    ki(H) = ki_base (kp(H) / kp(0))^2

with kp(0) of the first point: higher entropy narrows the bandwidth only.

State: the newest known entropy. Cost: 3 us at a new entropy.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from operators.bridge.bridge_config import NonlinearGainConfig, PhaseConfig
from operators.bridge.gains_in_force import Gains
from operators.types import State

MAX_SLOPE = 1e150
"""Slope of points that nearly coincide; it keeps the formulas finite."""


class MonotoneCurve:
    """A cubic between each two points that is monotone where the points are.

    Parameters
    ----------
    points : sequence of (x, y)
        At least two, x rising.
    """

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        self._x = [x for x, _ in points]
        self._y = [y for _, y in points]
        self._slopes = _slopes(self._x, self._y)

    def __call__(self, x: float) -> float:
        """Return y at x, that of the nearest end beyond the points."""
        k = bisect_right(self._x, x)
        if k == 0:
            return self._y[0]
        if k == len(self._x):
            return self._y[-1]
        width = self._x[k] - self._x[k - 1]
        t = (x - self._x[k - 1]) / width
        left, right = self._y[k - 1], self._y[k]
        # Cubic Hermite polynomial, around the left point.
        y = (
            left
            + t * t * (3 - 2 * t) * (right - left)
            + t * (1 - t) ** 2 * width * self._slopes[k - 1]
            - t * t * (1 - t) * width * self._slopes[k]
        )
        # Rounding may leave the interval of the two points.
        return min(max(y, min(left, right)), max(left, right))


def _slopes(x: Sequence[float], y: Sequence[float]) -> list[float]:
    """Return the slope at each point.

    With d the secant of an interval and m the slopes at its ends, a cubic is monotone if both
    m / d are >= 0 and within the circle of radius 3.
    """
    secants = [
        min(max((y[k + 1] - y[k]) / (x[k + 1] - x[k]), -MAX_SLOPE), MAX_SLOPE)
        for k in range(len(x) - 1)
    ]
    inner = [(a + b) / 2 if a * b > 0 else 0.0 for a, b in pairwise(secants)]
    slopes = [secants[0], *inner, secants[-1]]
    for k, d in enumerate(secants):
        if d == 0:
            slopes[k] = slopes[k + 1] = 0.0
            continue
        radius = math.hypot(slopes[k] / d, slopes[k + 1] / d)
        if radius > 3:
            slopes[k] *= 3 / radius
            slopes[k + 1] *= 3 / radius
    return slopes


class GainSchedule:
    """The configured gains at an entropy ratio.

    Parameters
    ----------
    phase : PhaseConfig
        Its `gain` is in force without curves.
    curves : NonlinearGainConfig or None
    """

    def __init__(self, phase: PhaseConfig, curves: NonlinearGainConfig | None = None) -> None:
        self._constant = Gains(phase.gain.kp, phase.gain.ki, phase.gain.kd)
        self._curves = None
        if curves:
            self._curves = MonotoneCurve(curves.kp_curve), MonotoneCurve(curves.kd_curve)
            self._kp0, self._ki_base = curves.kp_curve[0][1], curves.ki_base
        self._entropy = math.inf
        self._gains = self._of_curves()

    @classmethod
    def from_snapshot(
        cls, state: State, phase: PhaseConfig, curves: NonlinearGainConfig | None = None
    ) -> GainSchedule:
        """Return the schedule of a snapshot."""
        found = cls(phase, curves)
        found._entropy = state["entropy"]
        found._gains = found._of_curves()
        return found

    def at(self, entropy: float) -> Gains:
        """Return the gains at an entropy ratio.

        Where it is unknown (NaN), those at the last known one; before any, those of the last
        point, the most careful.
        """
        if entropy != self._entropy and math.isfinite(entropy):
            self._entropy = entropy
            self._gains = self._of_curves()
        return self._gains

    def _of_curves(self) -> Gains:
        if self._curves is None:
            return self._constant
        kp, kd = (curve(self._entropy) for curve in self._curves)
        ki = self._ki_base * (kp / self._kp0) ** 2 if self._kp0 else self._ki_base
        return Gains(kp, ki, kd)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"entropy": self._entropy}
