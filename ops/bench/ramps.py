"""Moving lags: their errors, and the coverage of the sync bound.

`python -m ops.bench.ramps [--seeds N] [--ppm P ...]`: two loggers without arrival stamps for ten
minutes, an IMU of 100 Hz and a phone of 50 Hz that is 0.3 s late, with silences of 8, 3 and 20 s.
The skew between their clocks makes the lag rise; other cases have a walking lag and a lag step.
Each second with two live members counts: the error of the lag against the bound of that tick.
Asked: the truth inside in 95 % of ticks, a median bound of 8 ms (goal 2), an RMS error after
120 s of 3 ms (goal 0.5).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import NamedTuple

import msgspec
import numpy as np

from configs.schema import Config
from flows.pipeline import Pipeline
from operators.events import Batch
from operators.types import F64
from ops.simulate.recording import START
from ops.text.table import table

SECONDS, SETTLED_S = 600.0, 120.0
LAG_S, NOISE, JITTER_S = 0.3, 0.1, 5e-4
BAND_HZ, LINES = (0.2, 3.0), 80
SILENT = ((90.0, 98.0), (240.0, 243.0), (400.0, 420.0))
PPM = (0.0, 5.0, 10.0, 20.0, 40.0, 80.0, 150.0)
WALKS = (1e-8, 1e-6)
STEP_S = 0.05
_ROWS = 10_000
Course = Callable[[F64], F64]
"""The true lag (s) at times after the start (s)."""


class Figures(NamedTuple):
    """Seconds with two live members of a run: error of the lag, bound, and time (s)."""

    error: F64
    bound: F64
    at: F64


def ramp(ppm: float) -> Course:
    """Return a lag that rises with the skew between two clocks."""
    return lambda t: LAG_S + 1e-6 * ppm * t


def walk(q: float, seed: int) -> Course:
    """Return a random walk of the lag with variance q (s^2/s)."""
    steps = np.random.default_rng([seed, 5]).standard_normal(int(10 * SECONDS) + 20)
    level = LAG_S + np.cumsum(np.sqrt(q / 10) * steps)
    return lambda t: np.interp(t, np.arange(len(level)) / 10, level)


def step(t: F64) -> F64:
    """Return a lag that steps at half time."""
    return np.where(t < SECONDS / 2, LAG_S, LAG_S + STEP_S)


def batches(course: Course, seed: int, noise: float = NOISE) -> Iterator[Batch]:
    """Yield the rows of both loggers, in order of their stamps."""
    rng = np.random.default_rng(seed)
    hz, phase = rng.uniform(*BAND_HZ, LINES), rng.uniform(0, 2 * np.pi, LINES)

    def movement(t: F64) -> F64:
        total = np.zeros(len(t))
        for f, p in zip(hz, phase, strict=True):
            total += np.sin(2 * np.pi * f * t + p) * np.sqrt(2 / LINES)
        return total

    imu = np.arange(0.0, SECONDS, 0.01)
    imu += rng.normal(0, JITTER_S, len(imu))
    phone = np.arange(-1.0, SECONDS, 0.02)
    stamp = [imu, phone + course(np.maximum(phone, 0.0))]
    value = [movement(t) + noise * rng.standard_normal(len(t)) for t in (imu, phone)]
    name = np.repeat([0, 1], [len(imu), len(phone)]).astype(np.int32)
    ts, values = np.concatenate(stamp), np.concatenate(value)
    silent = np.any([(name == 1) & (ts >= a) & (ts < b) for a, b in SILENT], axis=0)
    keep = np.flatnonzero(~silent & (ts >= 0))
    order = keep[np.argsort(ts[keep], kind="stable")]
    for a in range(0, len(order), _ROWS):
        cut = order[a : a + _ROWS]
        rx = START + ts[cut]
        yield Batch(
            rig="bench",
            names=(("imu", "x"), ("phone", "x")),
            name=name[cut],
            ts=rx,
            rx=rx,
            stamped=np.zeros(len(cut), bool),
            wild=np.zeros(len(cut), bool),
            value=values[cut],
            seq=np.full(len(cut), -1),
            line=np.arange(a, a + len(cut)),
            end=a + _ROWS >= len(order),
        )


def run(course: Course, seed: int, noise: float = NOISE) -> Figures:
    """Return the figures of the stations for a recording."""
    config = msgspec.convert(
        {
            "version": 2,
            "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
            "signals": {
                "s": {
                    "reference": "imu:x",
                    "members": {"imu:x": {"group": "sensors"}, "phone:x": {"group": "sensors"}},
                }
            },
            "output": {"sync_every_s": 1},
        },
        Config,
    )
    rows: list[tuple[float, float]] = []
    bound: dict[float, float] = {}
    for packet in Pipeline(config).run(batches(course, seed, noise)):
        if packet.fused is not None:
            both = packet.fused.live >= 2
            bound.update(
                zip(
                    packet.fused.ts[both].tolist(),
                    packet.fused.sync_bound_s[both].tolist(),
                    strict=True,
                )
            )
        rows += [
            (line.ts, line.lag_s)
            for line in packet.sync
            if line.channel == "phone:x" and line.why == "hop" and line.lag_s is not None
        ]
    live = [(ts, lag, bound[ts]) for ts, lag in rows if ts in bound]
    at, lag, limit = np.array(live).reshape(-1, 3).T
    at -= START
    return Figures(np.abs(lag - course(at)), limit, at)


def row(name: str, runs: list[Figures]) -> list[str]:
    """Return a line of the table."""
    error, bound, at = (np.concatenate(x) for x in zip(*runs, strict=True))
    late = error[at > SETTLED_S]
    return [
        name,
        f"{100 * np.mean(error <= bound):.1f}",
        f"{1e3 * np.median(bound):.2f}",
        f"{1e3 * np.median(error):.2f}",
        f"{1e3 * np.sqrt(np.mean(late**2)):.2f}",
        f"{min(float(r.at[0]) for r in runs):.0f}",
    ]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=4, help="default %(default)s")
    parser.add_argument("--ppm", type=float, nargs="*", default=list(PPM))
    parser.add_argument(
        "--noise", type=float, default=NOISE, help="noise of a reading (%(default)s)"
    )
    given = parser.parse_args()
    seeds = range(given.seeds)
    rows = [
        row(f"{ppm:g} ppm", [run(ramp(ppm), k, given.noise) for k in seeds]) for ppm in given.ppm
    ]
    if given.ppm == list(PPM):
        rows += [
            row(f"walk of {q:g} s^2/s", [run(walk(q, k), k, given.noise) for k in seeds])
            for q in WALKS
        ]
        rows.append(row(f"step of {STEP_S:g} s", [run(step, k, given.noise) for k in seeds]))
    head = ["lag", "inside, %", "bound, ms", "error, ms", "rms later, ms", "first at, s"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
