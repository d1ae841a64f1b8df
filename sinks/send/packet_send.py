"""The consumer that hands whole packets to destinations that make messages of their own.

`Send` evaluates expressions at the newest tick of one rig. A destination here gets all packets of
all rigs, and chooses from them: fused ticks, evidence. It waits for nothing; what it cannot send
is dropped and counted.

Live runs are sent, and replays with a speed, as `Send` does.
"""

from __future__ import annotations

import atexit
from abc import ABC, abstractmethod
from collections.abc import Sequence

from configs.schema import Config
from operators.records import Packet


class PacketSender(ABC):
    """A destination that takes whole packets.

    Parameters
    ----------
    name : str
        Name of the destination.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def missed(self) -> int:
        """Packets of which something was dropped."""
        return 0

    @abstractmethod
    def start(self) -> None:
        """Start."""

    @abstractmethod
    def take(self, packet: Packet) -> None:
        """Take one packet; never waits, and raises nothing for data or for the other side."""

    @abstractmethod
    def stop(self) -> None:
        """End, within two seconds; may be called twice."""


class PacketSend:
    """All such destinations of a run.

    Parameters
    ----------
    senders : sequence of PacketSender
    """

    def __init__(self, senders: Sequence[PacketSender]) -> None:
        self._senders = senders

    @property
    def missed(self) -> int:
        """Packets of which a destination dropped something."""
        return sum(sender.missed for sender in self._senders)

    def start(self, rig: str | None = None) -> None:
        """Start all; they end with the process even without a `stop`."""
        atexit.register(self.stop)
        for sender in self._senders:
            sender.start()

    def consume(self, packets: list[Packet]) -> None:
        """Hand each packet to each destination."""
        for packet in packets:
            for sender in self._senders:
                sender.take(packet)

    def abort(self) -> None:
        """End the sending."""
        self.stop()

    def stop(self) -> None:
        """End the sending; may be called twice."""
        atexit.unregister(self.stop)
        for sender in self._senders:
            sender.stop()


def packet_senders(config: Config) -> PacketSend | None:
    """Return the destinations of a run that take packets, None without any."""
    senders: list[PacketSender] = []
    return PacketSend(senders) if senders else None
