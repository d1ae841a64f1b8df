"""The OSC clock beside a flow: how far from its time each tick arrives.

    python -m ops.bench.tick_jitter [--seconds 30] [--tick-ms 20] [--ahead-ms 50]

Four senders of the same ticks run at once, each to a socket of its own: the shipped one, a process;
the same code in a thread of the process of the flow; a bare sleeping process of normal priority;
and the shipped one ahead of its time. The kernel of the receiver stamps each datagram. The flow is
that of 1,000 events/s in blocks of 50 ms: not at all, at its own pace, or as fast as it can, which
occupies a core. Off is arrival less planned time (ms); of the one ahead, less the time tag.

Other programs on the machine delay all senders: only the difference to the bare sleeper of the same
run is a property of this program.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np
from pythonosc.osc_bundle import OscBundle

from configs.outputs import OscClockConfig
from flows.pipeline import Pipeline
from operators.types import F64
from ops.bench.chain import Case, batches, configuration
from ops.text.table import table
from sinks.conductor.clock_process import OscClock, run, steady
from sinks.conductor.conductor import OscTickPlayer
from sinks.conductor.play_axis import distance
from sinks.conductor.tick_schedule import Tick

SLEEPER = """
import socket, struct, sys, time
port, start, tick_s, count = int(sys.argv[1]), *map(float, sys.argv[2:])
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for i in range(int(count)):
    time.sleep(max(start + i * tick_s - time.clock_gettime(time.CLOCK_BOOTTIME), 0))
    out.sendto(struct.pack(">i", i), ("127.0.0.1", port))
"""
LOADS = ("quiet", "own pace", "full speed")
EVENTS_S = 1_000
FLOW = Case("1 kev/s", (EVENTS_S / 5,) * 5, 120.0, 0.05, 5.0)
_BEFORE_S = 3.0
_CHUNK = 50
"""Ticks handed on at once."""
_NAMES = ("process", "thread", "sleeper", "ahead")
_SO_TIMESTAMPNS = 35


def receiver() -> socket.socket:
    """Return a socket whose datagrams the kernel stamps."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    made.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    made.bind(("127.0.0.1", 0))
    made.setblocking(False)
    return made


def received(peer: socket.socket) -> list[tuple[float, bytes]]:
    """Return the datagrams with their stamps by the wall clock (s)."""
    found: list[tuple[float, bytes]] = []
    while True:
        try:
            data, more, _, _ = peer.recvmsg(2048, 256)
        except BlockingIOError:
            return found
        seconds, ns = struct.unpack("qq", more[0][2][:16])
        found.append((seconds + ns / 1e9, data))


class ThreadClock:
    """The OSC clock in a thread of this process."""

    def __init__(self, to: str) -> None:
        self._read, self._write = os.pipe()
        clock = OscClock("thread", to, "/t", 0.0, 0.0, 0.001)
        reports = os.open(os.devnull, os.O_WRONLY)
        self._thread = threading.Thread(target=run, args=(clock, self._read, reports))
        self._thread.start()

    def write(self, line: bytes) -> None:
        """Hand a line on."""
        os.write(self._write, line)

    def stop(self) -> None:
        """End the thread."""
        os.close(self._write)
        self._thread.join()


def work(load: str, until: float, flush: Callable[[], None]) -> None:
    """Run the flow in this thread up to a time (steady s); `flush` is called with each batch."""
    _, rows = batches(FLOW, size=EVENTS_S // 20)
    while steady() < until:
        pipeline = Pipeline(configuration(FLOW))
        begin = steady()
        for at, batch in enumerate(rows):
            if load != "full speed":
                time.sleep(max(begin + at / 20 - steady(), 0.0))
            if steady() >= until:
                return
            flush()
            if load != "quiet":
                deque(pipeline.run((batch,)), maxlen=0)


def measure(seconds: float, tick_s: float, ahead_s: float, load: str) -> dict[str, F64]:
    """Return for each sender how far off its ticks arrived (s); NaN for those that did not."""
    peers = {name: receiver() for name in _NAMES}
    ports = {name: peer.getsockname()[1] for name, peer in peers.items()}
    count = round(seconds / tick_s)
    start = steady() + _BEFORE_S
    wall = distance(time.time, steady)[0]
    ticks = [
        Tick(start + i * tick_s, start + wall + i * tick_s, i, tick_s, 1 / tick_s, 0.0, 2, False)
        for i in range(count)
    ]
    players = [
        OscTickPlayer(name, f"127.0.0.1:{ports[name]}", clock, 0.001)
        for name, clock in (
            ("process", OscClockConfig(address="/t")),
            ("ahead", OscClockConfig(address="/t", ahead_ms=1000 * ahead_s)),
        )
    ]
    for player in players:
        player.start()
    thread = ThreadClock(f"127.0.0.1:{ports['thread']}")
    arguments = (str(ports["sleeper"]), *map(repr, (start, tick_s, float(count))))
    sleeper = subprocess.Popen((sys.executable, "-S", "-c", SLEEPER, *arguments))
    for at in range(0, count, _CHUNK):
        part = ticks[at : at + _CHUNK]
        for player in players:
            player.put(part, part[-1].at)
        thread.write(json.dumps([part, part[-1].at]).encode() + b"\n")

    def flush() -> None:  # the pipe does not hold all ticks at once
        for player in players:
            player.put([], ticks[-1].at)

    work(load, start + seconds + 0.5, flush)
    thread.stop()
    for player in players:
        player.stop()
    sleeper.wait()
    off = {name: np.full(count, np.nan) for name in _NAMES}
    for name, peer in peers.items():
        for stamp, data in received(peer):
            if name == "sleeper":
                beat = struct.unpack(">i", data)[0]
                planned = ticks[beat].wall
            else:
                bundle = OscBundle(data)
                beat, planned = bundle.content(0).params[0], bundle.timestamp
            if beat < count:  # else made up after the last one
                off[name][beat] = stamp - planned
        peer.close()
    return off


def main() -> None:
    """Print how far off each sender is."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--tick-ms", type=float, default=20.0)
    parser.add_argument("--ahead-ms", type=float, default=50.0)
    args = parser.parse_args()
    rows = []
    for load in LOADS:
        off = measure(args.seconds, args.tick_ms / 1000, args.ahead_ms / 1000, load)
        for name, values in off.items():
            known = 1000 * values[np.isfinite(values)]
            figures = np.quantile(known, (0.5, 0.95, 0.99, 1.0)) if len(known) else [np.nan] * 4
            missing = str(len(values) - len(known))
            rows.append([load, name, *(f"{figure:.2f}" for figure in figures), missing])
    print(table(["flow", "sender", "median ms", "p95", "p99", "worst", "missing"], rows))


if __name__ == "__main__":
    main()
