"""The read-only API: pages and sums of a large history, and scrapes beside slow clients of it.

    python -m ops.bench.api [--ticks 500000] [--pages 100] [--clients 200] [--seconds 20]

The history has ten rigs that ticked at 5 Hz, with one signal of four members. Pages and sums are
measured in this process, by CPU and wall time. A live flow with that history then serves the pages
of 10,000 rows to clients that read 1 KiB every 0.1 s, and is scraped every 20 ms; slow clients that
were cut off ask again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from ops.bench.idle_clients import Waits
from ops.bench.osc_flood import CONFIG, HZ, flow
from ops.bench.scrape import ended
from ops.fakes.ports import free_port
from ops.text.table import table
from sinks.exporter.api.history_pages import HistoryPages
from sinks.history.open_store import opened
from sinks.history.tables import MINUTE, PLACE, RUN, SIGNAL, TICK

PAGE_S, SUM_S, SCRAPE_S = 0.05, 1.0, 0.05
RIGS, _HZ, _STEP = 10, 5.0, 5_000
_EACH_S, _READ_S, _READ = 0.02, 0.1, 1_024
_WEIGHTS = json.dumps({f"osc_{i}:/body/motion/{i}": 0.25 for i in range(4)})
SUM = (
    "SELECT rig, avg(CASE WHEN mode = 'fused' THEN 1.0 ELSE 0.0 END), max(sync_bound_s), count(*)"
    " FROM tick GROUP BY rig"
)
_SEND = """import sys
from ops.bench.osc_flood import send
send(int(sys.argv[1]), *map(float, sys.argv[2:]))"""


class Cost(NamedTuple):
    """CPU and wall seconds of repeated calls, sorted."""

    cpu: list[float]
    wall: list[float]

    def row(self, name: str, bar_s: float) -> tuple[str, ...]:
        """Return median and p95 (ms) of both."""
        shares = (f"{values[int(len(values) * s)] * 1e3:.1f}"
                  for values in self for s in (0.5, 0.95))  # fmt: skip
        return (name, *shares, f"{bar_s * 1e3:.0f}")


def filled(dsn: str, ticks: int) -> float:
    """Write a history of `ticks`; return the time of the last one (s)."""
    store = opened(dsn)
    each = ticks // RIGS
    run = store.numbers("run", ["bench"])["bench"]
    signal_id = store.numbers("signal", ["pulse"])["pulse"]
    store.write(RUN, [(run, 0.0, "")])
    none = (0, None, None, None)
    for rig in store.numbers("rig", [f"rig_{i}" for i in range(RIGS)]).values():
        here = run, rig
        store.write(PLACE, [(*here, "fused", 1, 0, each)])
        for first in range(0, each, _STEP):
            ts = [1.7e9 + k / _HZ for k in range(first, min(first + _STEP, each))]
            mode = "fused" if first % 3 else "degraded"
            bounds = [0.002 + 1e-9 * (t % 1000) for t in ts]
            with store.transaction():
                store.write(TICK, [(*here, t, t + 1.3, mode, 4, 0.01, 0.9, 0.8, 0.7, 0.6, b, 0.02)
                                   for t, b in zip(ts, bounds, strict=True)])  # fmt: skip
                store.write(SIGNAL, [(*here, t, signal_id, t % 7, 0.1, 0.02, mode, 4, _WEIGHTS)
                                     for t in ts])  # fmt: skip
                store.write(MINUTE, [(*here, signal_id, t // 60 * 60, 1, 1, 1, 1.5, 1.5, 1.5,
                                      *none * 6) for t in ts])  # fmt: skip
    store.close()
    return 1.7e9 + each / _HZ


def cost(call: Callable[[int], object], rounds: int) -> Cost:
    """Return the cost of `rounds` calls."""
    cpu, wall = [], []
    for number in range(rounds):
        begun, at = time.process_time(), time.monotonic()
        call(number)
        cpu.append(time.process_time() - begun)
        wall.append(time.monotonic() - at)
    return Cost(sorted(cpu), sorted(wall))


def slow(port: int, clients: int) -> NoReturn:
    """Ask for large pages, and read little of them."""
    asked = b"GET /v1/history/ticks?rig=rig_%d&limit=10000 HTTP/1.1\r\nHost: localhost\r\n\r\n"

    def connect(k: int) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _READ)
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
        client.send(asked % (k % RIGS))
        return client

    held = [connect(k) for k in range(clients)]
    print("ready", flush=True)
    while True:
        for k, client in enumerate(held):
            try:
                over = not client.recv(_READ)
            except BlockingIOError:
                over = False
            except OSError:
                over = True
            if over:
                client.close()
                with suppress(OSError):
                    held[k] = connect(k)
        time.sleep(_READ_S)


def scrapes(port: int, seconds: float) -> Waits:
    """Return the latencies of scrapes over one connection."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    found, failed = [], 0
    end = time.monotonic() + seconds
    while (begun := time.monotonic()) < end:
        try:
            client.request("GET", "/metrics_fusion")
            answer = client.getresponse()
            failed += answer.status != 200 or not answer.read()
        except (OSError, http.client.HTTPException):
            failed += 1
            client.close()
        found.append(time.monotonic() - begun)
        time.sleep(max(begun + _EACH_S - time.monotonic(), 0.0))
    client.close()
    return Waits(sorted(found), failed)


def _peak_mb(pid: int) -> float:
    """Return the largest memory of a process so far (MiB)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0.0


def beside(folder: Path, dsn: str, clients: int, seconds: float) -> tuple[dict[str, Waits], float]:
    """Return latencies of scrapes alone and beside slow clients, and the growth of memory (MiB)."""
    port, web = free_port(), free_port()
    more = f'exporter: {{http_port: {web}}}\nstore: {{dsn: "{dsn}", keep_d: 36500}}'
    config = folder / "live.yaml"
    config.write_text(CONFIG.format(port=port, probe=free_port(), hz=HZ, folder=folder, tap=more))
    process = flow(config, folder / "log", streams=2)
    crowd = [sys.executable, "-m", "ops.bench.api", "--slow", str(web), "--clients", str(clients)]
    try:
        with ended([sys.executable, "-c", _SEND, str(port), "200", str(9 * seconds + 60)]):
            for _ in range(600):
                with suppress(OSError), socket.create_connection(("127.0.0.1", web), 1):
                    break
                time.sleep(0.05)
            scrapes(web, 2.0)
            found = {"alone": scrapes(web, seconds)}
            before = _peak_mb(process.pid)
            with ended(crowd):
                found[f"beside {clients} slow clients"] = scrapes(web, seconds)
            grown = _peak_mb(process.pid) - before
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(120)
    return found, grown


def main() -> int:
    """Measure; return 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--ticks", type=int, default=500_000)
    parser.add_argument("--pages", type=int, default=100)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--slow", type=int, metavar="PORT", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.slow:
        slow(args.slow, args.clients)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dsn = f"sqlite:{folder / 'history.sqlite'}"
        end = filled(dsn, args.ticks)
        pages, reader = HistoryPages(dsn), opened(dsn, read_only=True)
        span = end - 1.7e9 - 1_000 / _HZ

        def page(number: int) -> None:
            since = 1.7e9 + span * number / args.pages
            found = pages.page("ticks", f"rig_{number % RIGS}", since=since, limit=1_000)
            assert len(found.rows) == min(1_000, args.ticks // RIGS)

        def minutes(number: int) -> None:
            for rig in range(RIGS):
                pages.page("minutes", f"rig_{rig}", limit=10_000)

        costs = {
            "a page of 1,000 ticks": (cost(page, args.pages), PAGE_S),
            f"share fused and worst bound of {args.ticks:,} ticks":
                (cost(lambda _: list(reader.rows(SUM, None, 60.0)), 5), SUM_S),
            f"minutes of {args.ticks:,} ticks": (cost(minutes, 5), SUM_S),
        }  # fmt: skip
        head = ("ms", "CPU p50", "CPU p95", "wall p50", "wall p95", "bar")
        print(table(head, [c.row(name, bar) for name, (c, bar) in costs.items()]))
        reader.close()
        pages.pool.close()
        found, grown = beside(folder, dsn, args.clients, args.seconds)
    rows = [
        (name, str(len(w.waits)), *(f"{w.at(s):.1f}" for s in (0.5, 0.95, 0.99, 1.0)),
         str(w.failed))
        for name, w in found.items()
    ]  # fmt: skip
    print(table(("scrape, ms", "requests", "p50", "p95", "p99", "most", "failed"), rows))
    print(f"memory of the flow grew by {grown:.0f} MiB beside the slow clients")
    load = os.getloadavg()[0]
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"load of the machine {load:.1f}, memory of the reader {own:.0f} MiB")
    met = all(
        statistics.median(c.cpu[int(len(c.cpu) * 0.95) :]) <= bar for c, bar in costs.values()
    )
    last = list(found.values())[-1]
    return int(not (met and last.at(0.99) <= SCRAPE_S * 1e3 and not last.failed))


if __name__ == "__main__":
    raise SystemExit(main())
