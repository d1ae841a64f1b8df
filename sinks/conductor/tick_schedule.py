"""Order of sending: which tick of the bridge is due at a moment, and which comes too late.

    sending of a tick = its time + offset - ahead

A tick is sent once, or withheld by the bridge, or dropped: later than half a tick, closer than the
shortest tick to the one before or, after a gap, so late that the next one would be. All ticks
before `decided` are known. Where no newer ones are there by then, the clock goes on at the last
rate for `GO_ON_S`, then stops. A frame of a tick that was sent meanwhile is not sent again; it
corrects the time and the rate at which the clock goes on.

The core reads no clock and uses the standard library alone. State: at most `MAX_TICKS` ticks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil, inf
from typing import Literal, NamedTuple

Outcome = Literal["sent", "withheld", "dropped"]
OUTCOMES: tuple[Outcome, ...] = ("sent", "withheld", "dropped")
GO_ON_S = 2.0
"""Time for which the clock goes on without frames (s)."""
MAX_TICKS = 4096
_PUNCTUAL_S = 5e-3
"""A tick with this lateness is in time (s)."""
_ROUNDING_S = 1e-3
"""A tick may be shorter than the shortest one by the rounding of its times (s)."""


class Tick(NamedTuple):
    """One tick of the bridge: its time by the steady clock and by the wall clock (s)."""

    at: float
    wall: float
    beat: int
    tick_s: float
    rate_hz: float
    phase_error: float
    state: int
    withheld: bool


class TickSchedule:
    """The ticks of one destination.

    Parameters
    ----------
    offset_s, ahead_s : float
        The time at which a tick is to sound is its own + `offset_s`; it is sent `ahead_s` before.
    min_tick_s : float
        Shortest interval of two sent ticks.

    Attributes
    ----------
    playing : bool
        The newest tick was sent: none was withheld since, nor is the clock out of frames.
    """

    def __init__(self, offset_s: float, ahead_s: float, min_tick_s: float) -> None:
        self.playing = False
        self.offset_s, self._ahead_s, self._min_tick_s = offset_s, ahead_s, min_tick_s
        self._waiting: deque[Tick] = deque()
        self._decided = -inf
        self._last: Tick | None = None
        self._last_beat_of_frames = -1
        self._last_sent = -inf
        self._gap = True

    def add(self, ticks: Iterable[Tick], decided: float) -> int:
        """Add ticks in their order; return the number of those beyond `MAX_TICKS`, left out.

        Parameters
        ----------
        ticks : iterable of Tick
        decided : float
            Time by the steady clock up to which all ticks are known (s).
        """
        left_out = 0
        self._decided = max(self._decided, decided)
        for tick in ticks:
            if len(self._waiting) >= MAX_TICKS:
                left_out += 1
                continue
            self._waiting.append(tick)
            self._decided = max(self._decided, tick.at)
        return left_out

    def upcoming(self) -> float | None:
        """Return the time at which the next known tick sounds (steady s); None without one."""
        return self._waiting[0].at + self.offset_s if self._waiting else None

    def due(self) -> float:
        """Return the time at which `take` has something to do (steady s); inf without any."""
        if self._waiting:
            return self._sending(self._waiting[0])
        if not self.playing or self._last is None:
            return inf
        end = self._decided + GO_ON_S
        on = self._next(self._last)
        # A tick is made up only once the frames have stayed away longer than the lead.
        return max(self._sending(on if on.at <= end else on._replace(at=end)), self._decided)

    def take(self, now: float) -> list[tuple[Tick, Outcome]]:
        """Return the ticks that are due, with their outcomes; the clock stops where none go on.

        Parameters
        ----------
        now : float
            Steady clock (s).
        """
        taken: list[tuple[Tick, Outcome]] = []
        while self._waiting and self._sending(self._waiting[0]) <= now:
            tick = self._waiting.popleft()
            last, before = self._last, self._last_beat_of_frames
            self._last_beat_of_frames = tick.beat
            if last is None or not before < tick.beat <= last.beat:
                taken.append((tick, self._play(tick, now)))
                continue
            # Sent meanwhile; but the clock goes on from it, at its rate.
            self._last = _later(tick, last.beat - tick.beat)
            if tick.withheld:
                self.playing = False
        if not self._waiting and self.due() <= now:
            made_up = self._go_on(now)
            if made_up is not None:
                taken.append((made_up, "sent"))
        return taken

    def _play(self, tick: Tick, now: float) -> Outcome:
        self._last = tick
        if tick.withheld:
            self.playing, self._gap = False, True
            return "withheld"
        late_s, half_s = now - tick.at - self.offset_s, tick.tick_s / 2
        close = tick.at < self._last_sent + self._min_tick_s - _ROUNDING_S
        # After a gap, the first tick is not so late that the next one is too close to it; once, so
        # that a machine that is always late is not silent.
        room_s = max(tick.tick_s - self._min_tick_s, _PUNCTUAL_S)
        if close or late_s > half_s or (self._gap and late_s > room_s):
            self._gap = close or late_s > half_s
            return "dropped"
        self.playing, self._last_sent, self._gap = True, tick.at, False
        return "sent"

    def _go_on(self, now: float) -> Tick | None:
        """Return the next tick at the last rate; None where it is too late or the time is over."""
        assert self._last is not None
        on = self._next(self._last)
        missed = ceil((now - on.at - self.offset_s) / on.tick_s - 0.5)
        if missed > 0:  # this process stood still
            on = _later(on, missed)
        if on.at > self._decided + GO_ON_S:
            self.playing = False
            return None
        if self._sending(on) > now:
            return None
        self._last, self._last_sent = on, on.at
        return on

    def _next(self, last: Tick) -> Tick:
        """Return the tick after the last one: none is before `decided`, else it were known."""
        return _later(last, 1, max(self._decided, self._last_sent + self._min_tick_s))

    def _sending(self, tick: Tick) -> float:
        return tick.at + self.offset_s - self._ahead_s


def _later(tick: Tick, count: int, at_least: float = -inf) -> Tick:
    at = max(tick.at + count * tick.tick_s, at_least)
    return tick._replace(at=at, wall=tick.wall + at - tick.at, beat=tick.beat + count)
