"""OSC out, and Ctrl-C, on a machine that has more to do than it can.

    python -m ops.bench.overload [--load 12] [--seconds 30] [--config NAME ...] [--stop]

Busy loops, each a process at the priority of the run, are started first. Then `lumen run` takes a
shipped configuration, `lumen simulate --live` plays its devices, and this process receives the OSC that
the run sends; a configuration that sends none is given a destination of 60 messages a second.
Printed for each configuration, the first `WARM_S` left out:

- out: messages a second, the least in a second, and the longest gap, by the kernel's stamps
- age: how old the sent value's tick is, beside how old the newest tick is when its line is
  written (50th and 95th percentile); both hold the delay that the algorithm has

`--stop` ends the run by two Ctrl-C, or by one, and prints when the first line came, whether anything
that arrived after it is on the tape, and when the process had ended.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ops.bench.monitoring import ROOT, answers, running
from ops.bench.moved import moved
from ops.peers import PeerError
from ops.table import table

CONFIGS = ("stage", "live")
RATE_HZ, LEAST_HZ = 60.0, 50.0
FIRST_S, END_S, SECOND_S = 0.2, 10.0, 1.0
WARM_S = 10.0
SEND = """send:
  - {name: sound, type: osc, to: "127.0.0.1:9010", rate_hz: 60, map: {/out: "%s"}}
"""
_NS = 35
"""SO_TIMESTAMPNS of Linux: the kernel's stamp comes with each datagram."""


class Sent(NamedTuple):
    """A message: when the kernel had it (s since 1970), and its number."""

    at: float
    value: float


class Ear(threading.Thread):
    """Receives the messages of one address."""

    def __init__(self, port: int, address: str) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _NS, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind(("127.0.0.1", port))
        self._socket.settimeout(0.2)
        self._head = address.encode() + b"\0"
        self.sent: list[Sent] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Receive until it is done."""
        while not self.done.is_set():
            try:
                data, notes, _, _ = self._socket.recvmsg(2048, 64)
            except TimeoutError:
                continue
            if data.startswith(self._head):
                seconds, nanoseconds = struct.unpack("qq", notes[0][2][:16])
                number = struct.unpack(">f", data[-4:])[0]
                self.sent.append(Sent(seconds + nanoseconds * 1e-9, number))
        self._socket.close()


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep so many processes busy until the end of the block."""
    loops = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)
    ]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Written(threading.Thread):
    """Reads the lines of `fused.jsonl`: the tick of each value, and how old it was when read."""

    def __init__(self, path: Path, signal_name: str) -> None:
        super().__init__(daemon=True)
        self._path, self._signal = path, signal_name
        self.ticks: dict[float, list[float]] = {}
        self.ages: list[tuple[float, float]] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Look every 5 ms."""
        rest = b""
        with self._path.open("rb") as file:
            while not self.done.wait(0.005):
                *lines, rest = (rest + file.read()).split(b"\n")
                now = time.time()
                for line in map(json.loads, lines):
                    value = line["signals"][self._signal]["value"]
                    if value is not None:
                        self.ticks.setdefault(_float32(value), []).append(line["ts"])
                if lines:
                    self.ages.append((now, now - line["ts"]))


def _float32(value: float) -> float:
    found: float = struct.unpack(">f", struct.pack(">f", value))[0]
    return found


def at(numbers: list[float], share: float) -> float:
    """Return a quantile, NaN of none."""
    ordered = sorted(numbers)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


class Run:
    """A run of a shipped configuration with its devices, elsewhere; used as a context."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        text = (ROOT / "configs" / f"{name}.yaml").read_text("utf-8")
        self.signal = re.findall(r"^signals:\n  (\w+):", text, re.MULTILINE)[0]
        if "\nsend:" not in text:
            text += SEND % self.signal
        if "\ntap:" not in text:
            text += "tap: {dir: tap}\n"
        self.address = re.findall(rf'(/\w+(?:/\w+)*): "?{self.signal}\b', text)[0]
        self.path, self.ports = moved(folder, name, text)
        self._stack = ExitStack()

    def __enter__(self) -> Run:
        lumen, log = (sys.executable, "-m", "ops"), self.folder / "devices.log"
        self.ear = Ear(self.ports[9010], self.address)
        self.ear.start()
        self._stack.enter_context(
            running((*lumen, "simulate", "--live", str(self.path)), log,
                    lambda: log.stat().st_size > 0)
        )  # fmt: skip
        self.log = self.folder / "run.log"
        with self.log.open("wb") as said:
            self.process = subprocess.Popen(
                (*lumen, "run", str(self.path)), stdout=subprocess.DEVNULL, stderr=said, cwd=ROOT
            )
        page = f"http://127.0.0.1:{self.ports[9310]}/healthz"
        while not answers(page):
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.1)
        return self

    def __exit__(self, *error: object) -> None:
        self.ear.done.set()
        self.process.kill()
        self.process.wait()
        self._stack.close()


def out(run: Run, seconds: float) -> dict[str, float]:
    """Return how OSC goes out for so long, once it does."""
    fused = run.folder / "out" / "fused.jsonl"
    while not fused.exists():
        time.sleep(0.05)
    written = Written(fused, run.signal)
    written.start()
    end = time.monotonic() + 120.0
    while not run.ear.sent:
        if time.monotonic() > end:
            raise RuntimeError("nothing was sent in two minutes\n" + run.log.read_text()[-2000:])
        time.sleep(0.05)
    time.sleep(WARM_S)
    begin = time.time()
    time.sleep(seconds)
    stop = time.time()
    time.sleep(1.0)
    written.done.set()
    written.join()
    sent = [s for s in run.ear.sent if begin <= s.at < stop]
    times = [begin, *(s.at for s in sent), stop]
    each = [0] * int(seconds)
    for s in sent:
        each[min(int(s.at - begin), len(each) - 1)] += 1
    ages = []
    for s in sent:
        known = written.ticks.get(s.value, [])
        if n := bisect_right(known, s.at):
            ages.append(s.at - known[n - 1])
    fresh = [age for when, age in written.ages if begin <= when < stop]
    return {
        "hz": len(sent) / seconds, "least": min(each),
        "gap_ms": 1e3 * max(b - a for a, b in zip(times, times[1:], strict=False)),
        "age50": 1e3 * at(ages, 0.5), "age95": 1e3 * at(ages, 0.95),
        "tick50": 1e3 * at(fresh, 0.5), "tick95": 1e3 * at(fresh, 0.95),
    }  # fmt: skip


def stopped(run: Run, *, twice: bool) -> dict[str, Any]:
    """End a run by Ctrl-C; return how long the first line and the end took, and what was taken."""
    size = run.log.stat().st_size
    pressed, since = time.time(), time.monotonic()
    run.process.send_signal(signal.SIGINT)
    word = _wait(lambda: b"Ctrl-C" in run.log.read_bytes()[size:], 30.0)
    if twice:
        since = time.monotonic()
        run.process.send_signal(signal.SIGINT)
    run.process.wait(60.0)
    ended = time.monotonic() - since
    newest = max(map(_arrival, _tape(run.folder / "tap")), default=-math.inf)
    return {"word_s": word, "after_s": newest - pressed, "end_s": ended,
            "code": run.process.returncode}  # fmt: skip


def _wait(true: Any, seconds: float) -> float:
    begin = time.monotonic()
    while not true() and time.monotonic() - begin < seconds:
        time.sleep(0.002)
    return time.monotonic() - begin


def _tape(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of the tapes in a folder, but for a torn last one."""
    from sources.tape import open_recording

    for tape in sorted(folder.glob("*/")):
        recording = open_recording(str(tape))
        while pieces := recording.read():
            for piece in pieces:
                yield from map(json.loads, piece.data.splitlines())


def _arrival(line: dict[str, Any]) -> float:
    """Return when a line of a tape arrived (s since 1970), -inf of a loss."""
    if "tick" in line:
        return float(line["tick"])
    return float(line.get("meta", {}).get("rx") or line.get("ts", -math.inf))
