"""Latency from an OSC datagram to the fused tick in the file, beyond the algorithm's own delay.

    python -m ops.bench.osc_latency [--rate 1000] [--hz 100] [--seconds 20] [--idle]

A tick at g is due at g + kernel + wait; the latency is the time from then until its line can be
read. With `--idle` the sender stops after a while; `share` is then the flow's share of a core.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import threading
import time
from pathlib import Path

from configs.load import load
from ops.bench.osc_flood import flow, send
from ops.fakes.ports import free_port

CONFIG = """version: 2
rig: latency
streams: [{{name: osc, type: osc, addr: "127.0.0.1:{port}"}}]
signals:
  pulse: {{members: {{"osc:/flood": {{group: sensors, lag_s: 0.0}}}}}}
failover: {{fallback: sensors_only}}
resample: {{target_hz: {hz}, profile: {profile}}}
output: {{dir: {folder}/out}}
"""
_POLL_S = 0.0005
_WARM_S = 3.0
"""Time (s) of the start, which is not measured."""


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(folder: Path, rate: float, hz: float, seconds: float) -> dict[str, float]:
    """Run a flow; return ticks, the lateness of their lines, and the share of a core."""
    port = free_port()
    config = folder / "latency.yaml"
    profile = "low_latency" if hz > 20 else "accurate"
    config.write_text(CONFIG.format(port=port, hz=hz, profile=profile, folder=folder))
    delay = load(config).config.plan().base_delay_s
    process = flow(config, folder / "log")
    late: list[float] = []
    done = threading.Event()

    def read() -> None:
        begin = time.time() + _WARM_S
        line = ""
        with (folder / "out" / "fused.jsonl").open() as lines:
            while not done.is_set():
                line += lines.readline()
                if not line.endswith("\n"):
                    time.sleep(_POLL_S)
                    continue
                if (now := time.time()) > begin:
                    late.append(now - json.loads(line)["ts"] - delay)
                line = ""

    reader = threading.Thread(target=read)
    time.sleep(0.2)
    reader.start()
    send(port, rate or 10.0, _WARM_S)
    before = _cpu_s(process.pid)
    if rate:
        send(port, rate, seconds)
    else:
        time.sleep(seconds)
    share = (_cpu_s(process.pid) - before) / seconds
    done.set()
    reader.join()
    process.send_signal(signal.SIGTERM)
    process.wait()
    late.sort()
    if not late:
        return {"ticks": 0, "share": round(share, 3)}
    at = {f"p{p}_ms": round(late[len(late) * p // 100] * 1e3, 1) for p in (50, 95, 99)}
    return {"ticks": len(late), "tick_ms": 1e3 / hz, **at, "share": round(share, 3)}


def main() -> int:
    """Measure; return 1 if a figure is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=1_000)
    parser.add_argument("--hz", type=float, default=100)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--idle", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), 0 if args.idle else args.rate, args.hz, args.seconds)
    print(json.dumps(found))
    if args.idle:
        return int(found["share"] > (0.2 if args.hz > 20 else 0.12))
    return int(found["p50_ms"] > found["tick_ms"] or found["p99_ms"] > 3 * found["tick_ms"])


if __name__ == "__main__":
    raise SystemExit(main())
