"""Mean and variance of the newest samples of a series."""

from __future__ import annotations

from math import isfinite, nan

from operators.types import State


class SampleWindow:
    """The newest `length` samples, with the sums of the known ones.

    Sums are relative to the first sample. They are recomputed once in `length` samples, so that
    rounding errors do not accumulate.

    Parameters
    ----------
    length : int

    Attributes
    ----------
    known : int
        Number of finite samples.
    """

    def __init__(self, length: int) -> None:
        self._values = [nan] * length
        self._at = 0
        self._begin()

    @classmethod
    def from_snapshot(cls, state: State) -> SampleWindow:
        """Return the window of a snapshot."""
        found = cls(len(state["values"]))
        found._values, found._at = list(state["values"]), state["at"]
        found.known, found._centre = state["known"], state["centre"]
        found._sum, found._squares = state["sum"], state["squares"]
        return found

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "values": list(self._values),
            "at": self._at,
            "known": self.known,
            "centre": self._centre,
            "sum": self._sum,
            "squares": self._squares,
        }

    def add(self, value: float) -> float:
        """Add a sample, NaN where unknown; return the sample that leaves."""
        oldest = self._values[self._at]
        self._count(oldest, -1)
        self._values[self._at] = value
        self._at = (self._at + 1) % len(self._values)
        if self._at:
            self._count(value, 1)
        else:
            self._begin()
            for each in self._values:
                self._count(each, 1)
        return oldest

    @property
    def mean(self) -> float:
        """Mean of the known samples; NaN without one."""
        return self._centre + self._sum / self.known if self.known else nan

    @property
    def variance(self) -> float:
        """E[x^2] - E[x]^2 of the known samples, x relative to the first; NaN without one."""
        if not self.known:
            return nan
        return self._squares / self.known - (self._sum / self.known) ** 2

    def _begin(self) -> None:
        self.known, self._sum, self._squares, self._centre = 0, 0.0, 0.0, nan

    def _count(self, value: float, by: int) -> None:
        if not isfinite(value):
            return
        if not self.known:
            self._centre = value
        x = value - self._centre
        self.known += by
        self._sum += by * x
        self._squares += by * x * x
