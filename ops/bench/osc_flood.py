"""A flow under a flood of OSC: sent events against its account, and the recovery time.

    python -m ops.bench.osc_flood [--rate 20000] [--seconds 60] [--garbage 0.9] [--tap] [--calm 10]

The flow runs in a separate process; its account has to hold every datagram that the system accepted
from the sender. Losses in the kernel or the inbox count as `dropped`.

A second stream sends 100 numbers a second all the time, `--calm` seconds before the flood and after
it. The lateness of a tick is the time at which its line can be read, minus its own time and the
delay of the algorithm. The usual lateness is the 95th percentile before the flood. A tick is normal
if it holds that stream and is no later than 1.5 times the usual plus one tick. The flow is back to
normal at the first time from which 95 % of a second's ticks are normal: `back_s` after the last
datagram of the flood. That stream is stale only after a second, so that a sender delayed by the
busy machine does not count as a late flow. `back_cpu_s` is the CPU time of the flow meanwhile,
about `back_s` if its core is free. A rate above the possible one, such as 1e9, sends at full speed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from configs.load import load
from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """version: 2
rig: flood
streams:
  - {{name: osc, type: osc, addr: "127.0.0.1:{port}"}}
  - {{name: probe, type: osc, addr: "127.0.0.1:{probe}"}}
channels:
  "probe:/flood": {{stale_after_s: 1}}
signals:
  pulse:
    members:
      "osc:/flood": {{group: sensors, lag_s: 0.0}}
      "probe:/flood": {{group: sensors, lag_s: 0.0}}
resample: {{target_hz: {hz}}}
{tap}
output: {{dir: {folder}/out}}
"""
HZ = 20.0
PROBE_HZ = 100.0
USUAL, ENOUGH = 1.5, 0.95
MAX_BACK_S = 1.0
_BURST_S = 0.001
_MAX_BURST = 1_000
"""Most datagrams between two readings of the clock."""


class Seen(NamedTuple):
    """A tick: read time of its line (s since 1970), lateness, and members.

    `cpu` is the CPU time of the flow until then (s).
    """

    at: float
    late: float
    whole: bool
    cpu: float


class Probe(threading.Thread):
    """Sends a number periodically; `sent` counts them."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port = port
        self.sent = 0
        self.done = threading.Event()

    def run(self) -> None:
        """Send until the end of the flood."""
        while not self.done.is_set():
            self.sent += send(self._port, PROBE_HZ, 0.5)


class Ticks(threading.Thread):
    """Records the time at which the line of each tick can be read."""

    def __init__(self, path: Path, pid: int, delay_s: float) -> None:
        super().__init__(daemon=True)
        self._path, self._pid, self._delay_s = path, pid, delay_s
        self.seen: list[Seen] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Read the file every 2 ms."""
        rest = b""
        with self._path.open("rb") as file:
            while not self.done.wait(0.002):
                *lines, rest = (rest + file.read()).split(b"\n")
                now = time.time()
                for line in map(json.loads, lines):
                    whole = bool(line["signals"]["pulse"]["weights"].get("probe:/flood"))
                    late = now - line["ts"] - self._delay_s
                    self.seen.append(Seen(now, late, whole, cpu_s(self._pid)))


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process (s)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def back(seen: list[Seen], begin: float, end: float) -> dict[str, float]:
    """Return the usual lateness before a flood, and the time until it is reached again."""
    before = sorted(tick.late for tick in seen if tick.at < begin)
    usual = before[int(0.95 * len(before))] if before else math.inf
    limit = USUAL * usual + 1 / HZ
    times = [tick.at for tick in seen]
    over = bisect_left(times, end)
    found = {"usual_ms": round(usual * 1e3, 1), "back_s": math.inf, "back_cpu_s": math.inf}
    for n, start in enumerate([end, *times[over:]], over - 1):
        second = seen[bisect_left(times, start) : bisect_left(times, start + 1.0)]
        fine = sum(tick.whole and tick.late <= limit for tick in second)
        if fine >= ENOUGH * max(HZ, len(second)):
            cpu = seen[n].cpu - seen[over - 1].cpu
            return found | {"back_s": round(start - end, 2), "back_cpu_s": round(cpu, 2)}
    return found


def send(port: int, rate: float, seconds: float, garbage: float = 0.0) -> int:
    """Send at a rate; return the number of accepted datagrams."""
    chance = random.Random(1)
    bad = [chance.randbytes(chance.randrange(4, 64)) for _ in range(64)]
    sent, begin = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        while (now := time.monotonic() - begin) < seconds:
            due = int(now * rate) - sent
            for _ in range(min(due, _MAX_BURST)):
                data = message("/flood", "d", struct.pack(">d", sent * 1e-3))
                if garbage and chance.random() < garbage:
                    data = bad[sent % 64]
                out.send(data)
                sent += 1
            if due < _MAX_BURST:
                time.sleep(_BURST_S)
    return sent


def flow(config: Path, log: Path, streams: int = 1) -> subprocess.Popen[bytes]:
    """Start a flow and wait until a number of its streams is up."""
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})"],
            cwd=ROOT,
            stderr=errors,
        )
    for _ in range(600):
        if log.read_bytes().count(b" is up") >= streams:
            return process
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(log.read_text())


def flood(
    folder: Path, rate: float, seconds: float, garbage: float, tap: bool, calm_s: float = 1.0
) -> dict[str, Any]:
    """Flood a flow; return sent events, account, recovery time, CPU share and log figures."""
    port, quiet = free_port(), free_port()
    config, log = folder / "flood.yaml", folder / "log"
    line = f"tap: {{dir: {folder}/tap}}" if tap else ""
    config.write_text(CONFIG.format(port=port, probe=quiet, hz=HZ, folder=folder, tap=line))
    delay_s = load(config).config.plan().base_delay_s
    process = flow(config, log, streams=2)
    probe = Probe(quiet)
    probe.start()
    fused = folder / "out" / "fused.jsonl"
    while process.poll() is None and not (fused.exists() and fused.stat().st_size):
        time.sleep(0.01)
    ticks = Ticks(fused, process.pid, delay_s)
    ticks.start()
    time.sleep(calm_s)
    begin = time.time()
    sent = send(port, rate, seconds, garbage)
    end = time.time()
    time.sleep(calm_s)
    for thread in (probe, ticks):
        thread.done.set()
        thread.join()
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    run = json.loads((folder / "out" / "run.json").read_text())
    text = log.read_text()
    lost: Counter[str] = Counter()
    for count, reason in re.findall(r"(\d+) events lost \((\w+)\)", text):
        lost[reason] += int(count)
    return {
        "sent": sent + probe.sent,
        **run["account"]["total"],
        "balanced": run["balanced"],
        "kernel_full": lost["kernel_full"],
        "inbox_full": lost["inbox_full"],
        "sent_per_s": round(sent / (end - begin)),
        **back(ticks.seen, begin, end),
        "status": process.returncode,
        "cpu": round((usage.ru_utime + usage.ru_stime) / (seconds + 2 * calm_s), 2),
        "peak_mib": run["peak_mib"],
        "log_lines": text.count("\n"),
    }


def main() -> int:
    """Flood a flow; return 1 if the account is incomplete or the recovery too slow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--garbage", type=float, default=0.0)
    parser.add_argument("--tap", action="store_true")
    parser.add_argument("--calm", type=float, default=10.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = flood(Path(name), args.rate, args.seconds, args.garbage, args.tap, args.calm)
    print(json.dumps(found))
    exact = found["sent"] == found["received"] and found["balanced"]
    return int(not exact or found["back_s"] > MAX_BACK_S or found["status"])


if __name__ == "__main__":
    raise SystemExit(main())
