"""A MIDI destination with a clock, in a process of its own: values and clock share one port.

Each line on the pipe is a JSON list: `["ticks", ticks, decided]`, `["values", values]` or
`["end_notes"]`. Values are sent by a `SendWorker` in a thread, the clock by the main thread. Counts
go back, a line twice a second at most.

Cost: 30 MiB.
"""

from __future__ import annotations

import importlib
import json
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from sinks.conductor.clock_process import PipedClock, run, steady
from sinks.conductor.pulse_clock import ClockMessages, PulseClock
from sinks.conductor.tick_schedule import Tick, TickSchedule
from sinks.processes.child_process import begin_child
from sinks.send.destination import MidiOutput, MidiPort
from sinks.send.send_worker import SendWorker


class SharedPort:
    """A port of two threads: one call at a time."""

    def __init__(self, port: MidiPort) -> None:
        self._port, self._lock = port, threading.Lock()

    @property
    def facts(self) -> tuple[str, ...]:
        """Description of the connected device; empty while disconnected."""
        return self._port.facts

    def open(self) -> None:
        """Connect."""
        with self._lock:
            self._port.open()

    def there(self) -> bool:
        """Whether the connected device still exists."""
        with self._lock:
            return self._port.there()

    def send(self, message: Sequence[int]) -> None:
        """Send one message."""
        with self._lock:
            self._port.send(message)

    def send_if_open(self, messages: Sequence[Sequence[int]]) -> bool:
        """Send messages; return False where the port is not connected, or fails."""
        with self._lock:
            if not self._port.facts:
                return False
            try:
                for message in messages:
                    self._port.send(message)
            except OSError:
                return False
            return True

    def release(self) -> None:
        """Disconnect."""
        with self._lock:
            self._port.release()

    def close(self) -> None:
        """Release all resources."""
        with self._lock:
            self._port.close()


class MidiClock(PipedClock):
    """The clock and the values of one MIDI destination.

    Parameters
    ----------
    worker : SendWorker
        It opens the port, and opens it again.
    port : SharedPort
    offset_s, min_tick_s : float
        As of `TickSchedule`.
    per_tick, transport : int, bool
        As of `PulseClock`.
    now : callable
        As of `PipedClock`.
    """

    def __init__(
        self,
        worker: SendWorker,
        port: SharedPort,
        offset_s: float,
        min_tick_s: float,
        per_tick: int,
        transport: bool,
        now: Callable[[], float] = steady,
    ) -> None:
        super().__init__(TickSchedule(offset_s, 0.0, min_tick_s), now)
        self._worker, self._port = worker, port
        self._pulses = PulseClock(self.schedule, per_tick, transport)
        worker.start()

    def due(self) -> float:
        """Return the time of the next message (steady s)."""
        return self._pulses.due()

    def take_line(self, line: list[Any]) -> None:
        """Take a line: ticks, values, or the end of all notes."""
        match line:
            case ["ticks", ticks, decided]:
                self.add([Tick(*each) for each in ticks], decided)
            case ["values", values]:
                self._worker.put(values)
            case ["end_notes"]:
                self._worker.end_notes()

    def play(self) -> None:
        """Send the messages that are due."""
        for each in self._pulses.take(self.now()):
            self._send(each)

    def close(self) -> None:
        """End the clock and all notes, and disconnect."""
        for each in self._pulses.stop():
            self._send(each)
        self._worker.stop()

    def _send(self, due: ClockMessages) -> None:
        sent = not due.messages or self._port.send_if_open(due.messages)
        if not sent:
            self._pulses.begin_anew()
        if due.outcome == "sent":
            self.counts.add("sent" if sent else "dropped", self.now() - due.planned)
        elif due.outcome is not None:
            self.counts.add(due.outcome)


def port_made(where: str, device: str, virtual: bool) -> MidiPort:
    """Return a port of the class `where`, such as `sources.midi.port:Port`."""
    module, _, name = where.partition(":")
    make: Callable[[str, bool], MidiPort] = getattr(importlib.import_module(module), name)
    return make(device, virtual)


def main() -> None:
    """Play the ticks and values of standard input until its end."""
    begin_child()
    where, given = sys.argv[1:]
    name, to, virtual, keys, rate_hz, *clock = json.loads(given)
    port = SharedPort(port_made(where, to, virtual))
    worker = SendWorker(name, rate_hz, MidiOutput(keys, port))
    run(MidiClock(worker, port, *clock), sys.stdin.fileno(), sys.stdout.fileno())


if __name__ == "__main__":
    main()
