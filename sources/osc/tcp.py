"""A TCP port with the interface of a UDP one: see `sources.osc.udp.UdpReceiver`.

At most `MAX_CONNECTIONS` senders are connected at once; another one is refused. A packet is
stamped when it is read. A connection with broken framing is closed, since it cannot be read on.

State: one packet a connection. Losses: none here; if the flow is slower, the sender waits.
"""

from __future__ import annotations

import select
import socket
import sys
from contextlib import suppress

from sources.host.host_clock import HostClock
from sources.osc.datagram import MAX_DATAGRAM
from sources.osc.frames import Frames

MAX_CONNECTIONS = 16
_READ = 65_536
_MAPPED = "::ffff:"


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

    @property
    def port(self) -> int:
        """The port number, also if 0 was requested."""
        return int(self._listener.getsockname()[1])

    def wait(self, timeout_s: float) -> bool:
        """Wait for data; return whether there is any."""
        return bool(select.select([self._listener, *self._senders], [], [], timeout_s)[0])

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
                sender.close()
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
        self._listener.close()

    def _accept(self) -> None:
        with suppress(BlockingIOError, OSError):
            while True:
                sender, address = self._listener.accept()
                if len(self._senders) >= MAX_CONNECTIONS:
                    sender.close()
                    continue
                sender.setblocking(False)
                host = address[0].partition("%")[0].removeprefix(_MAPPED)
                self._senders[sender] = Frames(MAX_DATAGRAM), f"{host} {address[1]}".encode()
