"""Waitress beside a flow: four threads, a deadline, and room for one more client.

No thread waits for a client: one thread holds all connections with their received and unsent
bytes, and a response is made in full before it is sent. A client that leaves a request unfinished
or a response unread for `_UNFINISHED_S` loses its connection, even if it sends single bytes.
Requests below one path may last; they have a thread of their own, and hold up no other request:
two such threads would take twice the processor from a scrape.
Beyond `_MAX_CONNECTIONS` a new connection replaces the one that is idle longest, and where none is
idle, the oldest unfinished one: idle clients cannot exclude others.

State: `_MAX_CONNECTIONS` connections, at most a response each.
"""

from __future__ import annotations

import logging
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

from sinks.exporter.silent_connections import SilentConnections

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_THREADS, _LONG_THREADS = 4, 1
_MAX_CONNECTIONS = 1_024 if hasattr(select, "poll") else 128
"""Without `poll`, a system call takes 512 sockets at most."""
_BACKLOG = 4_096
"""Connections that the kernel holds until they are accepted; it drops further ones for a second."""
_ACCEPT_S = 0.02
"""Time for accepting connections before requests are read again (s)."""
_IDLE_S, _UNFINISHED_S = 20, 10.0
_POLL_S, _STOP_S = 1.0, 2.0
_MAX_HEADER, _MAX_BODY = 8_192, 1_024
_MAX_AHEAD = 8 << 20
"""Unread bytes with which a client may not ask for more below the long path: beyond 16 MiB,
waitress would let the thread wait for that client."""


class WsgiServer:
    """Serves an application on a bound socket until it is closed.

    Parameters
    ----------
    application : WSGIApplication
    bound : socket
    long : str
        Requests for paths with this beginning may last.
    """

    def __init__(
        self, application: WSGIApplication, bound: socket.socket, long: str = "/v1/"
    ) -> None:
        # Faults of clients are not logged.
        logging.getLogger("waitress").setLevel(logging.ERROR)
        self._dispatcher = ThreadedTaskDispatcher()
        self._dispatcher.set_thread_count(_THREADS)
        self._long = ThreadedTaskDispatcher()
        self._server = _Server(application, bound, self._dispatcher, self._long, long)
        self._closing, self._woken = False, threading.Event()
        self._thread = threading.Thread(target=self._run, name="exporter", daemon=True)
        self._thread.start()

    @property
    def unsent(self) -> int:
        """Bytes of responses that clients have not read."""
        return sum(c.total_outbufs_len for c in list(self._server.active_channels.values()))

    def close(self) -> None:
        """Close the port and all connections."""
        self._closing = True
        self._server.pull_trigger()
        self._woken.set()
        self._thread.join(_STOP_S)

    def _run(self) -> None:
        sockets = self._server.sockets
        while not self._closing:
            wasyncore.loop(_POLL_S, use_poll=True, map=sockets, count=1)
        self._woken.wait(_STOP_S)  # the trigger's file stays open until it has been used
        self._dispatcher.shutdown(timeout=_STOP_S / 2)
        self._long.shutdown(timeout=_STOP_S / 2)
        self._server.close()
        wasyncore.close_all(sockets, ignore_all=True)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server, with a deadline for unfinished work and room for one more client."""

    def __init__(
        self, answer: Any, bound: socket.socket, dispatcher: Any, lasting: Any, long: str
    ) -> None:
        self._lasting, self._long = lasting, long
        self.sockets: dict[int, Any] = {}
        self._unfinished: dict[Any, float] = {}
        self._max_connections = _connection_limit()
        settings = Adjustments(
            sockets=[bound],
            ident=None,
            asyncore_use_poll=True,
            log_socket_errors=False,
            # At its own limit, waitress would accept no connection.
            connection_limit=sys.maxsize,
            backlog=_BACKLOG,
            cleanup_interval=1,
            channel_timeout=_IDLE_S,
            max_request_header_size=_MAX_HEADER,
            max_request_body_size=_MAX_BODY,
        )
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            answer,
            self.sockets,
            _sock=bound,
            dispatcher=dispatcher,
            adj=settings,
            sockinfo=info,
            bind_socket=False,
        )
        self._silent = SilentConnections(self._open)
        self._silent.enter(self.sockets)

    @property
    def connections(self) -> int:
        """Number of connections."""
        return len(self.active_channels) + len(self._silent)

    def add_task(self, task: Any) -> None:
        """Hand the first request of a connection to the threads for its path."""
        path = getattr(task.requests[0], "path", None) if task.requests else None
        if isinstance(path, str) and path.startswith(self._long):
            if task.total_outbufs_len > _MAX_AHEAD:
                self.trigger.pull_trigger(task.handle_close)
                return
            if not self._lasting.threads:
                self._lasting.set_thread_count(_LONG_THREADS)
            self._lasting.add_task(task)
        else:
            super().add_task(task)

    def handle_accept(self) -> None:
        """Accept waiting connections, and close those beyond the limit."""
        now = time.time()
        end = time.monotonic() + _ACCEPT_S
        with suppress(OSError):
            # A quarter of the room at once: a new client then has time to send its request.
            for _ in range(self._max_connections // 4):
                client, peer = self.socket.accept()
                self._silent.add(client, peer, now)
                if time.monotonic() > end:
                    break
        # Most clients have sent their request by now: it is read without another poll.
        self._silent.handle_read_event()
        if self.connections > self._max_connections:
            self._make_room(self.connections - self._max_connections, now)

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, or unfinished for too long."""
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
                    # Not by `will_close`, which waits until the client reads.
                    self.trigger.pull_trigger(channel.handle_close)

    def _open(self, client: socket.socket, peer: Any) -> None:
        """Serve a connection after its first bytes."""
        try:
            self.set_socket_options(client)
            self.channel_class(self, client, peer, self.adj, map=self._map)
        except OSError:
            client.close()

    def _make_room(self, surplus: int, now: float) -> None:
        """Close `surplus` connections: the longest idle, then the longest unfinished.

        Where most are unfinished, those accepted just `now` (s) are last: their requests may be
        under way.
        """
        channels = sorted(self.active_channels.values(), key=_since)
        idle = [(_since(c), c.handle_close) for c in _quiet(filter(_idle, channels))]
        silent = [
            (since, partial(self._silent.drop, client))
            for since, client in self._silent.oldest(surplus)
        ]
        busy = [(_since(c), c.handle_close) for c in channels if not _idle(c)]
        new = [x for x in silent if x[0] >= now]
        old = merge(silent[: len(silent) - len(new)], idle, key=itemgetter(0))
        last = [*busy, *new] if 2 * len(busy) > self._max_connections else [*new, *busy]
        for _, close in [*old, *last][:surplus]:
            close()


def _since(channel: Any) -> float:
    """Return the time of the last transfer (s)."""
    return float(channel.last_activity)


def _idle(channel: Any) -> bool:
    """Whether a connection has neither a request, whole or in part, nor a response to send."""
    return channel.request is None and not channel.requests and not channel.total_outbufs_len


def _quiet(channels: Iterable[Any]) -> list[Any]:
    """Return the connections without unread bytes, in their order."""
    by_number = {channel.socket.fileno(): channel for channel in channels}
    if not hasattr(select, "poll"):
        with_bytes = select.select(list(by_number), [], [], 0)[0] if by_number else []
        return [channel for number, channel in by_number.items() if number not in with_bytes]
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    for number, _ in poll.poll(0):
        del by_number[number]
    return list(by_number.values())


def _connection_limit() -> int:
    """Return the largest number of connections: a quarter of the open files allowed.

    More are open while new ones are accepted, and the flow needs files too.
    """
    files = 4 * _MAX_CONNECTIONS
    if sys.platform == "win32":
        return _MAX_CONNECTIONS
    with suppress(OSError, ValueError):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return min(max(files // 4, 16), _MAX_CONNECTIONS) if files > 0 else _MAX_CONNECTIONS
