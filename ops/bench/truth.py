"""Real signals and recordings with known truth, causal and in hindsight.

`python -m ops.bench.truth [--seeds N]`: recordings of real devices are read from
`shared/data` beside the repository or `$LUMEN_DATA`.

1. A real series is measured by four simulated instruments, each with its own clock, lag, noise
   and unit (gains of 0.5 to 2, levels within 1, all learnt). Compared with the run with configured
   true gains, and with the best instrument alone at known clock, lag and gain.
2. Recordings of several devices: the found lag, and the coverage of the bound.
3. Two receivers in one car, the better one as truth: the error of the fused value, beside half of
   the difference of the receivers, at 1 and at 5 ticks a second.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from flows.run import execute
from operators.types import F64
from ops.evaluate import truth as truths
from ops.results.folder import rigs
from ops.simulate.recording import START, SimulatedRecording, make
from ops.simulate.scenario import Scenario, Sensor
from ops.text.table import table

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LUMEN_DATA", ROOT.parent / "shared" / "data")).resolve()
Mode = Literal["causal", "hindsight"]
SECONDS, SINCE_S, TAIL_S = 150.0, 60.0, 5.0
DENSE_HZ, BAND_HZ = 200.0, 8.0
RATES_HZ = (100.0, 50.0, 31.7, 62.5)
NOISE = {"20 dB": 0.1, "6 dB": 0.5}
SERIES = {
    "pulse at the wrist": ("empatica_multirate", "e4_bvp", "bvp"),
    "acceleration in flight": ("px4_2016", "imu", "acc_x"),
    "electrocardiogram": ("ecg_vp01", "chest", "ecg"),
    "foot, walking": ("sevivi_walking", "imu_lf", "acc_norm"),
    "turning of a pod": ("nilspod_synced", "pod_7fad", "gyr_norm"),
}
"""Real series by name: recording, source and key."""
PAIRS = {
    "walking: foot and camera": (
        "sevivi_walking",
        "imu_lf:acc_norm",
        "kinect:spine_acc_norm",
        -4.08,
        6.0,
    ),
    "pods 7fad and 922a, turning": (
        "nilspod_synced",
        "pod_7fad:gyr_norm",
        "pod_922a:gyr_norm",
        0.0,
        5.0,
    ),
}
"""Two devices of one quantity: recording, channels, true lag of the second, largest lag."""
DRIVE, TRUE, OTHER = "gnss_vs_span", "reference", "ublox"
AXES = ("east", "north", "alt")


@dataclass(frozen=True)
class Played:
    """A real series as an endless movement: RMS 1, low-passed, played forwards and backwards."""

    value: F64

    @staticmethod
    def read(recording: str, source: str, key: str) -> Played:
        """Read a series of a recording."""
        rows = []
        with gzip.open(DATA / f"{recording}.ndjson.gz", "rt") as file:
            for line in file:
                if f'"{key}"' in line:
                    event = json.loads(line)
                    if event["source"] == source and event["key"] == key:
                        rows.append((event["ts"], event["value"]))
        time, value = np.array(sorted(rows)).T
        dense = np.interp(np.arange(0.0, time[-1] - time[0], 1 / DENSE_HZ), time - time[0], value)
        dense = np.concatenate((dense, dense[::-1]))
        spectrum = np.fft.rfft(dense - dense.mean())
        spectrum[np.fft.rfftfreq(len(dense), 1 / DENSE_HZ) > BAND_HZ] = 0
        dense = np.fft.irfft(spectrum, len(dense))
        return Played(dense / dense.std())

    def at(self, time: F64) -> F64:
        """Return the series at `time` (n,), in seconds after the start."""
        at = np.arange(len(self.value) + 1) / DENSE_HZ
        return np.asarray(
            np.interp(np.mod(time, at[-1]), at, np.append(self.value, self.value[:1]))
        )


def scenario(noise: float, seed: int) -> Scenario:
    """Return a reference and three instruments in other units."""
    rng = np.random.default_rng([seed, 11])
    sensors = [Sensor("s0", "x", RATES_HZ[0], noise=noise, loss=0.01)]
    for k, rate_hz in enumerate(RATES_HZ[1:], 1):
        sensors.append(
            Sensor(
                f"s{k}",
                "x",
                rate_hz,
                offset_s=rng.uniform(-5, 5),
                skew_ppm=rng.uniform(-50, 50),
                lag_s=rng.uniform(0, 0.4),
                noise=noise,
                loss=0.01,
                gain=float(np.exp2(rng.uniform(-1, 1))),
                bias=rng.uniform(-1, 1),
            )
        )
    return Scenario(SECONDS, tuple(sensors))


def config(recording: SimulatedRecording, mode: Mode, learnt: bool, place: Path) -> str:
    """Return the configuration of a recording, with learnt or true gains."""
    sensors = recording.scenario.sensors
    channels = {
        s.channel: {"gain": "auto", "offset": "auto"}
        if learnt
        else {"gain": 1 / s.gain, "offset": -s.bias / s.gain}
        for s in sensors[1:]
    }
    data: dict[str, Any] = {
        "version": 2,
        "mode": mode,
        "streams": [{"name": "r", "type": "file", "path": str(place / "r.ndjson"), "speed": 0}],
        "channels": channels,
        "signals": {"x": {"reference": "s0:x", "members": {s.channel: {} for s in sensors}}},
        "align": {"max_lag_s": 2.0},
        "output": {"dir": str(place / "out")},
    }
    return json.dumps(data)


def settled(recording: SimulatedRecording, clean: F64, mode: Mode, learnt: bool) -> F64:
    """Return error, sd, and coverage of the time error of settled ticks (3, k)."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        recording.write(place / "r.ndjson")
        chosen = place / "r.yaml"
        chosen.write_text(config(recording, mode, learnt, place), "utf-8")
        results = rigs(execute(chosen, progress=False))[0]
        time, value, sd = truths.fused(list(results.ticks()), "x")
        bound = np.array([t.sync_bound_s or np.nan for t in results.ticks()])
        late = truths.time_errors(results, truths.load(place / "r.ndjson"), time)
    at = np.rint((time - START) * recording.scenario.tick_hz).astype(int)
    good = (at >= 0) & (at < len(clean)) & np.isfinite(value)
    good &= (time > START + SINCE_S) & (time < START + SECONDS - TAIL_S)
    inside = np.where(np.isnan(bound), np.nan, late <= bound)
    return np.array([value[good] - clean[at[good]], sd[good], inside[good]])


def instruments(name: str, noise: float, seeds: range) -> list[list[str]]:
    """Return the rows of a real series, causal and in hindsight."""
    played = Played.read(*SERIES[name])
    recordings = [make(scenario(noise, seed), seed, played) for seed in seeds]
    ticks = START + np.arange(int(SECONDS * 5) + 1) / 5
    dense = np.arange(-2.0, SECONDS + 2, 1 / DENSE_HZ)
    clean = truths.smooth(START + dense, recordings[0].clean(START + dense), ticks)
    best = np.sqrt(np.mean([alone(r, clean, ticks) ** 2 for r in recordings]))
    rows = []
    for mode in ("causal", "hindsight"):
        own, given = (
            np.concatenate([settled(r, clean, mode, learnt) for r in recordings], axis=1)
            for learnt in (True, False)
        )
        rms, true = (float(np.sqrt(np.mean(x[0] ** 2))) for x in (own, given))
        rows.append(
            [
                name,
                mode,
                f"{rms:.4f}",
                f"{best:.4f}",
                f"{rms / best:.2f}",
                f"{np.median(own[1]):.4f}",
                f"{np.mean((own[0] / own[1]) ** 2):.2f}",
                f"{rms / true:.3f}",
                f"{np.mean((given[0] / given[1]) ** 2):.2f}",
                f"{100 * np.nanmean(own[2]):.1f}",
            ]
        )
    return rows


def alone(recording: SimulatedRecording, clean: F64, ticks: F64) -> float:
    """Return the RMS error of the best instrument with known clock, lag, gain and level."""
    errors = []
    for k, s in enumerate(recording.scenario.sensors):
        rows = recording.rows.take((recording.rows.name == k) & ~recording.rows.outlier)
        order = np.argsort(rows.host)
        value = (rows.value[order] - s.bias) / s.gain
        fused = truths.smooth(START + rows.host[order] - s.lag_s, value, ticks)
        late = ticks > START + SINCE_S
        errors.append(truths.rms_error(fused[late], clean[late]))
    return min(errors)


def pair(name: str, mode: Mode) -> list[str]:
    """Return the row of two devices: time and error of the found lag, coverage of the bound."""
    recording, first, second, true_s, max_lag_s = PAIRS[name]
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder, "pair.yaml")
        data: dict[str, Any] = {
            "version": 2,
            "mode": mode,
            "streams": [
                {
                    "name": "r",
                    "type": "file",
                    "speed": 0,
                    "path": str(DATA / f"{recording}.ndjson.gz"),
                }
            ],
            "signals": {"x": {"reference": first, "members": {first: {}, second: {}}}},
            "align": {"max_lag_s": max_lag_s},
            "output": {"dir": str(Path(folder, "out")), "sync_every_s": 1},
        }
        chosen.write_text(json.dumps(data), "utf-8")
        results = rigs(execute(chosen, progress=False))[0]
        ticks = list(results.ticks())
        lines = [x for x in results.sync() if x.channel == second and x.lag_s is not None]
    begin, both = ticks[0].ts, [t for t in ticks if t.live == 2]
    if not lines:
        return [name, mode, "never", "", "", "", f"{len(both)} of {len(ticks)}"]
    bounds = [t.sync_bound_s for t in both if t.sync_bound_s is not None]
    error = (lines[-1].lag_s or 0.0) - true_s
    return [
        name,
        mode,
        f"{lines[0].ts - begin:.0f}",
        f"{1e3 * error:.1f}",
        f"{1e3 * (lines[-1].lag_sd_s or 0.0):.1f}",
        f"{1e3 * np.median(bounds):.1f}" if bounds else "null",
        f"{len(both)} of {len(ticks)}",
    ]


def positions(source: str, key: str) -> dict[int, float]:
    """Return a receiver's positions (m) of a drive by second."""
    found = {}
    with gzip.open(DATA / f"{DRIVE}.ndjson.gz", "rt") as file:
        for line in file:
            event = json.loads(line)
            if event["source"] == source and event["key"] == key:
                found[round(event["ts"])] = event["value"]
    return found


def receivers(axis: str, mode: Mode, hz: float) -> list[str]:
    """Return the row of two receivers in one car."""
    members = [f"{TRUE}:{axis}", f"{OTHER}:{axis}"]
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder, "drive.yaml")
        data: dict[str, Any] = {
            "version": 2,
            "mode": mode,
            "streams": [
                {"name": "r", "type": "file", "speed": 0, "path": str(DATA / f"{DRIVE}.ndjson.gz")}
            ],
            "signals": {"x": {"reference": members[0], "members": {m: {} for m in members}}},
            "align": {"max_lag_s": 2.0},
            "resample": {"target_hz": hz},
            "output": {"dir": str(Path(folder, "out"))},
        }
        chosen.write_text(json.dumps(data), "utf-8")
        results = rigs(execute(chosen, progress=False))[0]
        ticks = [t for t in results.ticks() if t.live == 2 and t.ts == round(t.ts)]
    first, second = positions(TRUE, axis), positions(OTHER, axis)
    rows = [
        (s.value - first[t], s.sd, second[t] - first[t])
        for tick in ticks
        if (t := round(tick.ts)) in first
        and t in second
        and (s := tick.signals["x"]).value is not None
        and s.sd is not None
    ]
    error, sd, apart = np.array(rows, np.float64).T
    rms, half = (float(np.sqrt(np.mean(x**2))) for x in (error, apart / 2))
    return [
        f"{axis}, {hz:g} ticks a second",
        mode,
        f"{rms:.3f}",
        f"{half:.3f}",
        f"{rms / half:.2f}",
        f"{np.median(sd):.3f}",
        f"{np.mean((error / sd) ** 2):.2f}",
        f"{100 * np.mean(np.abs(error) <= 2 * sd):.1f}",
        str(len(rows)),
    ]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="default %(default)s")
    seeds = range(100, 100 + parser.parse_args().seeds)
    if not DATA.is_dir():
        print(f"no recordings: missing folder {DATA}")
        return 1
    for name, noise in NOISE.items():
        rows = [row for series in SERIES for row in instruments(series, noise, seeds)]
        print(f"real series, four instruments, three in other units, {name}")
        print(
            table(
                [
                    "",
                    "mode",
                    "RMSE",
                    "best alone",
                    "ratio",
                    "sd",
                    "NEES",
                    "beside true gains",
                    "NEES then",
                    "in the bound, %",
                ],
                rows,
            )
        )
    print("\ntwo devices, lags in ms")
    print(
        table(
            ["", "mode", "found after, s", "error", "sd", "bound, median", "ticks with both"],
            [pair(name, mode) for name in PAIRS for mode in ("causal", "hindsight")],
        )
    )
    print("\ntwo receivers in one car, m")
    print(
        table(
            ["", "mode", "RMSE", "half apart", "ratio", "sd", "NEES", "within 2 sd, %", "ticks"],
            [
                receivers(axis, mode, hz)
                for axis in AXES
                for hz in (1.0, 5.0)
                for mode in ("causal", "hindsight")
            ],
        )
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
