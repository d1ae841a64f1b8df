"""A flow under a flood of OSC: what was sent against what its account says.

    python -m ops.bench.osc_flood [--rate 20000] [--seconds 60] [--garbage 0.9] [--tap]

The flow runs in a process of its own; the account has to hold every datagram that the system
took from the sender. What the kernel or the inbox dropped is in it, as `dropped`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ops.bench.osc_fuzz import message

ROOT = Path(__file__).resolve().parents[2]
CONFIG = """version: 2
rig: flood
streams:
  - {{name: osc, type: osc, addr: "127.0.0.1:{port}"}}
signals:
  pulse: {{members: {{"osc:/flood": {{group: sensors, lag_s: 0.0}}}}}}
resample: {{target_hz: 5}}
{tap}
output: {{dir: {folder}/out}}
"""
_BURST_S = 0.001


def send(port: int, rate: float, seconds: float, garbage: float = 0.0) -> int:
    """Send at a rate; return how many datagrams the system took."""
    chance = random.Random(1)
    bad = [chance.randbytes(chance.randrange(4, 64)) for _ in range(64)]
    sent, begin = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect(("127.0.0.1", port))
        while (now := time.monotonic() - begin) < seconds:
            for _ in range(int(now * rate) - sent):
                data = message("/flood", "d", struct.pack(">d", sent * 1e-3))
                if garbage and chance.random() < garbage:
                    data = bad[sent % 64]
                out.send(data)
                sent += 1
            time.sleep(_BURST_S)
    return sent


def flow(config: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a flow and wait until it hears."""
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "bytewax.run", f"flows.fusion:flow({str(config)!r})"],
            cwd=ROOT, stderr=said,
        )  # fmt: skip
    for _ in range(600):
        if b"is up" in log.read_bytes():
            return process
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(log.read_text())


def flood(folder: Path, rate: float, seconds: float, garbage: float, tap: bool) -> dict[str, Any]:
    """Flood a flow; return what was sent, its account, its CPU share, and its log."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config, log = folder / "flood.yaml", folder / "log"
    line = f"tap: {{dir: {folder}/tap}}" if tap else ""
    config.write_text(CONFIG.format(port=port, folder=folder, tap=line))
    process = flow(config, log)
    sent = send(port, rate, seconds, garbage)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    run = json.loads((folder / "out" / "run.json").read_text())
    return {
        "sent": sent, **run["account"]["total"], "balanced": run["balanced"],
        "status": process.returncode, "cpu": round((usage.ru_utime + usage.ru_stime) / seconds, 2),
        "peak_mib": run["peak_mib"], "log_lines": log.read_text().count("\n"),
    }  # fmt: skip


def main() -> int:
    """Flood a flow, and say whether the account holds it all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--garbage", type=float, default=0.0)
    parser.add_argument("--tap", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = flood(Path(folder), args.rate, args.seconds, args.garbage, args.tap)
    print(json.dumps(found))
    return int(found["sent"] != found["received"] or not found["balanced"] or found["status"])


if __name__ == "__main__":
    raise SystemExit(main())
