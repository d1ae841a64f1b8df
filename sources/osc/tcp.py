"""A TCP port with the interface of a UDP one: see `sources.osc.udp.UdpReceiver`.

At most `MAX_CONNECTIONS` senders are connected at once; another one is refused and counted. A
packet is stamped when it is read. A connection with broken framing is closed, since it cannot be
read on; one whose host has gone ends after a minute.

State: one packet a connection. Losses: refused connections; no data: if the flow is slower, the
sender waits.
"""

from __future__ import annotations

import selectors
import socket
import sys
from contextlib import suppress

from sources.host.host_clock import HostClock
from sources.osc.datagram import MAX_DATAGRAM
from sources.osc.frames import Frames

MAX_CONNECTIONS = 16
_READ = 65_536
_MAPPED = "::ffff:"
_ALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
"""Probes of a silent sender: after so many seconds, every so many, so many."""


class TcpReceiver:
    """A listening port.

    Parameters
    ----------
    host : str
    port : int
    clock : HostClock, optional
        Clock of the run: arrivals are host time.

    Attributes
    ----------
    buffer : int
        Size of the granted receive buffer (bytes).
    stamped_by : str
        `receiver`.

    Raises
    ------
    OSError
        The port cannot be bound.
    """

    stamped_by = "receiver"

    def __init__(self, host: str, port: int, clock: HostClock | None = None) -> None:
        self._clock = clock or HostClock()
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # on Windows it would allow two listeners
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._listener.setblocking(False)
            self._listener.bind(address)
            self._listener.listen(MAX_CONNECTIONS)
        except BaseException:
            self._listener.close()
            raise
        self.buffer = self._listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._senders: dict[socket.socket, tuple[Frames, bytes]] = {}
        self._refused: list[tuple[float, bytes]] = []
        self._ready = selectors.DefaultSelector()
        self._ready.register(self._listener, selectors.EVENT_READ)

    @property
    def port(self) -> int:
        """The port number, also if 0 was requested."""
        return int(self._listener.getsockname()[1])

    def wait(self, timeout_s: float) -> bool:
        """Wait for data; return whether there is any."""
        return bool(self._ready.select(timeout_s))

    def read(self) -> list[tuple[bytes, float, bytes]]:
        """Return the available packets, each with its arrival (s) and sender."""
        self._accept()
        found: list[tuple[bytes, float, bytes]] = []
        for sender, (frames, raw) in list(self._senders.items()):
            try:
                data = sender.recv(_READ)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            rx = self._clock()
            packets = frames.feed(data) if data else frames.rest()
            found += [(packet, rx, raw) for packet in packets]
            if not data or frames.broken:
                del self._senders[sender]
                self._ready.unregister(sender)
                sender.close()
        return found

    def refused(self) -> list[tuple[float, bytes]]:
        """Return the refused connections since the last call: arrival (s) and sender."""
        found, self._refused = self._refused, []
        return found

    def drops(self) -> int:
        """Return 0: TCP loses no data."""
        return 0

    def peer(self, raw: bytes) -> tuple[str, int]:
        """Return address and port of the sender of a packet."""
        host, _, port = raw.decode("ascii").rpartition(" ")
        return host, int(port)

    def close(self) -> None:
        """Close the port and its connections."""
        for sender in self._senders:
            sender.close()
        self._senders = {}
        self._ready.close()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError, OSError):
            while True:
                sender, address = self._listener.accept()
                host = address[0].partition("%")[0].removeprefix(_MAPPED)
                raw = f"{host} {address[1]}".encode()
                if len(self._senders) >= MAX_CONNECTIONS:
                    sender.close()
                    self._refused.append((self._clock(), raw))
                    continue
                sender.setblocking(False)
                _keep_alive(sender)
                self._senders[sender] = Frames(MAX_DATAGRAM), raw
                self._ready.register(sender, selectors.EVENT_READ)


def _keep_alive(sender: socket.socket) -> None:
    """Let the system end a connection whose host has gone."""
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _ALIVE.items():
        if (option := getattr(socket, name, None)) is not None:
            sender.setsockopt(socket.IPPROTO_TCP, option, value)
