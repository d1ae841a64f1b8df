"""Waiting for the next look without the wall clock, whatever the engine asks for.

Bytewax takes the moment of the next look as a wall time: where the clock is set back meanwhile, a
source would not be asked again before that time. So a source is always due (`AT_ONCE` is past
under any clock), and waits the few milliseconds itself, by a monotonic clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)


class Poll:
    """Keeps looks a few milliseconds apart.

    Parameters
    ----------
    look_s : float
        From one look to the next (s).
    clock, sleep : callable
        Monotonic seconds; waits so many.
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
        """Wait until the next look is due; never longer than one lasts."""
        left = self._looked + self._look_s - self._clock()
        if left > 0:
            self._sleep(min(left, self._look_s))
        self._looked = self._clock()
