"""Hard stop: silence beside the states of the bridge, while a condition is true."""

from __future__ import annotations

import math

from operators.types import State

TOLERANCE_S = 1e-6
"""Largest rounding error of a difference of grid ticks."""


class HardStop:
    """Silence while a condition is true, and until none has been true for `keep_s`.

    An unknown condition keeps the verdict.

    Parameters
    ----------
    keep_s : float

    Attributes
    ----------
    holds : bool
        The verdict at the newest grid tick.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._last = -math.inf
        self.holds = False

    @classmethod
    def from_snapshot(cls, state: State, keep_s: float) -> HardStop:
        """Return the hard stop of a snapshot."""
        found = cls(keep_s)
        found._last, found.holds = state["last"], state["holds"]
        return found

    def update(self, ts: float, truth: float) -> bool:
        """Return the verdict at a grid tick.

        Parameters
        ----------
        ts : float
            The grid tick (s).
        truth : float
            1 if any condition is true, -1 if all are false, else 0.
        """
        if ts < self._last:
            self._last = ts  # a jump back
        if truth > 0:
            self._last, self.holds = ts, True
        elif truth < 0 and ts - self._last >= self._keep_s - TOLERANCE_S:
            self.holds = False
        return self.holds

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"last": self._last, "holds": self.holds}
