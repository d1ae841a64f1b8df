"""Host time of a run: a steady clock with the date of the wall clock at the start.

    host time = steady clock + offset        wall clock = host time + ahead

The steady clock cannot be set (on Linux CLOCK_BOOTTIME, which runs during a sleep of the machine).
Both clocks are slewed alike, so that their distance changes by steps only. `look` finds the steps;
host time is continuous. Kernel stamps of the wall clock are converted to host time with the
distance in force at the stamp.

A run that resumes from a snapshot keeps its axis: exactly in the same boot of the machine, else by
the wall clock and its earlier `ahead`, but never before the newest event of the run.

Accuracy: steps below 1 ms accumulate until they make 1 ms. A step during a standstill of the
process longer than the step cannot be separated from later arrivals; those stamps are wrong by
it. Cost: 1 us a look. State: the 8 newest steps.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec
import numpy as np

from operators.types import F64, I64

MIN_STEP_NS = 1_000_000
_MAX_STEPS = 8
_AFTER_NS = 1000
_TRIES = 8
_TIGHT_NS, _FAIR_NS = 2_000, 50_000
"""Longest accepted duration of a reading of the wall clock: at the start; at a look."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Axis(msgspec.Struct, frozen=True):
    """The axis of host time, for a resumed run.

    Attributes
    ----------
    boot : str
        Of the machine; empty if unknown.
    offset_ns : int
        Host time - steady clock.
    ahead_ns : int
        Wall clock - host time.
    """

    boot: str
    offset_ns: int
    ahead_ns: int


def steady_ns() -> int:
    """Return a clock that cannot be set and runs during a sleep of the machine (ns)."""
    try:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except AttributeError:  # not Linux
        return time.monotonic_ns()


def boot_id() -> str:
    """Return the identifier of this boot of the machine; empty if it has none."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


class HostClock:
    """Host time; thread-safe. Calling it returns the time now (s), in whole microseconds.

    Parameters
    ----------
    wall, steady : callable
        The wall clock (ns since 1970); a clock that cannot be set (ns).
    boot : str or None
        Of the machine; None: as the system names it.
    """

    def __init__(
        self,
        wall: Callable[[], int] = time.time_ns,
        steady: Callable[[], int] = steady_ns,
        boot: str | None = None,
    ) -> None:
        self._wall, self._steady = wall, steady
        self._boot = boot_id() if boot is None else boot
        self._lock = threading.Lock()
        self._offset = self._bracket(_TIGHT_NS)[0]
        self._ahead = 0
        # Wall clock - host time before each step, and host time at the last look before it.
        self._before: deque[tuple[int, int]] = deque(maxlen=_MAX_STEPS)
        self._looked = self._now()
        self._steps: deque[tuple[float, float]] = deque(maxlen=_MAX_STEPS)

    def __call__(self) -> float:
        """Return host time (s since 1970, in whole microseconds)."""
        return self._now() // 1000 / 1e6

    @property
    def ahead_s(self) -> float:
        """Wall clock less host time (s), without steps below 1 ms."""
        with self._lock:
            return self._ahead / 1e9

    def look(self) -> None:
        """Detect a step of the wall clock."""
        with self._lock:
            self._look()

    def steps(self) -> list[tuple[float, float]]:
        """Take out the steps of the wall clock since the last call: host time, size (s)."""
        self.look()
        return [self._steps.popleft() for _ in range(len(self._steps))]

    def of_wall(self, wall_us: I64) -> F64:
        """Return the host time of stamps of the wall clock, none of them in the future.

        Parameters
        ----------
        wall_us : int64 (n,)
            Microseconds since 1970.

        Returns
        -------
        float64 (n,)
            Host time (s).
        """
        with self._lock:
            self._look()
            now, ahead, before = self._looked, self._ahead, list(self._before)
        host = wall_us - ahead // 1000
        for old_ahead, until in reversed(before):
            # Later than now, or before the last look without the step: stamped before the step.
            early = (host > now // 1000) | (host <= until // 1000)
            if not early.any():
                break
            host = np.where(early, wall_us - old_ahead // 1000, host)
        return np.asarray(np.minimum(host, now // 1000) / 1e6)

    def axis(self) -> Axis:
        """Return the axis of host time, for a snapshot."""
        with self._lock:
            return Axis(self._boot, self._offset, self._ahead)

    def resume(self, axis: Axis) -> None:
        """Resume the axis of an earlier run, before the first stamp.

        In the same boot of the machine host time continues as if without a pause; a set wall clock
        is a step. In another boot the wall clock is the reference.
        """
        with self._lock:
            offset = self._bracket(_TIGHT_NS)[0]
            same = bool(self._boot) and self._boot == axis.boot
            self._offset = axis.offset_ns if same else offset - axis.ahead_ns
            self._set_ahead(offset - self._offset, axis.ahead_ns)

    def not_before(self, newest: float) -> float:
        """Move host time forward to an arrival of the run (s); return the size of the move (s).

        The wall clock is then behind host time by that amount, which is a step of it.
        """
        with self._lock:
            behind = 0
            if math.isfinite(newest):
                behind = max(round(newest * 1e9) + _AFTER_NS - self._now(), 0)
            self._offset += behind
            self._set_ahead(self._ahead - behind, self._ahead)
            return behind / 1e9

    def _set_ahead(self, ahead: int, before: int) -> None:
        self._ahead = ahead
        self._before.clear()
        self._looked = self._now()
        if abs(ahead - before) >= MIN_STEP_NS:
            self._steps.append((self._looked // 1000 / 1e6, (ahead - before) / 1e9))

    def _now(self) -> int:
        return self._steady() + self._offset

    def _bracket(self, enough_ns: int) -> tuple[int, int]:
        """Return wall - steady clock, and the bound of its error (ns)."""
        best: tuple[int, int] | None = None
        for _ in range(_TRIES):
            first = self._steady()
            wall = self._wall()
            width = self._steady() - first
            if best is None or width < best[1]:
                best = wall - first - width // 2, width
            if width <= enough_ns:
                break
        assert best is not None
        return best

    def _look(self) -> None:
        offset, width = self._bracket(_FAIR_NS)
        step = offset - self._offset - self._ahead
        if abs(step) >= MIN_STEP_NS + width:
            self._before.append((self._ahead, self._looked))
            self._ahead += step
            self._steps.append((self._now() // 1000 / 1e6, step / 1e9))
        self._looked = self._now()


def stated(step_s: float) -> str:
    """Return the message on a step of the wall clock."""
    way = "back" if step_s < 0 else "forth"
    return f"the host's clock was set {way} by {abs(round(step_s, 3)):g} s: host time goes on"
