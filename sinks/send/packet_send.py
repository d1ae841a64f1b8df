"""The consumer that hands whole packets to destinations that make messages of their own.

`Send` evaluates expressions at the newest tick of one rig. A destination here gets all packets of
all rigs, and chooses from them: fused ticks, evidence. It waits for nothing; what it cannot send
is dropped and counted.

Live runs are sent, and replays with a speed, as `Send` does.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Sequence

from configs.connectors.lsl import LslDestination
from configs.connectors.mqtt import MqttDestination
from configs.inputs import FileStream
from configs.schema import Config
from operators.records import Packet
from sinks.send.packet_sender import PacketSender
from sinks.send.send import paced


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


def packet_senders(config: Config, host: Callable[[], float]) -> PacketSend | None:
    """Return the destinations of a run that take packets, None without any.

    Parameters
    ----------
    config : Config
    host : callable
        Host time (s).
    """
    senders: list[PacketSender] = []
    if not config.send or not paced(config):
        return None
    for each in config.send:
        match each:
            case MqttDestination():
                from sinks.send.mqtt_output import MqttSender  # an extra

                senders.append(MqttSender(each, config.plan()))
            case LslDestination():
                from sinks.send.lsl_output import LslSender, TickAxis  # an extra

                speeds = [s.speed for s in config.streams if isinstance(s, FileStream) and s.speed]
                axis = TickAxis(host) if config.live else TickAxis(None, max(speeds, default=1.0))
                senders.append(LslSender(each, config.plan(), axis))
    return PacketSend(senders) if senders else None
