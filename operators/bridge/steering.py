"""The output clock: its phase is drawn to that of the reference, and each tick is settled ahead.

With q the output's phase (ticks), p the reference's and f its rate (both in ticks), at control step
s and x = s + lead

    e = wrap(p(x) - q(x)),
    u = f + clip(g e / (1 + kd), -slew f, slew f), clipped to the limits of the tick,

The slew is less by three standard deviations of f, at most by half: it is of the true rate. q runs
with the rate u over [x, x + 0.05 s). A tick is an instant at which q is whole. g is kp;
while the observer's memory grows, at least 3 times the observer's own gain, up to 2.5 1/s. kd is
the weight of the measured rate: u = f + g e + kd (f - u).

At a new lock the phase may be set at once (a step). The next tick is then kept within the limits
of the interval, and the rest of the error is slewed. Before the first lock the clock runs freely.

Cost: some microseconds a control step, whatever the time since the last one. State: the pieces of
the output's phase over the lead. Losses: no tick is listed that is more than a minute older than
the step that settles it; the count of ticks goes on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from operators.bridge.bridge_config import CONTROL_S, LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Observer
from operators.types import Lock, State

MAX_PULL = 2.5
"""Largest gain of the pull-in (1/s)."""
PULL = 3.0
"""Gain of the pull-in over the observer's own."""
MAX_LISTED_S = 60.0
"""Age of the oldest listed tick at its control step (s)."""
KEPT_S = 10.0
"""Time that the output's phase is kept beyond the lead (s)."""
MAX_PIECES = 4_096


class ClockTick(NamedTuple):
    """One tick of the output clock.

    `time` (s, host), `beat` (count), `interval_s` since the tick before.
    `rate_hz` is that of the output. `phase_error` and `phase_sd` are in cycles of a tick, NaN while
    unknown.
    """

    time: float
    beat: int
    interval_s: float
    rate_hz: float
    phase_error: float
    phase_sd: float
    lock: Lock


class PhasePiece(NamedTuple):
    """The output's phase (ticks) from a time (s) on, and its rate (Hz)."""

    at: float
    phase: float
    rate: float


def wrapped(cycles: float) -> float:
    """Return a phase within -0.5 to 0.5."""
    return cycles - round(cycles) if math.isfinite(cycles) else math.nan


@dataclass(slots=True)
class OutputClock:
    """The output clock of one rig.

    Attributes
    ----------
    loop, lead_s, base_hz
        Limits of the tick and of the slew; time by which ticks are settled ahead (s); rate before
        the first lock (Hz).
    lock : {'none', 'locked', 'holdover', 'saturated'}
        As of the newest control step.
    rate_hz, phase_error, phase_sd : float
        Rate of the output and error at the newest step (Hz, cycles), and the error's sd at the
        newest tick; NaN before the first lock.
    slips, steps : int
        Whole ticks lost to or gained on the reference; phases that were set.
    """

    loop: LoopConfig
    lead_s: float
    base_hz: float
    lock: Lock = "none"
    rate_hz: float = 0.0
    phase_error: float = math.nan
    phase_sd: float = math.nan
    slips: int = 0
    steps: int = 0
    locks: int = 0
    turns: int | None = None
    """Whole ticks between the reference's phase and the output's; None before the first lock."""
    beat: int = 0
    fraction: float = 0.0
    """Phase since the newest tick (cycles)."""
    elapsed: float = 0.0
    """Time since the newest tick (s)."""
    placed: bool = False
    """The phase was set since the newest tick."""
    settled: float = math.nan
    """End of the settled phase (host time)."""
    set_at: float = math.nan
    """Time from which the output follows the newest set phase (s), NaN before the first lock."""
    pieces: list[PhasePiece] = field(default_factory=list)

    def snapshot(self) -> State:
        """Return the state as plain values, without the settings."""
        names = [f.name for f in fields(self)][3:]
        return {**{name: getattr(self, name) for name in names}, "pieces": self.pieces[:]}

    @classmethod
    def from_snapshot(
        cls, state: State, loop: LoopConfig, lead_s: float, base_hz: float
    ) -> OutputClock:
        """Return the clock of a snapshot."""
        pieces = [PhasePiece(*p) for p in state["pieces"]]
        return cls(loop, lead_s, base_hz, **{**state, "pieces": pieces})

    def step(
        self, s: float, observer: Observer, per_tick: float, gains: Gains, *, stepping: bool
    ) -> list[ClockTick]:
        """Settle the output from where it is settled to `s + lead_s + 0.05`.

        Parameters
        ----------
        s : float
            Control step (s); later than the last one.
        observer : Observer
            The reference; it is frozen or released.
        per_tick : float
            Beats of a tick.
        gains : Gains
            In force.
        stepping : bool
            Whether a new lock sets the phase.

        Returns
        -------
        list of ClockTick
            The ticks in it.
        """
        end = s + self.lead_s + CONTROL_S
        start = end - CONTROL_S if math.isnan(self.settled) else self.settled
        span = end - start
        if not 0 < span < math.inf:
            return []
        self.settled = end
        low, high = 1000.0 / self.loop.max_tick_ms, 1000.0 / self.loop.min_tick_ms
        if observer.locks:
            silent = observer.hold_over(s)
            beats, hz = observer.ahead(start)
            phase, rate = beats / per_tick, hz / per_tick
            if self.locks != observer.locks:
                self.locks = observer.locks
                if stepping:
                    self._set(phase, min(max(rate, low), high))
                if stepping or self.turns is None:
                    self.set_at = start
            error = self._error(phase)
            pull = max(gains.kp, min(MAX_PULL, PULL * observer.pull))
            most = min(0.5 * self.loop.slew * rate, abs(error) / span)
            wanted = rate + pull * error / (1 + gains.kd)
            if not -most <= wanted - rate <= most:
                most = min(self._slew(observer) * rate, abs(error) / span)
                wanted = min(max(wanted, rate - most), rate + most)
            u = min(max(wanted, low), high)
            beyond = wanted > high or wanted < low
            observer.freeze(beyond and (wanted > high) == (error > 0))
            self.lock = "holdover" if silent else "saturated" if beyond else "locked"
            self.phase_error = error
        else:
            u = min(max(self.base_hz, low), high)
        if self.placed:
            u = self._within(u)
        self.rate_hz = u
        self._keep(PhasePiece(start, self.beat + self.fraction, u), s)
        return self._run(start, span, u, observer, per_tick)

    def _slew(self, observer: Observer) -> float:
        """Return the largest correction (a part of the rate) that keeps to the true rate's slew."""
        slew = self.loop.slew
        return max(slew - 3 * observer.rate_sd, 0.5 * slew)

    def _error(self, phase: float) -> float:
        """Return the phase error (cycles); count a slip where it passes half a cycle.

        A jump by more is no slip: the beats were numbered anew.
        """
        ahead = phase - (self.beat + self.fraction)
        turns = round(ahead)
        if self.turns is not None and turns != self.turns:
            if abs(ahead - self.turns) <= 0.5:
                turns = self.turns
            elif abs(turns - self.turns) == 1:
                self.slips += 1
        self.turns = turns
        return ahead - turns

    def _set(self, phase: float, rate: float) -> None:
        """Set the output to a phase, if the next tick is then within its limits."""
        loop = self.loop
        fraction = phase - math.floor(phase)
        interval = self.elapsed + (1 - fraction) / rate
        interval = min(max(interval, loop.min_tick_ms / 1000), loop.max_tick_ms / 1000)
        self.fraction = min(max(1 - (interval - self.elapsed) * rate, 0.0), 1.0)
        self.turns = round(phase - (self.beat + self.fraction))
        self.steps += 1
        self.placed = True

    def _within(self, rate: float) -> float:
        """Return the rate, so that the next tick is within its limits though the phase was set."""
        left, loop = 1 - self.fraction, self.loop
        soonest = loop.min_tick_ms / 1000 - self.elapsed
        latest = loop.max_tick_ms / 1000 - self.elapsed
        if soonest > 0:
            rate = min(rate, left / soonest)
        return max(rate, left / latest) if latest > 0 else 1000 / loop.min_tick_ms

    def _run(
        self, start: float, span: float, rate: float, observer: Observer, per_tick: float
    ) -> list[ClockTick]:
        """Return the ticks of the next `span` seconds."""
        offset = max(1 - self.fraction, 0.0) / rate
        last = -self.elapsed
        hidden = span - MAX_LISTED_S
        if offset < hidden:
            count = math.floor((hidden - offset) * rate)
            self.beat += count
            last = offset + (count - 1) / rate if count else last
            offset += count / rate
        ticks = []
        self.placed = self.placed and offset >= span
        while offset < span:
            self.beat += 1
            at = start + offset
            self.phase_sd = sd = observer.phase_sd(at) / per_tick
            ticks.append(
                ClockTick(at, self.beat, offset - last, rate, self.phase_error, sd, self.lock)
            )
            last = offset
            offset += 1 / rate
        self.fraction = 1 - (offset - span) * rate
        self.elapsed = span - last
        return ticks

    def _keep(self, piece: PhasePiece, s: float) -> None:
        """Keep the pieces of the last lead, and those ahead."""
        pieces = self.pieces
        pieces.append(piece)
        oldest = s - self.lead_s - KEPT_S
        while len(pieces) > 1 and (pieces[1].at < oldest or len(pieces) > MAX_PIECES):
            del pieces[0]

    def phase_at(self, t: float) -> float:
        """Return the phase of the output (ticks) at t, NaN before the oldest kept one."""
        for piece in reversed(self.pieces):
            if piece.at <= t:
                return piece.phase + piece.rate * (t - piece.at)
        return math.nan

    def error_at(self, t: float, ticks: float = 0.0) -> float:
        """Return the error (cycles of a tick) where the reference is at `ticks` at time t.

        By default the reference is at a whole tick. NaN where the output did not follow it yet.
        """
        followed = self.set_at <= t <= self.settled
        return wrapped(ticks - self.phase_at(t)) if followed else math.nan
