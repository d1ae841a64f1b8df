"""OSC out, and Ctrl-C, on an overloaded machine.

    python -m ops.bench.overload [--load 12] [--seconds 30] [--config NAME ...]

Busy loops, each a process of the run's own priority, are started first. Then `lumen run` runs a
shipped configuration, `lumen simulate --live` plays its devices, and this process receives the OSC
of the run. A configuration without a destination gets one, with 60 messages a second. Devices stand
for other machines: they have real-time priority where the system allows it. After the first ten
seconds:

- hz, least, gap: messages a second, the smallest count of a second, and the longest gap, by the
  kernel's stamps; asked: 50 a second
- out, tick: age of the sent tick, and age of the newest line of `fused.jsonl` (50th and 95th
  percentile); both include the delay of the algorithm

Then the run is ended by one Ctrl-C, and in another run by two. Measured are the time to the first
line (asked: 0.2 s), the delay from the signal to the newest arrival on the tape (0 s), and the time
to the end (10 s; 1 s after the second). The load of other programs adds to the busy loops.
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
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ops.bench.moved import PAGE, moved
from ops.fakes.monitoring import ROOT, answers, running
from ops.text.table import table
from sources.recordings.recording import Piece
from sources.tape.reader import Tape

CONFIGS = ("stage", "live")
MIN_HZ = 50.0
FIRST_S, END_S, SECOND_S = 0.2, 10.0, 1.0
WARM_S = 10.0
SEND = """send:
  - {name: sound, type: osc, to: "127.0.0.1:9010", rate_hz: 60, map: {/out: "%s"}}
"""
_MAX_S = 120.0
_NS = 35
"""SO_TIMESTAMPNS of Linux: the kernel's stamp comes with each datagram."""


class Sent(NamedTuple):
    """A message: receive time in the kernel (s since 1970), and its number."""

    at: float
    value: float


class Receiver(threading.Thread):
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
        """Receive until the end."""
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
    """Run a number of busy loops until the end of the block."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


class Written(threading.Thread):
    """Reads the lines of `fused.jsonl`: tick by value, and age of each line when read."""

    def __init__(self, path: Path, signal_name: str) -> None:
        super().__init__(daemon=True)
        self._path, self._signal = path, signal_name
        self.ticks: dict[float, list[float]] = {}
        self.ages: list[tuple[float, float]] = []
        self.done = threading.Event()

    def run(self) -> None:
        """Read the file every 5 ms."""
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
    """Return a quantile, NaN without numbers."""
    ordered = sorted(numbers)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


class Run:
    """A run of a shipped configuration with its devices in another folder; a context."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        text = (ROOT / "configs" / f"{name}.yaml").read_text("utf-8")
        self.signal = re.findall(r"^signals:\n  (\w+):", text, re.MULTILINE)[0]
        if "\nsend:" not in text:
            text += SEND % self.signal
        if "\ntap:" not in text:
            text += "tap: {dir: tap}\n"
        self.address = re.findall(rf'(/\w+(?:/\w+)*): "?{self.signal}\b', text)[0]
        self.path, self.ports = moved(folder, name, text, ROOT)
        self._stack = ExitStack()

    def __enter__(self) -> Run:
        lumen, log = (sys.executable, "-m", "ops"), self.folder / "devices.log"
        self.receiver = Receiver(self.ports[9010], self.address)
        self.receiver.start()
        self._stack.enter_context(
            running(
                (*_urgent(), *lumen, "simulate", "--live", str(self.path)),
                log,
                lambda: log.stat().st_size > 0,
            )
        )
        self.log = self.folder / "run.log"
        with self.log.open("wb") as stderr:
            self.process = subprocess.Popen(
                (*lumen, "run", str(self.path)), stdout=subprocess.DEVNULL, stderr=stderr, cwd=ROOT
            )
        page = f"http://127.0.0.1:{self.ports[PAGE]}/healthz"
        while not answers(page):
            if self.process.poll() is not None:
                raise RuntimeError(self.log.read_text())
            time.sleep(0.1)
        return self

    def __exit__(self, *error: object) -> None:
        self.receiver.done.set()
        self.process.kill()
        self.process.wait()
        self._stack.close()


def _urgent() -> tuple[str, ...]:
    """Return the prefix for real-time priority, empty where it is not permitted."""
    urgent = ("chrt", "--rr", "1")
    try:
        allowed = subprocess.run((*urgent, "true"), capture_output=True).returncode == 0
    except OSError:
        return ()
    return urgent if allowed else ()


def out(run: Run, seconds: float) -> dict[str, float]:
    """Return the figures of OSC out for some seconds after the first message."""
    fused = run.folder / "out" / "fused.jsonl"
    while not fused.exists():
        time.sleep(0.05)
    written = Written(fused, run.signal)
    written.start()
    end = time.monotonic() + 120.0
    while not run.receiver.sent:
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
    sent = [s for s in run.receiver.sent if begin <= s.at < stop]
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
        "hz": len(sent) / seconds,
        "least": min(each),
        "gap_ms": 1e3 * max(b - a for a, b in pairwise(times)),
        "out50": 1e3 * at(ages, 0.5),
        "out95": 1e3 * at(ages, 0.95),
        "tick50": 1e3 * at(fresh, 0.5),
        "tick95": 1e3 * at(fresh, 0.95),
    }


def stopped(run: Run, *, twice: bool) -> dict[str, float]:
    """End a run by Ctrl-C; return the times from the signal (s) to the first line, to the newest
    arrival on the tape, and to the end.
    """
    size = run.log.stat().st_size
    pressed, begin = time.time(), time.monotonic()
    run.process.send_signal(signal.SIGINT)
    while b"Ctrl-C" not in run.log.read_bytes()[size:]:
        if time.monotonic() - begin > _MAX_S:
            raise TimeoutError(run.log.read_text()[-2000:])
        time.sleep(0.002)
    first_line = time.monotonic() - begin
    if twice:
        begin = time.monotonic()
        run.process.send_signal(signal.SIGINT)
    run.process.wait(_MAX_S)
    ended = time.monotonic() - begin
    return {"line": first_line, "taken": _newest(run.folder / "tap") - pressed, "end": ended}


def _newest(folder: Path) -> float:
    """Return the newest arrival on the only tape in a folder (s since 1970)."""
    tape = Tape(str(next(folder.glob("*/"))))
    newest = -math.inf
    while pieces := tape.read():
        plain = (piece.data for piece in pieces if isinstance(piece, Piece))
        for line in (line for data in plain for line in data.splitlines()):
            found = json.loads(line)
            arrival = found.get("tick") or found.get("meta", {}).get("rx") or 0.0
            newest = max(newest, arrival)
    tape.close()
    return newest


def measured(name: str, load: int, seconds: float) -> dict[str, float]:
    """Return all figures of a configuration."""
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other, busy(load):
        with Run(Path(one), name) as run:
            found |= out(run, seconds)
            found |= stopped(run, twice=False)
        with Run(Path(other), name) as run:
            time.sleep(WARM_S)
            second = stopped(run, twice=True)
    return found | {"line": max(found["line"], second["line"]), "second": second["end"]}


def main() -> int:
    """Measure; return 1 if a figure is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--load", type=int, default=12, help="busy loops; default %(default)s")
    parser.add_argument("--seconds", type=float, default=30.0, help="default %(default)s")
    parser.add_argument("--config", nargs="+", choices=CONFIGS, default=CONFIGS)
    args = parser.parse_args()
    rows, missed = [], False
    for name in args.config:
        f = measured(name, args.load, args.seconds)
        missed |= f["hz"] < MIN_HZ or f["line"] > FIRST_S or f["taken"] > 0
        missed |= f["end"] > END_S or f["second"] > SECOND_S
        rows.append(
            (
                name,
                f"{f['hz']:.1f}",
                f"{f['least']:.0f}",
                f"{f['gap_ms']:.0f}",
                *(f"{f[each + '50']:.0f} {f[each + '95']:.0f}" for each in ("out", "tick")),
                *(f"{f[each]:.2f}" for each in ("line", "taken", "end", "second")),
            )
        )
    head = (
        "config",
        "hz",
        "least",
        "gap ms",
        "out ms",
        "tick ms",
        "line s",
        "taken s",
        "end s",
        "second s",
    )
    print(table(head, rows))
    load = os.getloadavg()[0]
    print(f"{args.load} busy loops on {os.cpu_count()} cores, load {load:.1f} at the end")
    return int(missed)


if __name__ == "__main__":
    raise SystemExit(main())
