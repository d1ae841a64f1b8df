"""A UDP socket that is read in batches; the kernel stamps each datagram.

One system call reads up to 512 datagrams. This matters beside a busy thread: a reader of single
datagrams waits for the interpreter lock after each. Without `recvmmsg`, datagrams are read one by
one and stamped at that moment.

State: 4 MiB of buffers. Losses: datagrams that the kernel drops (full buffer), see
`UdpReceiver.drops`.
"""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
import sys
from contextlib import suppress
from errno import EAGAIN, EINTR, EMSGSIZE
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sources.host.host_clock import HostClock
from sources.osc.datagram import MAX_DATAGRAM
from sources.osc.multicast import is_group, join

BUFFER = 8 << 20
"""Requested size of the kernel's receive buffer (bytes)."""
_BATCH = 512
_SIZE = MAX_DATAGRAM + 4
"""A datagram that fills it is too long."""
_PEER = 28
_CONTROL = 64
_SO_RCVBUFFORCE = 33 if sys.platform == "linux" else socket.SO_RCVBUF
_SO_TIMESTAMPNS = 35
_SO_MEMINFO = 55
_DROPS_AT = 32
"""Offset in SO_MEMINFO: the ninth of its 32-bit numbers."""
_ADDRESS = {socket.AF_INET: slice(4, 8), socket.AF_INET6: slice(8, 24)}
"""Position of the address in a `sockaddr`."""
_MAPPED = bytes(10) + b"\xff\xff"
"""Prefix of an IPv4 address in a socket of both families."""
_TOO_LONG = (EMSGSIZE, 10040)
"""Windows reports a datagram that does not fit; other systems cut it."""
_LISTENS = "0A"
"""State of a listening socket in /proc/net/tcp."""
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
"""Bytes, arrival (s) and raw sender address: see `UdpReceiver.peer`."""


class UdpReceiver:
    """A bound socket.

    Parameters
    ----------
    host : str
        A multicast group is joined; other listeners of the group receive it too.
    port : int
    interface : str or None
        Interface on which a group is joined; None: all.
    clock : HostClock, optional
        Clock of the run: arrivals are host time.

    Attributes
    ----------
    buffer : int
        Size of the granted receive buffer (bytes).
    stamped_by : str
        `kernel` or `receiver`.

    Raises
    ------
    OSError
        The port cannot be bound.
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
            for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):  # the first needs privileges
                with suppress(OSError):  # some systems reject a large size, others reduce it
                    self._socket.setsockopt(socket.SOL_SOCKET, option, BUFFER)
                    break
            self._batches = _BatchReceiver(self._socket, self._clock) if _has_recvmmsg() else None
            if group:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind(address)
            if group:
                join(self._socket, str(address[0]), interface)
        except BaseException:
            self._socket.close()
            raise
        self.buffer = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self.stamped_by = "kernel" if self._batches else "receiver"
        self._drops = 0

    @property
    def port(self) -> int:
        """The port number, also if 0 was requested."""
        return int(self._socket.getsockname()[1])

    def wait(self, timeout_s: float) -> bool:
        """Wait for data; return whether there is any."""
        return bool(select.select([self._socket], [], [], timeout_s)[0])

    def read(self) -> list[Datagram]:
        """Return the available datagrams, at most one batch."""
        return self._one_by_one() if self._batches is None else self._batches.take()

    def drops(self) -> int:
        """Return the datagrams dropped by the kernel since the last call, if it counts them."""
        if self._batches is None:
            return 0
        info = self._socket.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, _DROPS_AT + 4)
        before, self._drops = self._drops, struct.unpack_from("=I", info, _DROPS_AT)[0]
        return (self._drops - before) % 2**32

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _one_by_one(self) -> list[Datagram]:
        found: list[Datagram] = []
        at = _ADDRESS[self._family]
        with suppress(BlockingIOError, ConnectionError):
            while len(found) < _BATCH:
                try:
                    data, peer = self._socket.recvfrom(_SIZE)
                except OSError as error:
                    if error.errno not in _TOO_LONG:
                        raise
                    found.append((bytes(_SIZE), self._clock(), bytes(at.stop)))  # sender unknown
                    continue
                raw = bytes(2) + peer[1].to_bytes(2, "big") + bytes(at.start - 4)
                found.append((data, self._clock(), raw + socket.inet_pton(self._family, peer[0])))
        return found

    def peer(self, raw: bytes) -> tuple[str, int]:
        """Return address and port of a sender; IPv4 mapped to IPv6 is IPv4."""
        family, address = self._family, raw[_ADDRESS[self._family]]
        if address.startswith(_MAPPED):
            family, address = socket.AF_INET, address[len(_MAPPED) :]
        return socket.inet_ntop(family, address), int.from_bytes(raw[2:4], "big")


class _BatchReceiver:
    """The buffers of `recvmmsg` and their content."""

    def __init__(self, receiver: socket.socket, clock: HostClock) -> None:
        self._clock = clock
        receiver.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._fd = receiver.fileno()
        # PyDLL keeps the interpreter lock: the call returns at once.
        self._recvmmsg: Any = ctypes.PyDLL(None, use_errno=True).recvmmsg
        self._data = np.zeros((_BATCH, _SIZE), np.uint8)
        self._peers = np.zeros((_BATCH, _PEER), np.uint8)
        self._control = np.zeros((_BATCH, _CONTROL // 8), np.int64)
        self._parts = np.zeros((_BATCH, 2), np.uint64)
        self._headers = np.zeros(_BATCH, _HEADERS)
        buffers: dict[str, NDArray[Any]] = {
            "peer": self._peers,
            "control": self._control,
            "part": self._parts,
        }
        for column, buffer in buffers.items():
            self._headers[column] = buffer.ctypes.data + np.arange(_BATCH) * buffer.strides[0]
        self._parts[:, 0] = self._data.ctypes.data + np.arange(_BATCH) * _SIZE
        self._parts[:, 1] = _SIZE
        self._headers["parts"] = 1
        self._used = _BATCH

    def take(self) -> list[Datagram]:
        """Return the datagrams of one call."""
        headers = self._headers
        headers["peer_size"][: self._used] = _PEER
        headers["control_size"][: self._used] = _CONTROL
        n = self._recvmmsg(
            self._fd, ctypes.c_void_p(headers.ctypes.data), _BATCH, socket.MSG_DONTWAIT, None
        )
        self._used = max(n, 0)
        if n <= 0:
            if n < 0 and ctypes.get_errno() not in (EAGAIN, EINTR):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
            return []
        # A cmsghdr (length, level, type), then seconds and nanoseconds.
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


def _has_recvmmsg() -> bool:
    return sys.platform == "linux" and sys.byteorder == "little" and sys.maxsize > 2**32


def holder(port: int) -> str:
    """Return the process that holds a UDP port, as far as the system shows it."""
    return _holding_process(port, "udp")


def listener(port: int) -> str:
    """Return the process that listens on a TCP port, as far as the system shows it."""
    return _holding_process(port, "tcp")


def _holding_process(port: int, protocol: str) -> str:
    unknown = "another process"
    try:
        sockets = {
            f"socket:[{columns[9]}]"
            for table in (f"/proc/net/{protocol}", f"/proc/net/{protocol}6")
            if Path(table).exists()
            for columns in map(str.split, Path(table).read_text().splitlines()[1:])
            if columns[1].endswith(f":{port:04X}") and (protocol == "udp" or columns[3] == _LISTENS)
        }
    except OSError:
        return unknown
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(_target(fd) in sockets for fd in (process / "fd").iterdir()):
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    return unknown


def _target(descriptor: Path) -> str:
    """Return the target of a link; empty where its file was closed meanwhile."""
    try:
        return str(descriptor.readlink())
    except OSError:
        return ""
