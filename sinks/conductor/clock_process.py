"""The OSC clock in a process of its own: it sends each tick in its time.

Each line on the pipe is a JSON list of the arguments of `TickSchedule.add`. Counts go back, a line
twice a second at most.
"""

from __future__ import annotations

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Any

from sinks.conductor.osc_clock import tick_bundle
from sinks.conductor.tick_counts import TickCounts
from sinks.conductor.tick_schedule import Tick, TickSchedule
from sinks.send.child_process import begin_child
from sinks.send.osc_tcp import SLIP, osc_output
from sinks.send.pipes import PipeReader, PipeWriter

_REPORT_S = 0.5
_MAX_WAIT_S = 60.0
_PAUSE_S = 0.5
"""Pause before a destination is opened again (s)."""


def steady() -> float:
    """Return a clock that cannot be set and runs during a sleep of the machine (s)."""
    try:
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    except AttributeError:  # not Linux
        return time.monotonic()


class PipedClock(ABC):
    """A clock at the other end of a pipe.

    Parameters
    ----------
    schedule : TickSchedule
    now : callable
        The clock by which it plays (s); it cannot be set.
    """

    def __init__(self, schedule: TickSchedule, now: Callable[[], float] = steady) -> None:
        self.schedule, self.counts, self.now = schedule, TickCounts(), now

    def add(self, ticks: list[Tick], decided: float) -> None:
        """Add ticks; see `TickSchedule.add`."""
        for _ in range(self.schedule.add(ticks, decided)):
            self.counts.add("dropped")

    @abstractmethod
    def due(self) -> float:
        """Return the time at which `play` has something to do (steady s)."""

    @abstractmethod
    def take_line(self, line: list[Any]) -> None:
        """Take a line of the pipe."""

    @abstractmethod
    def play(self) -> None:
        """Send the ticks that are due."""

    @abstractmethod
    def close(self) -> None:
        """End the sending, and disconnect."""


class OscClock(PipedClock):
    """The ticks of one OSC destination.

    Parameters
    ----------
    name, to, address : str
        Name of the destination, `host:port` or `tcp://host:port`, address of a tick.
    offset_s, ahead_s, min_tick_s : float
        As of `TickSchedule`.
    now : callable
        As of `PipedClock`.
    framing : str
        Over TCP.
    """

    def __init__(
        self,
        name: str,
        to: str,
        address: str,
        offset_s: float,
        ahead_s: float,
        min_tick_s: float,
        now: Callable[[], float] = steady,
        framing: str = SLIP,
    ) -> None:
        super().__init__(TickSchedule(offset_s, ahead_s, min_tick_s), now)
        self._name, self._output, self._address = name, osc_output(to, framing), address
        self._offset_s, self._ahead_s = offset_s, ahead_s
        self._up: bool | None = None
        self._again = -inf

    def due(self) -> float:
        """Return the time of the next tick's sending (steady s)."""
        return self.schedule.due()

    def take_line(self, line: list[Any]) -> None:
        """Take ticks."""
        ticks, decided = line
        self.add([Tick(*each) for each in ticks], decided)

    def play(self) -> None:
        """Send the ticks that are due."""
        for tick, outcome in self.schedule.take(self.now()):
            if outcome != "sent":
                self.counts.add(outcome)
                continue
            bundle = tick_bundle(self._address, tick, self._offset_s)
            if self._send(bundle):
                self.counts.add("sent", self.now() - tick.at - self._offset_s + self._ahead_s)
            else:
                self.counts.add("dropped")

    def close(self) -> None:
        """Disconnect."""
        self._output.close()

    def connect(self) -> bool:
        """Return whether the destination is open; if not, try it, with pauses."""
        if self._output.there():
            return True
        if self._up:
            self._lost(OSError("it is gone"))
        if self.now() < self._again:
            return False
        try:
            self._set_up(True, self._output.open())
        except OSError as error:
            self._lost(error)
            return False
        return True

    def _send(self, bundle: bytes) -> bool:
        if not self.connect():
            return False
        try:
            return self._output.send(bundle)
        except OSError as error:
            self._lost(error)
            return False

    def _lost(self, error: OSError) -> None:
        self._set_up(False, str(error))
        self._again = self.now() + _PAUSE_S
        self._output.release()

    def _set_up(self, up: bool, why: str) -> None:
        if up != self._up:
            state = "ticks" if up else "does not tick"
            sys.stderr.write(f"lumen: {self._name} {state}: {why}\n")
        self._up = up


def run(clock: PipedClock, pipe: int, reports: int) -> None:
    """Play the lines of a pipe until its end."""
    lines_in = PipeReader(pipe)
    # Nobody reads the reports while the run stands still.
    to = PipeWriter(reports, lambda: None)
    rest, reported, written = b"", b"", -inf
    while True:
        now = clock.now()
        line = clock.counts.line()
        waits = [clock.due() - now, _MAX_WAIT_S]
        if line != reported:
            if now >= written + _REPORT_S:
                with suppress(OSError):  # the run has ended
                    to.write(line)
                reported, written = line, now
            else:
                waits.append(written + _REPORT_S - now)
        data = lines_in.read(min(waits))
        if data is not None:
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for each in lines:
                clock.take_line(json.loads(each))
        clock.play()
    clock.close()
    with suppress(OSError):
        to.write(clock.counts.line())
    to.close()


def main() -> None:
    """Play the ticks of standard input until its end."""
    begin_child()
    name, to, address, framing, *times = sys.argv[1:]
    offset_s, ahead_s, min_tick_s = map(float, times)
    clock = OscClock(name, to, address, offset_s, ahead_s, min_tick_s, framing=framing)
    clock.connect()  # before the first tick, which would wait for it
    run(clock, sys.stdin.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
