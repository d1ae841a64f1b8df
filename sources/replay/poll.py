"""Waiting for the next look by a monotonic clock, independent of the wall clock.

Bytewax schedules the next look of a source at a wall time: after a step back of the clock a source
would be idle until that time. So a source is always due (`AT_ONCE` is past under any clock), and
waits the few milliseconds itself, by a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


class Poll:
    """Keeps a minimum time between two looks.

    Parameters
    ----------
    look_s : float
        From one look to the next (s).
    clock, sleep : callable
        Monotonic seconds; waits a number of seconds.
    """

    def __init__(
        self,
        look_s: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._look_s, self._clock, self._sleep = look_s, clock, sleep
        self._looked = clock() - look_s

    def wait(self) -> None:
        """Wait until the next look is due, at most `look_s`."""
        left = self._looked + self._look_s - self._clock()
        if left > 0:
            self._sleep(min(left, self._look_s))
        self._looked = self._clock()
