"""The pause after a standstill of the process, until its streams have read the backlog.

All threads of a process that was stopped, or of a machine that slept, wake at once. Events that
one stream delivers at the first look would make the backlog of another stream, still in the
kernel, late. So nothing is taken before each stream has found its socket or queue empty once since
the process woke (`Inbox.settled`). Streams without that test are awaited while they deliver.

State: five numbers. Longest wait: 5 s for streams with the test, a quarter of a second for others.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection

from sources.host.host_clock import HostClock
from sources.inbox import Inbox

STILL_S = 0.1
"""The shortest pause without CPU time of the process that is a standstill."""
_LONG_S = 1.0
"""During a wait only a pause of this length starts a new one: a starved process has short ones."""
_CALM_S, _MAX_WAIT_S = 0.02, 0.25
_MAX_SETTLE_S = 5.0


class Standstill:
    """Detects at each look whether the process stood still, and whether its backlog is read.

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
        """Whether the process has stood still since the last call."""
        now, busy = self._clock(), time.process_time()
        # A process with CPU time in the pause was slow, not still: it has no unread backlog.
        # still_s = elapsed time - CPU time
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
        """Whether streams still read the backlog of a standstill.

        Parameters
        ----------
        inboxes : collection of Inbox
        held : bool
            Events that were taken earlier still wait: a wait for others is of no use.
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
