"""`lumen probe`: scrapes, and the clock beside the beats that it plays."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from configs.load import load
from operators.errors import ToolError
from ops.__main__ import main
from ops.cli.probe import ClockFigures, ProbedTimes, beat, off_beats, scrape
from ops.fakes.ports import free_port
from sinks.conductor.osc_clock import tick_bundle
from sinks.conductor.tick_schedule import Tick
from sources.inbox import Message
from sources.osc.datagram import Datagrams
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[3]
CONFIG = """version: 2
streams: [{{name: osc_1, type: osc, addr: "127.0.0.1:{port}"}}]
signals: {{pulse: {{members: {{"osc_1:/a": {{}}, "osc_1:/b": {{}}}}}}}}
bridge:
  reference: {{beat: "osc_1:/beat"}}
  phase: {{rebalance_window_s: 5}}
  protocol: {{idle_s: 0.2, sync_hold: 0.3, sync_bridged: 0.3}}
send: [{{name: music, type: osc, to: "127.0.0.1:{to}", map: {{}}, clock: {{ahead_ms: 20}}}}]
output: {{dir: {folder}/out}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "live.yaml"
    path.write_text(CONFIG.format(port=free_port(), to=free_port(), folder=tmp_path))
    return path


class OnePage(BaseHTTPRequestHandler):
    """A page at `/metrics_fusion` alone."""

    def do_GET(self) -> None:
        found = self.path == "/metrics_fusion"
        self.send_response(200 if found else 404)
        self.end_headers()
        self.wfile.write(b"x" * 2000 if found else b"")

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), OnePage)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_scrape_is_a_time_or_a_failure(page: str) -> None:
    good = scrape(f"http://{page}/metrics_fusion", 5, 0.0)
    assert (len(good.seconds), good.size, good.failures) == (5, 2000, [])
    bad = scrape(f"http://{page}/metrics", 3, 0.0)
    assert (len(bad.seconds), bad.failures) == (0, ["Not Found"] * 3)


def test_the_path_of_an_exporter_is_that_of_its_metrics(page: str, capsys) -> None:
    main(["probe", page, "-n", "2", "--every", "0"])
    assert capsys.readouterr().out.startswith(f"http://{page}/metrics_fusion: 2 scrapes of 2.0 kB")
    assert main(["probe", f"{page}/other", "-n", "2", "--every", "0"]) == 1
    assert "2 failed: Not Found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("seconds", "failures", "good"),
    [
        ([0.1] * 100, [], True),
        ([0.1] * 96 + [0.9] * 4, [], True),
        ([0.1] * 90 + [0.2] * 10, [], False),
        ([0.1] * 100, ["refused"], False),
        ([], ["refused"], False),
    ],
)
def test_the_budget_of_scrapes_is_on_the_95th_percentile(seconds, failures, good) -> None:
    assert ProbedTimes(np.array(seconds), 1, failures).good == good


def test_the_budget_of_the_clock_is_on_its_jitter() -> None:
    offset = np.full(100, 0.3)
    assert ClockFigures(100, offset, np.array([0.02] * 96 + [0.5] * 4)).good
    assert not ClockFigures(100, offset, np.full(100, 0.026)).good
    silent = ClockFigures(100, np.empty(0), np.empty(0))
    assert not silent.good
    assert "`lumen bridge status`" in silent.text()


@pytest.mark.parametrize("per_tick", [0.25, 0.5, 1.0, 1.5, 6.0])
def test_ticks_are_compared_with_places_between_the_beats(per_tick: float) -> None:
    beats = 1.7e9 + np.arange(120) * 0.25 + 0.001
    # A late beat shifts no place.
    beats[7] += 0.05
    ticks = 1.7e9 + 3.0 + np.arange(60) * 0.25 * per_tick + 0.005
    assert off_beats(ticks, beats, 0.25, per_tick) == pytest.approx(0.004, abs=1e-6)


def test_an_offset_of_half_a_place_does_not_cancel() -> None:
    beats = np.arange(100) * 0.2
    ticks = beats + 0.1 + np.where(np.arange(100) % 2, 0.003, -0.003)
    assert abs(off_beats(ticks, beats, 0.2, 1.0).mean()) == pytest.approx(0.1, abs=1e-6)


def test_offset_and_jitter_are_those_of_the_answers(config: Path) -> None:
    loaded = load(config).config
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        port, to = (
            int(address.rpartition(":")[2])
            for address in (str(loaded.streams[0].addr), loaded.send[0].to)
        )
        peer.bind(("127.0.0.1", port))
        peer.settimeout(0.1)
        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                try:
                    data = peer.recv(2048)
                except TimeoutError:
                    continue
                (found,) = Datagrams().decode(data, 0.0)
                assert isinstance(found, Message)
                assert found.key == "/beat"
                tick = Tick(0.0, found.ts + 0.03, 1, 0.2, 5.0, 0.0, 2, False)
                peer.sendto(tick_bundle("/lumen/tick", tick, 0.0), ("127.0.0.1", to))
                peer.sendto(tick_bundle("/other", tick, 0.0), ("127.0.0.1", to))
                peer.sendto(b"no osc..", ("127.0.0.1", to))

        answers = threading.Thread(target=answer)
        answers.start()
        found = beat(loaded, 1.5)
        done.set()
        answers.join()
    assert 2 <= len(found.jitter) <= found.beats
    assert np.median(found.offset) == pytest.approx(0.03, abs=1e-3)
    # Sent about 30 ms before the time tag in place of 20: that is 10 ms off, less the delay.
    assert np.min(found.jitter) < 0.0101


def test_the_clock_of_a_live_run_is_received(config: Path) -> None:
    process = subprocess.Popen(
        (sys.executable, "-m", "ops", "run", str(config)),
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        loaded = load(config).config
        until(lambda: len(beat(loaded, 8.0).jitter), process=process)
    finally:
        process.terminate()
        process.wait(HUNG_S)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"beat:": "rate:"}, "no bridge.reference.beat"),
        (
            {
                '{port}"}}]': '{port}"}}, {{name: pad, type: midi, device: pad}}]',
                "osc_1:/be": "pad:be",
            },
            "of no live OSC stream",
        ),
        ({'"127.0.0.1:{port}"': '"192.0.2.1:{port}"'}, "not on this machine only"),
        ({", clock: {{ahead_ms: 20}}": ""}, "no OSC destination with a clock"),
    ],
)
def test_a_configuration_without_a_reference_or_a_clock_is_refused(
    tmp_path: Path, changes: dict[str, str], reason: str
) -> None:
    text = CONFIG.replace("map: {{}}", 'map: {{/a: "pulse"}}')
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    path = tmp_path / "c.yaml"
    path.write_text(text.format(port=9, to=8, folder=tmp_path))
    with pytest.raises(ToolError, match=reason):
        beat(load(path).config, 1.0)


def test_a_port_in_use_is_one_line(config: Path) -> None:
    loaded = load(config).config
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", int(loaded.send[0].to.rpartition(":")[2])))
        with pytest.raises(ToolError, match=r"cannot be received: .* is taken by process"):
            beat(loaded, 1.0)
