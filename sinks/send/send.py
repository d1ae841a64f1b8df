"""Outputs to play with: expressions over the newest tick, as OSC messages or MIDI.

The flow works the values out and leaves the newest of them at a player's door; the player, a
thread a destination, sends at most `rate_hz` times a second by the machine's own clock, so that
the rhythm is even whatever the grid is. It never waits for anybody: what is newer replaces what
was not sent yet. Null is not sent.

OSC goes out `rate_hz` times a second however late ticks are: the newest values stand, and are sent
again, for `STANDS_S` or two ticks at most. A flow that hangs longer is silent. Its player is a
process of its own (sinks/send/send_process.py): on a machine that is too busy a thread would wait for the
flow's. Over MIDI a note is played once and a controller when it changes, so that nothing is to be
sent again.

Played are live runs, and replays that go at a speed; what is worked out as fast as it goes has no
rhythm and is not played. A run gone on with plays on from its newest tick.

Cost: the expressions once a packet. State: that of their windows; it is not kept over a stop.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from math import floor, isfinite

from configs.schema import Config, Destination, FileStream, MidiDestination, OscDestination
from operators.evidence import readable
from operators.evidence.expression import compile_expression
from operators.plan import Plan
from operators.records import Fused, Packet
from operators.types import State
from sinks.send.destination import MidiOutput, MidiPort
from sinks.send.send_process import SendProcess
from sinks.send.send_worker import SendWorker

STANDS_S = 5.0
"""For so long the newest values are sent again while nothing newer is there."""


class Score:
    """What a destination is to be told of each tick.

    Parameters
    ----------
    destination : Destination
    plan : Plan
    """

    def __init__(self, destination: Destination, plan: Plan) -> None:
        self._readable = readable(plan)
        self._tick_hz = plan.tick_hz
        self._voices = {
            key: compile_expression(text, self._readable, logical=False)
            for key, text in destination.map.items()
        }
        self._carried: dict[str, State] = {}

    def values(self, fused: Fused) -> dict[str, float]:
        """Return the values at the newest tick, without those that are unknown."""
        first = floor(float(fused.ts[0]) * self._tick_hz + 0.5)
        ticks = range(first, first + len(fused))
        values = {}
        for key, voice in self._voices.items():
            columns = {name: self._readable[name].of(fused) for name in voice.names}
            result, self._carried[key] = voice.evaluate(
                columns, ticks, self._tick_hz, self._carried.get(key)
            )
            if isfinite(newest := float(result[-1])):
                values[key] = newest
        return values


class Send:
    """All destinations of a run.

    Parameters
    ----------
    config : Config
    port : callable
        What makes a MIDI port out of its name, and of whether it is virtual.
    """

    def __init__(self, config: Config, port: Callable[[str, bool], MidiPort]) -> None:
        plan = config.plan()
        self._parts = [(Score(each, plan), _player(each, plan, port)) for each in config.send]

    def start(self) -> None:
        """Begin to play; what sounds ends with the process too, if nobody stops it before."""
        atexit.register(self.stop)
        for _, player in self._parts:
            player.start()

    def tell(self, packet: Packet) -> None:
        """Play what a packet brought."""
        if packet.fused is not None and len(packet.fused):
            for score, player in self._parts:
                player.put(score.values(packet.fused))

    def stop(self) -> None:
        """End what sounds; may be called twice."""
        atexit.unregister(self.stop)
        for _, player in self._parts:
            player.stop()


def played(config: Config, port: Callable[[str, bool], MidiPort]) -> Send | None:
    """Return what is to be played in a run, if anything is."""
    if not config.send:
        return None
    if all(isinstance(s, FileStream) and s.speed == 0 and not s.follow for s in config.streams):
        print("lumen: nothing is sent: a replay at speed 0 has no rhythm", file=sys.stderr)
        return None
    return Send(config, port)


def _player(
    destination: OscDestination | MidiDestination,
    plan: Plan,
    port: Callable[[str, bool], MidiPort],
) -> SendWorker | SendProcess:
    name, rate_hz = destination.name, destination.rate_hz
    if isinstance(destination, OscDestination):
        return SendProcess(name, rate_hz, destination.to, max(STANDS_S, 2 / plan.tick_hz))
    made = port(destination.to, destination.virtual)
    return SendWorker(name, rate_hz, MidiOutput(list(destination.map), made))
