"""Outputs to play with: expressions over the newest tick, as OSC messages or MIDI.

The flow works the values out and leaves the newest of them at a player's door; the player, a
thread a destination, sends at most `rate_hz` times a second by the machine's own clock, so that
the rhythm is even whatever the grid is. It never waits for anybody: what is newer replaces what
was not sent yet. Null is not sent.

OSC goes out `rate_hz` times a second however late ticks are: the newest values stand, and are sent
again, for `STANDS_S` or two ticks at most. A flow that hangs longer is silent. Over MIDI a note is
played once and a controller when it changes, so that nothing is to be sent again.

Played are live runs, and replays that go at a speed; what is worked out as fast as it goes has no
rhythm and is not played. A run gone on with plays on from its newest tick.

Cost: the expressions once a packet. State: that of their windows; it is not kept over a stop.
"""

from __future__ import annotations

import atexit
import sys
import threading
import time
from collections.abc import Callable
from math import floor, inf, isfinite

from configs.schema import Config, Destination, FileStream, MidiDestination, OscDestination
from operators.evidence import readable
from operators.expression import compile_expression
from operators.plan import Plan
from operators.records import Fused, Packet, State
from sinks.instrument import Instrument, Midi, MidiPort, Osc

STANDS_S = 5.0
"""For so long the newest values are sent again while nothing newer is there."""
_LOOK_S = 0.25
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 4.0


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


class Player:
    """The thread that plays one destination.

    Parameters
    ----------
    name : str
    rate_hz : float
    instrument : Instrument
    stands_s : float
        For so long values are played again while there are no newer ones; 0: they are played once.
    """

    def __init__(
        self, name: str, rate_hz: float, instrument: Instrument, stands_s: float = 0.0
    ) -> None:
        self.name = name
        self._period = 1 / rate_hz
        self._instrument = instrument
        self._stands_s = stands_s
        self._changed = threading.Condition()
        self._newest: dict[str, float] = {}
        self._fresh = False
        self._until = -inf
        self._stopped = False
        self._up: bool | None = None
        self._again = -inf
        self._pause = _FIRST_PAUSE_S
        self._thread = threading.Thread(target=self._run, name=f"send {name}", daemon=True)

    def start(self) -> None:
        """Begin to play."""
        self._thread.start()

    def put(self, values: dict[str, float]) -> None:
        """Let these be what is played next; none end what is played again and again."""
        if not values and not self._stands_s:
            return
        with self._changed:
            self._newest, self._fresh = values, True
            self._until = time.monotonic() + self._stands_s
            self._changed.notify()

    def stop(self) -> None:
        """End what sounds."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        try:
            self._play()
        finally:  # whatever ends this thread, nothing is left sounding
            self._instrument.close()

    def _play(self) -> None:
        due, ends = -inf, inf
        while (values := self._next(due, ends)) is not None:
            now = time.monotonic()
            ends = inf
            if not self._ready(now):
                continue
            try:
                if values:
                    # Even on average, and never two at once after a gap.
                    due = max(due + self._period, now + self._period / 2)
                    self._instrument.play(values, now)
                ends = self._instrument.rest(now)
            except OSError as error:
                self._turn(False, str(error))

    def _next(self, due: float, ends: float) -> dict[str, float] | None:
        """Return what is to be played once it is due; nothing at times; None at the end."""
        with self._changed:
            started = now = time.monotonic()
            while not self._stopped and now < min(ends, started + _LOOK_S):
                there = self._there(now)
                if there and now >= due:
                    break
                wake = min(ends, started + _LOOK_S, due if there else inf)
                self._changed.wait(wake - now)
                now = time.monotonic()
            if self._stopped:
                return None
            if now < due or not self._there(now):
                return {}
            self._fresh = False
            return self._newest

    def _there(self, now: float) -> bool:
        """Whether there is anything to play: new, or standing still."""
        return bool(self._newest) and (self._fresh or now < self._until)

    def _ready(self, now: float) -> bool:
        """Whether the instrument can be played; if not, try to open it, ever more seldom."""
        if self._up and now >= self._again:
            self._again = now + _LOOK_S
            if not self._instrument.there():
                self._turn(False, "it is gone")
        if self._up or now < self._again:
            return bool(self._up)
        try:
            to = self._instrument.open()
        except OSError as error:
            self._turn(False, str(error))
            self._again = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_S)
            return False
        self._again, self._pause = now + _LOOK_S, _FIRST_PAUSE_S
        self._turn(True, to)
        return True

    def _turn(self, up: bool, why: str) -> None:
        if up != self._up:
            said = "plays" if up else "is silent"
            sys.stderr.write(f"lumen: {self.name} {said}: {why}\n")  # whole, among other threads'
        if self._up and not up:
            self._instrument.release()
        self._up = up


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
        stands_s = max(STANDS_S, 2 / plan.tick_hz)
        self._parts: list[tuple[Score, Player]] = []
        for each in config.send:
            instrument = _instrument(each, port)
            stands = stands_s if isinstance(instrument, Osc) else 0.0
            player = Player(each.name, each.rate_hz, instrument, stands)
            self._parts.append((Score(each, plan), player))

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


def _instrument(
    destination: OscDestination | MidiDestination, port: Callable[[str, bool], MidiPort]
) -> Instrument:
    if isinstance(destination, OscDestination):
        return Osc(destination.to)
    return Midi(list(destination.map), port(destination.to, destination.virtual))
