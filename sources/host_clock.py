"""The host's time in a run: steady from the start, dated by the wall clock there.

Host time is a clock that nobody can set (on Linux CLOCK_BOOTTIME, which goes on through a sleep
of the machine) plus what the wall clock was ahead of it at the start. Both are slewed alike, so
that their distance changes by steps only: `look` finds them, and host time goes on as it was.
What the kernel stamps by the wall clock is brought back to host time with the distance that was
in force at the stamp.

A run that goes on from a snapshot keeps its axis: in the same boot of the machine exactly, else by
the wall clock and what that was ahead before, but never behind what the run has.

Accuracy: steps below 1 ms wait until they are 1 ms together. A step that comes while the process
stands still for longer than the step cannot be told from later arrivals; those stamps are off by
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
"""How long the wall clock may take to be read: at the start; at a look."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Axis(msgspec.Struct, frozen=True):
    """Where host time lies, for a run that goes on.

    Attributes
    ----------
    boot : str
        Of the machine; empty where that is unknown.
    offset_ns : int
        Host time - steady clock.
    ahead_ns : int
        Wall clock - host time.
    """

    boot: str
    offset_ns: int
    ahead_ns: int


def steady_ns() -> int:
    """Return a clock that nobody can set, and that goes on while the machine sleeps (ns)."""
    try:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    except AttributeError:  # not Linux
        return time.monotonic_ns()


def boot_id() -> str:
    """Return what names this boot of the machine; nothing where it has no name."""
    with suppress(OSError):
        return _BOOT_ID.read_text("ascii").strip()
    return ""


class HostClock:
    """Host time; thread-safe. Calling it returns the time now (s), in whole microseconds.

    Parameters
    ----------
    wall, steady : callable
        The wall clock (ns since 1970); a clock that is never set (ns).
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
        # Wall clock - host time as it was before each step, and host time at the last look then.
        self._before: deque[tuple[int, int]] = deque(maxlen=_MAX_STEPS)
        self._looked = self._now()
        self._steps: deque[tuple[float, float]] = deque(maxlen=_MAX_STEPS)

    def __call__(self) -> float:
        """Return host time (s since 1970, in whole microseconds)."""
        return self._now() // 1000 / 1e6

    def look(self) -> None:
        """See whether the wall clock has been set."""
        with self._lock:
            self._look()

    def steps(self) -> list[tuple[float, float]]:
        """Take out the steps of the wall clock since the last call: host time, size (s)."""
        self.look()
        return [self._steps.popleft() for _ in range(len(self._steps))]

    def of_wall(self, wall_us: I64) -> F64:
        """Return the host time of stamps of the wall clock that are not of the future.

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
        for was_ahead, until in reversed(before):
            # Later than now, or before the clock was last seen as it was: stamped before the step.
            early = (host > now // 1000) | (host <= until // 1000)
            if not early.any():
                break
            host = np.where(early, wall_us - was_ahead // 1000, host)
        return np.asarray(np.minimum(host, now // 1000) / 1e6)

    def axis(self) -> Axis:
        """Return where host time lies, to go on from."""
        with self._lock:
            return Axis(self._boot, self._offset, self._ahead)

    def go_on(self, axis: Axis) -> None:
        """Go on with the axis of an earlier run, before anything is stamped.

        In the same boot of the machine host time goes on as if there had been no pause, and the
        wall clock may have been set in it, which is a step. Else the wall clock is believed.
        """
        with self._lock:
            offset = self._bracket(_TIGHT_NS)[0]
            same = bool(self._boot) and self._boot == axis.boot
            self._offset = axis.offset_ns if same else offset - axis.ahead_ns
            self._set_ahead(offset - self._offset, axis.ahead_ns)

    def not_before(self, newest: float) -> float:
        """Move host time forth where it is behind an arrival of the run (s); return by how much.

        The wall clock is then behind host time by so much more, which is a step of it.
        """
        with self._lock:
            behind = 0
            if math.isfinite(newest):
                behind = max(round(newest * 1e9) + _AFTER_NS - self._now(), 0)
            self._offset += behind
            self._set_ahead(self._ahead - behind, self._ahead)
            return behind / 1e9

    def _set_ahead(self, ahead: int, was: int) -> None:
        self._ahead = ahead
        self._before.clear()
        self._looked = self._now()
        if abs(ahead - was) >= MIN_STEP_NS:
            self._steps.append((self._looked // 1000 / 1e6, (ahead - was) / 1e9))

    def _now(self) -> int:
        return self._steady() + self._offset

    def _bracket(self, enough_ns: int) -> tuple[int, int]:
        """Return wall - steady clock, and how wrong that is at most (ns)."""
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
    """Return the sentence on a step of the wall clock."""
    way = "back" if step_s < 0 else "forth"
    return f"the host's clock was set {way} by {abs(round(step_s, 3)):g} s: host time goes on"
