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
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from operators.bridge.bridge_config import LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.types import F64
from ops.bench.clock_runs import (
    CONTROLLERS,
    GAINS,
    GRID_S,
    JITTER_S,
    SETTLED_S,
    ClockTrial,
    Course,
    Faults,
    Rates,
    Setting,
)
from ops.text.table import table

HEART = Path("/work/shared/data/ecg_vp01.ndjson.gz")
PEOPLE = Gains(1.0, 0.5, 0.10)


class Asked(NamedTuple):
    """Bars of one figure: median and worst asked, median and worst of the goal."""

    must: float
    worst: float
    goal: float
    goal_worst: float
    digits: int = 4


Figures = dict[str, float]


def constant(hz: float) -> Rates:
    """Return a constant rate."""
    return lambda t: np.full(len(t), hz)


def step(before: float, after: float) -> Callable[[ClockTrial], Figures]:
    """Return the case of a tempo step."""

    def case(trial: ClockTrial) -> Figures:
        at = SETTLED_S + math.floor(60 * trial.rng.uniform()) * GRID_S
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
        walk = np.random.default_rng((trial.seed, 1)).standard_normal(round(302 / GRID_S))
        hz = np.clip(5 * np.exp(np.cumsum(0.005 * math.sqrt(GRID_S) * walk)), 2.7, 8.0)
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
