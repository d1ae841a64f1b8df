"""Outputs of a run as OSC messages or MIDI: expressions over the newest tick.

The flow evaluates the expressions and hands the newest values to one worker a destination. The
worker, a thread, sends at most `rate_hz` times a second by the host's clock, so that the rhythm
is even for any grid. It never waits for the flow: newer values replace those not sent yet. Null
is not sent.

OSC is sent `rate_hz` times a second even where ticks are late: the newest values are repeated for
`REPEAT_S` or two ticks, the longer of the two. A flow that hangs longer is silent. The OSC worker
is a process of its own (sinks/send/send_process.py): on an overloaded machine a thread would wait
for the flow's thread. MIDI sends a note once, and a controller when it changes, so that nothing
is repeated.

While the safety gain of a bridge is 0, notes are ended and none begins.

Live runs are sent, and replays with a speed. A replay at speed 0 has no rhythm and is not sent. A
resumed run sends from its newest tick on.

Cost: the expressions once a packet. State: that of their windows; it is lost at a stop.
"""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable, Mapping
from math import floor, isfinite
from typing import Protocol

from configs.inputs import FileStream
from configs.outputs import Destination, MidiDestination, OscDestination
from configs.schema import Config
from operators.conditions import readable
from operators.conditions.expression import compile_expression
from operators.records import Fused, Packet
from operators.settings.plan import Plan
from operators.types import State
from sinks.send.destination import MidiOutput, MidiPort
from sinks.send.osc_tcp import SLIP
from sinks.send.send_process import SendProcess
from sinks.send.send_worker import SendWorker

REPEAT_S = 5.0
"""Duration for which the newest values are repeated while no newer ones exist."""


class Mapped(Protocol):
    """A destination with expressions."""

    @property
    def name(self) -> str:
        """Name of the destination."""

    @property
    def map(self) -> dict[str, str]:
        """Expression for each value."""


class ExpressionMap:
    """The values of one destination at each tick.

    Parameters
    ----------
    destination : Mapped
    plan : Plan
    """

    def __init__(self, destination: Mapped, plan: Plan) -> None:
        self.name = destination.name
        self._readable = readable(plan)
        self._tick_hz = plan.tick_hz
        self._expressions = {
            key: compile_expression(text, self._readable, logical=False)
            for key, text in destination.map.items()
        }
        self._states: dict[str, State] = {}

    def values(self, fused: Fused) -> dict[str, float]:
        """Return the values at the newest tick, without those that are unknown."""
        first = floor(float(fused.ts[0]) * self._tick_hz + 0.5)
        ticks = range(first, first + len(fused))
        values = {}
        for key, expression in self._expressions.items():
            columns = {name: self._readable[name].of(fused) for name in expression.names}
            result, self._states[key] = expression.evaluate(
                columns, ticks, self._tick_hz, self._states.get(key)
            )
            if isfinite(newest := float(result[-1])):
                values[key] = newest
        return values


class ValueSender(Protocol):
    """Sends the values of one destination."""

    def start(self) -> None:
        """Start."""

    def put(self, values: dict[str, float]) -> None:
        """Replace the values to send next; never waits."""

    def end_notes(self) -> None:
        """End all notes."""

    def stop(self) -> None:
        """End all notes, and stop; may be called twice."""


class Send:
    """The consumer that sends: all destinations of a run.

    Parameters
    ----------
    config : Config
    port : callable
        Makes a MIDI port from its name and from whether it is virtual.
    own : mapping, optional
        Senders by destination, where they share a port with a clock.

    Attributes
    ----------
    newest : dict
        Values at the newest tick by destination, replaced as a whole; unknown ones are absent.
    """

    missed = 0

    def __init__(
        self,
        config: Config,
        port: Callable[[str, bool], MidiPort],
        own: Mapping[str, ValueSender] | None = None,
    ) -> None:
        plan = config.plan()
        self._rig: str | None = None
        self.newest: dict[str, dict[str, float]] = {}
        self._parts = [
            (ExpressionMap(each, plan), (own or {}).get(each.name) or _worker(each, plan, port))
            for each in config.send
            if isinstance(each, OscDestination | MidiDestination) and each.map
        ]
        self._silent = False

    def start(self, rig: str | None = None) -> None:
        """Start the workers; notes end with the process even without a `stop`.

        Parameters
        ----------
        rig : str, optional
            The rig whose ticks are sent; all packets where it is left out.
        """
        self._rig = rig
        atexit.register(self.stop)
        for _, worker in self._parts:
            worker.start()

    def consume(self, packets: list[Packet]) -> None:
        """Send the newest values of each packet."""
        for packet in packets:
            if self._rig is not None and packet.rig != self._rig:
                continue
            silent = is_silent(packet, self._silent)
            if packet.fused is not None and len(packet.fused):
                for expressions, worker in self._parts:
                    values = expressions.values(packet.fused)
                    self.newest[expressions.name] = values
                    worker.put({k: v for k, v in values.items() if not (silent and is_note(k))})
            if silent and not self._silent:
                for _, worker in self._parts:
                    worker.end_notes()
            self._silent = silent

    def abort(self) -> None:
        """End all notes."""
        self.stop()

    def stop(self) -> None:
        """End all notes and stop the workers; may be called twice."""
        atexit.unregister(self.stop)
        for _, worker in self._parts:
            worker.stop()


def is_silent(packet: Packet, before: bool = False) -> bool:
    """Return whether the bridge allows no sound: its safety gain is 0; else as `before`."""
    status = packet.bridge_status
    return before if status is None else status.safety_gain == 0


def is_note(key: str) -> bool:
    """Whether a value begins a note; the address of an OSC message does not."""
    return key.startswith("note/")


def played(
    config: Config,
    port: Callable[[str, bool], MidiPort],
    own: Mapping[str, ValueSender] | None = None,
) -> Send | None:
    """Return the destinations of a run, None where nothing is to be sent.

    Parameters
    ----------
    config : Config
    port : callable
        Makes a MIDI port from its name and from whether it is virtual.
    own : mapping, optional
        Senders by destination, where they share a port with a clock.
    """
    if not any(isinstance(each, Destination) for each in config.send):
        return None
    if not paced(config):
        print("lumen: nothing is sent: a replay at speed 0 has no rhythm", file=sys.stderr)
        return None
    mapped = any(isinstance(each, Destination) and each.map for each in config.send)
    return Send(config, port, own) if mapped else None


def paced(config: Config) -> bool:
    """Whether a run has a rhythm: it is live, follows a recording, or replays with a speed."""
    if config.topic is not None:
        return config.topic.follow
    return any(not isinstance(s, FileStream) or s.speed > 0 or s.follow for s in config.streams)


def _worker(
    destination: OscDestination | MidiDestination,
    plan: Plan,
    port: Callable[[str, bool], MidiPort],
) -> ValueSender:
    name, rate_hz = destination.name, destination.rate_hz
    if isinstance(destination, OscDestination):
        repeat_s = max(REPEAT_S, 2 / plan.tick_hz)
        return SendProcess(name, rate_hz, destination.to, repeat_s, destination.framing or SLIP)
    made = port(destination.to, destination.virtual)
    return SendWorker(name, rate_hz, MidiOutput(list(destination.map), made))
