"""OSC over UDP or TCP: a thread reads the socket, decodes, and fills the inbox.

With `per_sender` each peer is a separate source; without it, two alternating peers are reported
once.

State: 1,024 peers. Losses: rejected datagrams (`osc`, `value`, `too_long`, `peer`, `filtered`),
counted with the first sample of each reading; datagrams dropped by the kernel, counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EADDRINUSE
from time import sleep
from typing import TypeAlias

from configs.address import endpoint
from configs.inputs import OscStream
from operators.limits import MAX_SAMPLE
from operators.settings.channels import matches
from sources.host.host_clock import HostClock
from sources.inbox import FromSource, Listener, Message, Unread
from sources.osc.datagram import Datagrams
from sources.osc.senders import Peers
from sources.osc.tcp import MAX_CONNECTIONS, TcpReceiver
from sources.osc.udp import BUFFER, Datagram, UdpReceiver, holder, listener

_POLL_S = 0.1
"""Longest sleep of the thread before it checks the stop request (s)."""
_GATHER_S = 0.001
"""Pause after a reading: a fast sender does not wake the thread for each datagram (s)."""
_MAX_BATCHES = 32
"""Consecutive batches: more than a receive buffer holds."""
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.5, 5.0
AnyReceiver: TypeAlias = UdpReceiver | TcpReceiver


class OscReceiver(Listener):
    """One OSC port.

    Parameters
    ----------
    config : OscStream
    """

    def __init__(self, config: OscStream) -> None:
        super().__init__(config.name)
        self.config = config
        self._facts: tuple[str, ...] = ()
        self._peers = Peers(config.name, config.allow, config.per_sender)
        self._datagrams = Datagrams(self._wants, config.timetags != "ignore")

    @property
    def senders(self) -> set[str]:
        """Addresses of the senders received so far."""
        return self._peers.hosts

    def facts(self) -> Sequence[str]:
        """Return address, size of the receive buffer, and the origin of the stamps."""
        return self._facts

    def _run(self) -> None:
        """Bind the port and receive; retry while the port is not available."""
        pause = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                receiver = open_port(self.config, self._inbox.host)
            except OSError as error:
                self._inbox.turn(False, refusal(self.config, error))
                self._stop.wait(pause)
                pause = min(2 * pause, _MAX_PAUSE_S)
                continue
            pause = _FIRST_PAUSE_S
            self._facts = _facts(self.config, receiver)
            self._inbox.turn(True, ", ".join(self._facts))
            try:
                self._receive(receiver)
            except OSError as error:
                self._inbox.turn(False, f"{self.config.addr}: {error.strerror}")
                self._stop.wait(pause)
            finally:
                receiver.close()

    def _receive(self, receiver: AnyReceiver) -> None:
        """Put received messages into the inbox; at the stop, the last ones too."""
        while True:
            last = self._stop.is_set()
            looked = self._inbox.host()
            if not (last or receiver.wait(_POLL_S)):
                self._inbox.settle(looked)
            else:
                for _ in range(_MAX_BATCHES):
                    looked = self._inbox.host()
                    if not (datagrams := receiver.read()):
                        self._inbox.settle(looked)
                        break
                    self._inbox.put(self._decoded(datagrams, receiver))
            if isinstance(receiver, TcpReceiver) and (refused := receiver.refused()):
                self._refuse(refused, receiver)
            if dropped := receiver.drops():
                self._inbox.lose(dropped)
            if last:
                return
            sleep(_GATHER_S)

    def _refuse(self, refused: Sequence[tuple[float, bytes]], receiver: TcpReceiver) -> None:
        """Count refused connections, with the first one as the sample."""
        (rx, raw), why = refused[0], f"{MAX_CONNECTIONS} senders are connected"
        host, port = receiver.peer(raw)
        self._inbox.put([Unread(rx, "peer", f"{host}:{port}", why.encode(), len(refused))])

    def _decoded(
        self, datagrams: Sequence[Datagram], receiver: AnyReceiver
    ) -> list[Message | Unread | FromSource]:
        """Decode; rejects of one peer and reason are merged into the first of them."""
        decode, peers = self._datagrams.decode, self._peers
        items: list[Message | Unread | FromSource] = []
        places: dict[tuple[str, str | None], int] = {}
        for data, rx, raw in datagrams:
            peer = peers.of(raw, receiver.peer)
            found: Sequence[Message | Unread]
            if peer.allowed:
                found = decode(data, rx)
            else:
                found = (Unread(rx, "peer", "", data[:MAX_SAMPLE]),)
            for item in found:
                if type(item) is Unread:
                    place = places.setdefault((item.reason, peer.source), len(items))
                    if place < len(items):
                        items[place] = _more(items[place], item.events)
                        continue
                    item = item._replace(where=f"{peer.host}:{peer.port}")
                items.append(item if peer.source is None else FromSource(peer.source, item))
        for key in self._datagrams.news():
            self._inbox.log(
                f"{self.name}: {key} has texts beside its numbers: they are ignored, the numbers"
                f" are {key}[0], {key}[1], ... by their place"
            )
        for line in peers.news(endpoint(self.config.addr)):
            self._inbox.log(line)
        return items

    def _wants(self, key: str) -> bool:
        return not self.config.keys or any(matches(known, key) for known in self.config.keys)


def _more(item: Message | Unread | FromSource, events: int) -> Unread | FromSource:
    """Return a reject with more events."""
    if isinstance(item, FromSource):
        assert isinstance(item.item, Unread)
        return item._replace(item=item.item._replace(events=item.item.events + events))
    assert isinstance(item, Unread)
    return item._replace(events=item.events + events)


def open_port(config: OscStream, clock: HostClock | None = None) -> AnyReceiver:
    """Bind the port of a stream; arrivals are host time of the run."""
    where = endpoint(config.addr)
    if where.tcp:
        return TcpReceiver(where.host, where.port, clock)
    return UdpReceiver(where.host, where.port, config.interface, clock)


def refusal(config: OscStream, error: OSError) -> str:
    """Return the reason why a port is not available, with its holder if there is one."""
    if error.errno == EADDRINUSE:
        where = endpoint(config.addr)
        process = listener(where.port) if where.tcp else holder(where.port)
        return f"{config.addr} is taken by {process}"
    return f"{config.addr}: {error.strerror}"


def _facts(config: OscStream, receiver: AnyReceiver) -> tuple[str, ...]:
    size = f"receive buffer {receiver.buffer / 2**20:.1f} MiB"
    if receiver.buffer < BUFFER and isinstance(receiver, UdpReceiver):
        size += f" of {BUFFER >> 20} asked for (raise net.core.rmem_max)"
    return str(endpoint(config.addr)), size, f"stamped by the {receiver.stamped_by}"
