"""A live flow for an hour beside a flapping URE: balance of its account, and growth.

    python -m ops.bench.soak [--minutes 60] [--warm 15] [--recover] [--folder DIR]

Four senders in a separate process, two of them with their own clocks, send 5,000 numbers a second.
Of the last sender's datagrams one in a hundred is garbage, and one in a hundred has a random
address. Three streams flap: two senders pause for 10 s in each 40 s, and the URE works for 20 s,
then has one of several faults for 10 s. Tape, evidence, exporter, OSC out and every output are on,
and their files rotate.

The warm-up lasts until the tables of names are full (4,096 at 10 new ones a second: 7 minutes)
and the heap is stable. `slope` is that of the resident memory after the warm-up: the median of the
slopes between any two samples (Theil and Sen), with an sd from its 95 % interval. Close samples are
correlated, so that the sd is rather too small. On a busy machine memory rises by steps: a delayed
flow processes more at once, and does not return all of that memory. Threads and files are compared
by the minimum of each half, since a packed segment or a scrape needs some for a moment. Each stream
has to account for exactly the events sent to it, kernel drops included.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from itertools import count, cycle, islice
from multiprocessing.sharedctypes import SynchronizedArray
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import theilslopes

from ops.bench.osc_flood import ROOT, cpu_s
from ops.bench.osc_fuzz import message
from ops.fakes.ports import free_port
from ops.fakes.ure import DEAF, DOWN, FLAPPING, MUTE, RESET, Hostile
from ops.simulate.devices import DeviceClock, bundle
from ops.simulate.movement import Movement
from ops.simulate.recording import FACTS
from ops.text.table import table

CONFIG = """version: 2
rig: soak
streams:
  - {{name: phone_1, type: osc, addr: "127.0.0.1:{ports[0]}"}}
  - {{name: phone_2, type: osc, addr: "127.0.0.1:{ports[1]}"}}
  - {{name: wire, type: osc, addr: "127.0.0.1:{ports[2]}"}}
  - {{name: desk, type: osc, addr: "127.0.0.1:{ports[3]}"}}
  - {{name: ure, type: ure, metrics_url: "{url}", frozen_after_s: 6}}
channels:
  "phone_1:/level": {{reduce: mean}}
signals:
  pulse:
    reference: "wire:/level"
    members:
      "ure:u_level": {{group: ure, lag_s: 0.0, lag_sd_s: 0.01}}
      "phone_1:/level": {{group: sensors}}
      "phone_2:/level": {{group: sensors}}
      "wire:/level": {{group: sensors}}
      "desk:/level": {{group: sensors}}
facts: [{facts}]
evidence: {{rules: [configs/rules/risk_map.yaml, configs/rules/quote_rules.yaml]}}
exporter: {{http_port: {http}}}
tap: {{dir: {folder}/tap, rotate_mb: 64, keep: 3, zstd: true}}
send:
  - {{name: music, type: osc, to: "127.0.0.1:{sink}", map: {{/trust: sync_quality, /level: pulse}}}}
output: {{dir: {folder}/out, aligned: true, rotate_mb: 32, keep: 3}}
"""
FROZEN = "frozen"
BROKEN = (DOWN, "500", FROZEN, FLAPPING, "html", MUTE, "cut", "drip", RESET, "NaN", DEAF, "renamed")
UP_S, DOWN_S = 20.0, 10.0
SAMPLE_S = 10.0
START_S = 3.0
"""Start time (s) of the senders' process."""
MAX_MIB_H = 2.0
_MIB = 1 << 20


class Sender(NamedTuple):
    """A sender of `hz` datagrams a second with `parts` numbers each; optionally with a clock."""

    name: str
    hz: int
    parts: int
    lag_s: float
    clock: tuple[float, float] | None = None
    pauses: bool = False


SENDERS = (
    Sender("phone_1", 500, 3, 0.05, (1234.5, 80.0)),
    Sender("phone_2", 1500, 1, 0.12, (-77.7, -40.0), pauses=True),
    Sender("wire", 1000, 1, 0.0),
    Sender("desk", 1000, 1, 0.02, pauses=True),
)
CYCLE_S, SENDING_S = 40, 30
"""A pausing sender sends in the first `SENDING_S` of each cycle (s)."""


class Sample(NamedTuple):
    """A process at a time after the start (s): memory (MiB), CPU (s), disk (MB) and counts."""

    at: float
    rss: float
    pss: float
    anonymous: float
    cpu: float
    disk: float
    threads: int
    files: int


def datagrams(sender: Sender, began: float) -> Iterator[bytes]:
    """Return the datagrams of a sender in order; an empty one stands for a pause."""
    movement = Movement(np.random.default_rng([1, 0]))
    noise = np.random.default_rng([2, sender.hz])
    address = random.Random(sender.hz)
    clock = DeviceClock(began, *sender.clock) if sender.clock else None
    for second in count():
        if sender.pauses and second % CYCLE_S >= SENDING_S:
            for _ in range(sender.hz):
                yield b""
            continue
        at = second + np.arange(sender.hz) / sender.hz
        values = movement.at(at - sender.lag_s) + 0.05 * noise.standard_normal(sender.hz)
        for n, (when, value) in enumerate(zip((began + at).tolist(), values.tolist(), strict=True)):
            if clock:
                yield bundle(clock.at(when), [("/level", (value,) * sender.parts)])
            elif sender.name == "desk" and n % 100 < 2:
                random_name = f"/random/{address.getrandbits(48):x}"
                yield message(random_name, "d", struct.pack(">d", value)) if n % 2 else b"garbage"
            else:
                yield message("/level", "d", struct.pack(">d", value))


def send_all(ports: list[int], began: float, sent: SynchronizedArray[int], done: Event) -> None:
    """Send at a steady pace until `done`; `sent` counts the accepted events."""
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in ports]
    for out, port in zip(sockets, ports, strict=True):
        out.connect(("127.0.0.1", port))
    queued = [datagrams(sender, began) for sender in SENDERS]
    taken = [0] * len(SENDERS)
    while not done.is_set():
        elapsed = time.time() - began
        for k, sender in enumerate(SENDERS):
            due = int(elapsed * sender.hz)
            for datagram in islice(queued[k], max(0, due - taken[k])):
                taken[k] += 1
                if datagram:
                    sockets[k].send(datagram)
                    sent[k] += sender.parts
        time.sleep(0.001)


class Ure:
    """Page of the URE: the same movement and its own facts; constant while frozen."""

    def __init__(self) -> None:
        self.began = time.time()
        self._movement = Movement(np.random.default_rng([1, 0]))
        self._page = b""
        self.frozen = False

    def __call__(self) -> bytes:
        """Return the current page."""
        if not self.frozen or not self._page:
            level = float(self._movement.at(np.array([time.time() - self.began]))[0])
            values = {key: calm + sd * level for key, (calm, _, sd) in FACTS.items()}
            values["u_level"] = level
            self._page = "".join(f"{key} {value:.6f}\n" for key, value in values.items()).encode()
        return self._page


def flap(server: Hostile, page: Ure, done: threading.Event) -> None:
    """Apply one fault of the URE after another, with healthy spans between."""
    for mode in cycle(BROKEN):
        if done.wait(UP_S):
            return
        page.frozen = mode == FROZEN
        server.mode = "well" if page.frozen else mode
        over = done.wait(DOWN_S)
        server.mode, page.frozen = "well", False
        if over:
            return


def scrape(url: str, took: list[float], done: threading.Event) -> None:
    """Read the metrics once a second; record the latency of each answer (s)."""
    while not done.wait(1.0):
        begin = time.monotonic()
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
        took.append(time.monotonic() - begin)


def look(pid: int, began: float, folder: Path) -> Sample:
    """Return a sample of a process."""
    process = Path(f"/proc/{pid}")
    rollup = (process / "smaps_rollup").read_text()
    rss, pss, anonymous = (
        int(rollup.partition(f"\n{what}:")[2].split()[0]) / 1024
        for what in ("Rss", "Pss", "Anonymous")
    )
    status = (process / "status").read_text()
    disk = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):  # just replaced
            disk += path.stat().st_blocks * 512
    threads = int(status.partition("Threads:")[2].split()[0])
    files = len(list((process / "fd").iterdir()))
    at = time.time() - began
    return Sample(at, rss, pss, anonymous, cpu_s(pid), disk / 1e6, threads, files)


def start(folder: Path, config: Path, recover: bool) -> subprocess.Popen[bytes]:
    """Start a flow and wait until every sender's stream is up."""
    store = ["--recover", str(folder / "store")] if recover else []
    log = folder / "log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops", "run", str(config), *store],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    end = time.monotonic() + 60
    while not all(f"{sender.name} is up" in log.read_text() for sender in SENDERS):
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            raise RuntimeError(log.read_text())
        time.sleep(0.05)
    return process


def soak(folder: Path, minutes: float, recover: bool) -> tuple[list[Sample], dict[str, Any]]:
    """Run the flow; return its samples, and the sent and received events and its end."""
    ports = [free_port() for _ in SENDERS]
    http, page, done = free_port(), Ure(), threading.Event()
    context = multiprocessing.get_context("spawn")
    sent, over = context.Array("Q", len(ports)), context.Event()
    took: list[float] = []
    samples: list[Sample] = []
    with Hostile(page) as server, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        config = folder / "soak.yaml"
        config.write_text(
            CONFIG.format(
                ports=ports,
                url=server.url,
                facts=", ".join(f'"ure:{key}"' for key in FACTS),
                http=http,
                folder=folder,
                sink=sink.getsockname()[1],
            )
        )
        process = start(folder, config, recover)
        begin = page.began = time.time() + START_S
        sender = context.Process(target=send_all, args=(ports, begin, sent, over))
        url = f"http://127.0.0.1:{http}/metrics_fusion"
        threads = [
            threading.Thread(target=flap, args=(server, page, done)),
            threading.Thread(target=scrape, args=(url, took, done)),
        ]
        try:
            for thread in threads:
                thread.start()
            sender.start()
            with (folder / "samples.jsonl").open("w") as file:
                for n in range(1, int(minutes * 60 / SAMPLE_S) + 1):
                    time.sleep(max(0.0, begin + n * SAMPLE_S - time.time()))
                    samples.append(look(process.pid, begin, folder))
                    print(json.dumps(samples[-1]._asdict()), file=file, flush=True)
            over.set()
            sender.join()
            done.set()
            time.sleep(1.5)
            process.send_signal(signal.SIGTERM)
            stopping = time.monotonic()
            status = process.wait(60)
            stopped_s = time.monotonic() - stopping
        finally:
            process.kill()
            over.set()
            done.set()
            for thread in threads:
                thread.join()
    run = json.loads((folder / "out" / "run.json").read_text())
    took.sort()
    return samples, {
        "status": status,
        "stopped_in_s": round(stopped_s, 2),
        "sent": {sender.name: n for sender, n in zip(SENDERS, sent[:], strict=True)},
        "account": run["account"],
        "balanced": run["balanced"],
        "scrapes": len(took),
        "scrape_p99_ms": round(took[len(took) * 99 // 100] * 1e3, 1),
    }


def slope(samples: list[Sample]) -> tuple[float, float]:
    """Return the slope of the memory and its sd (MiB/h)."""
    median, _, low, high = theilslopes([s.rss for s in samples], [s.at / 3600 for s in samples])
    return float(median), float(high - low) / 3.92


def main() -> int:
    """Soak a flow; return 1 if an event is missing, or a figure grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--warm", type=float, default=15, help="minutes")
    parser.add_argument("--recover", action="store_true", help="with a recovery store")
    parser.add_argument("--folder", type=Path, help="folder of its files")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-soak-") as name:
        folder = args.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        samples, found = soak(folder, args.minutes, args.recover)
    each = max(1, len(samples) // 12)
    print(
        table(
            ("minute", "RSS MiB", "PSS", "anonymous", "threads", "files", "CPU %", "disk MB"),
            [
                (
                    f"{b.at / 60:.1f}",
                    f"{b.rss:.1f}",
                    f"{b.pss:.1f}",
                    f"{b.anonymous:.1f}",
                    str(b.threads),
                    str(b.files),
                    f"{100 * (b.cpu - a.cpu) / (b.at - a.at):.0f}",
                    f"{b.disk:.0f}",
                )
                for a, b in zip(samples[::each], samples[each::each], strict=False)
            ],
        )
    )
    warm = [s for s in samples if s.at >= min(args.warm, args.minutes / 3) * 60]
    grows, sd = slope(warm)
    half = len(warm) // 2
    more = {
        what: min(getattr(s, what) for s in warm[half:])
        - min(getattr(s, what) for s in warm[:half])
        for what in ("threads", "files")
    }
    received = {name: ends["received"] for name, ends in found["account"]["by_source"].items()}
    account = {"received": received, **found["account"]["total"]}
    print(json.dumps({**found, "account": account}))
    grown = ", ".join(f"{name} {n:+d}" for name, n in more.items())
    print(f"slope {grows:.2f} MiB/h (sd {sd:.2f}), {grown}")
    exact = {name: n for name, n in received.items() if name != "ure"} == found["sent"]
    steady = grows <= MAX_MIB_H and not any(more.values())
    return int(found["status"] != 0 or not exact or not found["balanced"] or not steady)


if __name__ == "__main__":
    raise SystemExit(main())
