"""MIDI clock of the bridge's ticks: which message is due at a moment.

A tick has `per_tick` pulses (0xF8), the first at its time, the others evenly up to the next tick:
at the tick's own rate while that is not decided. A pulse is left out where it is later than half a
tick, or its tick is dropped; no other is, so that a receiver that counts them stays in step.

Start (0xFA) is sent before the first pulse, Stop (0xFC) where the sending ends.

The core reads no clock and uses the standard library alone. State: that of the schedule.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

from sinks.conductor.tick_schedule import Outcome, TickSchedule

PULSE, START, STOP = (0xF8,), (0xFA,), (0xFC,)


class ClockMessages(NamedTuple):
    """Messages of one moment, and the outcome of the tick that they begin, if they begin one."""

    messages: tuple[tuple[int, ...], ...]
    outcome: Outcome | None
    planned: float
    """Planned time of the first message (steady s)."""


class PulseClock:
    """The pulses of one destination.

    Parameters
    ----------
    schedule : TickSchedule
    per_tick : int
    transport : bool
        Send Start and Stop.
    """

    def __init__(self, schedule: TickSchedule, per_tick: int, transport: bool) -> None:
        self._schedule, self._per_tick, self._transport = schedule, per_tick, transport
        self._started = False
        self._left = 0
        self._pulse = self._end = self._too_late = -inf

    def due(self) -> float:
        """Return the time at which `take` has something to do (steady s); inf without any."""
        return min(self._schedule.due(), self._next_pulse())

    def take(self, now: float) -> list[ClockMessages]:
        """Return the messages that are due, in their order."""
        taken = self._pulses(min(now, self._schedule.due()), now)
        for tick, outcome in self._schedule.take(now):
            messages: tuple[tuple[int, ...], ...] = ()
            if outcome == "sent":
                messages = (PULSE,) * self._left + self._start() + (PULSE,)
                self._left = self._per_tick - 1
                self._pulse = tick.at + self._schedule.offset_s
                self._end = self._pulse + tick.tick_s
                self._too_late = tick.tick_s / 2
            taken.append(ClockMessages(messages, outcome, self._pulse))
            if outcome == "withheld":
                taken += self.stop()
        if not self._schedule.playing:
            taken += self.stop()
        return [*taken, *self._pulses(now, now)]

    def stop(self) -> list[ClockMessages]:
        """Return the messages that end the sending."""
        self._left = 0
        if not self._started:
            return []
        self._started = False
        return [ClockMessages((STOP,), None, self._pulse)]

    def begin_anew(self) -> None:
        """Send Start with the next tick: the receiver is another, or has missed messages."""
        self._started = False

    def _start(self) -> tuple[tuple[int, ...], ...]:
        if self._started or not self._transport:
            return ()
        self._started = True
        return (START,)

    def _next_pulse(self) -> float:
        """Return the time of the next pulse: evenly between the last one and the next tick."""
        if not self._left:
            return inf
        upcoming = self._schedule.upcoming()
        end = self._end if upcoming is None else upcoming
        return self._pulse + max(end - self._pulse, 0.0) / (self._left + 1)

    def _pulses(self, until: float, now: float) -> list[ClockMessages]:
        """Return the pulses that are due by a time; those later than half a tick are left out."""
        taken = []
        while (pulse := self._next_pulse()) <= until:
            self._pulse = pulse
            self._left -= 1
            if now <= pulse + self._too_late:
                taken.append(ClockMessages((PULSE,), None, pulse))
        return taken
