"""The exporter: metrics and pages of a run on one read-only port, beside the flow.

Import it only where the configuration has an `exporter`: the import takes a tenth of a second.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from errno import EADDRINUSE
from typing import TYPE_CHECKING

from msgspec.structs import replace

from configs.address import is_loopback
from configs.outputs import ExporterConfig
from configs.schema import Config
from operators.bridge.bridge_config import BridgeExporterConfig
from operators.errors import InUseError
from operators.records import Packet
from sinks.exporter.api.resources import PREFIX, ApiRoutes
from sinks.exporter.bridge_metrics import BridgePage
from sinks.exporter.hosts import OPEN, HostFilter
from sinks.exporter.live_state import LiveState
from sinks.exporter.protection import Protection
from sinks.exporter.routes import MetricsRoutes, Routes, RouteTable, busy, misdirected
from sinks.exporter.wsgi import WsgiServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PortHolder = Callable[[int], str]
"""Returns the name of the process that holds a TCP port."""
_STATUS = {
    200: "200 OK",
    204: "204 No Content",
    400: "400 Bad Request",
    401: "401 Unauthorized",
    403: "403 Forbidden",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    421: "421 Misdirected Request",
    429: "429 Too Many Requests",
    503: "503 Service Unavailable",
}


MAX_UNSENT = 64 << 20
"""Bytes of unread responses from which on the API answers 503: they are held in memory or /tmp."""


class HttpPortError(InUseError):
    """The port cannot be bound: one line with the reason."""


class Server:
    """The consumer that updates the live state and serves it.

    Parameters
    ----------
    config : ExporterConfig
    board : LiveState or None
        None without a flow.
    holder : callable
        Returns the name of the process that holds a TCP port.
    routes : RouteTable, optional
        All pages of a run by default, which need a live state.
    updates : bool
        Update the live state; of several servers of one state, one does.

    Attributes
    ----------
    missed : int
        Batches that the live state failed to take. The run goes on; the first one is reported.
    """

    def __init__(
        self,
        config: ExporterConfig,
        board: LiveState | None,
        holder: PortHolder,
        routes: RouteTable | None = None,
        *,
        updates: bool = True,
    ) -> None:
        self._config, self._holder = config, holder
        self._board = board if updates else None
        if routes is None:
            assert board is not None
            routes = Routes(config.path, board)
        self._routes = routes
        self._hosts = HostFilter((config.host, *config.allow_hosts))
        self._protection = Protection(config)
        self._server: WsgiServer | None = None
        self.missed = 0

    def start(self, rig: str | None = None) -> None:
        """Bind the port and serve.

        Raises
        ------
        HttpPortError
            The port cannot be bound.
        """
        taken = bound(self._config, self._holder, self._routes.part)
        self._server = WsgiServer(self._answer, taken, PREFIX)
        host = "127.0.0.1" if self._config.host in ("0.0.0.0", "::") else self._config.host
        shown = f"[{host}]" if ":" in host else host
        address, port = taken.getsockname()[:2]
        page, what = self._routes.shown
        print(f"lumen: {what} at http://{shown}:{port}{page}", file=sys.stderr)
        if not is_loopback(address) and not self._config.guarded:
            where = f"{self._routes.part}: {address}:{port}"
            print(f"lumen: {where} {OPEN}; {self._routes.remedy}", file=sys.stderr)

    def consume(self, packets: list[Packet]) -> None:
        """Update the live state; a failure is counted and does not end the run."""
        if self._board is None:
            return
        try:
            self._board.update(packets)
        except Exception as error:
            if not self.missed:
                text = f"{type(error).__name__}: {error}"
                print(f"lumen: a bug: the page is not kept up: {text}", file=sys.stderr)
            self.missed += 1

    def abort(self) -> None:
        """Do nothing: the port closes with the process."""

    def stop(self) -> None:
        """Close the port, once all packets are counted."""
        if self._server is not None:
            self.consume([])
            self._server.close()
            self._server = None
            self._routes.close()

    def _answer(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        peer, authorization = environ["REMOTE_ADDR"], environ.get("HTTP_AUTHORIZATION", "")
        if not self._hosts.admits(environ.get("HTTP_HOST"), environ["SERVER_PROTOCOL"]):
            status, headers, body = misdirected(self._routes.part)
        elif (refusal := self._protection.refusal(path, peer, authorization)) is not None:
            status, headers, body = refusal
        elif path.startswith(PREFIX) and self._server and self._server.unsent > MAX_UNSENT:
            status, headers, body = busy()
        else:
            query, accept = environ.get("QUERY_STRING", ""), environ.get("HTTP_ACCEPT", "")
            status, headers, body = self._routes.answer(method, path, query, accept)
        if status != 204:  # which has neither a body nor a length (RFC 9110, 8.6)
            headers = {**headers, "Content-Length": str(len(body))}
        start(_STATUS[status], list(headers.items()))
        return [b"" if method == "HEAD" else body]


def served(
    config: ExporterConfig,
    board: LiveState,
    holder: PortHolder,
    routes: RouteTable | None = None,
    *,
    updates: bool = True,
) -> Server:
    """Return the exporter of a run; refuse a port that cannot be bound, before anything starts.

    Parameters
    ----------
    config, board, holder, routes, updates
        As of `Server`.

    Raises
    ------
    HttpPortError
        The port is taken, and its holder is named; or the address cannot be bound.
    TokenFileError
        The token file cannot be used.
    """
    bound(config, holder).close()
    return Server(config, board, holder, routes, updates=updates)


def all_served(
    config: Config, board: LiveState, holder: PortHolder, apart: int = 0
) -> list[Server]:
    """Return the exporter of a run, and that of its bridge, as far as they are configured.

    Parameters
    ----------
    config : Config
    board, holder
        As of `Server`.
    apart : int
        Added to the ports.

    Raises
    ------
    HttpPortError
        As `served`.
    """
    bridge, made = config.bridge, list[Server]()
    own = (bridge.exporter if bridge else None) or BridgeExporterConfig()
    more = {own.path: BridgePage(board).text} if bridge else {}
    for each in exporters(config):
        at = replace(each, http_port=each.http_port + apart)
        shared = each is config.exporter
        routes = MetricsRoutes(board, more)
        if shared:
            routes = Routes(at.path, board, more, ApiRoutes(config, board))
        made.append(served(at, board, holder, routes, updates=not made))
    return made


def exporters(config: Config) -> list[ExporterConfig]:
    """Return the exporter of a run, and that of its bridge, which has the same host."""
    found = [config.exporter] if config.exporter is not None else []
    own = config.bridge.exporter if config.bridge is not None else None
    if own is not None:
        host = config.exporter or ExporterConfig()
        found.append(replace(host, http_port=own.http_port, path=own.path))
    return found


def bound(config: ExporterConfig, holder: PortHolder, part: str = RouteTable.part) -> socket.socket:
    """Return a socket that is bound to the port of a part and does not listen yet."""
    where = f"{part}: {config.host}:{config.http_port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            config.host, config.http_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise HttpPortError(f"{where}: {error.strerror}") from error
    try:
        # As the server does: connections left over from an earlier run do not hold the port.
        if sys.platform != "win32":  # there it would allow two listeners
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        if error.errno == EADDRINUSE:
            raise HttpPortError(f"{where} is taken by {holder(config.http_port)}") from error
        raise HttpPortError(f"{where}: {error.strerror}") from error
    return bound
