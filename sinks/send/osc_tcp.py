"""An OSC destination over TCP, in either framing: SLIP (OSC 1.1) or length-prefixed (OSC 1.0).

SLIP (RFC 1055): END before and after a packet; END and ESC within it are escaped. Length: a packet
after its size as four bytes, the highest first.

Nothing waits for the receiver. What it does not take is left out, and newer values follow; a packet
that was begun is completed first. The send buffer is small, so that what waits in it is not old.

State: one set of packets. It uses the standard library alone, as `destination` does.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping
from contextlib import suppress
from math import inf

from sinks.send.destination import OscOutput, packed

TCP = "tcp://"
SLIP, LENGTH = "slip", "length"
_END, _ESC = b"\xc0", b"\xdb"
_CONNECT_S = 1.0
_GIVE_UP_MS = 10_000
"""Time after which a receiver that acknowledges nothing is disconnected."""
_BUFFER = 32_768
_ANSWERS, _ANSWER = 16, 4096


class OscTcpOutput:
    """An OSC destination over TCP.

    Parameters
    ----------
    to : str
        `tcp://host:port`.
    framing : str
        `slip` or `length`.
    """

    def __init__(self, to: str, framing: str) -> None:
        self._to = to
        self._framed = slip if framing == SLIP else prefixed
        self._socket: socket.socket | None = None
        self._rest = b""

    def open(self) -> str:
        """Connect, within a second an address of the host; return a description."""
        self.release()
        host, _, port = self._to.removeprefix(TCP).rpartition(":")
        made = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        if (option := getattr(socket, "TCP_USER_TIMEOUT", None)) is not None:  # Linux
            made.setsockopt(socket.IPPROTO_TCP, option, _GIVE_UP_MS)
        self._socket = made
        return f"tcp {self._to.removeprefix(TCP)}"

    def there(self) -> bool:
        """Whether the connection stands; answers of the receiver are discarded."""
        if self._socket is None:
            return False
        try:
            for _ in range(_ANSWERS):
                if not self._socket.recv(_ANSWER):
                    return False
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Send one message a value, or none while the receiver takes none."""
        self._write(b"".join(self._framed(packed(*each)) for each in values.items()))

    def send(self, packet: bytes) -> bool:
        """Send a packet; return False where the receiver takes none."""
        return self._write(self._framed(packet))

    def rest(self, now: float) -> float:
        """Return inf: OSC has no notes to end."""
        return inf

    def release(self) -> None:
        """Disconnect."""
        self._rest = b""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Disconnect."""
        self.release()

    def _write(self, data: bytes) -> bool:
        """Write data after the rest of the data before; return whether it was begun."""
        assert self._socket is not None
        with suppress(BlockingIOError):
            if self._rest:
                self._rest = self._rest[self._socket.send(self._rest) :]
            if not self._rest:
                self._rest = data[self._socket.send(data) :]
                return True
        return False


def osc_output(to: str, framing: str) -> OscOutput | OscTcpOutput:
    """Return the destination at `host:port` (UDP, without framing) or `tcp://host:port`."""
    return OscTcpOutput(to, framing) if to.startswith(TCP) else OscOutput(to)


def slip(packet: bytes) -> bytes:
    """Return a packet with END at both ends."""
    body = packet.replace(_ESC, b"\xdb\xdd").replace(_END, b"\xdb\xdc")
    return _END + body + _END


def prefixed(packet: bytes) -> bytes:
    """Return a packet after its length."""
    return struct.pack(">i", len(packet)) + packet
