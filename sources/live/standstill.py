"""The pause after a process stood still, until its streams have taken in what came meanwhile.

A process that was stopped, or a machine that slept, wakes all its threads at once. What one stream
has put in by the first look would make late what the kernel still keeps for another one. So
nothing is taken before each stream has found its socket or queue empty once since the process woke
(`Inbox.settled`); streams that cannot know that are waited for while they still put in.

State: five numbers. Longest wait: 5 s for streams that know, a quarter of a second for others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from sources.host_clock import HostClock
from sources.inbox import Inbox

STILL_S = 0.1
"""A pause of at least so long, of which the process worked none, is a standstill."""
_LONG_S = 1.0
"""Of shorter pauses amid the wait no new one begins: a process that is starved has them always."""
_CALM_S, _MAX_WAIT_S = 0.02, 0.25
_MAX_SETTLE_S = 5.0


class Standstill:
    """Finds out at each look whether the process stood still, and whether that is over.

    Parameters
    ----------
    clock : callable
        Monotonic seconds.
    host : HostClock
        Of the run.
    """

    def __init__(self, clock: Callable[[], float], host: HostClock) -> None:
        self._clock, self._host = clock, host
        self._looked, self._busy = clock(), time.process_time()
        self._calm = -math.inf
        self._waits: float | None = None
        self._woke = -math.inf
        self._received = 0

    def began(self) -> bool:
        """Whether the process has stood still since it was last asked."""
        now, busy = self._clock(), time.process_time()
        # Who was at work all the while has only been slow: nothing waits unheard.
        still_s = now - self._looked - (busy - self._busy)
        still = still_s >= STILL_S
        if still:
            self._calm = now
            if self._waits is None or still_s >= _LONG_S:
                self._woke = self._host()
            self._waits = now if self._waits is None else self._waits
        self._looked, self._busy = now, busy
        return still

    def lasts(self, inboxes: Collection[Inbox], held: bool) -> bool:
        """Whether streams still take in what came while the process stood still.

        Parameters
        ----------
        inboxes : collection of Inbox
        held : bool
            Events that were taken before still wait: there is no use in waiting for others.
        """
        self.began()
        now = self._looked
        if self._waits is None:
            return False
        waited = now - self._waits
        settling = any(inbox.settled < self._woke for inbox in inboxes)
        if not held and waited < (_MAX_SETTLE_S if settling else _MAX_WAIT_S):
            received = sum(inbox.received for inbox in inboxes)
            if received != self._received:
                self._received, self._calm = received, now
            if settling or now - self._calm < _CALM_S:
                return True
        self._waits = None
        return False
