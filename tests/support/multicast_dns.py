"""Multicast DNS on loopback: whether it works here, and announcements of strangers."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

import pytest

from sinks.discovery.multicast import GROUP, PORT, refused

LOOPBACK = "127.0.0.1"
_IN, _PTR, _TXT, _SRV, _A = 1, 12, 16, 33, 1
_RESPONSE = 0x8400
_PAUSE_EVERY, _PAUSE_S = 16, 0.002


def needed() -> pytest.MarkDecorator:
    """Return the mark of a test that needs multicast on loopback."""
    why = refused(LOOPBACK)
    return pytest.mark.skipif(bool(why), reason=f"no multicast on loopback here: {why}")


def announce(packets: Iterable[bytes]) -> None:
    """Send datagrams to the group, as a stranger on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(LOOPBACK))
        for number, packet in enumerate(packets):
            own.sendto(packet, (GROUP, PORT))
            if number % _PAUSE_EVERY == 0:
                time.sleep(_PAUSE_S)


def packet(
    names: Iterable[bytes], type_: str = "_osc._udp", port: int = 9, text: bytes = b"\0"
) -> bytes:
    """Return one announcement of services by their labels, each with host, port and text."""
    service = _name(*type_.encode().split(b"."), b"local")
    records: list[bytes] = []
    for name in names:
        own = _label(name) + service
        host = _name(b"evil", b"local")
        records += [
            _record(service, _PTR, own),
            _record(own, _SRV, bytes(4) + port.to_bytes(2, "big") + host),
            _record(own, _TXT, text),
            _record(host, _A, bytes((127, 0, 0, 1))),
        ]
    head = (0, _RESPONSE, 0, len(records), 0, 0)
    return b"".join(number.to_bytes(2, "big") for number in head) + b"".join(records)


def _record(name: bytes, type_: int, data: bytes) -> bytes:
    fixed = type_.to_bytes(2, "big") + _IN.to_bytes(2, "big") + (120).to_bytes(4, "big")
    return name + fixed + len(data).to_bytes(2, "big") + data


def _label(text: bytes) -> bytes:
    return bytes((len(text),)) + text


def _name(*labels: bytes) -> bytes:
    return b"".join(map(_label, labels)) + b"\0"
