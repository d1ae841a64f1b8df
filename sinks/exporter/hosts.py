"""Filter of HTTP requests by their Host header.

A hostile web page can make a browser request any address under a name of its own (DNS rebinding).
The Host header carries that name, and a script cannot change it. A literal address, `localhost`
and the configured names cannot be such names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

OPEN = "is open to other machines, which can read all of it without a password"
GUARD = "set token_file or allow, or 127.0.0.1 to keep it on this one"
NETWORKS = "set allow, or 127.0.0.1 to keep it on this one"
_HOST = re.compile(r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<name>[^:\[\]]*))(?::[0-9]*)?")


class HostFilter:
    """Admits or refuses a request by its Host header.

    Parameters
    ----------
    names : iterable of str
        The configured host and `exporter.allow_hosts`; case and a final dot are ignored.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names = {_plain(name) for name in names} | {"localhost"}

    def admits(self, header: str | None, protocol: str = "HTTP/1.1") -> bool:
        """Return whether a request is answered.

        Parameters
        ----------
        header : str or None
            As received. Only HTTP/1.0, which no browser uses, may omit it.
        protocol : str
        """
        if not header:
            return protocol == "HTTP/1.0"
        parts = _HOST.fullmatch(header)
        if parts is None:
            return False
        if parts["literal"] is not None:
            return _literal(parts["literal"])
        return _plain(parts["name"]) in self._names or _literal(parts["name"])


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
