"""Clock of one source, estimated from its past alone and from the whole recording.

`python -m ops.bench.smoother [--seeds N] [--seconds S] [NAME ...]`: for each kind of delays and
clock, over N sources (24) of 25 to 64 Hz, the error of mapped time (ms, RMS over seeds) in the
first 60 s, later, and in the 10 s after a step; (error / sd)^2 of offset and slope after 60 s, one
line each ten seconds; the number of steps found and present, and the number of stamps assigned to
the wrong side of a step. The path of 2 ms is part of the offset; rounding and jitter of a stamp are
no error of the clock.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from operators.drift.clock import ClockLine
from operators.drift.clock_path import Smoothed
from operators.drift.smoother import ClockLog
from operators.types import F64, I64, Bool
from ops.text.table import number, table

START, PATH_S, QUEUE_S, AFTER_S, SETTLED_S = 1_730_000_000.0, 0.002, 0.005, 10.0, 60.0
RATES_HZ = (25.0, 31.7, 50.0, 64.0)
Law = Literal["exp", "gamma", "heavy"]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Delays and a clock: `steps` are (part of the run, size in s)."""

    law: Law = "exp"
    steps: tuple[tuple[float, float], ...] = ((0.5, 0.5),)
    rounding_s: float = 0.0
    jitter_s: float = 0.0
    swing_ppm: float = 0.0
    walk: float = 0.0


KINDS = {
    "exp": Kind(),
    "exp_nostep": Kind(steps=()),
    "heavy": Kind(law="heavy"),
    "quant": Kind(rounding_s=1e-3),
    "wander": Kind(swing_ppm=20.0, walk=1e-8),
    "gamma": Kind(law="gamma", jitter_s=5e-4),
    "stepback": Kind(steps=((0.5, -0.8),)),
    "steps50": Kind(steps=((0.25, 0.05), (0.5, -0.05), (0.75, 0.05))),
}


class Stamps(NamedTuple):
    """Stamps in order of arrival (n,), and their truth."""

    source: F64
    arrival: F64
    host: F64
    """Send time of each (s after the start)."""
    offset: F64
    """Host time, path included, minus the clock's reading (s)."""
    slope: F64
    """Slope of the offset over the clock's reading (s/s)."""
    part: I64


def stamps(kind: Kind, seed: int, seconds: float) -> Stamps:
    """Draw one source."""
    rng = np.random.default_rng([4107, seed])
    rate = RATES_HZ[seed % len(RATES_HZ)]
    skew = rng.uniform(-200e-6, 200e-6)
    start = rng.uniform(-5, 5)
    host = (np.arange(int(seconds * rate)) + rng.random()) / rate
    host = host[rng.random(len(host)) >= 0.02]
    n = len(host)
    shape = 2 if kind.law == "gamma" else 1
    delay = rng.gamma(shape, QUEUE_S / shape, n)
    if kind.law == "heavy":
        delay += (rng.random(n) < 0.02) * rng.pareto(1.5, n) * 0.02
    grid = np.arange(0.0, seconds + 1, 0.2)
    wander = np.cumsum(rng.standard_normal(len(grid))) * kind.walk * np.sqrt(0.2)
    wander += kind.swing_ppm * 1e-6 * np.sin(2 * np.pi * (grid / 600 + rng.random()))
    pace = skew + np.interp(host, grid, wander)
    run_off = skew * host + np.interp(host, grid, np.cumsum(wander) * 0.2)
    clock = START + start + host + run_off
    part = np.zeros(n, np.int64)
    for share, size in kind.steps:
        clock += size * (host >= share * seconds)
        part += host >= share * seconds
    stamp = clock + kind.jitter_s * rng.standard_normal(n)
    if kind.rounding_s:
        stamp = np.round(stamp / kind.rounding_s) * kind.rounding_s
    arrival = host + PATH_S + delay
    o = np.argsort(arrival, kind="stable")
    offset, slope = START + host + PATH_S - clock, -pace / (1 + pace)
    return Stamps(
        np.round(stamp[o], 6),
        np.round(START + arrival[o], 6),
        np.asarray(host[o], np.float64),
        offset[o],
        slope[o],
        part[o],
    )


@dataclass
class SmootherFigures:
    """Results over seeds: squared errors (s^2) by stretch, squared ratios, counts."""

    first: list[float]
    later: list[float]
    after: list[float]
    offset_z: list[float]
    slope_z: list[float]
    steps: int = 0
    wrong: int = 0

    def add(self, x: Stamps, error: F64, kind: Kind, seconds: float) -> None:
        """Add the errors of mapped time at the stamps (s), without those of the wrong side."""
        after = _after(x.host, kind, seconds)
        early = x.host < SETTLED_S
        fine = np.abs(error) < 0.01
        for rows, out in ((early, self.first), (~early & ~after, self.later), (after, self.after)):
            if (rows & fine).any():
                out.append(float(np.mean(error[rows & fine] ** 2)))
        self.wrong += int(np.count_nonzero(~fine & after))

    def judge(
        self, x: Stamps, lines: Iterable[tuple[int, ClockLine]], kind: Kind, seconds: float
    ) -> None:
        """Add the (error / sd)^2 of the lines, each in force at a stamp."""
        due = SETTLED_S
        after = _after(x.host, kind, seconds)
        for i, line in lines:
            if x.host[i] < due or after[i]:
                continue
            due = float(x.host[i]) + 10.0
            dt = float(x.source[i]) - line.at
            offset = line.offset + line.slope * dt - x.offset[i]
            var = line.offset_var + dt * (2 * line.cross_var + dt * line.slope_var)
            self.offset_z.append(float(offset**2 / var))
            self.slope_z.append(float((line.slope - x.slope[i]) ** 2 / line.slope_var))


def _after(host: F64, kind: Kind, seconds: float) -> Bool:
    """Return the mask of the stamps within AFTER_S of a step."""
    out = np.zeros(len(host), bool)
    for share, _ in kind.steps:
        out |= (host >= share * seconds) & (host < share * seconds + AFTER_S)
    return out


def measure(
    kind: Kind, seeds: Iterable[int], seconds: float
) -> tuple[SmootherFigures, SmootherFigures]:
    """Return the figures of the past alone, and of the whole recording."""
    both = SmootherFigures([], [], [], [], []), SmootherFigures([], [], [], [], [])
    for seed in seeds:
        x = stamps(kind, seed, seconds)
        log = ClockLog(30.0)
        causal = log.feed(x.source, x.arrival, end=True)
        log.finish()
        path = log.path()
        whole = Smoothed(path).feed(x.source, x.arrival, end=True)
        resets = log.clock.resets, len(path.reset_at) - 1
        # The jitter of a stamp is no error of the clock.
        for found, judged, count in zip(both, (causal, whole), resets, strict=True):
            found.add(x, judged.host - x.source - x.offset, kind, seconds)
            found.judge(x, ((i, line) for i, _, line in judged.turns), kind, seconds)
            found.steps += count
    return both


def _cells(causal: list[float], whole: list[float]) -> list[str]:
    return [number(float(np.sqrt(np.mean(x))) if x else None, 4, 1e3) for x in (causal, whole)]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("name", nargs="*", choices=[[], *KINDS], default=[])
    asked = parser.parse_args()
    rows = []
    for name in asked.name or KINDS:
        kind = KINDS[name]
        old, new = measure(kind, range(asked.seeds), asked.seconds)
        rows.append(
            [
                name,
                *_cells(old.first, new.first),
                *_cells(old.later, new.later),
                *_cells(old.after, new.after),
                *(
                    number(float(np.mean(z)), 2)
                    for z in (old.offset_z, new.offset_z, old.slope_z, new.slope_z)
                ),
                f"{old.steps}/{new.steps}/{len(kind.steps) * asked.seeds}",
                f"{old.wrong}/{new.wrong}",
            ]
        )
    print(
        table(
            [
                "",
                "first 60 s",
                "whole",
                "later",
                "whole",
                "after step",
                "whole",
                "offset z2",
                "whole",
                "slope z2",
                "whole",
                "steps",
                "wrong side",
            ],
            rows,
        )
    )


if __name__ == "__main__":
    main()
