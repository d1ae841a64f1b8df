"""Latency of scrapes beside a busy flow and slow clients. Their cost: `watched`.

    python -m ops.bench.scrape [--rate 20000] [--seconds 30] [--clients 200]

A live flow gets OSC at the rate, and its metrics are read ten times a second; then again beside
slow clients of three kinds, which are replaced when disconnected.
"""

from __future__ import annotations

import argparse
import http.client
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ops.bench.osc_flood import CONFIG as FLOOD
from ops.bench.osc_flood import HZ as FLOOD_HZ
from ops.bench.osc_flood import ROOT, flow
from ops.fakes.ports import free_port
from ops.text.table import table

BESIDE_FLOW_MS, BESIDE_SLOW_MS = 50.0, 150.0
_EACH_S = 0.1
_RENEW_S = 8.0
_SEND = """import sys
from ops.bench.osc_flood import send
send(int(sys.argv[1]), *map(float, sys.argv[2:]))"""


class Scrapes(NamedTuple):
    """Sorted latencies (s), number of failures, largest number of threads of the flow."""

    waits: list[float]
    failed: int
    threads: int

    def at(self, share: float) -> float:
        """Return a quantile (ms)."""
        return self.waits[min(int(len(self.waits) * share), len(self.waits) - 1)] * 1e3


def scrape(port: int, timeout_s: float = 5.0) -> None:
    """Read the metrics over a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", "/metrics_fusion")
        answer = connection.getresponse()
        if answer.status != 200 or b"fusion_build_info" not in answer.read():
            raise OSError(f"answered with {answer.status}")
    finally:
        connection.close()


def beside(folder: Path, rate: float, seconds: float, clients: int) -> Scrapes:
    """Read the metrics of a live flow under load, beside a number of slow clients."""
    port, web = free_port(), free_port()
    config = folder / "live.yaml"
    shown = f"exporter: {{http_port: {web}}}"
    config.write_text(
        FLOOD.format(port=port, probe=free_port(), hz=FLOOD_HZ, folder=folder, tap=shown)
    )
    process = flow(config, folder / "log", streams=2)
    tasks = Path(f"/proc/{process.pid}/task")
    waits, failed, threads = [], 0, 0
    try:
        with ended([sys.executable, "-c", _SEND, str(port), str(rate), str(seconds + 2)]):
            arguments = [str(web), str(clients), "--renew-s", str(_RENEW_S)]
            with ended([sys.executable, "-m", "ops.fakes.slow_clients", *arguments]) as slow:
                assert slow.stdout is not None
                slow.stdout.readline()
                end = time.monotonic() + seconds
                while (begun := time.monotonic()) < end:
                    try:
                        scrape(web)
                    except (OSError, http.client.HTTPException):
                        failed += 1
                    waits.append(time.monotonic() - begun)
                    threads = max(threads, len(list(tasks.iterdir())))
                    time.sleep(max(begun + _EACH_S - time.monotonic(), 0.0))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    return Scrapes(sorted(waits), failed, threads)


@contextmanager
def ended(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program within the context."""
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def main() -> int:
    """Measure; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--clients", type=int, default=200)
    args = parser.parse_args()
    return int(not _quick(args.rate, args.seconds, args.clients))


def _quick(rate: float, seconds: float, clients: int) -> bool:
    """Print the latencies of scrapes; return whether they meet the bar."""
    met, rows = True, []
    for slow, bar in ((0, BESIDE_FLOW_MS), (clients, BESIDE_SLOW_MS)):
        with tempfile.TemporaryDirectory() as folder:
            found = beside(Path(folder), rate, seconds, slow)
        met &= found.at(0.99) <= bar and not found.failed
        rows.append(
            (
                f"{slow} slow clients",
                str(len(found.waits)),
                *(f"{found.at(share):.1f}" for share in (0.5, 0.95, 0.99, 1.0)),
                f"{bar:.0f}",
                str(found.failed),
                str(found.threads),
            )
        )
    head = ("ms", "scrapes", "p50", "p95", "p99", "most", "bar of p99", "failed", "threads")
    print(f"beside a flow of {rate:,.0f} events/s\n{table(head, rows)}", flush=True)
    return met


if __name__ == "__main__":
    raise SystemExit(main())
