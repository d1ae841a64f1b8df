"""The conductor with its OSC clock in fake time: nothing waits, and nothing is late by load."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

from pythonosc.osc_bundle import OscBundle

from configs.schema import Config
from operators.records import Packet
from sinks.conductor.clock_process import OscClock
from sinks.conductor.conductor import Conductor
from sinks.conductor.play_axis import LiveAxis
from sinks.conductor.tick_counts import TickTotals
from sinks.conductor.tick_schedule import Tick
from sources.host.host_clock import HostClock


class FakeTime:
    """A steady clock and a wall clock (s), set by hand."""

    def __init__(self, wall: float) -> None:
        self.now, self.ahead = 500.0, wall - 500.0

    def __call__(self) -> float:
        """Return the steady clock (s)."""
        return self.now

    def steady_ns(self) -> int:
        """Return the steady clock (ns)."""
        return round(self.now * 1e9)

    def wall_ns(self) -> int:
        """Return the wall clock (ns)."""
        return round((self.now + self.ahead) * 1e9)


class SentTick(NamedTuple):
    """A datagram: the steady clock at its sending, its time tag, and its beat."""

    at: float
    tag: float
    beat: int


class FakePlayer:
    """The player of one OSC destination in this process."""

    name = "music"

    def __init__(self, to: str, min_tick_s: float, time: FakeTime) -> None:
        self.totals = TickTotals()
        self.clock = OscClock(self.name, to, "/t", 0.0, 0.0, min_tick_s, time)

    def start(self) -> None:
        """Connect."""
        self.clock.connect()

    def put(self, ticks: list[Tick], decided: float) -> None:
        """Add ticks as a pipe does."""
        self.clock.take_line(json.loads(json.dumps([ticks, decided])))

    def stop(self) -> None:
        """Disconnect."""
        self.clock.close()


class FakeConducting:
    """A conductor, its player and the receiver.

    Parameters
    ----------
    config : Config
    wall : float
        The wall clock at the begin (s): host time begins there.
    """

    def __init__(self, config: Config, wall: float) -> None:
        assert config.bridge is not None
        self.time = FakeTime(wall)
        self.host = HostClock(self.time.wall_ns, self.time.steady_ns, "fake")
        self._peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._peer.bind(("127.0.0.1", 0))
        self._peer.setblocking(False)
        to = f"127.0.0.1:{self._peer.getsockname()[1]}"
        self.player = FakePlayer(to, config.bridge.loop.min_tick_ms / 1000, self.time)
        self.conductor = Conductor(config, LiveAxis(self.host, self.time), 1.0, [self.player])
        self.sent: list[SentTick] = []
        self.conductor.start()

    def play(
        self, packets: Iterable[Packet], before: Callable[[float], None] | None = None
    ) -> None:
        """Hand each packet on at its newest arrival; `before` is called with that host time."""
        for packet in packets:
            if before is not None:
                before(packet.watermark)
            self.advance(packet.watermark - self.host())
            self.host.look()
            self.conductor.consume([packet])

    def advance(self, seconds: float) -> None:
        """Let the time pass; the clock plays when something is due."""
        end = self.time.now + max(seconds, 0.0)
        clock = self.player.clock
        while (due := clock.due()) <= end:
            self.time.now = max(self.time.now, due)
            self.play_once()
        self.time.now = end

    def play_once(self) -> None:
        """Play once, and receive."""
        self.player.clock.play()
        while True:
            try:
                bundle = OscBundle(self._peer.recv(2048))
            except BlockingIOError:
                return
            self.sent.append(SentTick(self.time.now, bundle.timestamp, bundle.content(0).params[0]))

    def close(self) -> None:
        """End the sending."""
        self.conductor.stop()
        self._peer.close()
