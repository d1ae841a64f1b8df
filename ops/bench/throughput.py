"""Events per CPU-second and peak memory of a whole replay, beside a batch as-of join in polars.

`python -m ops.bench.throughput [--rounds N] [--events N] [--arrival] [--growth]`

A recording is written (`events`), then the flow and `asof` run on it in turn, each in a separate
process with start and imports: CPU seconds of all its threads, user and system, from `wait4`. Other
load of the machine slows both, so only their ratio within a round is significant. In the same
rounds the flow runs once more with a clock around each of its parts (`budget`).

`--growth` instead compares the peak memory with that of four times as many events.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Without numpy: a process starts with the peak memory of its parent.

ROOT = Path(__file__).resolve().parents[2]
HZ = 100.0
MAX_MIB, MAX_GROWTH_MIB = 256.0, 16.0
CONFIG = """version: 2
rig: bench
streams:
  - {{name: recording, type: file, path: {path}, speed: 0}}
channels:
  "osc_1:velocity": {{gain: 0.007874015748031496}}
signals:
  velocity:
    reference: "ure:velocity"
    members:
      "ure:velocity": {{group: ure}}
      "osc_1:velocity": {{group: sensors}}
resample: {{target_hz: {hz}}}
output: {{dir: {out}}}
"""


class Usage(NamedTuple):
    """Resources and output of a process."""

    cpu_s: float
    peak_mib: float
    output: str


class Race:
    """A recording, its configuration, and the programs that run on it."""

    def __init__(self, folder: Path, events: int, arrival: bool) -> None:
        self.recording = folder / f"events_{events}.ndjson"
        self.config = folder / f"events_{events}.yaml"
        self.out = folder / "out"
        self.joined = folder / "joined.jsonl"
        arguments = ["-m", "ops.bench.events", str(self.recording), "--events", str(events)]
        spend([*arguments, "--arrival"] if arrival else arguments)
        path, out = json.dumps(str(self.recording)), json.dumps(str(self.out))
        self.config.write_text(CONFIG.format(path=path, out=out, hz=HZ))

    def flow(self, **environ: str) -> Usage:
        """Run the whole flow, with these variables in its environment."""
        shutil.rmtree(self.out, ignore_errors=True)
        usage = spend(["-m", "bytewax.run", f"flows.fusion:flow({str(self.config)!r})"], **environ)
        total = json.loads((self.out / "run.json").read_bytes())
        if not (total["ended"] and total["balanced"]):
            raise RuntimeError("the run did not end, or its account does not balance")
        return usage

    def join(self) -> Usage:
        """Run the join."""
        script = str(Path(__file__).with_name("asof.py"))
        return spend([script, str(self.recording), str(self.joined), str(HZ)])

    def budget(self) -> dict[str, float]:
        """Return the CPU time of each part of the flow (s)."""
        shutil.rmtree(self.out, ignore_errors=True)
        parts: dict[str, float] = json.loads(
            spend(["-m", "ops.bench.budget", str(self.config)]).output
        )
        return parts


@cache
def has_polars() -> bool:
    """Return whether polars is here; else print the extra that has it."""
    found = importlib.util.find_spec("polars") is not None
    if not found:
        print("no ratios: polars is missing (extra `bench`; in a checkout `make polars`)")
    return found


def spend(arguments: list[str], **environ: str) -> Usage:
    """Run Python, with these variables in its environment; return its resources and output.

    Compiled modules are kept, as on a user's machine.

    Raises
    ------
    RuntimeError
        The process failed; the message ends with its errors.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | environ,
            stdout=output,
            stderr=errors,
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if child.returncode:
            errors.seek(0)
            tail = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"exit code {child.returncode} of {' '.join(arguments)}\n{tail}")
        unit = 1 if sys.platform == "darwin" else 1024
        peak_mib = used.ru_maxrss * unit / 2**20
        return Usage(used.ru_utime + used.ru_stime, peak_mib, output.read().decode())


def throughput(race: Race, events: int, rounds: int, beside: bool) -> Iterator[str]:
    """Yield the results of the rounds."""
    flows, joins, ratios = [], [], []
    budgets: dict[str, list[float]] = {}
    for i in range(1, rounds + 1):
        flows.append(race.flow())
        line = f"round {i}: flow {flows[-1].cpu_s:.2f} CPU s, {flows[-1].peak_mib:.0f} MiB"
        if beside:
            joins.append(race.join())
            ratios.append(joins[-1].cpu_s / flows[-1].cpu_s)
            line += f"; join {joins[-1].cpu_s:.2f} CPU s, {joins[-1].peak_mib:.0f} MiB"
            line += f"; ratio {ratios[-1]:.3f}"
        yield line
        for name, cpu_s in race.budget().items():
            budgets.setdefault(name, []).append(cpu_s)
    flow_s = statistics.median(f.cpu_s for f in flows)
    yield f"flow: {events / flow_s:,.0f} events per CPU-second (median)"
    if beside:
        join_s = statistics.median(j.cpu_s for j in joins)
        yield f"join: {events / join_s:,.0f}"
        yield f"ratio: {statistics.median(ratios):.3f} (median; bar 0.40, goal 0.60)"
    taken = {name: statistics.median(cpu_s) for name, cpu_s in budgets.items()}
    whole = taken.pop("whole")
    yield f"parts of the flow (CPU s): together {whole:.2f}, without their clocks {flow_s:.2f}"
    yield from (f"  {name:12s}{cpu_s:6.2f}" for name, cpu_s in taken.items())


def growth(folder: Path, events: int, arrival: bool) -> Iterator[str]:
    """Yield the peak memory, and that of four times as many events."""
    one, four = (Race(folder, n, arrival).flow().peak_mib for n in (events, 4 * events))
    yield f"{events:,} events: peak {one:.1f} MiB (bar {MAX_MIB:.0f})"
    yield f"{4 * events:,} events: peak {four:.1f} MiB"
    yield f"growth: {four - one:+.1f} MiB (bar {MAX_GROWTH_MIB:.0f})"
    if max(one, four) > MAX_MIB or four - one > MAX_GROWTH_MIB:
        raise SystemExit("more memory than the bar allows")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--arrival", action="store_true", help="events carry meta.rx")
    parser.add_argument("--growth", action="store_true", help="memory of 4 times as many events")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.growth:
            lines = growth(folder, args.events, args.arrival)
        else:
            race = Race(folder, args.events, args.arrival)
            lines = throughput(race, args.events, args.rounds, has_polars())
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    main()
