"""The clock of a whole run: a recording of beats, played at its speed to OSC and over JACK."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from pythonosc.osc_bundle import OscBundle

from configs.inputs import MidiStream
from configs.outputs import MidiClockConfig, MidiDestination
from sinks.conductor.clock_process import steady
from sinks.conductor.conductor import MidiTickPlayer
from sinks.conductor.tick_schedule import Tick
from sources.inbox import Inbox, Message
from sources.midi import MidiReceiver
from tests.support.jack import JackServer, jack, needs_jack
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]
START, SECONDS, SPEED = 1_700_000_000.0, 40, 8.0
CONFIG = """version: 2
streams: [{{name: r, type: file, path: r.ndjson, speed: {speed}}}]
signals: {{pulse: {{members: {{"p:x": {{}}, "q:x": {{}}}}}}}}
bridge:
  reference: {{beat: "drum:tick"}}
  phase: {{rebalance_window_s: 5}}
  protocol: {{idle_s: 1}}
  state_file: tick.json
send: [{{name: music, type: osc, to: "127.0.0.1:{port}", map: {{}}, clock: {{}}}}]
"""


def record(path: Path) -> None:
    """Write a recording of 5 beats a second, and of two streams of one movement."""
    rng = np.random.default_rng(3)
    rows = [("drum", "tick", i / 5 + rng.normal(0, 0.003), 1.0) for i in range(SECONDS * 5)]
    for source in "pq":
        times = np.arange(SECONDS * 20) / 20
        rows += [(source, "x", t, float(np.sin(1.3 * t) + np.sin(0.7 * t))) for t in times]
    lines = [
        {"source": source, "key": key, "ts": START + t, "value": value,
         "meta": {"rx": START + t + 0.005}}
        for source, key, t, value in sorted(rows, key=lambda row: row[2])
    ]  # fmt: skip
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def replay(folder: Path, port: int, speed: float) -> list[dict]:
    """Run the recording at a speed; return the frames."""
    (folder / "c.yaml").write_text(CONFIG.format(port=port, speed=speed))
    command = (sys.executable, "-m", "bytewax.run", "flows.fusion:flow('c.yaml')")
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=2 * HUNG_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json_lines(folder / "out/bridge.jsonl")


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 21)
        made.bind(("127.0.0.1", 0))
        made.setblocking(False)
        yield made


def bundles(peer: socket.socket) -> list[tuple[float, list]]:
    """Return the time tag and the values of each tick."""
    found = []
    while True:
        try:
            bundle = OscBundle(peer.recv(2048))
        except BlockingIOError:
            return found
        found.append((bundle.timestamp, bundle.content(0).params))


def test_sent_ticks_are_those_of_the_file_in_its_rhythm(tmp_path, peer) -> None:
    record(tmp_path / "r.ndjson")
    frames = replay(tmp_path, peer.getsockname()[1], SPEED)
    sent = [f for f in frames if f["why"] is None and not f["withheld"]]
    decided = {frame["beat"]: frame for frame in sent}
    # After the last frame the clock goes on until the run has ended.
    received = [(at, values) for at, values in bundles(peer) if values[0] <= max(decided)]
    beats = [values[0] for _, values in received]

    assert len(sent) > 100
    assert beats == sorted(set(beats))
    assert set(beats) <= set(decided)
    assert {values[3] for _, values in received} <= {2, 3}
    # A loaded machine drops ticks, and delays the replay as a whole.
    assert len(beats) > 0.5 * len(sent)
    steps = [
        (b[0] - a[0]) * SPEED - (decided[b[1][0]]["ts"] - decided[a[1][0]]["ts"])
        for a, b in pairwise(received)
    ]
    assert np.median(np.abs(steps)) < 1e-4
    assert not (tmp_path / "tick.json").exists()  # a replay


def test_a_replay_at_full_speed_sends_nothing_and_decides_the_same(tmp_path, peer) -> None:
    record(tmp_path / "r.ndjson")
    frames = replay(tmp_path, peer.getsockname()[1], 0)
    once = (tmp_path / "out/bridge.jsonl").read_bytes()

    assert bundles(peer) == []
    assert [f["known"] for f in frames] == sorted(f["known"] for f in frames)
    replay(tmp_path, peer.getsockname()[1], 0)
    assert (tmp_path / "out/bridge.jsonl").read_bytes() == once


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[JackServer]:
    with jack(monkeypatch) as running:
        yield running


@needs_jack
def test_a_midi_clock_and_notes_come_over_one_port(server: JackServer) -> None:
    made, inbox = MidiReceiver(MidiStream(name="m", device="in", virtual=True)), Inbox("m")
    made.start(inbox)
    until(lambda: inbox.up)
    server.until("lumen:in")
    config = MidiClockConfig()
    destination = MidiDestination(
        name="synth", to="lumen:in", map={"note/1/60": "1"}, rate_hz=50.0, clock=config
    )
    player = MidiTickPlayer(destination, config, 0.1, "sources.midi.port:Port")
    player.start()
    try:
        player.sender.put({"note/1/60": 90.0})
        until(lambda: inbox.received >= 1)
        start = steady() + 0.3
        ticks = [Tick(start + 0.2 * i, 0.0, i, 0.2, 5.0, 0.0, 2, i == 10) for i in range(11)]
        player.put(ticks, start + 2.1)
        until(lambda: player.totals.total().outcomes["withheld"] == 1)
        sent = player.totals.total().outcomes["sent"]
        until(lambda: inbox.received >= 1 + 5 * sent)
    finally:
        player.stop()
        made.stop()
    keys = [item.key for item in inbox.take() if isinstance(item, Message)]

    # On a loaded machine, JACK skips periods with their messages.
    assert 5 * sent <= keys.count("clock") <= 6 * sent > 0
    assert keys.count("note/1/60") >= 1
