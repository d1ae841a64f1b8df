"""Host time of XDF files with known truth: ours beside that of pyxdf.

`python -m ops.bench.xdf [--seeds N]` prints the RMS error over seeds, in microseconds: of our host
time, and of pyxdf's stamps, synchronised, without and with its dejittering (its default).
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from operators.types import F64
from ops.fakes.xdf_files import XdfFileStream, regular, write
from ops.text.table import number, table
from sources.xdf import load

SECONDS, HZ = 300.0, 50.0
CLOCK = {"offset_s": 1234.5, "skew_ppm": 80.0}
CASES: dict[str, dict[str, Any]] = {
    "skew": {},
    "skew, Gaussian readings of 50 us": {"kind": "gaussian"},
    "skew, readings by radio, 3 % wild": {"kind": "radio"},
    "no readings, one clock": {"has_readings": False, "offset_s": 0.0, "skew_ppm": 0.0},
    "wander of 2 ms": {"wander_s": 2e-3},
    "wander, 2 % of samples lost": {"wander_s": 2e-3, "lost": 0.02},
    "jitter of 1 ms": {"jitter_s": 1e-3},
    "jitter of 20 ms, a period": {"jitter_s": 20e-3},
    "2 % of samples lost": {"lost": 0.02},
    "jitter of 1 ms, 2 % lost": {"jitter_s": 1e-3, "lost": 0.02},
    "step of +0.5 s": {"steps": ((5150.0, 0.5),)},
    "step of -0.8 s": {"steps": ((5150.0, -0.8),)},
    "step of 20 ms": {"steps": ((5150.0, 0.02),)},
    "two steps, jitter of 1 ms": {"steps": ((5100.0, -0.8), (5200.0, 0.5)), "jitter_s": 1e-3},
    "another start: -10,000 s": {"steps": ((5150.0, -1e4),)},
    "another start, 2 % lost": {"steps": ((5150.0, -1e4),), "lost": 0.02},
}
UNEVEN: dict[str, dict[str, Any]] = {
    "uneven samples": {},
    "uneven samples, step of -0.8 s": {"steps": ((5150.0, -0.8),)},
    "uneven samples, another start": {"steps": ((5150.0, 1e4),)},
}


def host_times(path: Path) -> tuple[F64, F64]:
    """Return raw stamps and host time (s) of a file's first stream."""
    track = load(str(path)).tracks[0]
    return track.ts.read(0, len(track)), track.rx.read(0, len(track))


def errors(path: Path, stream: XdfFileStream) -> list[float]:
    """Return mean squared errors (s^2): ours, pyxdf's, pyxdf's dejittered."""
    import pyxdf

    write(path, stream)
    times: list[F64] = [host_times(path)[1]]
    for dejitter in (False, True):
        streams, _ = pyxdf.load_xdf(str(path), dejitter_timestamps=dejitter)
        times.append(streams[0]["time_stamps"])
    return [float(np.mean((time - stream.host) ** 2)) for time in times]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    logging.getLogger("pyxdf").setLevel(logging.CRITICAL)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "case.xdf"
        for name, how in (CASES | UNEVEN).items():
            found = []
            for seed in range(seeds):
                host, rate = regular(HZ, SECONDS), HZ
                if name in UNEVEN:
                    rng = np.random.default_rng(seed)
                    host, rate = np.sort(rng.uniform(5000, 5000 + SECONDS, 3000)), 0.0
                found.append(
                    errors(path, XdfFileStream("s", host, rate, seed=seed, **(CLOCK | how)))
                )
            rms = np.sqrt(np.mean(found, axis=0))
            rows.append([name, *(number(float(x), 1, 1e6) for x in rms)])
    print(table(["RMS error, us", "ours", "pyxdf", "pyxdf dejittered"], rows))


if __name__ == "__main__":
    main()
