"""The meeting of the processes of a cluster, before the engine starts.

Every 10 s a line names the processes that are missing. After `cluster.wait_s` the start is given
up. A process that ends meanwhile is missing again.
"""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Callable, Iterable

from flows.cluster import Place
from flows.cluster_link import LinkLine, key_of, listening_at, split_address
from operators.errors import LumenError
from sources.host.shutdown import Shutdown

STOPPED = "Stopped on request before the cluster was complete: the same command begins again."
EVERY_S = 10.0
_LOOK_S = 0.1
_TRY_S = 0.5
_CONNECT_S = 5.0
_HEAD_START_S = 0.2
_MAX_STRANGERS = 64


class ClusterError(LumenError):
    """A cluster that did not come together, or has lost a process."""

    exit_code = 1


class OtherRunError(LumenError):
    """A process of the cluster with another configuration or other addresses."""


class ClusterStoppedError(LumenError):
    """A stop that was requested before the cluster was complete: no failure."""

    exit_code = 0

    def lines(self) -> list[str]:
        """Return the message as it is."""
        return [str(self)]


class Meeting:
    """One process on its way into a cluster.

    Parameters
    ----------
    place : Place
        Of this process.
    fingerprint : str
        Of the configuration; all processes have the same.
    wait_s : float
        `cluster.wait_s`.
    shutdown : Shutdown
        Of the run.
    clock : callable
        Monotonic seconds.
    write : callable
        Takes a line for standard error.
    """

    def __init__(
        self,
        place: Place,
        fingerprint: str,
        wait_s: float,
        shutdown: Shutdown,
        clock: Callable[[], float] = time.monotonic,
        write: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self._place = place
        self._addresses = place.all()
        self._key = key_of(self._addresses, fingerprint)
        self._wait_s, self._shutdown, self._clock, self._write = wait_s, shutdown, clock, write
        self._began = self._noted = clock()
        self._missing = [n for n in range(len(self._addresses)) if n != place.number]
        self._obstacle = ""

    def complete(self) -> dict[int, LinkLine]:
        """Return the links of this process by number, once all processes are there.

        Raises
        ------
        ClusterError
            One did not come, or an address cannot be used.
        OtherRunError
            Another one has another configuration.
        ClusterStoppedError
            A stop was requested.
        """
        try:
            for address in self._addresses:
                split_address(address)
        except ValueError as error:
            raise OtherRunError(f"-a: {error} is no HOST:PORT") from None
        if self._place.number:
            self._listening().close()  # a taken address would be a panic of the engine
            link = self._joined()
            # Else the engine finds a closed port, reports that, and tries again after 1 s.
            self._shutdown.event.wait(min(_HEAD_START_S * self._place.number, 1.0))
            return {0: link}
        return self._gathered()

    def _listening(self) -> socket.socket:
        address = self._addresses[self._place.number]
        while True:
            try:
                return listening_at(address)
            except OSError as error:
                self._obstacle = f"{address}, its own address: {error.strerror or error}"
            self._look()
            self._shutdown.event.wait(_TRY_S)

    def _gathered(self) -> dict[int, LinkLine]:
        """Wait at process 0 until all others are there."""
        links: dict[int, LinkLine] = {}
        strangers: list[LinkLine] = []
        with selectors.DefaultSelector() as selector, self._listening() as server:
            self._obstacle = ""
            server.setblocking(False)
            selector.register(server, selectors.EVENT_READ)
            try:
                while self._missing:
                    for key, _ in selector.select(_LOOK_S):
                        if key.fileobj is server:
                            strangers += self._accepted(server, selector)
                        else:
                            self._take(key.data, strangers, links, selector)
                    while len(strangers) > _MAX_STRANGERS:
                        _drop(strangers.pop(0), selector)
                    self._look()
            except BaseException:
                for link in (*links.values(), *strangers):
                    link.close()
                raise
        for link in strangers:
            link.close()
        for link in links.values():  # the address is free now
            link.send("go")
        return links

    def _accepted(
        self, server: socket.socket, selector: selectors.BaseSelector
    ) -> Iterable[LinkLine]:
        try:
            link = LinkLine(server.accept()[0])
        except OSError:
            return ()
        selector.register(link, selectors.EVENT_READ, link)
        return (link,)

    def _take(
        self,
        link: LinkLine,
        strangers: list[LinkLine],
        links: dict[int, LinkLine],
        selector: selectors.BaseSelector,
    ) -> None:
        """Take the lines of one connection: a process arrives or is gone."""
        for words in link.receive():
            if len(words) != 3 or words[0] != "lumen" or not words[1].isdecimal():
                link.ended = True
            elif words[2] != self._key:
                link.send("other")
                link.ended = True
            elif link in strangers and int(words[1]) in self._missing:
                strangers.remove(link)
                links[int(words[1])] = link
                self._missing.remove(int(words[1]))
                self._tell(links)
        if link.ended:
            for number in [n for n, each in links.items() if each is link]:
                del links[number]
                self._missing = sorted([*self._missing, number])
                self._tell(links)
            if link in strangers:
                strangers.remove(link)
            _drop(link, selector)

    def _tell(self, links: dict[int, LinkLine]) -> None:
        """Send the missing numbers to all that are there."""
        for link in links.values():
            link.send("wait " + ",".join(map(str, self._missing)))

    def _joined(self) -> LinkLine:
        """Wait at another process until process 0 releases it."""
        while True:
            self._missing = [0]
            link = self._connected()
            link.send(f"lumen {self._place.number} {self._key}")
            try:
                if self._released(link):
                    return link
            except BaseException:
                link.close()
                raise
            link.close()
            self._look()
            self._shutdown.event.wait(_TRY_S)

    def _connected(self) -> LinkLine:
        while True:
            try:
                address = split_address(self._addresses[0])
                link = LinkLine(socket.create_connection(address, timeout=_CONNECT_S))
            except OSError:
                self._look()
                self._shutdown.event.wait(_TRY_S)
            else:
                self._obstacle = ""
                return link

    def _released(self, link: LinkLine) -> bool:
        """Whether process 0 releases this one; False where it is gone."""
        with selectors.DefaultSelector() as selector:
            selector.register(link, selectors.EVENT_READ)
            while not link.ended:
                selector.select(_LOOK_S)
                for words in link.receive():
                    if words == ["go"]:
                        return True
                    if words == ["other"]:
                        raise OtherRunError(
                            f"{self._place.named(0)} has another configuration or other addresses"
                        )
                    if words[0] == "wait" and len(words) == 2:
                        self._missing = [int(n) for n in words[1].split(",") if n.isdecimal()]
                self._look()
        return False

    def _look(self) -> None:
        """Report the missing processes when that is due; end the wait when it is over."""
        if self._shutdown.requested():
            raise ClusterStoppedError(STOPPED)
        now = self._clock()
        missing = self._obstacle or ", ".join(map(self._place.named, self._missing))
        if missing and now - self._began >= self._wait_s:
            raise ClusterError(
                f"the cluster is not complete after {self._wait_s:g} s (cluster.wait_s):"
                f" waited for {missing}"
            )
        if missing and now - self._noted >= EVERY_S:
            self._noted = now
            waited = f"{now - self._began:.0f} of {self._wait_s:g} s"
            self._write(f"lumen: waits for {missing} ({waited})")


def _drop(link: LinkLine, selector: selectors.BaseSelector) -> None:
    selector.unregister(link)
    link.close()
