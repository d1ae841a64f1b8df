"""Parts of a listening address: `9000`, `":9000"`, `host:9000`, `[::]:9000`, `tcp://host:9000`.

A port alone is that port on all IPv4 interfaces. Names are not resolved here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

TCP = "tcp://"
EVERYWHERE = "0.0.0.0"


class Listen(NamedTuple):
    """A transport, a host without brackets and a port."""

    tcp: bool
    host: str
    port: int

    @property
    def transport(self) -> str:
        """`udp` or `tcp`."""
        return "tcp" if self.tcp else "udp"

    @property
    def group(self) -> bool:
        """Whether it is a multicast group."""
        address = ip_of(self.host)
        return address is not None and address.is_multicast

    @property
    def needs_interface(self) -> bool:
        """Whether the group is local to a link, without a default interface (IPv6)."""
        address = ip_of(self.host)
        return self.group and address is not None and address.version == 6 and _is_link(address)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.transport} {host}:{self.port}"


def endpoint(addr: str | int) -> Listen:
    """Return the parts of an address that fits the schema."""
    text = str(addr)
    tcp = text.startswith(TCP)
    host, _, port = text.removeprefix(TCP).rpartition(":")
    return Listen(tcp, host.strip("[]") or EVERYWHERE, int(port))


def is_loopback(host: str) -> bool:
    """Whether a host is the local machine alone, without name resolution."""
    address = ip_of(host)
    return address is not None and address.is_loopback


def ip_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return a host as an IP address, with an IPv4-mapped one as IPv4; None for a name."""
    try:
        address = ip_address("127.0.0.1" if host.lower() == "localhost" else host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def overlap(a: Listen, b: Listen) -> bool:
    """Whether two endpoints cannot be bound at once, without name resolution.

    The unspecified address of IPv4 covers IPv4; that of IPv6 covers both families.
    """
    if (a.tcp, a.port) != (b.tcp, b.port):
        return False
    first, second = ip_of(a.host), ip_of(b.host)
    if first is None or second is None:
        return a.host.lower() == b.host.lower() or _is_all(first) or _is_all(second)
    return first == second or _covers(first, second) or _covers(second, first)


def same_server(a: Listen, b: Listen) -> bool:
    """Whether two endpoints are the same one of a server, without name resolution."""
    first, second = ip_of(a.host), ip_of(b.host)
    same_host = a.host.lower() == b.host.lower() or (first is not None and first == second)
    return same_host and (a.tcp, a.port) == (b.tcp, b.port)


def _is_all(address: IPv4Address | IPv6Address | None) -> bool:
    return address is not None and address.is_unspecified


def _covers(a: IPv4Address | IPv6Address, b: IPv4Address | IPv6Address) -> bool:
    return a.is_unspecified and (a.version == 6 or b.version == 4)


def _is_link(address: IPv4Address | IPv6Address) -> bool:
    return address.packed[1] & 0x0F <= 2  # the scope of an IPv6 group: interface or link
