"""What a destination of whole packets is."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
        """End, within a second; may be called twice."""
