"""The own addresses at which a configured host is reached, which are also those of interfaces."""

from __future__ import annotations

import socket

import ifaddr

from configs.address import ip_of


def addresses_of(host: str) -> tuple[str, ...]:
    """Return the addresses of a host: of a wildcard, the IPv4 ones of the network.

    The loopback address is among them only where it is meant, or where there is no other.

    Raises
    ------
    OSError
        A name has no address.
    """
    address = ip_of(host)
    if address is None:
        return (socket.gethostbyname(host),)
    if not address.is_unspecified:
        return (str(address),)
    own = sorted(
        str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4
    )
    return tuple(a for a in own if not a.startswith("127.")) or ("127.0.0.1",)
