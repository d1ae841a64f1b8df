"""Membership of multicast groups.

A group is joined on each interface, since a sender may be on any of them, loopback included. By
default, a system joins only on the interface of its default route.
"""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from errno import ENODEV
from ipaddress import ip_address


def is_group(host: str) -> bool:
    """Whether an IP address is a multicast group."""
    return ip_address(host.partition("%")[0]).is_multicast


def join(sock: socket.socket, group: str, interface: str | None = None) -> None:
    """Join a group on one interface, or on all that support it.

    Raises
    ------
    OSError
        The interface does not exist, or no interface can join the group.
    """
    address = ip_address(group.partition("%")[0]).packed
    if interface is not None:
        try:
            index = socket.if_nametoindex(interface)
        except OSError:
            raise OSError(ENODEV, f"there is no interface '{interface}'") from None
        _join(sock, address, index)
        return
    joined = 0
    for index, _ in socket.if_nameindex():
        with suppress(OSError):  # an interface that is down, or without multicast
            _join(sock, address, index)
            joined += 1
    if not joined:
        raise OSError(ENODEV, "no interface can join the group")


def _join(sock: socket.socket, group: bytes, index: int) -> None:
    if len(group) == 4 and sys.platform == "win32":
        request = struct.pack("!4sI", group, index)  # an index in the place of an address
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    elif len(group) == 4:
        request = struct.pack("=4s4si", group, bytes(4), index)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
    else:
        request = struct.pack("=16sI", group, index)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
