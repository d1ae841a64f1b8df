"""A UDP socket that is read in gulps, each datagram stamped when the kernel had it.

One system call takes up to 512 datagrams. That matters beside a busy thread: whoever asks for
them one by one waits for the interpreter's lock after each. Where there is no `recvmmsg`, they
are taken one by one and stamped when they are.

State: 4 MiB of buffers. Losses: what the kernel drops for want of room, see `UdpReceiver.drops`.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from errno import EAGAIN, EINTR
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from sources.host_clock import HostClock
from sources.osc.datagram import MAX_DATAGRAM
from sources.osc.multicast import is_group, join

BUFFER = 8 << 20
"""Of the kernel's receive buffer, as asked for (bytes)."""
_GULP = 512
_SIZE = MAX_DATAGRAM + 4
"""A datagram that fills it is too long."""
_PEER = 28
_CONTROL = 64
_SO_RCVBUFFORCE = 33 if sys.platform == "linux" else socket.SO_RCVBUF
_SO_TIMESTAMPNS = 35
_SO_MEMINFO = 55
_DROPS_AT = 32
"""In what SO_MEMINFO tells: the ninth of its 32-bit numbers."""
_ADDRESS = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
"""Where a peer's address lies in its `sockaddr`."""
_MAPPED = bytes(10) + b"\xff\xff"
"""Before an IPv4 address as a socket of both families gives it."""
_LISTENS = "0A"
"""A socket's state in /proc/net/tcp."""
_HEADERS = np.dtype(
    {
        "names": ["peer", "peer_size", "part", "parts", "control", "control_size", "size"],
        "formats": ["u8", "u4", "u8", "u8", "u8", "u8", "u4"],
        "offsets": [0, 8, 16, 24, 32, 40, 56],
        "itemsize": 64,
    }
)
"""`struct mmsghdr` of a 64-bit Linux."""


Datagram: TypeAlias = tuple[bytes, float, bytes]
"""What came, when (s), and from whom: see `UdpReceiver.peer`."""


class UdpReceiver:
    """A bound socket.

    Parameters
    ----------
    host : str
        A multicast group is joined; whoever else listens to it hears it too.
    port : int
    interface : str or None
        On which a group is joined; None: on all there are.
    clock : HostClock, optional
        Of the run: arrivals are host time.

    Attributes
    ----------
    buffer : int
        The receive buffer that the kernel granted (bytes).
    stamped_by : str
        `kernel` or `receiver`.

    Raises
    ------
    OSError
        It cannot be had.
    """

    def __init__(
        self, host: str, port: int, interface: str | None = None, clock: HostClock | None = None
    ) -> None:
        self._clock = clock or HostClock()
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
        )[0]
        group = is_group(str(address[0]))
        if group and family == socket.AF_INET6 and interface is not None:
            address = (*address[:3], socket.if_nametoindex(interface))
        self._family = family
        self._socket = socket.socket(family, kind, protocol)
        try:
            self._socket.setblocking(False)
            for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):  # the first is for the privileged
                with suppress(OSError):  # some systems refuse what is too much, others cut it
                    self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
                    break
            self._gulps = _BatchReceiver(self._socket, self._clock) if _can_gulp() else None
            if group:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            if group:
                join(self._socket, str(address[0]), interface)
        except BaseException:
            self._socket.close()
            raise
        self.buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.stamped_by = "kernel" if self._gulps else "receiver"
        self._drops = 0

    @property
    def port(self) -> int:
        """The port, also where any was asked for."""
        return int(self._socket.getsockname()[1])

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to be read; return whether there is."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def read(self) -> list[Datagram]:
        """Return what is there, at most a gulp; nothing when there is nothing."""
        return self._one_by_one() if self._gulps is None else self._gulps.take()

    def drops(self) -> int:
        """Return how many datagrams the kernel has dropped since the last call, if it tells."""
        if self._gulps is None:
            return 0
        told = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS_AT + 4)
        before, self._drops = self._drops, struct.unpack_from("=I", told, _DROPS_AT)[0]
        return (self._drops - before) % 2**32

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _one_by_one(self) -> list[Datagram]:
        found: list[Datagram] = []
        with suppress(BlockingIOError, ConnectionError):
            while len(found) < _GULP:
                data, peer = self._socket.recvfrom(_SIZE)
                at = _ADDRESS[self._family]
                raw = bytes(2) + peer[1].to_bytes(2, "big") + bytes(at.start - 4)
                found.append((data, self._clock(), raw + socket.inet_pton(self._family, peer[0])))
        return found

    def peer(self, raw: bytes) -> tuple[str, int]:
        """Return address and port of whoever sent a datagram; IPv4 in IPv6 is IPv4."""
        family, address = self._family, raw[_ADDRESS[self._family]]
        if address.startswith(_MAPPED):
            family, address = socket.AF_INET, address[len(_MAPPED) :]
        return socket.inet_ntop(family, address), int.from_bytes(raw[2:4], "big")


class _BatchReceiver:
    """The buffers of `recvmmsg`, and what is in them."""

    def __init__(self, receiver: socket.socket, clock: HostClock) -> None:
        self._clock = clock
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._fd = receiver.fileno()
        # Without giving up the interpreter's lock: the call returns at once.
        self._recvmmsg: Any = ctypes.PyDLL(None, use_errno=True).recvmmsg
        self._data = np.zeros((_GULP, _SIZE), np.uint8)
        self._peers = np.zeros((_GULP, _PEER), np.uint8)
        self._control = np.zeros((_GULP, _CONTROL // 8), np.int64)
        self._parts = np.zeros((_GULP, 2), np.uint64)
        self._headers = np.zeros(_GULP, _HEADERS)
        for column, buffer in (("peer", self._peers), ("control", self._control),
                               ("part", self._parts)):  # fmt: skip
            self._headers[column] = buffer.ctypes.data + np.arange(_GULP) * buffer.strides[0]
        self._parts[:, 0] = self._data.ctypes.data + np.arange(_GULP) * _SIZE
        self._parts[:, 1] = _SIZE
        self._headers["parts"] = 1
        self._used = _GULP

    def take(self) -> list[Datagram]:
        """Return the datagrams of one call."""
        headers = self._headers
        headers["peer_size"][: self._used] = _PEER
        headers["control_size"][: self._used] = _CONTROL
        n = self._recvmmsg(
            self._fd, ctypes.c_void_p(headers.ctypes.data), _GULP, socket.MSG_DONTWAIT, None
        )
        self._used = max(n, 0)
        if n <= 0:
            if n < 0 and ctypes.get_errno() not in (EAGAIN, EINTR):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return []
        # A cmsghdr (its length, its level and type), then seconds and nanoseconds.
        control = self._control[:n]
        arrival = self._clock.of_wall(control[:, 2] * 1_000_000 + control[:, 3] // 1000)
        if (headers["control_size"][:n] < 32).any():
            arrival[headers["control_size"][:n] < 32] = self._clock()
        peers = self._peers[:n].tobytes()
        data = self._data.data.cast("B")
        return [
            (bytes(data[i * _SIZE : i * _SIZE + size]), rx, peers[i * _PEER : (i + 1) * _PEER])
            for i, (size, rx) in enumerate(
                zip(headers["size"][:n].tolist(), arrival.tolist(), strict=True)
            )
        ]


def _can_gulp() -> bool:
    return sys.platform == "linux" and sys.byteorder == "little" and sys.maxsize > 2**32


def holder(port: int) -> str:
    """Say who has a UDP port, as far as this system lets itself be asked."""
    return _who(port, "udp")


def listener(port: int) -> str:
    """Say who listens on a TCP port, likewise."""
    return _who(port, "tcp")


def _who(port: int, protocol: str) -> str:
    nobody = "another process"
    try:
        sockets = {
            f"socket:[{columns[9]}]"
            for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6")
            if Path(table).exists()
            for columns in map(str.split, Path(table).read_text().splitlines()[1:])
            if columns[1].endswith(f":{port:04X}") and (protocol == "udp" or columns[3] == _LISTENS)
        }
    except OSError:
        return nobody
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(str(fd.readlink()) in sockets for fd in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return nobody
