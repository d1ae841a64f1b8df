"""Members in other units, and members that disagree: gains, levels and the resulting sd.

`python -m ops.bench.scale [--seeds N]`: the stations over simulated recordings.

1. Gain of a member in other units against its reference after 40 and 300 s, of pairs and of five.
2. Two members that disagree by a constant, with a random truth between them: the share within
   2 sd, and the sd beside half of the difference plus noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np

from configs.schema import Config
from flows.pipeline import Pipeline
from operators.types import F64
from ops.bench.bound import batches
from ops.simulate.recording import START, make
from ops.simulate.scenario import Scenario, Sensor
from ops.text.table import table

SECONDS = 400.0
RATES_HZ = (25.0, 31.7, 50.0, 64.0)
NOISE = {"20 dB": 0.1, "10 dB": 0.316, "0 dB": 1.0}
BARS = {"20 dB": (0.8, 0.25), "10 dB": (2.5, 0.8), "0 dB": (7.0, 2.5)}
"""Largest rms error of the gain after 40 and 300 s of common data (%)."""
APART = (0.1, 0.3, 1.0)


def config(sensors: Iterable[Sensor], learnt: bool) -> Config:
    """Return the configuration of a recording; with `learnt`, all gains but the first are."""
    names = [s.channel for s in sensors]
    channels = {n: {"gain": "auto", "offset": "auto"} for n in names[1:]} if learnt else {}
    data: dict[str, Any] = {
        "version": 2,
        "rig": "bench",
        "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}],
        "channels": channels,
        "signals": {
            "pulse": {
                "reference": names[0],
                "members": {n: {"group": "ure" if n == names[0] else "sensors"} for n in names},
            }
        },
        "align": {"max_lag_s": 2.5},
        "output": {"sync_every_s": 1.0},
    }
    return msgspec.convert(data, Config)


def gains(noise: float, members: int, seed: int) -> dict[float, list[tuple[float, float]]]:
    """Return relative error and relative sd of each member, by seconds of common data."""
    rng = np.random.default_rng([seed, members])
    sensors = [Sensor("ure", "pulse", 20.0, "ure", noise=noise, loss=0.02)]
    for k, rate_hz in enumerate(RATES_HZ[: members - 1]):
        sensors.append(
            Sensor(
                f"s{k}",
                "pulse",
                rate_hz,
                lag_s=rng.uniform(-1, 1),
                noise=noise,
                loss=0.02,
                gain=float(2.0 ** rng.choice([-1, 1]) * rng.uniform(0.8, 1.2)),
                bias=rng.uniform(-1, 1),
            )
        )
    recording = make(Scenario(SECONDS, tuple(sensors), flat=True), seed)
    out: dict[float, list[tuple[float, float]]] = {40.0: [], 300.0: []}
    true = {s.channel: s.gain for s in sensors}
    began: dict[str, float] = {}
    for packet in Pipeline(config(sensors, learnt=True)).run(batches(recording)):
        for line in packet.sync:
            if line.why != "hop" or line.lag_s is None or line.channel == sensors[0].channel:
                continue
            first = began.setdefault(line.channel, line.ts)
            for after in out:
                if abs(line.ts - first - after) < 0.5 and line.gain is not None and line.gain_sd:
                    error = line.gain / true[line.channel] - 1
                    out[after].append((error, line.gain_sd / true[line.channel]))
    return out


def disagreement(apart: float, seed: int) -> tuple[F64, F64]:
    """Return errors and sd (k,) of the settled ticks of two members with a constant difference."""
    place = np.random.default_rng([seed, 7]).uniform(-0.5, 0.5)
    sensors = (
        Sensor("a", "pulse", 50.0, noise=0.1, bias=apart * (place - 0.5)),
        Sensor("b", "pulse", 40.0, lag_s=0.2, noise=0.1, bias=apart * (place + 0.5)),
    )
    recording = make(Scenario(150.0, sensors, flat=True), seed)
    error, sd = [], []
    for packet in Pipeline(config(sensors, learnt=False)).run(batches(recording)):
        if packet.fused is not None:
            signal, ts = packet.fused.signals[0], packet.fused.ts
            good = (ts > START + 70) & (signal.live == 2) & np.isfinite(signal.value)
            error.append((signal.value - recording.clean(ts))[good])
            sd.append(signal.sd[good])
    return np.concatenate(error), np.concatenate(sd)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10, help="default %(default)s")
    seeds = range(parser.parse_args().seeds)
    rows = []
    for name, noise in NOISE.items():
        for members in (2, 5):
            runs = [gains(noise, members, seed) for seed in seeds]
            row = [name, str(members)]
            for after, bar in zip((40.0, 300.0), BARS[name], strict=True):
                error, sd = np.array([x for run in runs for x in run[after]]).reshape(-1, 2).T
                rms = 100 * np.sqrt(np.mean(error**2))
                row += [
                    f"{rms:.2f}",
                    f"{bar:g}",
                    f"{np.mean((error / sd) ** 2):.2f}",
                    str(len(error)),
                ]
            rows.append(row)
    each = ("rms, %", "bar", "error squared / variance", "lines")
    head = [
        "",
        "members",
        *(f"{x} at {s} s" if x == "rms, %" else x for s in (40, 300) for x in each),
    ]
    print("gain of a member in other units")
    print(table(head, [[str(x) for x in row] for row in rows]))
    rows = []
    for apart in APART:
        error, sd = (
            np.concatenate(x) for x in zip(*(disagreement(apart, s) for s in seeds), strict=True)
        )
        rows.append(
            [
                f"{apart:g}",
                f"{100 * np.mean(np.abs(error) <= 2 * sd):.1f}",
                f"{np.median(sd):.3f}",
                f"{np.sqrt(np.mean(error**2)):.3f}",
                f"{np.mean((error / sd) ** 2):.2f}",
            ]
        )
    print("\ntwo members that disagree, the truth anywhere between")
    print(
        table(
            ["apart by", "within 2 sd, %", "sd, median", "error, rms", "error squared / variance"],
            rows,
        )
    )


if __name__ == "__main__":
    main()
