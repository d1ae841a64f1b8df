"""A whole run that is found: announced, described, withdrawn; and a run that opens nothing."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from zeroconf import Zeroconf

from ops.fakes.ports import free_port
from ops.simulate.devices import bundle
from tests.support.multicast_dns import LOOPBACK, needed
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def playing() -> Iterator[int]:
    """Return a port to which a phone sends until the end."""
    port, done = free_port(), threading.Event()

    def play() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:
            for n in range(1 << 20):
                if done.wait(0.02):
                    return
                values = [(key, (n % 37 / 37,)) for key in ("/a", "/b")]
                phone.sendto(bundle(time.time(), values), (LOOPBACK, port))

    thread = threading.Thread(target=play)
    thread.start()
    yield port
    done.set()
    thread.join()


def written(folder: Path, port: int, more: str) -> Path:
    config = folder / "c.yaml"
    config.write_text(
        f"version: 2\nrig: found\nresample: {{profile: low_latency}}\n"
        f'streams: [{{name: phone, type: osc, addr: "127.0.0.1:{port}"}}]\n'
        'signals: {level: {members: {"phone:/a": {lag_s: 0}, "phone:/b": {lag_s: 0}}}}\n'
        f'send: [{{name: desk, type: osc, to: "127.0.0.1:{free_port()}",'
        ' map: {/lumen/level: "clamp(level, 0, 1)", /lumen/live: live}}]\n'
        f"output: {{dir: {folder}/out}}\n{more}"
    )
    return config


def began(config: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "ops", "run", str(config)], cwd=ROOT)


def answer(port: int, path: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HUNG_S) as found:
        return json.loads(found.read())


@needed()
def test_a_run_is_announced_described_and_withdrawn(tmp_path: Path, playing: int) -> None:
    port, name = free_port(), f"Lumen {playing}"
    more = f"discovery: {{name: {name}, oscquery_port: {port}}}\n"
    run = began(written(tmp_path, playing, more))
    other = Zeroconf(interfaces=[LOOPBACK])

    def asked(type_: str) -> Any:
        return other.get_service_info(f"{type_}.local.", f"{name}.{type_}.local.", 1000)

    try:
        until(lambda: asked("_osc._udp"), process=run)
        until(lambda: asked("_oscjson._tcp"), process=run)
        found = asked("_oscjson._tcp")
        assert (found.parsed_addresses(), found.port) == ([LOOPBACK], port)
        assert asked("_osc._udp").port == answer(port, "/?HOST_INFO")["OSC_PORT"] == playing
        # Under the announced host name, as a client that resolved it asks.
        request = urllib.request.Request(f"http://127.0.0.1:{port}/lumen")
        request.add_header("Host", f"{found.server.rstrip('.')}:{port}")
        with urllib.request.urlopen(request, timeout=HUNG_S) as tree:
            assert set(json.loads(tree.read())["CONTENTS"]) == {"level", "live"}
        values: set[float] = set()

        def follows() -> bool:
            values.update(answer(port, "/lumen/level?VALUE").get("VALUE", []))
            return len(values) > 3

        until(follows, process=run)
        assert all(0 <= value <= 1 for value in values)
        assert answer(port, "/lumen/live?VALUE") == {"VALUE": [2.0]}
    finally:
        run.terminate()
        assert run.wait(HUNG_S) == 0
    until(lambda: asked("_osc._udp") is None)
    until(lambda: asked("_oscjson._tcp") is None)
    other.close()


def test_a_replay_without_a_rhythm_announces_nothing(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    demo = ROOT / "configs/recordings/demo.ndjson.gz"
    config.write_text(
        f"version: 2\nstreams: [{{name: demo, type: file, path: {demo}}}]\n"
        'signals: {pulse: {members: {"a:x": {}, "b:y": {}}}}\n'
        f"discovery: {{oscquery_port: {free_port()}}}\noutput: {{dir: {tmp_path}/out}}\n"
    )
    argv = [sys.executable, "-m", "ops", "run", str(config)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "nothing is announced: a replay at speed 0" in done.stderr
    assert "OSCQuery at" not in done.stderr


@pytest.mark.parametrize(
    ("more", "absent"),
    [
        ("", {"zeroconf", "ifaddr", "sinks.discovery", "waitress"}),
        # The package is in the announcing process alone.
        ("discovery: {}\n", {"zeroconf", "ifaddr"}),
    ],
)
def test_a_flow_imports_nothing_of_discovery_that_it_does_not_need(
    tmp_path: Path, more: str, absent: set[str]
) -> None:
    config = written(tmp_path, free_port(), more)
    code = (
        "import sys, flows.fusion\nflows.fusion.flow(sys.argv[1])\nprint(*sys.modules, sep='\\n')"
    )
    argv = [sys.executable, "-c", code, str(config)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert absent & set(done.stdout.split()) == set()
