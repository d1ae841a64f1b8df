"""Two CSV files with stamps in; one aligned, fused array with sd, lag and skew out.

    python -m ops.examples.two_loggers [FIRST.csv SECOND.csv]

Each file has a head and three columns: the logger's stamp, the arrival at this machine (both in
seconds), and the value. Without arguments the script makes its own two files: loggers of one
movement for five minutes. The second is 0.25 s late, and its clock is 3.2 s behind and 80 ppm fast.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from flows.pipeline import Pipeline
from operators import Batch, Plan
from operators.lines import SyncReport
from operators.types import F64

CHANNELS = ("one:x", "two:x")
OFFSET_S, SKEW_PPM, LAG_S, NOISE = 3.2, 80.0, 0.25, 0.1


def fuse(first: Path, second: Path, tick_hz: float = 5.0) -> tuple[F64, SyncReport]:
    """Return time, value, sd and both aligned members (k, 5), and the last report of the second."""
    tables = [np.loadtxt(path, delimiter=",", skiprows=1, unpack=True) for path in (first, second)]
    batch = Batch.of({name: tuple(columns) for name, columns in zip(CHANNELS, tables, strict=True)})
    plan = Plan.of(x=CHANNELS, tick_hz=tick_hz)
    rows, reports = [], []
    for packet in Pipeline(plan).run([batch]):
        reports += [report for report in packet.sync if report.channel == CHANNELS[1]]
        if packet.fused is not None:
            signal = packet.fused.signals[0]
            rows.append(np.column_stack([packet.fused.ts, signal.value, signal.sd, signal.aligned]))
    return np.concatenate(rows), reports[-1]


def make(folder: Path, seconds: float = 300.0, seed: int = 1) -> tuple[Path, Path]:
    """Write the two files: arrivals are 5 ms late on average, stamps are off by clock and lag."""
    rng = np.random.default_rng(seed)
    hz, phase = rng.uniform(0.05, 1.5, 40), rng.uniform(0.0, 2 * np.pi, 40)
    paths = folder / "one.csv", folder / "two.csv"
    for path, rate, late in zip(paths, (50.0, 40.0), (0.0, LAG_S), strict=True):
        t = np.arange(0.0, seconds, 1 / rate)
        # x(t) = sum_i sin(2 pi f_i (t - lag) + phi_i) / sqrt(20), RMS 1
        x = np.sin(2 * np.pi * hz * (t[:, None] - late) + phase).sum(axis=1) / np.sqrt(20)
        x += NOISE * rng.standard_normal(len(t))
        stamp = t * (1 + 1e-6 * SKEW_PPM) - OFFSET_S if late else t
        rx = t + rng.exponential(0.005, len(t))
        np.savetxt(path, np.column_stack([stamp, rx, x]), "%.6f", ",", header="ts,rx,x")
    return paths


def main(argv: list[str]) -> int:
    """Fuse the two files that are named, or two of its own; print a table."""
    with tempfile.TemporaryDirectory(prefix="lumen-loggers-") as place:
        first, second = map(Path, argv) if argv else make(Path(place))
        table, report = fuse(first, second)
    print(f"{'time s':>10}{'fused':>9}{'sd':>8}{'one':>9}{'two':>9}")
    for row in table[-10:]:
        print(f"{row[0]:10.1f}{row[1]:9.3f}{row[2]:8.3f}{row[3]:9.3f}{row[4]:9.3f}")
    print(f"{len(table)} ticks; the second logger beside the first, as known at the end:")
    for name, value, sd, unit, scale in (
        ("offset", report.offset_s, report.offset_sd_s, "s", 1.0),
        ("skew", report.skew_ppm, report.skew_sd_ppm, "ppm", 1.0),
        ("lag", report.lag_s, report.lag_sd_s, "ms", 1e3),
    ):
        if value is None or sd is None:
            print(f"{name:>7} unknown")
        else:
            print(f"{name:>7} {value * scale:.3f} ±{sd * scale:.3f} {unit}")
    return 0


if __name__ == "__main__":
    if len(sys.argv) not in (1, 3):
        raise SystemExit("usage: python -m ops.examples.two_loggers [FIRST.csv SECOND.csv]")
    sys.exit(main(sys.argv[1:]))
