"""A service to announce by DNS-SD, and the types of services that OSC has."""

from __future__ import annotations

from typing import NamedTuple

OSC_UDP, OSC_TCP, OSCQUERY = "_osc._udp", "_osc._tcp", "_oscjson._tcp"
DOMAIN = ".local."
MAX_LABEL = 63
"""Bytes of a label (RFC 1035, 2.3.4)."""
_ROOM = 4
"""Bytes for the number that a name in use gets: `-999`."""


class ServiceRecord(NamedTuple):
    """One service: type, instance name, host and port as configured, TXT record."""

    type: str
    name: str
    host: str
    port: int
    properties: dict[str, str]


def cut(name: str) -> str:
    """Return the beginning of a name, short enough for a label with a number behind it."""
    return name.encode()[: MAX_LABEL - _ROOM].decode(errors="ignore").strip()
