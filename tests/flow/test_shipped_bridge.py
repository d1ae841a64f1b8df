"""The shipped clocks: `configs/bridge.yaml` follows its beats, `configs/beat.yaml` follows taps."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bytewax.testing import run_main

from configs.inputs import MidiStream
from configs.load import load
from flows.fusion import flow
from ops.fakes.ports import free_port
from ops.simulate.beats import PROFILES
from ops.simulate.recording import make
from ops.simulate.scenario import band
from sources.inbox import Inbox, Message
from sources.midi import MidiReceiver
from tests.support.jack import jack, needs_jack
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]


def frames(config: Path, folder: Path, text: str) -> list[dict]:
    """Run a configuration at full speed; return its ticks and changes."""
    text = text.replace("{dir: out}", f"{{dir: {folder}/out}}").replace("exporter: {}", "")
    config.write_text(text.replace("speed: 1}", "speed: 0}"))
    run_main(flow(str(config), progress=False))
    return json_lines(folder / "out/bridge.jsonl")


def test_the_recorded_beats_lead_to_a_clock_that_plays_on(tmp_path: Path) -> None:
    found = frames(tmp_path / "c.yaml", tmp_path, (ROOT / "configs/bridge.yaml").read_text())
    start = found[0]["known"]
    changes = [(x["state"], x["why"]) for x in found if x["why"]]
    ticks = [x for x in found if not x["why"]]
    sent = [x for x in ticks if not x["withheld"]]

    assert changes == [("E1", "present"), ("E2", "good")]
    assert 10 <= sent[0]["ts"] - start < 15
    assert len(sent) == len([x for x in ticks if x["ts"] >= sent[0]["ts"]])
    assert {x["lock"] for x in sent} == {"locked", "holdover"}
    # Faster from 30 s on, slower from 54 s on, and no beats from 84 to 94 s.
    for begin, end, hz in ((40, 54, 6.0), (75, 84, 5.0), (90, 93, 5.0), (100, 118, 5.0)):
        rates = [x["rate_hz"] for x in sent if begin < x["ts"] - start < end]
        assert np.median(rates) == pytest.approx(hz, rel=0.005)
    alone = {x["lock"] for x in sent if 88 < x["ts"] - start < 93}
    assert alone == {"holdover"}
    errors = [x["phase_error"] for x in sent if 100 < x["ts"] - start < 118]
    assert np.max(np.abs(errors)) < 0.05


def test_the_recording_is_that_of_the_simulation(tmp_path: Path) -> None:
    made = tmp_path / "beats.ndjson.gz"
    make(band(PROFILES["tour"](120.0), 120.0), 1).write(made)
    shipped = ROOT / "configs/recordings/beats.ndjson.gz"
    assert gzip.decompress(made.read_bytes()) == gzip.decompress(shipped.read_bytes())


def test_the_clock_of_a_stage_follows_taps(tmp_path: Path) -> None:
    """A person taps two beats a second: four ticks a second, half of them on the beats."""
    beats = PROFILES["person"](60.0).at_rate(2.0)
    recording = tmp_path / "taps.ndjson.gz"
    make(band(replace(beats, channel="pad:note/10/36"), 60.0), 3).write(recording)
    text = (ROOT / "configs/beat.yaml").read_text()
    stream = f"streams: [{{name: taps, type: file, path: {recording}, speed: 1}}]\n"
    text = re.sub(r"streams:\n(  .*\n)+", stream, text)
    text = re.sub(r"channels:\n.*\n", "", text)
    text = text.replace("phone_1:/accxyz", "ure:pulse").replace(
        "phone_2:/accxyz", "osc_2:/wrist/pulse"
    )
    found = frames(tmp_path / "c.yaml", tmp_path, text)
    sent = [x for x in found if not x["why"] and not x["withheld"]]

    assert [x["state"] for x in found if x["why"]] == ["E1", "E2"]
    assert sent[0]["ts"] - found[0]["known"] < 15
    assert np.median([x["rate_hz"] for x in sent]) == pytest.approx(4.0, rel=0.1)
    errors = [x["phase_error"] for x in sent if x["ts"] - sent[0]["ts"] > 5]
    assert np.sqrt(np.mean(np.square(errors))) < 0.1


@pytest.mark.parametrize("name", ["bridge", "beat"])
def test_a_shipped_clock_has_a_clock_and_its_state_on_the_page(name: str) -> None:
    config = load(name).config
    assert config.bridge is not None
    assert config.exporter is not None
    assert any(destination.clock is not None for destination in config.send)


def test_gains_for_people_are_those_of_the_stage() -> None:
    phase = load("beat").config.bridge.phase
    assert (phase.gain.kp, phase.gain.ki, phase.rebalance_window_s) == (1.0, 0.5, 12.0)


@needs_jack
def test_the_stage_plays_a_midi_clock_after_taps(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    text = (
        (ROOT / "configs/beat.yaml").read_text().replace("{dir: out}", f"{{dir: {tmp_path}/out}}")
    )
    ports = {f":{port}": f":{free_port()}" for port in (9000, 9001, 9010)}
    for before, after in ports.items():
        assert before in text
        text = text.replace(before, after)
    text = text.replace("exporter: {}", "").replace('"0.0.0.0', '"127.0.0.1')
    config = tmp_path / "beat.yaml"
    config.write_text(text)
    with jack(monkeypatch):
        programs = [
            subprocess.Popen(
                (sys.executable, "-m", "ops", *command, str(config)),
                cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
            for command in (("run",), ("simulate", "--live"))
        ]  # fmt: skip
        clock = MidiReceiver(MidiStream(name="synth", device="lumen clock"))
        inbox = Inbox("synth")
        clock.start(inbox)
        keys: list[str] = []
        try:
            until(lambda: _keys(inbox, keys).count("clock") >= 48, process=programs[0])
        finally:
            clock.stop()
            for program in programs:
                program.terminate()
            for program in programs:
                program.wait(HUNG_S)
    assert "transport" in keys
    assert keys.index("transport") < keys.index("clock")


def _keys(inbox: Inbox, keys: list[str]) -> list[str]:
    """Return the keys of all messages so far."""
    keys += [item.key for item in inbox.take() if isinstance(item, Message)]
    return keys
