"""The lifeline of a cluster: the loss of a process ends all others.

A thread watches the links of the meeting. The engine panics where a process of a running cluster
ends; one that is still starting waits for ever. So a process whose engine goes on is ended after a
grace period.
"""

from __future__ import annotations

import selectors
import sys
import threading
from collections.abc import Callable

from configs.load import Loaded
from flows.cluster import ALONE, Place
from flows.cluster_link import LinkLine
from flows.meeting import Meeting
from sources.host.signal_shutdown import SignalShutdown

GRACE_S = 5.0
"""Time for the engine's own panic, which ends a running process."""
_LOOK_S = 1.0


class Lifeline:
    """The links of this process after the meeting.

    Attributes
    ----------
    failed : bool
        This process ends by a failure: it sends no farewell.
    """

    def __init__(self) -> None:
        self.failed = False
        self._place = ALONE
        self._links: dict[int, LinkLine] = {}
        self._lost = ""
        self._known = threading.Event()
        self._ended = threading.Event()

    def join(self, place: Place, loaded: Loaded, shutdown: SignalShutdown) -> None:
        """Wait for the other processes of a cluster, and end with any of them from then on.

        Raises
        ------
        ClusterError, OtherRunError, ClusterStoppedError
            The cluster is not complete.
        """

        def end(lost: str) -> None:
            print(f"lumen: {lost}: this process ends, too", file=sys.stderr)
            shutdown.end(1)

        shutdown.start()
        meeting = Meeting(place, loaded.fingerprint, loaded.config.cluster.wait_s, shutdown)
        self.start(place, meeting.complete(), end)

    def start(self, place: Place, links: dict[int, LinkLine], end: Callable[[str], None]) -> None:
        """Watch the links in a thread.

        Parameters
        ----------
        place : Place
            Of this process.
        links : dict
            By number of the process at the other end.
        end : callable
            Ends this process, given the loss; called `GRACE_S` after it.
        """
        self._place, self._links = place, dict(links)
        threading.Thread(target=self._watch, args=(end,), name="cluster", daemon=True).start()

    def lost(self, within_s: float = 0.0) -> str:
        """Return the loss of a process as a sentence; empty without one.

        Parameters
        ----------
        within_s : float
            Wait so long for the news of one.
        """
        if self._links:
            self._known.wait(within_s)
        return self._lost

    def close(self) -> None:
        """Say farewell, unless this process ends by a failure."""
        if not self.failed:
            for link in self._links.values():
                link.send("bye")
        self._ended.set()

    def _watch(self, end: Callable[[str], None]) -> None:
        try:
            self._follow(end)
        finally:
            for link in self._links.values():
                link.close()

    def _follow(self, end: Callable[[str], None]) -> None:
        with selectors.DefaultSelector() as selector:
            for number, link in self._links.items():
                selector.register(link, selectors.EVENT_READ, number)
            while selector.get_map() and not self._ended.is_set():
                for key, _ in selector.select(_LOOK_S):
                    link, number = self._links[key.data], key.data
                    lines = link.receive()
                    gone = [int(w[1]) for w in lines if w[0] == "lost" and w[-1].isdecimal()]
                    if ["bye"] in lines:
                        selector.unregister(link)
                    elif (gone or link.ended) and not self._ended.is_set():
                        self._lose(gone[0] if gone else number)
                        if not self._ended.wait(GRACE_S):
                            end(self._lost)
                        return

    def _lose(self, number: int) -> None:
        """Keep the loss, and pass it on."""
        self._lost = f"{self._place.named(number)} of the cluster has ended"
        self._known.set()
        for other, link in self._links.items():
            if other != number:
                link.send(f"lost {number}")
