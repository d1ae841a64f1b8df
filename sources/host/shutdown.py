"""Shutdown request of a run: sources take no more data, and data already taken are written.

A `Shutdown` belongs to one run. Its entry point makes it and passes it to the sources; a
`SignalShutdown` of an entry point follows Ctrl-C too.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Shutdown:
    """The request to end all sources of a run.

    Attributes
    ----------
    event : threading.Event
        Set by a request.
    """

    def __init__(self) -> None:
        self.event = threading.Event()
        self._since = float("inf")
        self._at_abort: list[Callable[[], None]] = []

    def start(self, answer: str = "") -> None:
        """Mark the start of a source.

        Parameters
        ----------
        answer : str
            Effect of a request on this source, as a line for standard error.
        """

    def request(self) -> None:
        """Request the end of all sources."""
        if not self.requested():
            self._since = time.monotonic()
        self.event.set()

    def requested(self) -> bool:
        """Whether sources have to end."""
        return self.event.is_set()

    def age_s(self) -> float:
        """Return the time since the request (s); minus infinity before it."""
        return time.monotonic() - self._since

    def at_abort(self, act: Callable[[], None]) -> None:
        """Register an action for the abort of the run."""
        self._at_abort.append(act)
