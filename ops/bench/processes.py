"""One replay in one process and in two: wall time, CPU time of each process, equal bytes.

`python -m ops.bench.processes [--rigs N] [--seconds S] [--files N] [--rounds N]`

Rigs of five streams (190 events/s) lie in recordings of their own rigs, dealt evenly to the
engine's two workers. One process and two run on them in turn. The ratio of wall times needs two
free cores. The ratio of CPU time, one process over the busier of two, holds under load as well.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np

from operators.engine import route
from ops.cli.verify import digests
from ops.engine_runs import cluster, command
from ops.results.folder import run_json

BEGIN = 1_700_000_000.0
RATES_HZ = (20.0, 25.0, 31.7, 50.0, 64.0)
PROCESSES = 2


class Spent(NamedTuple):
    """Wall time (s), and CPU time of each process (s)."""

    wall_s: float
    cpu_s: tuple[float, ...]


def evenly(rigs: int) -> list[str]:
    """Return names of rigs, as many for each of the engine's workers."""
    room = dict.fromkeys(range(PROCESSES), -(-rigs // PROCESSES))
    names = []
    for number in count():
        name = f"rig{number:04d}"
        if room[route(name) % PROCESSES]:
            room[route(name) % PROCESSES] -= 1
            names.append(name)
        if len(names) == rigs:
            return names
    raise AssertionError


def write_recording(path: Path, rigs: Sequence[str], seconds: float, seed: int) -> int:
    """Write the events of some rigs in order of arrival; return their number."""
    draw = np.random.default_rng(seed)
    parts = []
    for rig in rigs:
        for source, hz in enumerate(RATES_HZ):
            t = np.arange(draw.uniform(0, 1 / hz), seconds, 1 / hz)
            rx = t + 0.002 + draw.exponential(0.002, len(t))
            late = t - 0.05 * source
            value = np.sin(0.7 * late) + np.sin(1.9 * late + 1) + draw.normal(0, 0.05, len(t))
            parts.append([(a, rig, source, b, v) for a, b, v in zip(rx, t, value, strict=True)])
    rows = sorted(row for part in parts for row in part)
    with path.open("w") as file:
        for rx, rig, source, ts, value in rows:
            file.write(
                f'{{"ts":{BEGIN + ts:.6f},"source":"s{source}","key":"pulse","value":{value:.6f},'
                f'"rig":"{rig}","meta":{{"rx":{BEGIN + rx:.6f}}}}}\n'
            )
    return len(rows)


def configure(folder: Path, recordings: Sequence[Path]) -> Path:
    """Write the configuration of the run; its output is `folder/out`."""
    members = {f"s{i}:pulse": {"group": "sensors" if i else "ure"} for i in range(len(RATES_HZ))}
    config = {
        "version": 2,
        "streams": [
            {"name": f"r{i}", "type": "file", "path": str(path)}
            for i, path in enumerate(recordings)
        ],
        "signals": {"pulse": {"members": members}},
        "output": {"dir": str(folder / "out"), "parts": PROCESSES},
    }
    path = folder / "run.yaml"
    path.write_text(json.dumps(config))
    return path


def spend(commands: Sequence[Sequence[str]]) -> Spent:
    """Run commands beside one another.

    Raises
    ------
    RuntimeError
        A process failed.
    """
    start = time.monotonic()
    children = [subprocess.Popen(argv, stderr=subprocess.DEVNULL) for argv in commands]
    cpu_s = []
    for child in children:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise RuntimeError(f"exit code {child.returncode}")
        cpu_s.append(used.ru_utime + used.ru_stime)
    return Spent(time.monotonic() - start, tuple(cpu_s))


def rounds(folder: Path, config: Path, events: int, number: int) -> Iterator[str]:
    """Yield the results of the rounds."""
    wall, cpu = [], []
    out = folder / "out"
    for i in range(1, number + 1):
        shutil.rmtree(out, ignore_errors=True)
        one = spend([command(config)])
        expected = digests(out)
        shutil.rmtree(out)
        two = spend(cluster(command(config), PROCESSES))
        if digests(out) != expected or not run_json(out)["balanced"]:
            raise RuntimeError("the bytes differ, or the account does not balance")
        wall.append(one.wall_s / two.wall_s)
        cpu.append(one.cpu_s[0] / max(two.cpu_s))
        each = " + ".join(f"{used:.2f}" for used in two.cpu_s)
        yield (
            f"round {i}: one {one.wall_s:.1f} s wall, {one.cpu_s[0]:.2f} CPU s; "
            f"two {two.wall_s:.1f} s wall, {each} CPU s; "
            f"ratio {wall[-1]:.2f} wall, {cpu[-1]:.2f} CPU"
        )
    load = os.getloadavg()[0]
    yield f"{events:,} events; ratio of wall times {statistics.median(wall):.2f} (load {load:.1f})"
    yield f"ratio of CPU, one over the busier of two: {statistics.median(cpu):.2f}; equal bytes"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rigs", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--files", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rigs = evenly(args.rigs)
        recordings = [folder / f"{i:02d}.ndjson" for i in range(args.files)]
        events = sum(
            write_recording(path, rigs[i :: args.files], args.seconds, i)
            for i, path in enumerate(recordings)
        )
        for line in rounds(folder, configure(folder, recordings), events, args.rounds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
