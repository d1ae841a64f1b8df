"""A trial of multicast DNS on one interface: a question of our own that has to come back.

The question is one for a service that nobody has (RFC 6762, 5.2). Nothing is announced.
"""

from __future__ import annotations

import secrets
import socket
import struct
import sys
import time
from contextlib import suppress
from ipaddress import ip_address

GROUP, PORT = "224.0.0.251", 5353
_WAIT_S = 1.0
_MAX_DATAGRAM = 9_000
_PTR, _IN = 12, 1


def refused(address: str) -> str:
    """Return why multicast does not work on the interface of an IPv4 address; empty: it works."""
    if ip_address(address).version != 4:
        return "not tried with IPv6"
    question = _question(f"lumen-{secrets.token_hex(8)}")
    membership = socket.inet_aton(GROUP) + socket.inet_aton(address)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if sys.platform != "win32":
                with suppress(OSError):
                    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            own.bind(("", PORT))
            own.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(address))
            own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            own.sendto(question, (GROUP, PORT))
            end = time.monotonic() + _WAIT_S
            while (left := end - time.monotonic()) > 0:
                own.settimeout(left)
                if own.recv(_MAX_DATAGRAM) == question:
                    return ""
    except TimeoutError:
        pass
    except OSError as error:
        return error.strerror or str(error)
    return "a datagram to the group does not come back"


def _question(label: str) -> bytes:
    """Return a question for a pointer of `<label>._udp.local`."""
    labels = (label, "_udp", "local")
    name = b"".join(bytes((len(part),)) + part.encode() for part in labels) + b"\0"
    return struct.pack(">6H", 0, 0, 1, 0, 0, 0) + name + struct.pack(">2H", _PTR, _IN)
