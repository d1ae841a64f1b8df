"""Samples rejected by the guard in signals with peaks, with and without noise and outliers.

`python -m ops.bench.guard`: recordings (`$LUMEN_DATA`, or `shared/data` beside the repository; only
simulated signals without them) at other rates by `scipy.signal.resample_poly`, and a movement of
0.02 to 1.5 Hz. False: valid samples rejected, in the recording, and with white noise 20 and 10 dB
below it. Peaks: the highest samples within 0.2 s to either side, at least two sd from the median.
Recall: share rejected of 1 % of outliers of 8 to 20 sd of either sign, in the recording and at
20 dB. Beside: valid samples rejected among those outliers, at 20 dB.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

from operators.guard import Guard
from operators.records import Block, Packet
from operators.settings.plan import Member, Plan, Signal
from operators.types import F64, I64, Bool
from ops.bench.chain import movement
from ops.text.table import number, table

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("LUMEN_DATA", ROOT.parent / "shared" / "data")).resolve()
CHANNEL = "s:x"
PLAN = Plan(rig="bench", signals=(Signal("pulse", (Member("pulse", CHANNEL, "sensors"),), "auto"),))
BEGIN, SEEDS, SHARE = 1_700_000_000.0, 3, 0.01
WALK = (50.0, 62.5, 100.0, 120.005)
POD = (50.0, 62.5, 100.0, 125.0, 204.8)
RECORDED = (
    ("ECG", "ecg_vp01", "chest/ecg", 256.0, (50.0, 62.5, 100.0, 125.0, 250.0)),
    ("BVP", "empatica_multirate", "e4_bvp/bvp", 64.0, (50.0, 64.0)),
    ("chest, norm", "ecg_vp01", "chest_acc/acc_norm", 64.0, (50.0, 64.0)),
    ("wrist, x", "empatica_multirate", "e4_acc/acc_x", 32.0, (32.0,)),
    ("left foot, norm", "sevivi_walking", "imu_lf/acc_norm", 120.005, WALK),
    ("right foot, norm", "sevivi_walking", "imu_rf/acc_norm", 120.005, WALK),
    ("left foot, z", "sevivi_walking", "imu_lf/acc_z", 120.005, WALK),
    ("pod, x", "nilspod_synced", "pod_922a/acc_x", 204.8, POD),
    ("pod, turning", "nilspod_synced", "pod_922a/gyr_norm", 204.8, POD),
    ("copter, z", "px4_2016", "imu/acc_z", 248.0, (50.0, 62.5, 100.0, 125.0, 248.0)),
)
MOVED = (20.0, 31.7, 64.0)


@lru_cache(maxsize=2)
def recorded(name: str) -> dict[str, F64]:
    """Return a recording's channels, `source/key`."""
    rows: dict[str, list[float]] = {}
    with gzip.open(DATA / f"{name}.ndjson.gz", "rt") as lines:
        for row in map(json.loads, lines):
            rows.setdefault(f"{row['source']}/{row['key']}", []).append(row["value"])
    return {channel: np.array(value) for channel, value in rows.items()}


def at_rate(value: F64, have: float, want: float) -> F64:
    """Return an even series of one rate (Hz) at another, low-passed where that is lower."""
    ratio = Fraction(want / have).limit_denominator(600)
    even = resample_poly(value - value[0], ratio.numerator, ratio.denominator)
    return np.asarray(even + value[0])


def signals() -> Iterator[tuple[str, float, F64]]:
    """Yield the signals: name, rate (Hz), values."""
    for hz in MOVED:
        yield "movement", hz, movement(np.arange(round(600 * hz)) / hz, 3)
    if not DATA.is_dir():
        return
    for title, name, channel, have, rates in RECORDED:
        for hz in rates:
            yield title, hz, at_rate(recorded(name)[channel], have, hz)


def taken(value: F64, hz: float) -> Bool:
    """Return the mask of the samples of an even channel that the guard rejects."""
    n = len(value)
    time = BEGIN + np.arange(n) / hz
    block = Block(
        "s",
        CHANNEL,
        np.arange(n),
        time,
        time,
        value,
        time,
        np.ones(n, bool),
        np.arange(n),
        host_time=time,
        straggler=np.zeros(n, bool),
    )
    packet = Packet(
        "bench", time[-1], True, time, (block,), first_host=BEGIN, newest_host=float(time[-1])
    )
    kept = [b.row for b in Guard(PLAN).update(packet).blocks]
    out = np.ones(n, bool)
    out[np.concatenate(kept)] = False
    return out


def summits(value: F64, hz: float) -> I64:
    """Return the indices of the peaks."""
    reach = max(round(0.2 * hz), 1)
    off = np.abs(value - np.median(value))
    padded = np.pad(off, reach, constant_values=-1.0)
    highest = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    return np.flatnonzero((off == highest) & (off > 2 * value.std()))


def noisy(value: F64, snr_db: float, seed: int) -> F64:
    """Return the values with white noise `snr_db` below their sd."""
    noise = np.random.default_rng([seed, 1]).standard_normal(len(value))
    return np.asarray(value + value.std() * 10 ** (-snr_db / 20) * noise)


def spoilt(value: F64, hz: float, snr_db: float) -> tuple[float, float]:
    """Return the rejected shares of outliers and of valid samples, over the seeds."""
    found, sound = [], []
    for seed in range(SEEDS):
        rng = np.random.default_rng([seed, 2])
        out = rng.random(len(value)) < SHARE
        far = rng.choice([-1.0, 1.0], len(value)) * rng.uniform(8, 20, len(value))
        lost = taken(noisy(value, snr_db, seed) + value.std() * far * out, hz)
        found.append(lost[out])
        sound.append(lost[~out])
    return float(np.mean(np.concatenate(found))), float(np.mean(np.concatenate(sound)))


def row(title: str, hz: float, value: F64) -> list[str]:
    """Return a signal's line of the table."""
    lost = taken(value, hz)
    at = summits(value, hz)
    false = [np.mean(lost)]
    false += [
        np.mean([taken(noisy(value, db, s), hz) for s in range(SEEDS)]) for db in (20.0, 10.0)
    ]
    peaks = float(np.mean(lost[at])) if len(at) else float("nan")
    clean, (recall, beside) = spoilt(value, hz, np.inf)[0], spoilt(value, hz, 20.0)
    return [
        title,
        f"{hz:g}",
        *(number(float(f), 2, 100) for f in false),
        str(len(at)),
        number(peaks, 1, 100),
        number(clean, 1, 100),
        number(recall, 1, 100),
        number(beside, 2, 100),
    ]


def main() -> int:
    """Print the table."""
    head = [
        "signal",
        "Hz",
        "false %",
        "20 dB",
        "10 dB",
        "peaks",
        "taken %",
        "recall %",
        "20 dB",
        "beside %",
    ]
    print(table(head, [row(*signal) for signal in signals()]))
    if not DATA.is_dir():
        print(f"no recordings: missing folder {DATA}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
