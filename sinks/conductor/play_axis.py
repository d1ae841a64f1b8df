"""Time at which a tick of the bridge is played, by the steady and by the wall clock.

Live, the time of a tick is host time, which is the steady clock with a date:

    steady = ts - (host - steady clock)        wall = ts + steps of the wall clock

In a replay it is data time at the speed of the replay. Results come in blocks, so that the first
ones of a block are the latest; the axis moves on until each of them comes in its time:

    steady = ts / speed + max(arrival of a frame - its `known` / speed)

The distance of two clocks is the best of some readings: a reading that is interrupted is off by the
length of the interruption.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from math import inf
from typing import Protocol

_TRIES = 8
_TIGHT_S = 5e-6
"""Longest duration of a reading that needs no second one (s)."""
_MIN_MOVE_S = 1e-3
"""Smallest change of the host axis that is followed (s), such as that of a resumed run."""


class HostTime(Protocol):
    """Host time of a run, such as `sources.host.host_clock.HostClock`."""

    def __call__(self) -> float:
        """Return host time (s since 1970)."""

    @property
    def ahead_s(self) -> float:
        """Wall clock less host time (s): the sum of the steps of the wall clock."""


class PlayAxis(Protocol):
    """Times of a run's ticks."""

    def seen(self, known: float) -> None:
        """Take the arrival of a result that was known at `known` (data s)."""

    def steady(self, ts: float) -> float:
        """Return the steady clock at a time of the data (s)."""

    def wall(self, ts: float) -> float:
        """Return the wall clock at a time of the data (s)."""


def distance(clock: Callable[[], float], steady: Callable[[], float]) -> tuple[float, float]:
    """Return a clock less the steady clock (s), and the duration of the reading (s)."""
    best = 0.0, inf
    for _ in range(_TRIES):
        first = steady()
        read = clock()
        width = steady() - first
        if width < best[1]:
            best = read - first - width / 2, width
        if width <= _TIGHT_S:
            break
    return best


class LiveAxis:
    """Times of a live run.

    Parameters
    ----------
    host : HostTime
    steady : callable
        A clock that cannot be set (s).
    """

    def __init__(self, host: HostTime, steady: Callable[[], float]) -> None:
        self._host, self._steady = host, steady
        self._offset = 0.0
        self._error = inf

    def seen(self, known: float) -> None:
        """Follow the host axis, which moves when a run is resumed."""
        offset, width = distance(self._host, self._steady)
        moved = abs(offset - self._offset) > _MIN_MOVE_S + width + self._error
        if moved or width < self._error:
            self._offset, self._error = offset, width

    def steady(self, ts: float) -> float:
        """Return the steady clock at a host time (s)."""
        return ts - self._offset

    def wall(self, ts: float) -> float:
        """Return the wall clock at a host time (s)."""
        return ts + self._host.ahead_s


class ReplayAxis:
    """Times of a replay.

    Parameters
    ----------
    speed : float
    steady, wall : callable
        A clock that cannot be set, and the wall clock (s).
    """

    def __init__(
        self,
        speed: float,
        steady: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._speed, self._steady, self._wall = speed, steady, wall
        self._offset = -inf
        self._ahead_s = 0.0

    def seen(self, known: float) -> None:
        """Move on to the arrival of a result that is later than all before."""
        self._offset = max(self._offset, self._steady() - known / self._speed)
        self._ahead_s = distance(self._wall, self._steady)[0]

    def steady(self, ts: float) -> float:
        """Return the steady clock at a data time (s)."""
        return ts / self._speed + self._offset

    def wall(self, ts: float) -> float:
        """Return the wall clock at a data time (s)."""
        return self.steady(ts) + self._ahead_s
