"""A TCP port that is read as a UDP one is: see `sources.osc.udp.Receiver`.

Up to `MAX_CONNECTIONS` senders are connected at once; one more is turned away. A packet is stamped
when it is read. A connection that cannot be framed is closed, for nothing of it can be read on.

State: a packet a connection. Losses: none here; a sender waits where the flow is slower.
"""

from __future__ import annotations

import select
import socket
import sys
from contextlib import suppress

from sources.host_clock import HostClock
from sources.osc.datagram import MAX_DATAGRAM
from sources.osc.frames import Frames

MAX_CONNECTIONS = 16
_READ = 65_536
_MAPPED = "::ffff:"


class TcpReceiver:
    """A port that listens.

    Parameters
    ----------
    host : str
    port : int
    clock : HostClock, optional
        Of the run: arrivals are host time.

    Attributes
    ----------
    buffer : int
        The receive buffer that the kernel granted (bytes).
    stamped_by : str
        `receiver`.

    Raises
    ------
    OSError
        It cannot be had.
    """

    stamped_by = "receiver"

    def __init__(self, host: str, port: int, clock: HostClock | None = None) -> None:
        self._clock = clock or HostClock()
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        self._listener = socket.socket(family, kind, protocol)
        try:
            if sys.platform != "win32":  # there it would let two listen
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
        """The port, also where any was asked for."""
        return int(self._listener.getsockname()[1])

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to be read; return whether there is."""
        return bool(select.select([self._listener, *self._senders], [], [], timeout_s)[0])

    def read(self) -> list[tuple[bytes, float, bytes]]:
        """Return the packets that are there: each with its arrival (s) and its sender."""
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
        """Return 0: TCP loses nothing on the way."""
        return 0

    def peer(self, raw: bytes) -> tuple[str, int]:
        """Return address and port of whoever sent a packet."""
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
