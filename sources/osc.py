"""OSC over UDP: a thread that reads the socket, decodes, and puts into the inbox.

Losses: refused datagrams (`osc`, `value`, `too_long`, `peer`, `filtered`), counted with the first
sample of each reading; what the kernel dropped, counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from errno import EADDRINUSE
from ipaddress import ip_address, ip_network
from time import sleep

from configs.schema import OscStream
from operators.plan import matches
from sources.datagram import MAX_SAMPLE, Datagrams
from sources.inbox import Heard, Refused
from sources.listener import Listener
from sources.udp import BUFFER, Datagram, Receiver, holder

_LOOK_S = 0.1
"""How long the thread sleeps at most: it then looks whether it is to stop."""
_GATHER_S = 0.001
"""After a reading, so that a fast sender does not wake the thread for each datagram."""
_MOST_GULPS = 32
"""In a row: more than a receive buffer holds."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 5.0
_MOST_PEERS = 1_024


class Osc(Listener):
    """One OSC port.

    Attributes
    ----------
    senders : set of str
        Addresses of those who were heard.
    """

    def __init__(self, config: OscStream) -> None:
        super().__init__(config.name)
        self.config = config
        self._facts: tuple[str, ...] = ()
        self._networks = [ip_network(allowed, strict=False) for allowed in config.allow]
        self._allowed: dict[str, bool] = {}
        self._peers: set[bytes] = set()
        self.senders: set[str] = set()
        self._datagrams = Datagrams(self._wants)

    def facts(self) -> Sequence[str]:
        """Return address, size of the receive buffer, and who stamps."""
        return self._facts

    def _run(self) -> None:
        """Bind the port and hear; try again where it cannot be had yet."""
        pause = _FIRST_PAUSE_S
        while not self._stop.is_set():
            try:
                receiver = open_port(self.config)
            except OSError as error:
                self._inbox.turn(False, refusal(self.config, error))
                self._stop.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
                continue
            pause = _FIRST_PAUSE_S
            self._facts = _facts(self.config, receiver)
            self._inbox.turn(True, ", ".join(self._facts))
            try:
                self._hear(receiver)
            except OSError as error:
                self._inbox.turn(False, f"{self.config.addr}: {error.strerror}")
                self._stop.wait(pause)
            finally:
                receiver.close()

    def _hear(self, receiver: Receiver) -> None:
        """Put in what comes; at the stop, what has come by then."""
        while True:
            last = self._stop.is_set()
            if last or receiver.wait(_LOOK_S):
                for _ in range(_MOST_GULPS):
                    if not (datagrams := receiver.read()):
                        break
                    self._inbox.put(self._decoded(datagrams, receiver))
            if dropped := receiver.drops():
                self._inbox.lose(dropped)
            if last:
                return
            sleep(_GATHER_S)

    def _decoded(self, datagrams: Sequence[Datagram], receiver: Receiver) -> list[Heard | Refused]:
        """Decode; what is refused for one reason shares the place of the first, and its peer."""
        decode, allows = self._datagrams.decode, self._allows
        items: list[Heard | Refused] = []
        refused: dict[str, int] = {}
        self._meet({raw for _, _, raw in datagrams}, receiver)
        for data, rx, raw in datagrams:
            said: Sequence[Heard | Refused]
            if self._networks and not allows(receiver.peer(raw)[0]):
                said = (Refused(rx, "peer", "", data[:MAX_SAMPLE]),)
            else:
                said = decode(data, rx)
            for item in said:
                if type(item) is Refused:
                    place = refused.setdefault(item.reason, len(items))
                    if place < len(items):
                        first = items[place]
                        assert isinstance(first, Refused)
                        items[place] = first._replace(events=first.events + item.events)
                        continue
                    host, port = receiver.peer(raw)
                    item = item._replace(where=f"{host}:{port}")
                items.append(item)
        return items

    def _meet(self, peers: set[bytes], receiver: Receiver) -> None:
        """Remember who sends, `_MOST_PEERS` of them."""
        if len(self._peers) < _MOST_PEERS and (new := peers - self._peers):
            self._peers |= new
            self.senders |= {receiver.peer(raw)[0] for raw in new}

    def _wants(self, key: str) -> bool:
        return not self.config.keys or any(matches(known, key) for known in self.config.keys)

    def _allows(self, host: str) -> bool:
        allowed = self._allowed.get(host)
        if allowed is None:
            if len(self._allowed) >= _MOST_PEERS:
                self._allowed.clear()
            address = ip_address(host)
            allowed = self._allowed[host] = any(address in n for n in self._networks)
        return allowed


def open_port(config: OscStream) -> Receiver:
    """Bind the port of a stream."""
    host, _, port = config.addr.rpartition(":")
    return Receiver(host.strip("[]"), int(port))


def refusal(config: OscStream, error: OSError) -> str:
    """Say why a port cannot be had; if somebody has it, who."""
    if error.errno == EADDRINUSE:
        return f"{config.addr} is taken by {holder(int(config.addr.rpartition(':')[2]))}"
    return f"{config.addr}: {error.strerror}"


def _facts(config: OscStream, receiver: Receiver) -> tuple[str, ...]:
    size = f"receive buffer {receiver.buffer / 2**20:.1f} MiB"
    if receiver.buffer < BUFFER:
        size += f" of {BUFFER >> 20} asked for (raise net.core.rmem_max)"
    return f"udp {config.addr}", size, f"stamped by the {receiver.stamped_by}"
