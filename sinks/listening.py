"""Waitress as it serves beside a flow: four threads, and a deadline for what is unfinished.

No thread ever waits for a client: what is sent and received waits in the one thread that holds
all connections, and an answer is made in full before it is sent. A client that leaves a request
unfinished or an answer unread for `_UNFINISHED_S`, however busily it drips, loses its connection.

State: `_MOST_CONNECTIONS` connections, an answer each at most.
"""

from __future__ import annotations

import logging
import resource
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

_THREADS = 4
_MOST_CONNECTIONS = 1_024
_IDLE_S, _UNFINISHED_S = 20, 10.0
_LOOK_S = 0.25
_LARGEST_HEADER, _LARGEST_BODY = 8_192, 1_024


class Listening:
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
        self._thread.join(8 * _LOOK_S)

    def _run(self) -> None:
        sockets = self._server.sockets
        while not self._closed.is_set():
            wasyncore.loop(_LOOK_S, use_poll=True, map=sockets, count=1)
        self._dispatcher.shutdown(timeout=4 * _LOOK_S)
        self._server.close()
        wasyncore.close_all(sockets, ignore_all=True)


class _Server(TcpWSGIServer):  # type: ignore[misc]
    """Waitress's server, with a deadline for what is unfinished."""

    def __init__(self, answer: Any, bound: socket.socket, dispatcher: Any) -> None:
        self.sockets: dict[int, Any] = {}
        self._unfinished: dict[Any, float] = {}
        settings = Adjustments(
            sockets=[bound], ident=None, asyncore_use_poll=True, log_socket_errors=False,
            connection_limit=_most_connections(), backlog=_MOST_CONNECTIONS,
            cleanup_interval=1, channel_timeout=_IDLE_S,
            max_request_header_size=_LARGEST_HEADER, max_request_body_size=_LARGEST_BODY,
        )  # fmt: skip
        info = (bound.family, bound.type, bound.proto, bound.getsockname())
        super().__init__(
            answer, self.sockets, _sock=bound, dispatcher=dispatcher, adj=settings, sockinfo=info,
            bind_socket=False,
        )  # fmt: skip

    def maintenance(self, now: float) -> None:
        """Close connections that are idle, or have something unfinished for too long."""
        super().maintenance(now)
        before, self._unfinished = self._unfinished, {}
        for channel in list(self.active_channels.values()):
            if channel.request is not None or channel.total_outbufs_len:
                since = self._unfinished[channel] = before.get(channel, now)
                if now - since >= _UNFINISHED_S:
                    channel.will_close = True


def _most_connections() -> int:
    """Return how many connections there may be: half of the files that may be open."""
    files = _MOST_CONNECTIONS
    with suppress(OSError, ValueError):
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    return min(files, _MOST_CONNECTIONS) if files > 0 else _MOST_CONNECTIONS
