"""Runs of the beat clock, and of two other controllers, on references of known truth."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from operators.bridge.beat_line import Line
from operators.bridge.bridge_config import CONTROL_S, LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Observer, Use
from operators.bridge.steering import ClockTick, OutputClock
from operators.types import F64

START = 1_760_000_000.0
GAINS = Gains(0.35, 0.08, 0.10)
LEAD_S, JITTER_S, DRIFT, WANDER_S = 0.2, 0.005, 2e-4, 100.0
SETTLED_S = 60.0
"""Time before a step, and lock-in that does not count (s)."""
DLL_HZ = 0.1
GRID_S = 0.005
Rates = Callable[[F64], F64]
"""Rate of the reference (Hz) at times (s)."""


class Course:
    """The true phase (beats) of a reference."""

    def __init__(self, hz: F64) -> None:
        self.hz = hz
        self.time = np.arange(len(hz) + 1) * GRID_S
        self.phase = np.append(0.0, np.cumsum(hz) * GRID_S)

    def at(self, t: F64) -> F64:
        """Return the phase at times."""
        phase: F64 = np.interp(t, self.time, self.phase)
        return phase

    def rate(self, t: F64) -> F64:
        """Return the rate at times (Hz)."""
        hz: F64 = self.hz[np.clip((t / GRID_S).astype(int), 0, len(self.hz) - 1)]
        return hz

    def beats(self) -> F64:
        """Return the times of whole phases."""
        times: F64 = np.interp(np.arange(1, int(self.phase[-1])), self.phase, self.time)
        return times


def course(rates: Rates, seconds: float, rng: np.random.Generator) -> Course:
    """Return a reference with drift."""
    t: F64 = (np.arange(round(seconds / GRID_S), dtype=np.float64) + 0.5) * GRID_S
    drift = DRIFT * np.sin(2 * np.pi * (t / WANDER_S + rng.uniform()))
    return Course(rates(t) * (1 + drift))


class Faults(NamedTuple):
    """Faults of the beats: jitter (s), shares that are lost, doubled and wild, and a silence."""

    jitter_s: float = JITTER_S
    loss: float = 0.0
    doubles: float = 0.0
    wild: float = 0.0
    silent: tuple[float, float] = (0.0, 0.0)


def beats(of: Course, faults: Faults, rng: np.random.Generator) -> tuple[F64, F64]:
    """Return stamps and arrivals of the beats, in order of arrival."""
    stamp = of.beats()
    n = len(stamp)
    wild = rng.random(n) < faults.wild
    moved = np.where(wild, rng.uniform(-0.08, 0.08, n), faults.jitter_s * rng.standard_normal(n))
    begin, end = faults.silent
    kept = (rng.random(n) >= faults.loss) & ~((stamp >= begin) & (stamp < end))
    stamp = (stamp + moved)[kept]
    again = stamp[rng.random(len(stamp)) < faults.doubles]
    stamp = np.append(stamp, again + rng.uniform(0.005, 0.06, len(again)))
    arrival = stamp + 0.002 + rng.exponential(0.005, len(stamp))
    order = np.argsort(arrival, kind="stable")
    return stamp[order], arrival[order]


class Dll(Observer):
    """A delay-locked loop of constant bandwidth, in the place of the observer."""

    @property
    def pull(self) -> float:
        """The output follows at once."""
        return math.inf

    def beat(self, t: float, gains: Gains, counted: float = 1.0) -> Use:
        """Move the loop by one beat."""
        line = self.line
        if not self.locked:
            self.times.append(t)
            if len(self.times) > 1:
                self.line = self.long = Line(t, 0.0, 1 / (t - self.times[-2]), 2)
                self.locked, self.locks = True, 1
            return "used"
        if t <= line.at:
            return "close"
        omega = 2 * math.pi * DLL_HZ / line.rate
        ahead = line.phase_at(t)
        off = round(ahead) - ahead
        rate = line.rate * (1 + omega * omega * off)
        self.line = self.long = Line(t, ahead + math.sqrt(2) * omega * off, rate, 40)
        return "used"


@dataclass
class ClockRun:
    """Ticks of one run: time, interval, phase error and whole ticks gained (n,)."""

    of: Course
    time: F64
    interval: F64
    error: F64
    turns: F64
    locked: tuple[float, ...] = ()
    """Times from which the output is settled with a new lock (s)."""
    cost_s: float = 0.0

    @staticmethod
    def make(of: Course, at: F64, interval: F64, beat: F64) -> ClockRun:
        """Return the run of some ticks."""
        phase = of.at(at)
        return ClockRun(of, at, interval, phase - np.round(phase), np.round(phase - beat))

    @property
    def off(self) -> F64:
        """Rate of each interval, off the reference's (a part)."""
        return 1 / (self.interval * self.of.rate(self.time)) - 1

    def rms(self, begin: float = SETTLED_S, end: float = math.inf) -> float:
        """Return the RMS phase error (cycles)."""
        part = self.error[(self.time > begin) & (self.time < end)]
        return float(np.sqrt(np.mean(part**2)))

    def settled(self, bad: np.ndarray, at: float) -> float:
        """Return the time after `at` from which nothing is bad (s)."""
        last = np.flatnonzero(bad & (self.time >= at))
        if not len(last):
            return 0.0
        after = last[-1] + 1
        return float(self.time[after] - at) if after < len(self.time) else math.inf

    def slips(self, begin: float = SETTLED_S) -> float:
        """Return the whole ticks gained or lost."""
        return float(np.sum(np.abs(np.diff(self.turns[self.time > begin]))))


class Setting(NamedTuple):
    """Conditions of a run."""

    gains: Gains = GAINS
    loop: LoopConfig = LoopConfig()
    delay_s: float = 0.0
    steps_until_s: float = 20.0


Controller = Callable[[Course, tuple[F64, F64], float, Setting], ClockRun]


def steered(observer: Callable[[], Observer]) -> Controller:
    """Return the controller with an observer and the output clock."""

    def run(of: Course, events: tuple[F64, F64], seconds: float, setting: Setting) -> ClockRun:
        stamp, known = events
        if setting.delay_s:
            order = np.argsort(stamp, kind="stable")
            stamp, known = stamp[order], np.maximum.accumulate(known[order]) + setting.delay_s
        at, due = (stamp + START).tolist(), (known + START).tolist()
        seen, n = observer(), len(at)
        clock = OutputClock(setting.loop, LEAD_S, 1000 / setting.loop.tick_ms)
        ticks: list[ClockTick] = []
        locked: list[float] = []
        first = round(START / CONTROL_S)
        i, until, begin = 0, START + setting.steps_until_s, time.process_time()
        for k in range(first, first + round(seconds / CONTROL_S)):
            s = k * CONTROL_S
            while i < n and due[i] < s:
                seen.beat(at[i], setting.gains)
                i += 1
            if seen.locks > len(locked):
                locked.append(s - START + LEAD_S)
            ticks += clock.step(s, seen, 1.0, setting.gains, stepping=s < until)
        cost = time.process_time() - begin
        columns = [(t.time - START, t.interval_s, t.beat) for t in ticks]
        made = ClockRun.make(of, *np.array(columns).T)
        made.locked, made.cost_s = tuple(locked), cost
        return made

    return run


def daemon(of: Course, events: tuple[F64, F64], seconds: float, setting: Setting) -> ClockRun:
    """Return the ticks of the seed's daemon: its tick follows the rate each 2 s."""
    stamp = np.sort(events[0])
    low, high = setting.loop.min_tick_ms, setting.loop.max_tick_ms
    tick_ms, at, change = setting.loop.tick_ms, 0.0, 2.0
    times = []
    while at < seconds:
        if at >= change:
            newest = stamp[(stamp >= change - 2) & (stamp < change)]
            if len(newest) > 1:
                ure_hz = (len(newest) - 1) / (newest[-1] - newest[0])
                tick_ms += -3 * (ure_hz - 1000 / tick_ms)
                tick_ms = float(min(max(tick_ms, low), high))
            change += 2
        at += tick_ms / 1000
        times.append(at)
    t = np.array(times)
    return ClockRun.make(of, t, np.diff(t, prepend=0.0), np.arange(1.0, len(t) + 1))


CONTROLLERS: dict[str, Controller] = {
    "clock": steered(Observer),
    "seed": daemon,
    "dll": steered(Dll),
}


class ClockTrial(NamedTuple):
    """One run of a case: its seed, the controller, and the delay of the flow (s)."""

    seed: int
    control: Controller
    delay_s: float

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers of the seed."""
        return np.random.default_rng(self.seed)

    def run(
        self,
        rates: Rates,
        seconds: float,
        faults: Faults | None = None,
        gains: Gains = GAINS,
    ) -> ClockRun:
        """Return the run on a reference."""
        rng = self.rng
        of = course(rates, seconds + 2, rng)
        events = beats(of, faults or Faults(), rng)
        return self.control(of, events, seconds, Setting(gains, delay_s=self.delay_s))
