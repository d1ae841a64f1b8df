"""Addresses and MIDI ports of this machine."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from sources.midi.port import MidiPortError, Port

if sys.platform != "win32":
    import fcntl

_SIOCGIFADDR = 0x8915
_NO_PORT = "\n"
"""A name that no port has."""


def addresses() -> list[tuple[str, str]]:
    """Return the addresses of this machine with their interfaces, loopback last."""
    found: list[tuple[str, str]] = []
    if sys.platform == "linux":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            for _, name in socket.if_nameindex():
                with suppress(OSError):  # an interface without an address
                    request = struct.pack("256s", name.encode()[:15])
                    answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, request)
                    found.append((socket.inet_ntoa(answer[20:24]), name))
        with suppress(OSError):
            for line in Path("/proc/net/if_inet6").read_text().splitlines():
                digits, *_, name = line.split()
                address = IPv6Address(int(digits, 16))
                if not address.is_link_local:
                    found.append((str(address), name))
    else:
        with suppress(OSError):
            named = socket.getaddrinfo(socket.gethostname(), None, type=socket.SOCK_DGRAM)
            found = [(str(address[0]), "") for *_, address in named]
    found = list(dict.fromkeys(found)) or [("127.0.0.1", "")]
    return sorted(found, key=lambda each: ip_address(each[0]).is_loopback)


class MidiInputs:
    """The MIDI input ports, listed by one client that is created once."""

    def __init__(self) -> None:
        self._port = Port(_NO_PORT, is_input=True)

    def look(self) -> tuple[tuple[str, ...], str]:
        """Return the ports, and the reason for their absence, if any."""
        try:
            self._port.open()
        except MidiPortError as error:
            if not self._port.present:
                return (), "no port" if str(error).startswith("no port fits") else str(error)
        return self._port.present, ""

    def close(self) -> None:
        """Close the client."""
        self._port.close()
