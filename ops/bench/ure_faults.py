"""A live flow beside a URE with every known fault: regularity of its ticks, and its verdicts.

    python -m ops.bench.ure_faults [--seconds 4] [--mode drip --mode down]

One flow runs all the time, with OSC beside the URE. In each mode the URE has a fault for some
seconds, then works for as long. A tick is dated by the appearance of its line. A member is stale
three pulls after its last sample: the first tick after that has to be the first of the fallback.
One second (`rejoin_after_s`) after the first new sample, both groups have to be back.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from ops.bench.osc_flood import flow
from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port
from ops.fakes.ure import DEAF, DOWN, FLAPPING, MODES, MUTE, RESET, Hostile
from ops.text.table import table

HZ, PULL_S, REJOIN_S = 5.0, 0.5, 1.0
STALE_S = 3 * PULL_S
FROZEN, STUCK = "frozen", "frozen stamps"
EVERY = (*MODES, RESET, MUTE, DEAF, DOWN, FLAPPING, FROZEN, STUCK)
HARMLESS = ("well", "in chunks", "in gzip", FLAPPING)
CONFIG = """version: 2
streams:
  - name: ure
    type: ure
    metrics_url: "{url}"
    pull_interval_s: {pull}
    timeout_s: 0.4
    frozen_after_s: {stale}
  - {{name: osc, type: osc, addr: "127.0.0.1:{port}"}}
signals:
  pulse:
    members:
      "ure:u_level": {{group: ure, lag_s: 0.0, lag_sd_s: 0.01}}
      "osc:/level": {{group: sensors, lag_s: 0.0}}
failover: {{rejoin_after_s: {rejoin}}}
output: {{dir: {folder}/out, aligned: true}}
"""


@dataclass
class Page:
    """Page of the URE: a moving level, constant while frozen."""

    frozen: bool = False
    stamped: bool = False
    at: float = field(default_factory=time.time)

    def __call__(self) -> bytes:
        """Return the current page."""
        if not self.frozen:
            self.at = time.time()
        stamp = f" {self.at * 1e3:.0f}" if self.stamped else ""
        level = 0.5 + 0.4 * math.sin(self.at)
        return f"# TYPE u_level gauge\nu_level {level:.6f}{stamp}\n".encode()


@dataclass
class Trial:
    """One mode: begin and end (s since 1970), and its figures.

    `intervals` are those between appearances of ticks (s); `peak_mib` is relative to the base.
    """

    mode: str
    begin: float
    end: float = 0.0
    over: float = 0.0
    peak_mib: float = 0.0
    intervals: list[float] = field(default_factory=list)


class Watch(threading.Thread):
    """Records the time at which each tick appears in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.seen: list[float] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Read the file every 2 ms."""
        with self.path.open("rb") as file:
            while not self.done.is_set():
                self.seen += [time.time()] * file.read().count(b"\n")
                time.sleep(0.002)


def trials(
    server: Hostile, page: Page, modes: list[str], seconds: float, flow_: subprocess.Popen[bytes]
) -> list[Trial]:
    """Apply and remove each fault of the URE."""
    done, base = [], _memory(flow_.pid, "VmRSS")
    for mode in modes:
        Path(f"/proc/{flow_.pid}/clear_refs").write_text("5")
        page.frozen = mode in (FROZEN, STUCK)
        page.stamped = mode == STUCK
        trial = Trial(mode, time.time())
        server.mode = "well" if page.frozen else mode
        time.sleep(seconds)
        server.mode, page.frozen, page.stamped = "well", False, False
        trial.end = time.time()
        time.sleep(seconds)
        trial.over = time.time()
        trial.peak_mib = _memory(flow_.pid, "VmHWM") - base
        done.append(trial)
        print(".", end="", file=sys.stderr, flush=True)
    return done


def _memory(pid: int, what: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition(what + ":")[2].split()[0]) / 1024


def _send(port: int, done: threading.Event) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while not done.wait(0.05):
            level = 0.5 + 0.4 * math.sin(time.time())
            out.sendto(message("/level", "d", struct.pack(">d", level)), ("127.0.0.1", port))


def measure(folder: Path, modes: list[str], seconds: float) -> tuple[list[Trial], dict[str, Any]]:
    """Run the flow through the modes; return the trials and its account."""
    port = free_port()
    page, done = Page(), threading.Event()
    with Hostile(page) as server:
        config = folder / "ure.yaml"
        config.write_text(
            CONFIG.format(
                url=server.url,
                pull=PULL_S,
                stale=STALE_S,
                rejoin=REJOIN_S,
                port=port,
                folder=folder,
            )
        )
        sender = threading.Thread(target=_send, args=(port, done))
        sender.start()
        process = flow(config, folder / "log")
        try:
            fused = folder / "out" / "fused.jsonl"
            while not (fused.exists() and fused.stat().st_size):
                time.sleep(0.05)
            time.sleep(5)
            watch = Watch(fused)
            watch.start()
            found = trials(server, page, modes, seconds, process)
            time.sleep(1)
            watch.done.set()
            watch.join()
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            process.kill()
            done.set()
            sender.join()
    for trial in found:
        a, b = bisect_left(watch.seen, trial.begin), bisect_left(watch.seen, trial.over)
        seen = watch.seen[a:b]
        trial.intervals = [y - x for x, y in pairwise(seen)]
    return found, json.loads((folder / "out" / "run.json").read_text())


def verdicts(folder: Path, found: list[Trial]) -> list[tuple[str, ...]]:
    """Return a row for each mode: regularity of the ticks, and correctness of the verdicts."""
    ticks = [(line["ts"], line["mode"]) for line in _lines(folder / "out" / "fused.jsonl")]
    received = [
        (line["rx"], line["ts"])
        for line in _lines(folder / "out" / "aligned.jsonl")
        if line["channel"] == "ure:u_level"
    ]
    rows: list[tuple[str, ...]] = []
    for trial in found:
        p99 = sorted(trial.intervals)[int(0.99 * len(trial.intervals))] * HZ
        fell = next((ts for ts, mode in ticks if ts > trial.begin and mode != "fused"), math.inf)
        failover = back = pulls = "-"
        if trial.mode in HARMLESS:
            failover = "none" if fell > trial.over else f"at {fell - trial.begin:.1f} s"
        elif fell < trial.over:
            last_rx, last = _last_new(trial, received)
            due = math.floor((last + STALE_S) * HZ) + 1
            failover = f"{round(fell * HZ) - due:+d}"
            first = next(rx for rx, _ in received if rx > max(trial.end, last_rx))
            pulls = f"{(first - trial.end) / PULL_S:.1f}"
            again = next(ts for ts, mode in ticks if ts > trial.end and mode == "fused")
            back = f"{again - first:.1f}"
        else:
            failover = "MISSED"
        rows.append(
            (
                trial.mode,
                str(len(trial.intervals)),
                f"{p99:.2f}",
                f"{max(trial.intervals) * HZ:.2f}",
                failover,
                pulls,
                back,
                f"{trial.peak_mib:+.0f}",
            )
        )
    return rows


def _last_new(trial: Trial, received: list[tuple[float, float]]) -> tuple[float, float]:
    """Return arrival and host time of the last new sample."""
    until = trial.begin if trial.mode in (FROZEN, STUCK) else trial.end
    return received[bisect_left(received, (until, 0.0)) - 1]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def main() -> int:
    """Run all modes and print the results; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--mode", action="append", choices=EVERY)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-ure-") as name:
        folder = Path(name)
        found, run = measure(folder, args.mode or list(EVERY), args.seconds)
        rows = verdicts(folder, found)
    print(file=sys.stderr)
    head = ("mode", "ticks", "p99", "max", "failover", "pulls", "back s", "MiB")
    print(table(head, rows))
    print(json.dumps(run["account"]["by_source"]["ure"]), "balanced:", run["balanced"])
    missed = [r for r in rows if float(r[2]) > 1.5 or r[4] not in ("none", "+0", "+1")]
    return int(bool(missed) or not run["balanced"] or any(t.peak_mib >= 32 for t in found))


if __name__ == "__main__":
    raise SystemExit(main())
