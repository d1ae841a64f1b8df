"""CPU time of an exporter that is read once a second, beside that of its flow.

    python -m ops.bench.watched [--pairs 20] [--events 1000000] [--seconds 10]

Loads: a replay at full speed, and live rigs of 190 OSC messages a second. The reader keeps its
connection, as Prometheus does.

`inside`: in one flow, the CPU time of the calls that update the live state, and of the threads that
serve it, over that of everything else since the exporter began.

`pairs`: CPU seconds of whole processes with an exporter over those without, median and its interval
at 95 % confidence from the order of the pairs. Replays of a pair run in turn, in alternating order;
live flows run at the same time on the same datagrams, and their start is not counted. The import
of the server, which a replay pays once, is subtracted.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ops.bench.events import HZ, write_events
from ops.bench.osc_flood import flow
from ops.bench.osc_fuzz import message
from ops.bench.throughput import CONFIG as REPLAY
from ops.bench.throughput import ROOT, spend
from ops.fakes.ports import free_port
from ops.text.table import table

MAX_SHARE = 0.02
_EACH_S, _TIMEOUT_S, _WARM_S, _STEP_S = 1.0, 5.0, 3.0, 0.005
_RATES_HZ = (20.0, 25.0, 31.7, 50.0, 64.0)
_FLOW = "import bytewax.run, flows.fusion"
_SERVED = f"{_FLOW}, sinks.exporter.server"
_INSIDE = "import json\nfrom ops.bench.watched import inside\nprint(json.dumps(inside({!r})))"
_MEMBERS = "\n".join(f'      "osc:/{i}": {{group: sensors}}' for i in range(len(_RATES_HZ)))
_LIVE = """version: 2
rig: watched
streams: [{{name: osc, type: osc, addr: "127.0.0.1:{port}"}}]
signals:
  pulse:
    reference: "osc:/0"
    members:
{members}
resample: {{target_hz: {hz}, profile: {profile}}}
output: {{dir: {out}}}
"""
GRIDS = {"live, 5 Hz": (5.0, "accurate"), "live, 100 Hz, low latency": (100.0, "low_latency")}
"""Grid (Hz) and profile of the live flows."""


class ExporterCost(NamedTuple):
    """CPU seconds of one flow: updates of the live state, its server, everything else."""

    updates: float
    server: float
    rest: float


class Interval(NamedTuple):
    """A median and its interval at 95 % confidence."""

    low: float
    median: float
    high: float


def interval(values: list[float]) -> Interval:
    """Return the median and its interval.

    The interval is that from the k-th least to the k-th largest value: the true median lies outside
    with a chance of 2 P(X < k), X binomial (n, 1/2), whatever the distribution of the values.
    """
    n, ranked = len(values), sorted(values)
    outside, k = 0.0, 0
    while k < n // 2 and outside + 2 * math.comb(n, k) / 2**n <= 0.05:
        outside += 2 * math.comb(n, k) / 2**n
        k += 1
    first = max(k - 1, 0)
    return Interval(ranked[first], statistics.median(ranked), ranked[-1 - first])


def inside(path: str) -> ExporterCost:
    """Run a configuration with an exporter in this process; return its CPU seconds."""
    from bytewax._bytewax import cli_main

    from flows.fusion import flow as dataflow
    from sinks.exporter.server import Server

    updates, server, begun = 0.0, 0.0, 0.0
    start, consume, stop = Server.start, Server.consume, Server.stop

    def started(self: Server, rig: str | None = None) -> None:
        nonlocal begun
        start(self, rig)
        begun = time.process_time()

    def consumed(self: Server, packets: list[Any]) -> None:
        nonlocal updates
        before = time.thread_time()
        consume(self, packets)
        updates += time.thread_time() - before

    def stopped(self: Server) -> None:
        nonlocal server
        for thread in threading.enumerate():
            if thread.name.startswith(("exporter", "waitress")) and thread.ident is not None:
                server += time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
        stop(self)

    Server.start, Server.consume, Server.stop = started, consumed, stopped  # type: ignore[method-assign]
    cli_main(dataflow(path, progress=False), workers_per_process=1)
    return ExporterCost(updates, server, time.process_time() - begun - updates - server)


@contextmanager
def scraped(port: int) -> Iterator[None]:
    """Read the metrics once a second within the context, over one connection if it lasts."""
    done = threading.Event()

    def read() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)) as client:
            while not done.wait(_EACH_S):
                try:
                    client.request("GET", "/metrics_fusion")
                    client.getresponse().read()
                except (OSError, http.client.HTTPException):
                    client.close()  # not up yet, or already ended

    reading = threading.Thread(target=read)
    reading.start()
    try:
        yield
    finally:
        done.set()
        reading.join()


class Replays:
    """One recording, replayed with an exporter that is read, and without one."""

    def __init__(self, folder: Path, events: int) -> None:
        self._port, self._folder = free_port(), folder
        recording = folder / "recording.ndjson"
        write_events(recording, events)
        text = REPLAY.format(path=recording, hz=HZ, out=folder / "out")
        (folder / "alone.yaml").write_text(text)
        (folder / "read.yaml").write_text(f"{text}exporter: {{http_port: {self._port}}}\n")
        flow_s, served_s = (
            min(spend(["-c", code]).cpu_s for _ in range(5)) for code in (_FLOW, _SERVED)
        )
        self.import_s = served_s - flow_s

    def inside(self) -> ExporterCost:
        """Return the CPU seconds of one replay by part."""
        with scraped(self._port):
            output = spend(["-c", _INSIDE.format(str(self._folder / "read.yaml"))]).output
        return ExporterCost(*json.loads(output))

    def pair(self, number: int) -> float:
        """Return the excess of the CPU time of the watched replay."""
        cost: dict[str, float] = {}
        for name in ("alone", "read") if number % 2 else ("read", "alone"):
            path = str(self._folder / f"{name}.yaml")
            with scraped(self._port) if name == "read" else ExitStack():
                cost[name] = spend(["-m", "bytewax.run", f"flows.fusion:flow({path!r})"]).cpu_s
        return (cost["read"] - self.import_s) / cost["alone"] - 1


class Lives:
    """Live flows with an exporter that is read, and without one."""

    def __init__(self, grid: tuple[float, str], seconds: float) -> None:
        self._grid, self._seconds = grid, seconds

    def _config(self, folder: Path, name: str, web: int | None) -> tuple[Path, int]:
        """Write a configuration; return it and the port of its messages."""
        port = free_port()
        text = live_rig(port, self._grid, folder / f"out_{name}")
        shown = "" if web is None else f"exporter: {{http_port: {web}}}\n"
        path = folder / f"{name}.yaml"
        path.write_text(text + shown)
        return path, port

    def inside(self) -> ExporterCost:
        """Return the CPU seconds of one live flow by part."""
        web = free_port()
        with tempfile.TemporaryDirectory() as place:
            config, port = self._config(Path(place), "read", web)
            log = Path(place) / "log"
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-c", _INSIDE.format(str(config))],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            while b" is up" not in log.read_bytes():
                if process.poll() is not None:
                    raise RuntimeError(log.read_text())
                time.sleep(0.05)
            with scraped(web):
                play((port,), self._seconds)
            process.send_signal(signal.SIGTERM)
            return ExporterCost(*json.loads(process.communicate()[0]))

    def pair(self, number: int) -> float:
        """Return the excess of the CPU time of the watched flow of two that run side by side."""
        web, names = free_port(), ["alone", "read"]
        with tempfile.TemporaryDirectory() as place:
            folder, ports, running = Path(place), [], {}
            for name in names if number % 2 else reversed(names):
                config, port = self._config(folder, name, web if name == "read" else None)
                ports.append(port)
                running[name] = flow(config, folder / f"log_{name}")
            with scraped(web):
                play(ports, _WARM_S)
                before = {name: cpu_s(process.pid) for name, process in running.items()}
                play(ports, self._seconds)
                cost = {n: cpu_s(process.pid) - before[n] for n, process in running.items()}
            for process in running.values():
                process.send_signal(signal.SIGTERM)
                process.wait()
        return cost["read"] / cost["alone"] - 1


def live_rig(port: int, grid: tuple[float, str], out: Path) -> str:
    """Return the configuration of a rig whose five streams arrive at one port."""
    return _LIVE.format(port=port, members=_MEMBERS, hz=grid[0], profile=grid[1], out=out)


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process of Linux (s), to the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # as clock_getcpuclockid numbers it


def play(ports: tuple[int, ...] | list[int], seconds: float) -> None:
    """Send each message to all ports, a stream at each of the rates."""
    sent, begin = [0] * len(_RATES_HZ), time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while (now := time.monotonic() - begin) < seconds:
            for i, rate in enumerate(_RATES_HZ):
                while sent[i] < now * rate:
                    value = math.sin(2.0 * sent[i] / rate)
                    data = message(f"/{i}", "d", struct.pack(">d", value))
                    for port in ports:
                        out.sendto(data, ("127.0.0.1", port))
                    sent[i] += 1
            time.sleep(_STEP_S)


def line(name: str, load: Replays | Lives, pairs: int) -> tuple[bool, tuple[str, ...]]:
    """Measure a load; return whether it meets the bar, and its row."""
    spent = load.inside()
    share = (spent.updates + spent.server) / spent.rest
    found = interval([load.pair(number) for number in range(pairs)])
    percent: Callable[[float], str] = "{:+.1%}".format
    parts = (percent(spent.updates / spent.rest), percent(spent.server / spent.rest))
    row = (name, *parts, percent(share), percent(found.median))
    return share <= MAX_SHARE, (*row, f"{percent(found.low)} to {percent(found.high)}")


def main() -> int:
    """Measure; return 1 if the share inside a flow is above the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        replays = Replays(Path(name), args.events)
        loads: dict[str, Replays | Lives] = {f"replay, {args.events:,} events": replays}
        loads |= {name: Lives(grid, args.seconds) for name, grid in GRIDS.items()}
        met, rows = zip(*(line(*load, args.pairs) for load in loads.items()), strict=True)
    head = ("load", "updates", "server", "inside", f"{args.pairs} pairs", "95 % of the median")
    print(table(head, list(rows)))
    print(f"the import of the server takes {replays.import_s:.3f} s, once")
    print(f"bar of the share inside: {MAX_SHARE:.0%}")
    return int(not all(met))


if __name__ == "__main__":
    raise SystemExit(main())
