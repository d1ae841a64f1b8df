"""Waitress as it serves beside a flow: four threads, a deadline, and room for one more client.

No thread ever waits for a client: what is sent and received waits in the one thread that holds
all connections, and an answer is made in full before it is sent. A client that leaves a request
unfinished or an answer unread for `_UNFINISHED_S`, however busily it drips, loses its connection.
Beyond `_MAX_CONNECTIONS` a new connection takes the place of the one that is idle longest, and
where none is idle, of the oldest that is unfinished: idle clients cannot shut others out.

State: `_MAX_CONNECTIONS` connections, an answer each at most.
"""

from __future__ import annotations

import logging
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from heapq import merge
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from sinks.exporter.silent_connections import Silent

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_THREADS = 4
_MAX_CONNECTIONS = 1_024
_BACKLOG = 4_096
"""Connections that the kernel holds until they are accepted; it drops more for a second."""
_ACCEPT_S = 0.02
"""For how long connections are accepted before requests are read again."""
_IDLE_S, _UNFINISHED_S = 20, 10.0
_POLL_S = 0.25
_LARGEST_HEADER, _LARGEST_BODY = 8_192, 1_024


class WsgiServer:
    """Serves an application on a bound socket until it is closed.

    Parameters
    ----------
    application : WSGIApplication
    bound : socket
    """

    def __init__(self, application: WSGIApplication, bound: socket.socket) -> None:
        # What a client does wrong is no news of ours.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(_THREADS)
        self._server = _Server(application, bound, self._dispatcher)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="exporter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close the port and all connections."""
        self._closed.set()
        self._thread.join(8 * _POLL_S)

    def _run(self) -> None:
        sockets = self._server.sockets
        while not self._closed.is_set():
            wasyncore.loop(_POLL_S, use_poll=True, map=sockets, count=1)
        self._dispatcher.shutdown(timeout=4 * _POLL_S)
        self._server.close()
        wasyncore.close_all(sockets, ignore_all=True)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server, with a deadline for unfinished work and room for one more client."""

    def __init__(self, answer: Any, bound: socket.socket, dispatcher: Any) -> None:
        self.sockets: dict[int, Any] = {}
        self._unfinished: dict[Any, float] = {}
        self._most = _most_connections()
        settings = Adjustments(
            sockets=[bound], ident=None, asyncore_use_poll=True, log_socket_errors=False,
            # Waitress would accept nobody at its own limit.
            connection_limit=sys.maxsize, backlog=_BACKLOG,
            cleanup_interval=1, channel_timeout=_IDLE_S,
            max_request_header_size=_LARGEST_HEADER, max_request_body_size=_LARGEST_BODY,
        )  # fmt: skip
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            answer, self.sockets, _sock=bound, dispatcher=dispatcher, adj=settings, sockinfo=info,
            bind_socket=False,
        )  # fmt: skip
        self._silent = Silent(self._open)
        self.sockets[self._silent.fileno()] = self._silent

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self.active_channels) + len(self._silent)

    def handle_accept(self) -> None:
        """Accept connections that wait, and close those beyond the limit."""
        now = time.time()
        end = time.monotonic() + _ACCEPT_S
        with suppress(OSError):
            # A quarter of the room at once: a client that has just come in has time to ask.
            for _ in range(self._most // 4):
                client, peer = self.socket.accept()
                self._silent.add(client, peer, now)
                if time.monotonic() > end:
                    break
        if self.connections > self._most:
            self._silent.handle_read_event()
            self._make_room(self.connections - self._most, now)

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, or have something unfinished for too long."""
        super().maintenance(now)
        for since, client in self._silent.oldest(len(self._silent)):
            if now - since < _IDLE_S:
                break
            self._silent.drop(client)
        before, self._unfinished = self._unfinished, {}
        for channel in list(self.active_channels.values()):
            if channel.request is not None or channel.total_outbufs_len:
                since = self._unfinished[channel] = before.get(channel, now)
                if now - since >= _UNFINISHED_S:
                    channel.will_close = True

    def _open(self, client: socket.socket, peer: Any) -> None:
        """Serve a connection that has sent something."""
        try:
            self.set_socket_options(client)
            self.channel_class(self, client, peer, self.adj, map=self._map)
        except OSError:
            client.close()

    def _make_room(self, surplus: int, now: float) -> None:
        """Close so many connections: the longest idle, then the longest unfinished.

        Where most are unfinished, those accepted just now (s) come last: what they ask may be on
        its way.
        """
        channels = sorted(self.active_channels.values(), key=_since)
        idle = [(_since(c), c.handle_close) for c in _quiet(filter(_idle, channels))]
        silent = [(since, partial(self._silent.drop, client))
                  for since, client in self._silent.oldest(surplus)]  # fmt: skip
        busy = [(_since(c), c.handle_close) for c in channels if not _idle(c)]
        new = [x for x in silent if x[0] >= now]
        old = merge(silent[: len(silent) - len(new)], idle, key=itemgetter(0))
        last = [*busy, *new] if 2 * len(busy) > self._most else [*new, *busy]
        for _, close in [*old, *last][:surplus]:
            close()


def _since(channel: Any) -> float:
    """Return when something was last sent or received (s)."""
    return float(channel.last_activity)


def _idle(channel: Any) -> bool:
    """Whether a connection has neither a request, whole or in part, nor an answer to send."""
    return channel.request is None and not channel.requests and not channel.total_outbufs_len


def _quiet(channels: Iterable[Any]) -> list[Any]:
    """Return the connections of which nothing waits to be read, in their order."""
    poll = select.poll()
    by_number = {channel.socket.fileno(): channel for channel in channels}
    for number in by_number:
        poll.register(number, select.POLLIN)
    for number, _ in poll.poll(0):
        del by_number[number]
    return list(by_number.values())


def _most_connections() -> int:
    """Return how many connections there may be: a quarter of the files that may be open.

    More are open while new ones are accepted, and the flow has files of its own.
    """
    files = 4 * _MAX_CONNECTIONS
    with suppress(OSError, ValueError):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(max(files // 4, 16), _MAX_CONNECTIONS) if files > 0 else _MAX_CONNECTIONS
