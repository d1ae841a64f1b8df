"""The link between the processes of a cluster: the meeting at the start, and the end of each.

The engine waits in silence for a process that is not there, and panics where one ends. So the
processes meet before it starts. Process 0 listens at its own address of the cluster; each other
process connects to it and states its number and its run. When all are there, process 0 closes the
listening socket and releases them; the address is then the engine's. The connections stay open: an
end without a farewell is the loss of that process, and process 0 passes it on.

Lines of ASCII, at most 256 bytes: `lumen NUMBER KEY` from a process; `wait NUMBERS`, `other`, `go`
and `lost NUMBER` from process 0; `bye` from either at an orderly end.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Sequence
from contextlib import suppress

MAX_LINE = 256
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
"""A machine that vanishes is noticed after 25 s."""


class LinkLine:
    """A connection of lines that never blocks.

    Parameters
    ----------
    connection : socket

    Attributes
    ----------
    ended : bool
        The other side has ended, or sent what is no line of this protocol.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.ended = False
        self._held = b""
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self.connection.fileno()

    def receive(self) -> list[list[str]]:
        """Return the words of each line that has arrived."""
        try:
            data = self.connection.recv(4096)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        self.ended |= not data
        *lines, self._held = (self._held + data).split(b"\n")
        self.ended |= len(self._held) > MAX_LINE
        return [words for line in lines if (words := line.decode("ascii", "replace").split())]

    def send(self, line: str) -> None:
        """Send a line; one that the other side does not take is its loss."""
        with suppress(OSError):
            self.connection.send(line.encode() + b"\n")

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of an address such as `host:2101` or `[::1]:2101`.

    Raises
    ------
    ValueError
        It is no such address.
    """
    host, _, port = address.strip().rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise ValueError(address)
    return host.strip("[]"), int(port)


def listening_at(address: str) -> socket.socket:
    """Return a socket that listens at an address of this machine.

    Raises
    ------
    OSError
        The address is taken, or not of this machine.
    """
    host, port = split_address(address)
    family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return socket.create_server(place[:2], family=family)


def key_of(addresses: Sequence[str], fingerprint: str) -> str:
    """Return a short hash of the cluster and of the configuration of its run."""
    text = "\n".join((*addresses, fingerprint))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
