"""The pages of a run: one port, read-only, served beside the flow.

To be imported only where there is an `exporter`: it takes a tenth of a second.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from errno import EADDRINUSE
from typing import TYPE_CHECKING

from configs.address import is_loopback
from configs.schema import ExporterConfig
from operators.errors import InUseError
from operators.records import Packet
from sinks.exporter.hosts import OPEN, Door
from sinks.exporter.live_state import LiveState
from sinks.exporter.routes import Routes, misdirected
from sinks.exporter.wsgi import WsgiServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

Holder = Callable[[int], str]
"""Says who has a TCP port."""
_STATUS = {
    200: "200 OK", 400: "400 Bad Request", 404: "404 Not Found", 405: "405 Method Not Allowed",
    421: "421 Misdirected Request", 503: "503 Service Unavailable",
}  # fmt: skip


class HttpPortError(InUseError):
    """The port cannot be had: one line that says why."""


class Server:
    """Serves what a run shows of itself.

    Parameters
    ----------
    config : ExporterConfig
    board : Board
    holder : callable
        Says who has a TCP port.
    """

    def __init__(self, config: ExporterConfig, board: LiveState, holder: Holder) -> None:
        self._config, self._board, self._holder = config, board, holder
        self._pages = Routes(config.path, board)
        self._door = Door((config.host, *config.allow_hosts))
        self._listening: WsgiServer | None = None

    def start(self) -> None:
        """Bind the port and serve.

        Raises
        ------
        HttpPortError
            It cannot be had.
        """
        taken = bound(self._config, self._holder)
        self._listening = WsgiServer(self._answer, taken)
        host = "127.0.0.1" if self._config.host in ("0.0.0.0", "::") else self._config.host
        shown = f"[{host}]" if ":" in host else host
        address, port = taken.getsockname()[:2]
        print(f"lumen: look at http://{shown}:{port}/", file=sys.stderr)
        if not is_loopback(address):
            print(f"lumen: exporter: {address}:{port} {OPEN}", file=sys.stderr)

    def tell(self, packets: list[Packet]) -> None:
        """Show what the packets hold."""
        self._board.tell(packets)

    def stop(self) -> None:
        """Close the port."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    def _answer(self, asked: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        if self._door.admits(asked.get("HTTP_HOST"), asked["SERVER_PROTOCOL"]):
            status, headers, body = self._pages.answer(
                asked["REQUEST_METHOD"], asked["PATH_INFO"], asked.get("QUERY_STRING", "")
            )
        else:
            status, headers, body = misdirected()
        start(_STATUS[status], [*headers.items(), ("Content-Length", str(len(body)))])
        return [body]


def served(config: ExporterConfig, board: LiveState, holder: Holder) -> Server:
    """Return what serves a run; refuse a port that cannot be had, before anything starts.

    Raises
    ------
    HttpPortError
        The port is taken, and its holder is named; or the address cannot be bound.
    """
    bound(config, holder).close()
    return Server(config, board, holder)


def bound(config: ExporterConfig, holder: Holder) -> socket.socket:
    """Return a socket bound to the port, not listening yet."""
    where = f"exporter: {config.host}:{config.http_port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.http_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise HttpPortError(f"{where}: {error.strerror}") from error
    try:
        # As the server does: what a run before left behind is no holder.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == EADDRINUSE:
            raise HttpPortError(f"{where} is taken by {holder(config.http_port)}") from error
        raise HttpPortError(f"{where}: {error.strerror}") from error
    return bound
