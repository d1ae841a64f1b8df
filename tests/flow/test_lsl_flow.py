"""An LSL stream in a whole run: the account, the tape, what comes back changed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from uuid import uuid4

import pytest
import yaml

from configs.document import ConfigError
from configs.load import load
from operators.types import MODES
from tests.support.json_lines import json_lines
from tests.support.lsl_sender import LslSender
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]


class Run:
    """`lumen run` on one LSL stream."""

    def __init__(self, folder: Path, name: str, keys: str = "ab", more: str = "") -> None:
        self.folder = folder
        self.config = folder / "c.yaml"
        members = ", ".join(f'"m:{key}": {{}}' for key in keys)
        self.config.write_text(
            f"version: 2\nrig: stage\nstreams: [{{name: m, type: lsl, stream: {name}}}]\n"
            f"signals: {{level: {{members: {{{members}}}}}}}\n"
            f"tap: {{dir: {folder}/tap}}\noutput: {{dir: {folder}/out}}\n{more}"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ops", "run", str(self.config)],
            cwd=ROOT, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def fused(self) -> list[dict]:
        return json_lines(self.folder / "out/fused.jsonl")

    def end(self) -> tuple[dict, str]:
        """Stop it; return `run.json` and standard error."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=HUNG_S)
        assert self.process.returncode == 0, errors
        return json.loads((self.folder / "out/run.json").read_text()), errors

    def assert_tape_gives_the_same(self) -> None:
        found = yaml.safe_load(self.config.read_text())
        (tape,) = (self.folder / "tap").glob("2*")
        found |= {"streams": [{"name": "tape", "type": "file", "path": str(tape)}],
                  "output": {"dir": str(self.folder / "again")}}  # fmt: skip
        del found["tap"]
        replay = self.folder / "r.yaml"
        replay.write_text(yaml.safe_dump(found))
        subprocess.run([sys.executable, "-m", "ops", "run", str(replay)], cwd=ROOT, check=True)
        for file in ("fused", "sync"):
            live, again = (
                (self.folder / part / f"{file}.jsonl").read_bytes() for part in ("out", "again")
            )
            assert live == again
        live, again = (
            [{**line, "where": ""} for line in json_lines(self.folder / part / "dead.jsonl")]
            for part in ("out", "again")
        )  # a replay names the place on the tape
        assert live == again


@pytest.fixture
def name() -> str:
    """A stream's name that no other test has."""
    return f"f{uuid4().hex[:12]}"


def test_all_that_a_stream_sends_is_accounted_for_and_the_tape_gives_the_same(
    tmp_path: Path, name: str
) -> None:
    sender = LslSender(name, channels=32, rate_hz=500.0, labels=["a", "b", "c"])
    run = Run(tmp_path, name)
    try:
        until(sender.has_consumer, process=run.process, every_s=0.1)
        sender.load(500.0, 6.0)
        sender.sent()
        now = time.time()
        until(lambda: (f := run.fused()) and f[-1]["ts"] > now, process=run.process)
    finally:
        sender.end()
    found, _ = run.end()
    account = found["account"]
    assert found["balanced"]
    of_stream = account["by_source"]["m"]
    tape = [line for file in (tmp_path / "tap").glob("2*/*.ndjson")
            for line in json_lines(file)]  # fmt: skip
    data = [x for x in tape if x.get("source") == "m" and not x["key"].startswith("clock_offset")]
    assert len(data) == 32 * 3000
    readings = [x for x in tape if str(x.get("key")).startswith("clock_offset")]
    assert len(readings) >= 2
    assert of_stream["received"] == len(data) + 2 * len(readings)
    assert of_stream["dropped"] == of_stream["rejected"] == 0
    run.assert_tape_gives_the_same()


def test_a_stream_that_comes_back_as_text_and_with_a_new_clock_harms_nothing(
    tmp_path: Path, name: str
) -> None:
    """Stamps go back by a day, numbers become texts, a channel is missing, then all is well."""
    run = Run(tmp_path, name)
    specs = [
        {"channels": 2, "labels": ["a", "b"], "rate_hz": 100.0},
        {"channels": 1, "labels": ["a"], "form": "string"},
        {"channels": 2, "labels": ["a", "b"], "rate_hz": 200.0},
    ]
    for number, spec in enumerate(specs):
        sender = LslSender(name, **spec)
        try:
            until(sender.has_consumer, process=run.process, every_s=0.1)
            count = len(run.fused())
            if spec.get("form") == "string":
                sender.push([["1.5"], ["no"]], [100.0, 99.0])
            else:
                sender.load(100.0, 3.0, ahead_s=-86_400.0 * number)
                sender.sent()
            until(lambda c=count: len(run.fused()) > c + 5, process=run.process)
        finally:
            sender.end()
    found, errors = run.end()
    assert found["balanced"]
    of_stream = found["account"]["by_source"]["m"]
    assert of_stream["used"] > 100
    assert errors.count("m is up") == 3
    assert "m has no channel b; it has a" in errors
    run.assert_tape_gives_the_same()


def test_results_go_out_as_a_stream_at_the_times_of_their_ticks(tmp_path: Path, name: str) -> None:
    from pylsl import StreamInlet, local_clock, resolve_byprop

    sender = LslSender(name, channels=2, rate_hz=100.0, labels=["a", "b"])
    run = Run(tmp_path, name, more=f"send: [{{name: {name}, type: lsl, stream_type: Out}}]\n")
    try:
        until(sender.has_consumer, process=run.process, every_s=0.1)
        sender.load(100.0, 8.0)
        found: list = []
        until(lambda: found.extend(resolve_byprop("name", f"{name}-stage", 1, 1.0)) or found)
        inlet = StreamInlet(found[0], recover=False)
        got: list = []

        def received() -> bool:
            rows, stamps = inlet.pull_chunk(0.1)
            got.extend(zip(stamps, rows, strict=True))
            return len(got) >= 20

        until(received, process=run.process)
        ahead = time.time() - local_clock()
    finally:
        sender.end()
    run.end()
    lines = {round(line["ts"], 3): line for line in run.fused()}
    for stamp, (value, sd, mode) in got:
        near = min(lines, key=lambda ts: abs(ts - stamp - ahead))
        line = lines[near]
        assert abs(near - stamp - ahead) < 0.05
        signal = line["signals"]["level"]
        assert [value, sd] == pytest.approx(
            [float("nan") if x is None else x for x in (signal["value"], signal["sd"])], nan_ok=True
        )
        assert MODES[int(mode)] == line["mode"]


def test_an_input_of_the_own_results_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    text = (
        "version: 2\nstreams: [{name: in, type: lsl, stream: out-studio}]\n"
        'signals: {x: {members: {"in:a": {}, "in:b": {}}}}\nsend: [{name: out, type: lsl}]\n'
    )
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    (line,) = refused.value.lines()
    assert line == (
        f"{path}:4:15: streams of 'out' are taken by stream 'in', expected another name, or"
        " loop: true"
    )
    path.write_text(text.replace("type: lsl}]", "type: lsl, loop: true}]"))
    assert load(path).config.send
