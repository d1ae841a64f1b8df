"""The senders to one port: permission, source name, and detection of a shared port.

State: 1,024 peers, sixteen sources. Losses: none here; the caller rejects datagrams of others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from configs.address import Listen

MAX_PEERS = 1_024
MAX_SENDERS = 16
"""Maximum number of sources of one stream with `per_sender`."""


class Peer(NamedTuple):
    """A sender; `source` is None if its source is the stream itself."""

    host: str
    port: int
    allowed: bool
    source: str | None


class Peers:
    """The senders to one port.

    Parameters
    ----------
    stream : str
    allow : sequence of str
        Addresses and networks; empty: all.
    per_sender : bool
        Each address is a separate source, up to `MAX_SENDERS`.

    Attributes
    ----------
    hosts : set of str
        Addresses of received senders, at most `MAX_PEERS`.
    """

    def __init__(self, stream: str, allow: Sequence[str], per_sender: bool) -> None:
        self._stream, self._per_sender = stream, per_sender
        self._networks = [ip_network(allowed, strict=False) for allowed in allow]
        self._known: dict[bytes, Peer] = {}
        self._sources: dict[str, str] = {}
        self.hosts: set[str] = set()
        self._last: Peer | None = None
        self._left: set[str] = set()
        self._news: list[str] = []
        self._reported: set[str] = set()

    def of(self, raw: bytes, read: Callable[[bytes], tuple[str, int]]) -> Peer:
        """Return the sender of a datagram; `read` decodes its raw address."""
        peer = self._known.get(raw)
        if peer is None:
            if len(self._known) >= MAX_PEERS:
                self._known.clear()
            peer = self._known[raw] = self._meet(*read(raw))
        if peer is not self._last and peer.allowed:
            self._detect_sharing(peer)
        return peer

    def news(self, where: Listen) -> list[str]:
        """Return the messages since the last call, each once."""
        if not self._news:
            return []
        lines = [line for line in dict.fromkeys(self._news) if line not in self._reported]
        self._reported.update(lines)
        self._news = []
        return [f"{self._stream} ({where}): {line}" for line in lines]

    def _meet(self, host: str, port: int) -> Peer:
        if len(self.hosts) < MAX_PEERS:
            self.hosts.add(host)
        address = ip_address(host.partition("%")[0])
        allowed = not self._networks or any(address in n for n in self._networks)
        if not (allowed and self._per_sender):
            return Peer(host, port, allowed, None)
        if host not in self._sources:
            if len(self._sources) >= MAX_SENDERS:
                self._news.append(
                    f"there are more than {MAX_SENDERS} senders; the other ones are refused"
                    " (peer): name the wanted ones in allow, or give some a port of their own"
                )
                return Peer(host, port, False, None)
            # A source has no colon, since its channels begin with `<source>:`.
            self._sources[host] = f"{self._stream}@{host.replace(':', '-')}"
        return Peer(host, port, True, self._sources[host])

    def _detect_sharing(self, peer: Peer) -> None:
        """Detect two hosts on one port: a host sends again after another one."""
        last, self._last = self._last, peer
        if self._per_sender or last is None or last.host == peer.host:
            return
        if peer.host in self._left and not self._reported:
            self._news[:] = [
                f"{peer.host} and {last.host} share one port, and so one clock and the names of"
                " their channels: give each a port of its own, or set per_sender: true"
            ]
        if len(self._left) < MAX_PEERS:
            self._left.add(last.host)
