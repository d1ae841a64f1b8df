"""The beat clock on references of known truth, beside two other controllers.

    python -m ops.bench.bridge [--case CASE ...] [--seeds 8] [--first 1000] [--delay 0.0]

The reference runs at 5 Hz with a drift of 200 ppm (a sine of 100 s) and a jitter of 5 ms; its beats
arrive after 2 ms and an exponential 5 ms. A control step is 50 ms, the lead 200 ms, the gains kp
0.35, ki 0.08, kd 0.1. `--delay` adds the wait of a reorder buffer (0.1 s in the flow). Errors are
of the output's ticks against the true phase, in cycles, to the end of the recording. `rate` and
`phase` are the times (s) from a step until the rate stays within 2 % (5 % after a rate out of
range) and the phase within 0.08 cycles (0.1).

Beside the clock in the same run: `seed`, a tick of `tick_ms += -3 (ure_hz - bridge_hz)` each 2 s,
and `dll`, a delay-locked loop of second order with 0.1 Hz (F. Adriaensen, Using a DLL to filter
time, 2005), steered by the same output clock. Figures are median / worst of the seeds; `+` goal,
`=` asked, `!` beyond what is asked.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from operators.bridge.bridge_config import CONTROL_S, LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Line, Observer, Use
from operators.bridge.steering import ClockTick, OutputClock
from operators.types import F64
from ops.text.table import table

START = 1_760_000_000.0
GAINS = Gains(0.35, 0.08, 0.10)
PEOPLE = Gains(1.0, 0.5, 0.10)
LEAD_S, JITTER_S, DRIFT, WANDER_S = 0.2, 0.005, 2e-4, 100.0
SETTLED_S = 60.0
"""Time before a step, and lock-in that does not count (s)."""
HEART = Path("/work/shared/data/ecg_vp01.ndjson.gz")
DLL_HZ = 0.1
_GRID_S = 0.005
Rates = Callable[[F64], F64]
"""Rate of the reference (Hz) at times (s)."""


class Course:
    """The true phase (beats) of a reference."""

    def __init__(self, hz: F64) -> None:
        self.hz = hz
        self.time = np.arange(len(hz) + 1) * _GRID_S
        self.phase = np.append(0.0, np.cumsum(hz) * _GRID_S)

    def at(self, t: F64) -> F64:
        """Return the phase at times."""
        phase: F64 = np.interp(t, self.time, self.phase)
        return phase

    def rate(self, t: F64) -> F64:
        """Return the rate at times (Hz)."""
        hz: F64 = self.hz[np.clip((t / _GRID_S).astype(int), 0, len(self.hz) - 1)]
        return hz

    def beats(self) -> F64:
        """Return the times of whole phases."""
        times: F64 = np.interp(np.arange(1, int(self.phase[-1])), self.phase, self.time)
        return times


def course(rates: Rates, seconds: float, rng: np.random.Generator) -> Course:
    """Return a reference with drift."""
    t: F64 = (np.arange(round(seconds / _GRID_S), dtype=np.float64) + 0.5) * _GRID_S
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


class Asked(NamedTuple):
    """Bars of one figure: median and worst asked, median and worst of the goal."""

    must: float
    worst: float
    goal: float
    goal_worst: float
    digits: int = 4


Figures = dict[str, float]


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


def constant(hz: float) -> Rates:
    """Return a constant rate."""
    return lambda t: np.full(len(t), hz)


def step(before: float, after: float) -> Callable[[ClockTrial], Figures]:
    """Return the case of a tempo step."""

    def case(trial: ClockTrial) -> Figures:
        at = SETTLED_S + math.floor(60 * trial.rng.uniform()) * _GRID_S
        run = trial.run(lambda t: np.where(t < at, before, after), 120.0)
        locked = next((t for t in run.locked if at < t < at + 5), at + 2)
        return {
            "rate": run.settled(np.abs(run.off) > 0.02, at),
            "phase": run.settled(np.abs(run.error) > 0.08, at),
            "off": float(np.max(np.abs(run.off[run.time - run.interval > locked]))),
        }

    return case


def steady(jitter_s: float, *rates: float) -> Callable[[ClockTrial], Figures]:
    """Return the case of constant rates, five minutes each."""

    def case(trial: ClockTrial) -> Figures:
        figures = {}
        for hz in rates:
            run = trial.run(constant(hz), 300.0, Faults(jitter_s))
            late = np.abs(run.interval - 1 / run.of.rate(run.time))[run.time > SETTLED_S]
            figures[f"rms at {hz}"] = run.rms()
            figures[f"tick at {hz}, p95 ms"] = 1e3 * float(np.percentile(late, 95))
        return figures

    return case


def hour(trial: ClockTrial) -> Figures:
    """Return the figures of an hour. The ratio of one seed spreads by 8 %: its median is judged."""
    run = trial.run(constant(5.0), 3600.0)
    even = np.arange(SETTLED_S, 3600.0, 1 / 6.5)
    return {
        "slips": run.slips(),
        "rms, last / first": run.rms(3000.0) / run.rms(SETTLED_S, 660.0),
        "line dB": line_db(np.interp(even, run.time, run.error), 6.5),
        "rms": run.rms(),
    }


def line_db(series: F64, hz: float) -> float:
    """Return the strongest line over its local floor, 0.01 Hz to 3 Hz (dB)."""
    n = int(300 * hz)
    window = np.hanning(n)
    parts = [series[a : a + n] for a in range(0, len(series) - n + 1, n // 2)]
    power = np.mean([np.abs(np.fft.rfft(window * (p - p.mean()))) ** 2 for p in parts], axis=0)
    near, low, high = 30, round(0.01 * n / hz), round(3.0 * n / hz)
    floor = np.array([np.median(power[max(k - near, 1) : k + near]) for k in range(low, high)])
    return float(10 * np.log10(np.max(power[low:high] / floor)))


def clean(trial: ClockTrial) -> Figures:
    """Return the figures of an hour without noise."""
    return {"rms": trial.run(constant(5.0), 3600.0, Faults(0.0)).rms()}


def out_of_range(trial: ClockTrial) -> Figures:
    """Return the figures of 90 s at 12 Hz."""
    back = SETTLED_S + 90
    run = trial.run(lambda t: np.where((t >= SETTLED_S) & (t < back), 12.0, 5.0), 210.0)
    return {
        "rate": run.settled(np.abs(run.off) > 0.05, back),
        "phase": run.settled(np.abs(run.error) > 0.1, back),
    }


def hold(seconds: float) -> Callable[[ClockTrial], Figures]:
    """Return the case of a silence."""

    def case(trial: ClockTrial) -> Figures:
        end = 120.0 + seconds
        run = trial.run(constant(5.0), end + 30, Faults(silent=(120.0, end)))
        silent = (run.time > 120) & (run.time < end)
        return {
            "error": float(np.max(np.abs(run.error[silent]))),
            "back": run.settled(np.abs(run.error) > 0.05, end),
        }

    return case


def faulty(faults: Faults) -> Callable[[ClockTrial], Figures]:
    """Return the case of 26 minutes of faulty beats."""

    def case(trial: ClockTrial) -> Figures:
        run = trial.run(constant(5.0), 1560.0, faults)
        worst = float(np.max(np.abs(run.error[run.time > SETTLED_S])))
        return {
            "rms": run.rms(),
            "slips": run.slips(),
            "worst": worst,
            "locks": float(len(run.locked)),
        }

    return case


def person(trial: ClockTrial) -> Figures:
    """Return the figures of a rate that wanders."""
    figures = {}
    for name, gains in (("people", PEOPLE), ("seed", GAINS)):
        walk = np.random.default_rng((trial.seed, 1)).standard_normal(round(302 / _GRID_S))
        hz = np.clip(5 * np.exp(np.cumsum(0.005 * math.sqrt(_GRID_S) * walk)), 2.7, 8.0)
        run = trial.run(lambda t, hz=hz: hz, 300.0, gains=gains)  # type: ignore[misc]
        figures[f"rms, gains of {name}"] = run.rms(30.0)
    return figures


def accelerando(trial: ClockTrial) -> Figures:
    """Return the figures of 1 %/s for 20 s."""
    end = SETTLED_S + 20
    rates: Rates = lambda t: 5 * np.exp(0.01 * np.clip(t - SETTLED_S, 0, 20))  # noqa: E731
    run = trial.run(rates, end + 20, gains=PEOPLE)
    return {"rms": run.rms(SETTLED_S, end)}


def r_peaks(path: Path) -> F64:
    """Return the times of the R peaks of an ECG (s)."""
    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    ecg = np.array([r["value"] for r in rows if r["key"] == "ecg"])
    hz = 256.0
    slope = np.convolve(np.diff(ecg, prepend=ecg[0]) ** 2, np.ones(20) / 20, "same")
    peaks: list[int] = []
    for k in np.flatnonzero(slope > 6 * np.median(slope)):
        if peaks and k - peaks[-1] < 0.35 * hz:
            if slope[k] > slope[peaks[-1]]:
                peaks[-1] = int(k)
        else:
            peaks.append(int(k))
    near = [max(k - 15, 0) + int(np.argmax(ecg[max(k - 15, 0) : k + 15])) for k in peaks]
    return np.array(near) / hz


def heart(trial: ClockTrial) -> Figures:
    """Return the error at the beats of a heart in a half, by gains chosen in the other."""
    if not HEART.exists():
        return {}
    peaks = r_peaks(HEART)
    of = Course(np.empty(0))
    of.time, of.phase = peaks, np.arange(len(peaks), dtype=float)
    of.hz = np.full(1, 1 / float(np.median(np.diff(peaks))))
    loop = LoopConfig(tick_ms=720, min_tick_ms=350, max_tick_ms=1400)
    end = float(peaks[-1])
    halves = ((15.0, end / 2), (end / 2, end - 2))

    def errors(gains: Gains) -> list[float]:
        setting = Setting(gains, loop, trial.delay_s)
        run = trial.control(of, (peaks, peaks + 0.007), end, setting)
        return [run.rms(*half) for half in halves]

    seed = errors(GAINS)
    grid = [errors(Gains(kp, ki * kp * kp, 0.1)) for kp in (0.5, 1, 2, 3, 4) for ki in (0.3, 0.65)]
    chosen = [min(grid, key=lambda e, k=k: e[k])[1 - k] for k in (0, 1)]  # type: ignore[misc]
    return {
        "other half / seed's gains": max(c / s for c, s in zip(chosen, seed[::-1], strict=True))
    }


def cost(trial: ClockTrial) -> Figures:
    """Return the CPU time of the loop, the least of five (ms a second of data)."""
    runs = (trial.run(constant(5.0), 120.0) for _ in range(5))
    return {"ms a second": min(run.cost_s for run in runs) / 120 * 1e3}


_RMS, _TICK = Asked(0.012, 0.012, 0.006, 0.006), Asked(0.6, 0.6, 0.2, 0.2, 3)
_WIDE = Asked(0.035, 0.035, 0.02, 0.02)
_NONE = Asked(0, 0, 0, 0, 0)
_OFF = Asked(0.10, 0.10, 0.06, 0.06, 3)
_PHASE = Asked(6, 9, 2, 4, 2)


class ClockCase(NamedTuple):
    """One row of the issue's table: its run and its bars. Unnamed figures have none."""

    run: Callable[[ClockTrial], Figures]
    asked: dict[str, Asked]
    alone: bool = False
    """Only the clock is run."""
    once: bool = False
    """Independent of the seed."""


CASES = {
    "up": ClockCase(step(5, 7), {
        "rate": Asked(2.5, 4, 1.2, 2, 2), "phase": Asked(3, 6, 1.5, 3, 2), "off": _OFF}),
    "down": ClockCase(step(7, 5), {"phase": _PHASE, "off": _OFF}),
    "small": ClockCase(step(5, 5.5), {"phase": _PHASE, "off": _OFF}),
    "smaller": ClockCase(step(5, 5.25), {}),
    "wide": ClockCase(step(2.6, 8.2), {}),
    "steady": ClockCase(steady(JITTER_S, 2.6, 3.3, 5, 7, 8), {
        **{f"rms at {hz}": _RMS for hz in (2.6, 3.3, 5, 7, 8)},
        **{f"tick at {hz}, p95 ms": _TICK for hz in (2.6, 3.3, 5, 7, 8)}}),
    "jitter": ClockCase(steady(0.015, 3.3, 5, 7), {f"rms at {hz}": _WIDE for hz in (3.3, 5, 7)}),
    "hour": ClockCase(hour, {
        "slips": _NONE, "rms, last / first": Asked(1.1, math.inf, 1.05, math.inf, 3),
        "line dB": Asked(10, 10, 6.5, 6.5, 1)}),
    "clean": ClockCase(clean, {"rms": Asked(0.001, 0.001, 1e-4, 1e-4, 5)}),
    "range": ClockCase(out_of_range, {
        "rate": Asked(4, 4, 1.5, 1.5, 2), "phase": Asked(8, 8, 2.5, 2.5, 2)}),
    "hold_60": ClockCase(hold(60), {"error": Asked(0.1, 0.1, 0.04, 0.04)}),
    "hold_300": ClockCase(hold(300), {"error": Asked(0.3, 0.3, 0.1, 0.1)}),
    "loss": ClockCase(faulty(Faults(loss=0.3)), {
        "rms": Asked(0.015, 0.015, 0.01, 0.01), "slips": _NONE}),
    "doubles": ClockCase(faulty(Faults(doubles=0.05)), {
        "rms": Asked(0.025, 0.025, 0.01, 0.01), "slips": _NONE}),
    "wild": ClockCase(faulty(Faults(wild=0.05)), {
        "rms": Asked(0.015, 0.015, 0.01, 0.01), "slips": _NONE}),
    "person": ClockCase(person, {
        "rms, gains of people": Asked(0.055, 0.055, 0.04, 0.04),
        "rms, gains of seed": Asked(0.10, 0.10, 0.06, 0.06)}),
    "accelerando": ClockCase(accelerando, {"rms": Asked(0.13, 0.13, 0.06, 0.06)}),
    "heart": ClockCase(heart, {
        "other half / seed's gains": Asked(0.6, 0.6, 0.35, 0.35, 2)}, True, True),
    "cost": ClockCase(cost, {"ms a second": Asked(0.6, 0.6, 0.1, 0.1, 3)}, True, True),
}  # fmt: skip


def mark(values: F64, asked: Asked) -> str:
    """Return whether the median and the worst of a figure meet its bars."""
    middle, worst = float(np.median(values)), float(np.max(values))
    if middle <= asked.goal and worst <= asked.goal_worst:
        return "+"
    return "=" if middle <= asked.must and worst <= asked.worst else "!"


def rows(name: str, seeds: Iterable[int], delay_s: float) -> list[list[str]]:
    """Return the lines of a case."""
    case = CASES[name]
    seeds = list(seeds)[: 1 if case.once else None]
    found: dict[str, list[Figures]] = {
        who: [case.run(ClockTrial(seed, control, delay_s)) for seed in seeds]
        for who, control in CONTROLLERS.items()
        if who == "clock" or not case.alone
    }
    lines = []
    for figure in found["clock"][0]:
        asked = case.asked.get(figure)
        digits = asked.digits if asked else 3
        cells = [f"{name}: {figure}"]
        cells.append(f"{asked.must:g} / {asked.worst:g}" if asked else "")
        cells.append(f"{asked.goal:g} / {asked.goal_worst:g}" if asked else "")
        for who in CONTROLLERS:
            values = np.array([f[figure] for f in found.get(who, [])])
            if not len(values):
                cells.append("")
                continue
            text = f"{np.median(values):.{digits}f} / {np.max(values):.{digits}f}"
            cells.append(f"{text} {mark(values, asked)}" if asked and who == "clock" else text)
        lines.append(cells)
    return lines


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.bridge",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--first", type=int, default=1000)
    parser.add_argument("--delay", type=float, default=0.0)
    args = parser.parse_args()
    lines = []
    for name in args.case:
        lines += rows(name, range(args.first, args.first + args.seeds), args.delay)
    print(table(["case", "asked", "goal", *CONTROLLERS], lines))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
