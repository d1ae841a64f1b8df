"""Live rigs of 190 events a second: CPU time, memory, and events that were not yet taken.

    python -m ops.bench.live_rigs [--flows 4] [--rigs 64 200] [--seconds 40]

`a flow each`: flows of one rig, each a process with one UDP port on the loopback for five OSC
streams. The streams of a configuration are one rig, so that many live rigs are many processes.

`one flow`: one process follows a file to which the events of all rigs are appended as they happen,
a piece each `STEP_S`: five streams with clocks and lags of their own. Where a core does not carry
the rigs, the flow is behind: `waiting` is the share of events that it has not taken when the last
one has been appended.

CPU seconds begin `WARM_S` after the start. The search of lags, which is in its first minute the
largest cost of a rig, is within them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ops.bench.osc_flood import flow
from ops.bench.rigs import STAMPED_HZ, config_of, write
from ops.bench.watched import GRIDS, cpu_s, live_rig, play
from ops.fakes.ports import free_port
from ops.text.table import table

STEP_S, WARM_S = 0.01, 5.0
_ARRIVAL = re.compile(rb'"rx":([0-9.]+)')


class LiveCost(NamedTuple):
    """CPU seconds and peak memory of processes, events written and taken meanwhile."""

    cpu_s: float
    peak_mib: float
    written: int
    taken: int


def apart(folder: Path, count: int, seconds: float, grid: tuple[float, str]) -> LiveCost:
    """Run a flow a rig, each with a port of its own."""
    ports = [free_port() for _ in range(count)]
    running = []
    for n, port in enumerate(ports):
        config = folder / f"rig_{n}.yaml"
        config.write_text(live_rig(port, grid, folder / f"out_{n}"), "utf-8")
        running.append(flow(config, folder / f"log_{n}"))
    play(ports, WARM_S)
    before = [cpu_s(process.pid) for process in running]
    play(ports, seconds)
    spent = sum(cpu_s(p.pid) - b for p, b in zip(running, before, strict=True))
    peaks, taken = zip(*(end(p, folder / f"out_{n}") for n, p in enumerate(running)), strict=True)
    written = count * sum(int((WARM_S + seconds) * hz) for hz in STAMPED_HZ)
    return LiveCost(spent, max(peaks), written, sum(taken))


def together(folder: Path, rigs: int, seconds: int) -> LiveCost:
    """Run one flow that follows the file of all rigs."""
    whole, followed = folder / "whole.ndjson", folder / "followed.ndjson"
    written = write(whole, rigs, int(WARM_S) + seconds, stamped=True)
    text = whole.read_bytes()
    arrival = np.array([float(x) for x in _ARRIVAL.findall(text)])
    starts = np.append(0, np.flatnonzero(np.frombuffer(text, np.uint8) == 10) + 1)
    pieces = np.arange(arrival[0], arrival[-1] + STEP_S, STEP_S)
    edges = starts[np.searchsorted(arrival, pieces)].tolist()
    followed.touch()
    config = folder / "rigs.yaml"
    config.write_text(config_of(followed, folder / "out", True, ", follow: true"), "utf-8")
    process = flow(config, folder / "log", streams=0)
    before, begin = None, time.monotonic()
    with followed.open("ab", buffering=0) as file:
        for n, (a, b) in enumerate(pairwise([*edges, len(text)])):
            time.sleep(max(begin + n * STEP_S - time.monotonic(), 0.0))
            if before is None and n * STEP_S >= WARM_S:
                before = cpu_s(process.pid)
            file.write(text[a:b])
    spent = cpu_s(process.pid) - (before or 0.0)
    peak, taken = end(process, folder / "out")
    return LiveCost(spent, peak, written, taken)


def end(process: subprocess.Popen[bytes], out: Path) -> tuple[float, int]:
    """Stop a flow; return its peak memory (MiB) and the events that it has taken."""
    process.send_signal(signal.SIGTERM)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    run = json.loads((out / "run.json").read_bytes())
    total = run["account"]["total"]
    if not run["balanced"]:
        raise RuntimeError(f"{out}: the account does not balance")
    return used.ru_maxrss / 1024, total["received"] - total["dropped"]


def row(name: str, rigs: int, seconds: float, cost: LiveCost) -> tuple[str, ...]:
    """Return the row of a table."""
    events = cost.taken * seconds / (WARM_S + seconds)
    share = cost.cpu_s / events * sum(STAMPED_HZ)  # also of a flow that is behind
    return (
        name,
        f"{rigs}",
        f"{cost.written:,}",
        f"{1e6 * cost.cpu_s / events:.0f}",
        f"{100 * share:.2f}",
        f"{1 / share:.0f}",
        f"{cost.peak_mib:.0f}",
        f"{max(1 - cost.taken / cost.written, 0):.1%}",
    )


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--flows", type=int, default=4)
    parser.add_argument("--rigs", type=int, nargs="*", default=[64, 200])
    parser.add_argument("--seconds", type=int, default=40)
    args = parser.parse_args()
    rows = []
    for name, grid in GRIDS.items():
        with tempfile.TemporaryDirectory() as folder:
            cost = apart(Path(folder), args.flows, args.seconds, grid)
        rows.append(row(f"a flow each: {name}", args.flows, args.seconds, cost))
    for rigs in args.rigs:
        with tempfile.TemporaryDirectory() as folder:
            cost = together(Path(folder), rigs, args.seconds)
        rows.append(row("one flow: followed file, 5 Hz", rigs, args.seconds, cost))
    head = (
        "live", "rigs", "events", "us an event", "% of a core a rig", "rigs a core", "peak MiB",
        "waiting",
    )  # fmt: skip
    print(table(head, rows))


if __name__ == "__main__":
    main()
