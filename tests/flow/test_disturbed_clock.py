"""The beat clock of a live run whose wall clock is set, or which is stopped for ten seconds."""

from __future__ import annotations

import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest
from pythonosc.osc_bundle import OscBundle

from ops.bench.clock_steps import made
from ops.fakes.ports import free_port
from ops.simulate.devices import bundle
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]
TICK_S, STOP_S, RIGHT_S = 0.2, 10.0, 3.0
MAX_OFF = 0.15
"""Phase of a tick against the sender's beats (cycles); the offset of its clock is in it."""
CONFIG = """version: 2
streams: [{{name: osc_1, type: osc, addr: "127.0.0.1:{port}"}}]
signals:
  pulse: {{members: {{"osc_1:/v": {{lag_s: 0.0}}, "osc_1:/w": {{lag_s: 0.0}}}}}}
failover: {{fallback: sensors_only}}
bridge:
  reference: {{beat: "osc_1:/beat"}}
  phase: {{drift_budget: 0.2, rebalance_window_s: 5}}
  protocol: {{idle_s: 1}}
  safety: {{hard_stop_on: [], rollback_ratio_5m_max: 1}}
send: [{{name: music, type: osc, to: "127.0.0.1:{to}", map: {{}}, clock: {{}}}}]
exporter: {{http_port: {http}}}
output: {{dir: {folder}/out}}
"""


class Arrived(NamedTuple):
    """A tick: when it was received, its time tag less the steps of the clock (s), its beat."""

    at: float
    planned: float
    beat: int


class Band(threading.Thread):
    """Sends beats at whole fifths of a second, stamped so, and two alike streams."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self._port, self._over = port, threading.Event()

    def run(self) -> None:
        """Send."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            n = round(time.time() * 20) + 1
            while not self._over.wait(max(0.0, n / 20 - time.time())):
                value = (float(n % 37) / 37,)
                messages = [("/v", value), ("/w", value)] + [("/beat", (1.0,))] * (n % 4 == 0)
                out.sendto(bundle(n / 20, messages), ("127.0.0.1", self._port))
                n += 1

    def stop(self) -> None:
        """End."""
        self._over.set()
        self.join()


class LiveClock:
    """A live run of its own session, and the receiver of its ticks."""

    def __init__(self, folder: Path, library: Path | None = None) -> None:
        self._peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._peer.bind(("127.0.0.1", 0))
        self._peer.setblocking(False)
        port, self._http = free_port(), free_port()
        config, self._shift = folder / "live.yaml", folder / "shift"
        to = self._peer.getsockname()[1]
        config.write_text(CONFIG.format(port=port, to=to, http=self._http, folder=folder))
        self._shift.write_bytes(struct.pack("<qq", 0, 0))
        more = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(self._shift)} if library else {}
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops", "run", str(config)],
                cwd=ROOT, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        self._band = Band(port)
        self.arrived: list[Arrived] = []

    def begin(self) -> None:
        """Wait until ticks arrive."""
        until(lambda: "osc_1 is up" in self._log.read_text(), self._log.read_text, self.process)
        self._band.start()
        self.wait_for(15)

    def wait_for(self, count: int) -> None:
        """Wait for so many more ticks."""
        before = len(self.arrived)
        until(lambda: len(self.receive()) >= before + count, self._log.read_text, self.process)

    def receive(self) -> list[Arrived]:
        """Return all ticks so far."""
        while True:
            try:
                got = OscBundle(self._peer.recv(2048))
            except BlockingIOError:
                return self.arrived
            at = time.time()
            step_s = round((got.timestamp - at) / 3600) * 3600
            self.arrived.append(Arrived(at, got.timestamp - step_s, got.content(0).params[0]))

    def step(self, step_s: float) -> None:
        """Set the wall clock of the run."""
        with self._shift.open("r+b") as file:
            file.write(struct.pack("<qq", time.time_ns(), int(step_s * 1e9)))

    def dropped(self) -> float:
        """Return the counted ticks that were not sent."""
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self._http}/metrics_bridge", timeout=HUNG_S
        ) as page:
            found = re.search(
                r'^bridge_ticks_total\{.*outcome="dropped".*\} (\S+)', page.read().decode(), re.M
            )
        return float(found[1]) if found else 0.0

    def signal(self, number: int) -> None:
        """Send a signal to the run and its clock."""
        os.killpg(self.process.pid, number)

    def close(self) -> None:
        """End all."""
        if self._band.is_alive():
            self._band.stop()
        self.signal(signal.SIGKILL)
        self.process.wait()
        self._peer.close()


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[LiveClock]]:
    made_here: list[LiveClock] = []
    yield made_here
    for each in made_here:
        each.close()


def off(tick: Arrived) -> float:
    """Return the distance of a tick from the next beat (cycles)."""
    cycles = tick.planned / TICK_S
    return abs(cycles - round(cycles))


@pytest.mark.parametrize("step_s", [3600.0, -3600.0])
def test_the_clock_plays_on_when_the_wall_clock_is_set(step_s, started, tmp_path) -> None:
    library = made(tmp_path)
    if library is None:
        pytest.skip("no C compiler: the clock cannot be shifted here")
    started.append(live := LiveClock(tmp_path, library))
    live.begin()
    live.step(step_s)
    before = len(live.arrived)
    live.wait_for(40)

    ticks = live.arrived[before - 5 :]
    assert max(map(off, ticks)) < MAX_OFF
    spans = [(b.planned - a.planned) / (b.beat - a.beat) for a, b in pairwise(ticks)]
    assert min(b.beat - a.beat for a, b in pairwise(ticks)) > 0
    assert max(abs(span - TICK_S) for span in spans) < 0.5 * TICK_S


def test_a_stopped_run_drops_and_counts_its_ticks_and_is_right_again(started, tmp_path) -> None:
    started.append(live := LiveClock(tmp_path))
    live.begin()
    before = live.dropped()
    live.signal(signal.SIGSTOP)
    stopped = time.time()
    until(lambda: time.time() > stopped + STOP_S)
    live.receive()
    held = len(live.arrived)
    continued = time.time()
    live.signal(signal.SIGCONT)
    live.wait_for(round((RIGHT_S + 4.0) / TICK_S))

    ticks = live.arrived[held:]
    assert min(tick.planned for tick in ticks) > continued - TICK_S / 2
    assert min(b.planned - a.planned for a, b in pairwise(ticks)) >= 0.119
    until(lambda: live.dropped() - before >= 40)
    late = [tick for tick in ticks if tick.planned > continued + RIGHT_S]
    assert len(late) > 5
    assert max(map(off, late)) < MAX_OFF
