"""The shipped live configurations with nothing there, then with devices that are played."""

from __future__ import annotations

import json
import math
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from configs.inputs import MidiStream, OscStream
from configs.load import load
from configs.schema import Config
from ops.cli.guess.live_config import BACK
from ops.cli.listen import ListeningPort, configuration
from ops.fakes.ports import free_port
from ops.simulate.live import play
from sources.inbox import Inbox, Message, stamp
from sources.midi import MidiReceiver
from tests.support.jack import jack, needs_jack
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

RUNNING: list[subprocess.Popen[str]] = []
ROOT = Path(__file__).parents[2]


def moved(name: str, folder: Path) -> Path:
    """Write a shipped configuration with ports that are free, on loopback only."""
    text = (ROOT / f"configs/{name}.yaml").read_text("utf-8")
    text = re.sub(
        r"(?<=[\"/])(?:0\.0\.0\.0|127\.0\.0\.1):\d+", lambda _: f"127.0.0.1:{free_port()}", text
    )
    text = re.sub(r"(?<=\nexporter: ).*", f"{{http_port: {free_port()}}}", text)
    text = text.replace("{dir: out}", f"{{dir: {folder}/out}}")
    text = text.replace("{dir: tap,", f"{{dir: {folder}/tap,")
    path = folder / f"{name}.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture(autouse=True)
def running() -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that a test started; those it left behind are ended."""
    RUNNING.clear()
    yield RUNNING
    for process in RUNNING:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def started(*argv: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "ops", *argv], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    RUNNING.append(process)
    return process


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    return out, err


def receiving(process: subprocess.Popen[str], channel: str) -> subprocess.Popen[str]:
    """Wait until listening shows a channel, and then for what it sends in two seconds."""
    assert process.stdout is not None
    while not (line := process.stdout.readline()).startswith(channel):
        assert line
    time.sleep(2.0)
    return process


def values(folder: Path) -> list[float]:
    rows = json_lines(folder / "out" / "fused.jsonl")
    shown = [next(iter(row["signals"].values()))["value"] for row in rows]
    return [value for value in shown if value is not None]


@pytest.mark.parametrize(
    ("name", "down", "least"),
    [("live", {"ure", "midi_1"}, 10), ("stage", {"pad"}, 200)],
)
def test_a_run_starts_without_its_devices_and_connects_later(
    tmp_path: Path, name: str, down: set[str], least: int
) -> None:
    config = moved(name, tmp_path)
    osc = {"live": {"osc_1"}, "stage": {"phone_1", "phone_2"}}[name]
    run = started("run", str(config))
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(run.stderr))  # type: ignore[arg-type]
    reader.start()
    expected = {f"lumen: {s} is down" for s in down} | {f"lumen: {s} is silent" for s in osc}
    until(lambda: all(message in "".join(lines) for message in expected))
    devices = started("simulate", "--live", str(config))
    until(lambda: all(f"lumen: {s} sends again" in "".join(lines) for s in osc))
    until(lambda: name != "live" or "ure is up" in "".join(lines))
    until(lambda: len(values(tmp_path)) > least)
    shown, _ = ended(devices)
    run.send_signal(signal.SIGINT)
    assert run.wait(HUNG_S) == 0
    reader.join()
    messages = "".join(lines)

    assert shown.startswith("stream")
    without = re.findall(r"lumen: (\S+) is down", messages.partition("is up: http")[0])
    assert set(without) == down
    assert len(without) == len(down)
    assert ("ure is up" in messages) == (name == "live")
    silent, again = (
        re.findall(rf"lumen: (\S+) {x}", messages) for x in ("is silent", "sends again")
    )
    assert set(silent) >= set(again) == osc
    account = json.loads((tmp_path / "out" / "run.json").read_text())
    assert account["balanced"]


def test_listen_writes_a_configuration_on_ctrl_c(tmp_path: Path) -> None:
    config = moved("stage", tmp_path)
    (addr, _) = (s.addr for s in load(config).config.streams if isinstance(s, OscStream))
    out = tmp_path / "received.yaml"
    done = threading.Event()
    player = threading.Thread(target=play, args=(load(config).config, None, 1, done))
    player.start()
    listener = started("listen", "--osc", addr, "--out", str(out))
    try:
        time.sleep(3.0)
        shown, _ = ended(listener)
    finally:
        done.set()
        player.join()
    assert shown.startswith(f"Opens UDP {addr}")
    assert "osc_1:/accxyz[0]" in shown
    assert "osc_1:/accxyz[0]" in {m for s in load(out).config.signals.values() for m in s.members}


@needs_jack
def test_a_simulated_controller_is_received_under_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (pad,) = (s for s in load("configs/stage.yaml").config.streams if isinstance(s, MidiStream))
    config = alone(pad)
    with jack(monkeypatch):
        done = threading.Event()
        player = threading.Thread(target=play, args=(config, None, 1, done))
        stream, inbox, received = MidiReceiver(pad), Inbox("pad"), []
        stream.start(inbox)
        player.start()
        try:
            until(lambda: inbox.received >= 10)
            received += [x for x in inbox.take() if isinstance(x, Message)]
        finally:
            done.set()
            player.join()
            stream.stop()
    assert {x.key for x in received} == {"cc/1/0"}
    assert len({x.value for x in received}) > 5


def alone(pad: MidiStream) -> Config:
    """Return a configuration of the controller and nothing else."""
    return msgspec.convert(
        {
            "version": 2,
            "streams": [{"name": pad.name, "type": "midi", "device": pad.device}],
            "signals": {"s": {"members": {f"{pad.name}:cc/1/0": {}}}},
        },
        Config,
    )


def taken(listener: ListeningPort) -> ListeningPort:
    """Return a listener that has taken all that arrived."""
    listener.take()
    return listener


@needs_jack
def test_a_midi_device_connected_later_is_received_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    messages: list[str] = []
    with jack(monkeypatch) as server:
        listener = ListeningPort([], True, messages.append)
        try:
            listener.take()
            with server.player("Sequencer"):
                until(lambda: len(taken(listener).survey.channels) >= 2)
        finally:
            listener.stop()
    path = tmp_path / "received.yaml"
    path.write_text(configuration(listener, stamp()) or "")
    config = load(path).config
    (device,) = (s.device for s in config.streams if isinstance(s, MidiStream))
    assert "Sequencer" in device
    members = {m for s in config.signals.values() for m in s.members}
    assert members == {"midi_1:note/1/60", "midi_1:note/1/63"}


def test_listen_writes_a_stage_that_sends_the_movement(tmp_path: Path) -> None:
    osc_port, sound, page = free_port(), free_port(), free_port()
    done = threading.Event()

    def phone() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            while not done.wait(0.02):
                size = 1 + 0.3 * math.sin(9 * time.time())
                data = b"/acc\0\0\0\0,fff\0\0\0\0" + struct.pack(">3f", 0.6 * size, 0.8 * size, 0)
                sender.sendto(data, ("127.0.0.1", osc_port))

    player = threading.Thread(target=phone)
    player.start()
    out = tmp_path / "received.yaml"
    try:
        argv = ("listen", "--stage", "--osc", f"127.0.0.1:{osc_port}", "--out", str(out))
        shown, _ = ended(receiving(started(*argv), "osc_1:/acc[0]"))
        assert f"sends to 127.0.0.1:{BACK} (sound)" in shown
        text = out.read_text("utf-8").replace(f":{BACK}", f":{sound}")
        text = text.replace("exporter: {}", f"exporter: {{http_port: {page}}}")
        out.write_text(text.replace("{dir: out}", f"{{dir: {tmp_path}/out}}"), "utf-8")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", sound))
            receiver.settimeout(60.0)
            run = started("run", str(out))
            try:
                played = [receiver.recv(1024) for _ in range(100)]
            finally:
                ended(run)
    finally:
        done.set()
        player.join()
    assert {data.partition(b"\0")[0] for data in played} == {b"/stage/motion"}
    motion = [struct.unpack(">f", data[-4:])[0] for data in played]
    assert min(motion) < 0.2 < 0.8 < max(motion)
    assert all(0.0 <= value <= 1.0 for value in motion)
