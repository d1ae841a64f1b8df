"""The consumer that plays the ticks of the bridge at the destinations with a `clock`.

The flow decides a tick some time before it (`bridge.loop.lead_ms`). The conductor hands it on with
its time by the steady clock; each destination has a player of its own, which waits for that time.

Live runs are played, and replays with a speed, as `send` is. Of several rigs only the run's own is
played. The decided ticks stand in `bridge.jsonl`; the counts here are of the sent ones.

Cost: 10 us a packet and 30 us a tick, for each destination. State: at most `MAX_WAITING` lines a
destination.
"""

from __future__ import annotations

import atexit
import json
from collections import deque
from collections.abc import Callable
from math import isfinite, nan
from typing import Any, Protocol

from configs.inputs import FileStream
from configs.outputs import MidiClockConfig, MidiDestination, OscClockConfig, OscDestination
from configs.schema import Config
from operators.lines import BridgeFrame
from operators.records import Packet
from operators.types import BRIDGE_STATES
from sinks.conductor import clock_process, midi_process
from sinks.conductor.clock_process import steady
from sinks.conductor.play_axis import HostTime, LiveAxis, PlayAxis, ReplayAxis
from sinks.conductor.tick_counts import PlayedTicks, TickTotals
from sinks.conductor.tick_schedule import Tick
from sinks.send.child_process import ChildProcess
from sinks.send.send import ValueSender, paced

MAX_WAITING = 256
"""Lines that wait for room in the pipe to a player."""


class TickPlayer(Protocol):
    """The player of one destination."""

    name: str
    totals: TickTotals

    def start(self) -> None:
        """Start."""

    def put(self, ticks: list[Tick], decided: float) -> None:
        """Add ticks; see `TickSchedule.add`. Never waits."""

    def stop(self) -> None:
        """End; may be called twice."""


class OscTickPlayer:
    """The player of an OSC destination: a process.

    Parameters
    ----------
    name, to : str
        Name of the destination, `host:port`.
    clock : OscClockConfig
    min_tick_s : float
        As of `TickSchedule`.
    """

    def __init__(self, name: str, to: str, clock: OscClockConfig, min_tick_s: float) -> None:
        self.name, self.totals = name, TickTotals()
        times = (clock.offset_ms / 1000, clock.ahead_ms / 1000, min_tick_s)
        self._ticks = TickPipe(
            ChildProcess(
                clock_process.__name__,
                (name, to, clock.address, *map(repr, times)),
                reports=self.totals.report,
                ended=self.totals.restarted,
            ),
            self.totals,
        )

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._ticks.child.pid

    def start(self) -> None:
        """Start the process."""
        self._ticks.child.start()

    def put(self, ticks: list[Tick], decided: float) -> None:
        """Add ticks; those that a full pipe takes too late are dropped."""
        self._ticks.write([ticks, decided], len(ticks))

    def stop(self) -> None:
        """End the process; may be called twice."""
        self._ticks.child.stop()


class MidiTickPlayer:
    """The player of a MIDI destination: a process that sends its values too, over one port.

    Parameters
    ----------
    destination : MidiDestination
    clock : MidiClockConfig
    min_tick_s : float
        As of `TickSchedule`.
    port : str
        Module and name of the function that makes a MIDI port.
    """

    def __init__(
        self, destination: MidiDestination, clock: MidiClockConfig, min_tick_s: float, port: str
    ) -> None:
        self.name, self.totals = destination.name, TickTotals()
        given = [
            *(destination.name, destination.to, destination.virtual, list(destination.map)),
            *(destination.rate_hz, clock.offset_ms / 1000, min_tick_s),
            *(clock.per_tick, clock.transport),
        ]
        self._ticks = TickPipe(
            ChildProcess(
                midi_process.__name__,
                (port, json.dumps(given)),
                reports=self.totals.report,
                ended=self.totals.restarted,
                packages=True,
            ),
            self.totals,
        )
        self.sender = PipedSender(self._ticks.child)

    @property
    def pid(self) -> int | None:
        """Of the process."""
        return self._ticks.child.pid

    def start(self) -> None:
        """Start the process."""
        self._ticks.child.start()

    def put(self, ticks: list[Tick], decided: float) -> None:
        """Add ticks; those that a full pipe takes too late are dropped."""
        self._ticks.write(["ticks", ticks, decided], len(ticks))

    def stop(self) -> None:
        """End the process; may be called twice."""
        self._ticks.child.stop()


class PipedSender:
    """Sends the values of a destination through the process of its player."""

    def __init__(self, child: ChildProcess) -> None:
        self._child = child

    def start(self) -> None:
        """Do nothing: the player starts the process."""

    def put(self, values: dict[str, float]) -> None:
        """Replace the values to send next; never waits."""
        self._child.write(_line(["values", values]))

    def end_notes(self) -> None:
        """End all notes."""
        self._child.write(_line(["end_notes"]))

    def stop(self) -> None:
        """Do nothing: the player ends the process."""


class TickPipe:
    """Lines of ticks that wait for room in the pipe to a player; the oldest are dropped."""

    def __init__(self, child: ChildProcess, totals: TickTotals) -> None:
        self.child, self._totals = child, totals
        self._waiting: deque[tuple[bytes, int]] = deque()

    def write(self, line: list[Any], ticks: int) -> None:
        """Write a line with a number of ticks after those that wait."""
        if len(self._waiting) >= MAX_WAITING:
            self._totals.add("dropped", self._waiting.popleft()[1])
        self._waiting.append((_line(line), ticks))
        while self._waiting and self.child.write(self._waiting[0][0]):
            self._waiting.popleft()


def _line(values: list[Any]) -> bytes:
    return json.dumps(values).encode() + b"\n"


class Conductor:
    """The consumer.

    Parameters
    ----------
    config : Config
    axis : PlayAxis
    speed : float
        Of the replay; 1 live.
    players : list of TickPlayer

    Attributes
    ----------
    played : PlayedTicks
        Counts of the sent ticks.
    """

    missed = 0

    def __init__(
        self, config: Config, axis: PlayAxis, speed: float, players: list[TickPlayer]
    ) -> None:
        self._lead_s, self._speed = config.lead_s(), speed
        self._axis, self._players = axis, players
        self._rig: str | None = None
        self.played = PlayedTicks()
        self.played.rig = config.rig
        self.played.totals = {player.name: player.totals for player in players}

    @property
    def senders(self) -> dict[str, ValueSender]:
        """Senders of values by destination, where they share a port with a clock."""
        return {p.name: p.sender for p in self._players if isinstance(p, MidiTickPlayer)}

    def start(self, rig: str | None = None) -> None:
        """Start the players; they end with the process even without a `stop`.

        Parameters
        ----------
        rig : str, optional
            The rig whose ticks are played; all packets where it is left out.
        """
        self._rig = rig
        self.played.rig = rig or self.played.rig
        atexit.register(self.stop)
        for player in self._players:
            player.start()

    def consume(self, packets: list[Packet]) -> None:
        """Hand the ticks of each packet to the players."""
        for packet in packets:
            if self._rig is not None and packet.rig != self._rig:
                continue
            frames = [f for f in packet.bridge if f.why is None and _is_sound(f)]
            known = [f.known for f in frames]
            if packet.bridge_status is not None and isfinite(packet.bridge_status.at):
                known.append(packet.bridge_status.at)
            if not known:
                continue
            self._axis.seen(min(known))
            ticks = [self._tick(frame) for frame in frames]
            decided = self._axis.steady(max(known) + self._lead_s)
            for player in self._players:
                player.put(ticks, decided)

    def abort(self) -> None:
        """End the sending."""
        self.stop()

    def stop(self) -> None:
        """End the sending; may be called twice."""
        atexit.unregister(self.stop)
        for player in self._players:
            player.stop()

    def _tick(self, frame: BridgeFrame) -> Tick:
        return Tick(
            self._axis.steady(frame.ts),
            self._axis.wall(frame.ts),
            frame.beat,
            frame.tick_ms / 1000 / self._speed,
            frame.rate_hz,
            nan if frame.phase_error is None else frame.phase_error,
            BRIDGE_STATES.index(frame.state),
            frame.withheld,
        )


def _is_sound(frame: BridgeFrame) -> bool:
    """Whether a tick has a time and an interval."""
    return isfinite(frame.ts + frame.known + frame.tick_ms) and frame.tick_ms > 0


def conducted(
    config: Config, host: HostTime, port: str, now: Callable[[], float] = steady
) -> Conductor | None:
    """Return the player of a run's ticks, None where none are to be played.

    Parameters
    ----------
    config : Config
    host : HostTime
        Of a live run.
    port : str
        Module and name of the function that makes a MIDI port from its name and from whether it is
        virtual, such as `sources.midi.port:Port`; players import it.
    now : callable
        The clock by which the players play (s); it cannot be set.
    """
    if config.bridge is None or not paced(config):
        return None
    speed = 1.0 if config.live else playback_speed(config)
    axis = LiveAxis(host, now) if config.live else ReplayAxis(speed, now)
    min_tick_s = config.bridge.loop.min_tick_ms / 1000 / speed
    players: list[TickPlayer] = []
    for each in config.send:
        match each:
            case OscDestination(clock=OscClockConfig() as clock):
                players.append(OscTickPlayer(each.name, each.to, clock, min_tick_s))
            case MidiDestination(clock=MidiClockConfig() as clock):
                players.append(MidiTickPlayer(each, clock, min_tick_s, port))
    return Conductor(config, axis, speed, players) if players else None


def playback_speed(config: Config) -> float:
    """Return the speed of a replay; a followed recording comes as fast as it grows."""
    files = [s for s in config.streams if isinstance(s, FileStream)]
    if any(s.follow for s in files):
        return 1.0
    return min((s.speed for s in files if s.speed > 0), default=1.0)
