"""Runs go on where a system lacks what Linux has: each part is hidden from a fresh interpreter."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage

from ops.bench.osc_fuzz import message
from ops.cli.system_parts import PARTS
from ops.fakes.ports import free_port
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]
HIDES = ROOT / "tests" / "support" / "other_system.py"
SYSTEMS = ("macos", "windows")
REHEARSAL = ROOT / "configs" / "recordings" / "rehearsal.ndjson.gz"
LIVE = """version: 2
streams: [{{name: osc_1, type: osc, addr: "127.0.0.1:{port}", keys: [/v]}}]
signals: {{pulse: {{members: {{"osc_1:/v": {{lag_s: 0.0}}}}}}}}
failover: {{fallback: sensors_only}}
resample: {{target_hz: 20}}
bridge: {{reference: {{rate: "osc_1:/v"}}}}
send:
  - {{name: music, type: osc, to: "127.0.0.1:{to}", map: {{/pulse: pulse}},
     clock: {{address: /tick}}}}
exporter: {{host: 127.0.0.1, http_port: {page}}}
output: {{dir: out}}
tap: {{dir: tap}}
"""
MIDI = """version: 2
streams: [{name: pad, type: midi, device: nanoKEY}]
signals: {turn: {members: {"pad:cc/1/1": {lag_s: 0.0}}}}
failover: {fallback: sensors_only}
resample: {target_hz: 20}
send: [{name: synth, type: midi, to: Synth, map: {cc/1/7: turn}}]
output: {dir: out}
"""


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def command(system: str, *arguments: str) -> list[str | Path]:
    start: list[str | Path] = [sys.executable, "-X", "warn_default_encoding"]
    return [*start, *([HIDES, system] if system else []), "-m", "ops", *arguments]


def ran(folder: Path, system: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        command(system, *arguments), cwd=folder, env=environment(), capture_output=True, text=True
    )


@contextmanager
def running(folder: Path, system: str, *arguments: str, **more: str) -> Iterator[subprocess.Popen]:
    """Yield a run that ends by Ctrl-C, with code 0 and no traceback."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command(system, "run", *arguments), cwd=folder, env=environment(**more), stderr=log,
            stdout=log,
        )  # fmt: skip
    try:
        yield process
        process.send_signal(signal.SIGINT)
        code = process.wait(HUNG_S)
    finally:
        process.kill()
        process.wait()
    log = (folder / "log").read_text()
    assert code == 0, log
    assert "Traceback" not in log


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_recording_gives_the_bytes_of_linux(tmp_path: Path, system: str) -> None:
    for name in ("", system):
        done = ran(tmp_path / f"of{name}", name, "replay", str(REHEARSAL))
        assert done.returncode == 0, done.stderr
    here, there = tmp_path / "of" / "out", tmp_path / f"of{system}" / "out"
    for name in ("fused", "sync", "dead", "markers"):
        assert (there / f"{name}.jsonl").read_bytes() == (here / f"{name}.jsonl").read_bytes()
    peak = json.loads((there / "run.json").read_text())["peak_mib"]
    assert (peak is None) == (system == "windows")


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_live_run_receives_sends_shows_records_and_resumes(tmp_path: Path, system: str) -> None:
    port, page = free_port(), free_port()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.settimeout(HUNG_S)
        config = LIVE.format(port=port, to=peer.getsockname()[1], page=page)
        (tmp_path / "live.yaml").write_text(config)
        for turn in range(2):
            more = ("live.yaml", "--recover", "state")
            with (
                running(tmp_path, system, *more) as process,
                socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
            ):
                sender.connect(("127.0.0.1", port))

                def values_come(sender: socket.socket = sender) -> bool:
                    for _ in range(10):
                        try:
                            sender.send(message("/v", "f", struct.pack(">f", 2.0)))
                        except OSError:  # nobody listens yet
                            time.sleep(0.05)
                            return False
                        time.sleep(0.02)
                    peer.setblocking(False)
                    try:
                        while True:
                            if OscMessage(peer.recv(4096)).params == [2.0]:
                                return True
                    except BlockingIOError:
                        return False

                until(values_come, lambda: (tmp_path / "log").read_text(), process)
                if not turn:
                    sender.send(bytes(9_000))
                    until(lambda: any(x["reason"] == "too_long" for x in
                                      json_lines(tmp_path / "out" / "dead.jsonl")))  # fmt: skip
                client = HTTPConnection("127.0.0.1", page, timeout=HUNG_S)
                client.request("GET", "/healthz")
                assert client.getresponse().status == 200
                client.close()  # before the server: its port is free again at once
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["account"]["total"]["used"] > 0
    assert list((tmp_path / "tap").rglob("*.ndjson*"))


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_midi_run_receives_and_plays(tmp_path: Path, system: str) -> None:
    (tmp_path / "midi.yaml").write_text(MIDI)
    log = tmp_path / "synth.log"
    path = os.pathsep.join((str(ROOT / "tests" / "support" / "coremidi"), str(ROOT)))
    more = {"PYTHONPATH": path, "LUMEN_TEST_SYNTH": str(log)}
    with running(tmp_path, system, "midi.yaml", **more) as process:
        until(log.exists, lambda: (tmp_path / "log").read_text(), process)
    assert log.read_text().startswith("b007")
    run = json.loads((tmp_path / "out" / "run.json").read_text())
    assert run["account"]["by_source"]["pad"]["used"] > 0


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_doctor_names_each_part_that_is_not_there(tmp_path: Path, system: str) -> None:
    done = ran(tmp_path, system, "doctor")
    assert "Traceback" not in done.stderr
    assert "not tried here" in done.stdout
    absent = [part for part, _, instead in PARTS if f"no {part}: {instead}" in done.stdout]
    least = {"recvmmsg", "CLOCK_BOOTTIME", "fdatasync", "/proc", "malloc_trim"}
    assert least <= set(absent)
    if system == "windows":
        assert {"fcntl", "resource", "AF_UNIX", "folder sync"} <= set(absent)


def test_the_doctor_finds_every_part_on_linux(tmp_path: Path) -> None:
    assert not [part for part, there, _ in PARTS if not there()]


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_heart_beats_without_file_locks(tmp_path: Path, system: str) -> None:
    start = [sys.executable, HIDES, system, "-m", "ops.monitoring.heartbeat", "--dir", tmp_path]
    for _ in range(2):
        subprocess.run(start, cwd=ROOT, env=environment(), check=True)
    assert 'seq{metric_realm="prod"} 2\n' in (tmp_path / "heartbeat_prod.prom").read_text()
