"""Ticks of host time for a live run whose streams deliver no events.

Stations release their results by event time. A tick states the host time when no stream does: at
the latest 0.1 s after the newest event, and at each step of the wall clock. After a longer pause,
such as a sleep of the machine, intermediate ticks keep every time leap within the accepted delay.

Cost: one comparison a look; one tick per half of the accepted delay after a pause. State: one
number. Losses: none; after a pause of more than a day the run is stopped.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sources.host.host_clock import HostClock, stated
from sources.host.shutdown import Shutdown
from sources.inbox import Unread
from sources.live.inbox_rows import Arrival, HostTick

TICK_S = 0.1
"""The longest silence without a tick."""
MAX_SLEEP_S = 86_400.0
"""The longest pause that ticks bridge."""


class IdleClock:
    """Adds ticks of host time to the events of a live run.

    Parameters
    ----------
    rig : str
        The rig of the ticks.
    max_delay_s : float
        The largest difference between two arrivals that the arrival check accepts (s).
    host : HostClock
        Of the run.
    report : callable
        Receives status messages.
    now : float
        Monotonic time (s).
    shutdown : Shutdown
        Of the run.
    """

    def __init__(
        self,
        rig: str,
        max_delay_s: float,
        host: HostClock,
        report: Callable[[str], None],
        now: float,
        shutdown: Shutdown,
    ) -> None:
        self._rig = rig
        self._max_delay_s = max_delay_s
        self._host = host
        self._report = report
        self._last_event = now
        self._shutdown = shutdown

    def not_before(self, newest: float) -> None:
        """Move host time to the newest event of the run where it is behind that event (s)."""
        if behind_s := self._host.not_before(newest):
            self._report(
                f"the host's clock is {behind_s:.3f} s behind the newest event of this run:"
                " host time goes on from that event"
            )

    def steps(self) -> list[Arrival]:
        """Return a tick for each step of the wall clock since the last call, and report it."""
        found: list[Arrival] = []
        for rx, step_s in self._host.steps():
            self._report(stated(step_s))
            found.append(("", HostTick(rx, self._rig, step_s)))
        return found

    def fill(
        self,
        items: list[Arrival],
        *,
        newest: float,
        now: float,
        host: float,
        complete: bool,
        waiting: bool,
    ) -> list[Arrival]:
        """Return the items of a look with the ticks that they need.

        Parameters
        ----------
        items : list of Arrival
            In order of arrival.
        newest : float
            Newest accepted arrival of the run (s).
        now, host : float
            Monotonic time and host time of the look (s).
        complete : bool
            The items are all events received up to `host`.
        waiting : bool
            Older events wait to be handed on: a tick would be early.
        """
        items = self.bridge(items, newest=newest, host=host, complete=complete)
        if any(type(item) is not Unread for _, item in items):
            self._last_event = now
        elif now - self._last_event >= TICK_S and not waiting:
            self._last_event = now
            items.append(("", HostTick(host, self._rig)))
        return items

    def bridge(
        self, items: list[Arrival], *, newest: float, host: float, complete: bool
    ) -> list[Arrival]:
        """Add ticks to leaps that the arrival check would not accept, as after a sleep.

        A pause longer than `MAX_SLEEP_S` ends the run instead. Parameters as in `fill`.
        """
        leap = host - newest
        if leap <= self._max_delay_s or newest == float("-inf"):
            return items
        if leap > MAX_SLEEP_S:
            if not self._shutdown.requested():
                self._report(f"no events for {leap:.0f} s: this run ends here")
            self._shutdown.request()
            return items
        found: list[Arrival] = []
        for source, item in items:
            if type(item) is not Unread and item.rx <= host:
                found += self._ticks(newest, item.rx)
                newest = max(newest, item.rx)
            found.append((source, item))
        return found + self._ticks(newest, host) if complete else found

    def _ticks(self, newest: float, rx: float) -> list[Arrival]:
        """Return ticks between two times that differ by more than the accepted delay."""
        if rx - newest <= self._max_delay_s:
            return []
        step = self._max_delay_s / 2
        times = np.round(newest + np.arange(step, rx - newest, step), 6).tolist()
        return [("", HostTick(time, self._rig)) for time in times]
