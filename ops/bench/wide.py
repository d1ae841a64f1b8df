"""A device of 32 channels at 1 kHz: CPU time a number and peak memory, beside polars' join.

    python -m ops.bench.wide [--numbers 2000000] [--rounds 3]

A sample is one line with an array, or 32 lines with a key each. The signal has two of the channels
as members, or all of them; the others are read and ignored. Grid of 20 Hz. Flow and join run in
turn, each a process with start and imports; CPU seconds from `wait4`, least of the rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np

from ops.bench.chain import BEGIN, movement
from ops.bench.throughput import ROOT, has_polars, spend
from ops.text.table import table

CHANNELS, RATE_HZ, GRID_HZ = 32, 1000.0, 20.0
USED = (2, CHANNELS)
MAX_US, MIN_RATIO, MAX_MIB = 3.0, 0.5, 300.0
CONFIG = """version: 2
rig: wide
streams:
  - {{name: recording, type: file, path: {path}, speed: 0}}
signals:
  pulse:
    members: {{{members}}}
resample: {{target_hz: {hz}}}
output: {{dir: {out}}}
"""


def write(path: Path, numbers: int, arrays: bool) -> None:
    """Write a recording: one movement in all channels, with white noise."""
    n = numbers // CHANNELS
    t = np.arange(n) / RATE_HZ
    rng = np.random.default_rng(6)
    value = movement(t, 3)[:, None] + 0.1 * rng.standard_normal((n, CHANNELS))
    with path.open("w", encoding="utf-8") as file:
        for ts, row in zip((BEGIN + t).tolist(), value.tolist(), strict=True):
            head = f'{{"ts":{ts:.6f},"source":"eeg","key":"x'
            if arrays:
                file.write(f'{head}","value":[{",".join(f"{x:.6f}" for x in row)}]}}\n')
            else:
                file.writelines(f'{head}{k}","value":{x:.6f}}}\n' for k, x in enumerate(row))


def channel(k: int, arrays: bool) -> str:
    """Return the name of a channel."""
    return f"eeg:x[{k}]" if arrays else f"eeg:x{k}"


def measure(folder: Path, numbers: int, arrays: bool, used: int, rounds: int) -> tuple[str, ...]:
    """Run the flow and the join; return the row of the table."""
    recording, out = folder / f"wide_{arrays}.ndjson", folder / "out"
    if not recording.exists():
        write(recording, numbers, arrays)
    config = folder / "wide.yaml"
    members = ", ".join(f"{json.dumps(channel(k, arrays))}: {{}}" for k in range(used))
    path, written = json.dumps(str(recording)), json.dumps(str(out))
    config.write_text(CONFIG.format(path=path, members=members, hz=GRID_HZ, out=written), "utf-8")
    flows, joins = [], []
    for _ in range(rounds):
        shutil.rmtree(out, ignore_errors=True)
        flows.append(
            spend(["-m", "bytewax.run", f"flows.fusion:flow({str(config)!r}, progress=False)"])
        )
        if has_polars():
            script = str(ROOT / "ops" / "bench" / "asof.py")
            joined = str(folder / "joined.jsonl")
            joins.append(spend([script, str(recording), joined, str(GRID_HZ), str(used)]))
    count = numbers // CHANNELS * CHANNELS
    total = json.loads((out / "run.json").read_bytes())["account"]["total"]
    if total["received"] != count:
        raise RuntimeError(f"{total['received']} of {count} numbers")
    flow_s = min(x.cpu_s for x in flows)
    ratio = f"{min(x.cpu_s for x in joins) / flow_s:.2f}" if joins else ""
    return (
        "an array" if arrays else "keys",
        f"{used}",
        f"{count:,}",
        f"{1e6 * flow_s / count:.2f}",
        ratio,
        f"{max(x.peak_mib for x in flows):.0f}",
        f"{max(x.peak_mib for x in joins):.0f}" if joins else "",
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--numbers", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rows = [
            measure(Path(name), args.numbers, arrays, used, args.rounds)
            for arrays in (True, False)
            for used in USED
        ]
    head = ("lines", "members", "numbers", "us a number", "over polars", "MiB", "MiB of polars")
    print(table(head, rows))
    print(f"bars: {MAX_US:g} us, {MIN_RATIO:g} over polars, {MAX_MIB:.0f} MiB")


if __name__ == "__main__":
    main()
