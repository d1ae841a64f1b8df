"""WebSocket: one thread serves all clients and puts their events into the inbox.

A message is one event or an array of events as JSON text, of at most 8 KiB: a longer one ends its
connection (1009), a binary one is a reject. `{"ping": t}` is answered with
`{"ping": t, "received": host time, "sent": host time}`: a client that notes the arrival r of the
answer has offset = ((received - t) + (sent - r)) / 2 and may send it as an event of the key
`clock_offset` (Mills 1991, NTP's on-wire protocol).

A client that does not answer for 40 s is disconnected; more than 64 clients are refused (503).

State: 64 connections with 8 KiB each. Losses: those of `json_event`, `too_long`, `peer`; counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from configs.address import endpoint
from configs.connectors.websocket import WebSocketStream
from sources.events.json_event import RefusedError, events_of, unread
from sources.inbox import Listener, Unread
from sources.websocket.access import ClientAccess

MAX_MESSAGE = 8192
MAX_CLIENTS = 64
_PING_S = 20.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 5.0
_LOOK_S = 0.05
_TOO_LONG = 1009


class _Ping(msgspec.Struct, forbid_unknown_fields=True):
    ping: float


_PINGS = msgspec.json.Decoder(_Ping)


class WebSocketReceiver(Listener):
    """The server of one WebSocket stream.

    Parameters
    ----------
    config : WebSocketStream
    pages : collection of str
        Origins of the run's own pages.
    """

    def __init__(self, config: WebSocketStream, pages: Collection[str] = ()) -> None:
        super().__init__(config.name)
        self.config = config
        self._where = endpoint(config.addr)
        self._access = ClientAccess([*config.origins, *pages], config.token_file)
        self._clients = 0

    def facts(self) -> Sequence[str]:
        """Return the address."""
        return (f"ws {self.config.addr}",)

    def _run(self) -> None:
        """Serve; retry with growing pauses while the port is not available."""
        asyncio.run(self._served())

    async def _served(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                server = await self._open()
            except OSError as error:
                self._inbox.turn(False, f"{self.config.addr}: {error.strerror}")
                await self._wait(pause)
                pause = min(2 * pause, _MAX_PAUSE_S)
                continue
            self._inbox.turn(True, ", ".join(self.facts()))
            await self._wait()
            server.close()
            await server.wait_closed()

    async def _open(self) -> Server:
        return await serve(
            self._receive,
            self._where.host,
            self._where.port,
            process_request=self._admit,
            max_size=MAX_MESSAGE,
            max_queue=16,
            compression=None,
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            open_timeout=10,
            close_timeout=1,
            server_header=None,
            logger=_quiet(),
        )

    async def _wait(self, seconds: float = float("inf")) -> None:
        """Wait for the stop, at most this long."""
        while not self._stop.is_set() and seconds > 0:
            await asyncio.sleep(min(_LOOK_S, seconds))
            seconds -= _LOOK_S

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return the refusal of a connection; None for an allowed one."""
        refused = self._access.refusal(request.path, request.headers)
        if refused is None and self._clients >= MAX_CLIENTS:
            refused = HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_CLIENTS} clients are connected"
        if refused is None:
            return None
        status, why = refused
        self._inbox.put([Unread(self._inbox.host(), "peer", _peer(connection), why.encode())])
        response = connection.respond(status, f"{why}\n")
        if status == HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = "Bearer"
        return response

    async def _receive(self, connection: ServerConnection) -> None:
        """Take the messages of one client until it leaves."""
        where = _peer(connection)
        self._clients += 1
        try:
            async for data in connection:
                rx = self._inbox.host()
                if isinstance(data, bytes):
                    self._inbox.put([unread(RefusedError("schema"), rx, where, data)])
                elif (ping := _ping(data)) is not None:
                    answer = {"ping": ping, "received": rx, "sent": self._inbox.host()}
                    await connection.send(msgspec.json.encode(answer).decode())
                else:
                    self._inbox.put(events_of(data, rx, where))
        except ConnectionClosed as error:
            if error.sent is not None and error.sent.code == _TOO_LONG:
                self._inbox.put([unread(RefusedError("too_long"), self._inbox.host(), where, b"")])
        finally:
            self._clients -= 1


def _ping(data: str) -> float | None:
    """Return the time of a ping; None for other messages."""
    if not data.startswith('{"ping"'):
        return None
    try:
        return _PINGS.decode(data).ping
    except (msgspec.DecodeError, UnicodeEncodeError):
        return None


def _peer(connection: ServerConnection) -> str:
    address: Any = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "?"


def _quiet() -> Any:
    """Return a logger without output: errors of clients are counted, not printed."""
    logger = logging.getLogger("lumen.websocket")
    logger.disabled = True
    return logger
