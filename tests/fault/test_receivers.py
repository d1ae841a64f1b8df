"""The receivers of `ops/examples` in their own programs, played to by OSC of this flow."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from configs.load import load
from ops.cli.guess.live_config import BACK
from ops.cli.listen import EXAMPLES
from ops.fakes.ports import free_port
from sinks.send.destination import OscOutput
from tests.support.programs import PD, SCLANG, environment, interpreter, needs
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
PROBED = ("motion", "trust", "fader")


@pytest.fixture
def port() -> int:
    return free_port()


def moved(name: str, port: int, folder: Path) -> Path:
    """Write a receiver anew that listens at a free port."""
    text = (EXAMPLES / name).read_text("utf-8")
    assert str(BACK) in text
    path = folder / name
    path.write_text(text.replace(str(BACK), str(port)), "utf-8")
    return path


@contextmanager
def running(
    command: Sequence[str | Path], folder: Path, env: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a program until the end of the block; gives where it writes."""
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=out
        )
        try:
            yield process, log
        finally:
            process.kill()
            process.wait()


def received(port: int, process: subprocess.Popen[bytes], log: Path) -> dict[str, float]:
    """Play until the last values have arrived; return the newest of each name."""
    osc = OscOutput(f"127.0.0.1:{port}")
    osc.open()
    sent = {"/stage/motion": 0.25, "/stage/trust": 0.75, "/stage/fader": 2.5, "/other": 9.0}
    newest: dict[str, float] = {}

    def text() -> str:
        return log.read_text("utf-8", "replace")

    def arrived() -> bool:
        osc.play(sent, time.monotonic())
        lines = re.findall(r"(?m)^(motion|trust|fader): ([0-9.]+)$", text())
        newest.update((name, float(value)) for name, value in lines)
        return newest == {"motion": 0.25, "trust": 0.75, "fader": 1.0}

    until(arrived, lambda: text()[-2000:], process, every_s=0.05)
    osc.close()
    return newest


@needs(PD)
def test_the_patch_receives_what_a_stage_sends_and_lacks_no_object(
    port: int, tmp_path: Path
) -> None:
    probe = tmp_path / "probe.pd"
    boxes = [
        f"#X obj 0 0 {box};" for name in PROBED for box in (f"r stage-{name}", f"print {name}")
    ]
    wires = [f"#X connect {2 * k} 0 {2 * k + 1} 0;" for k in range(len(PROBED))]
    probe.write_text("\n".join(["#N canvas 0 0 400 300 10;", *boxes, *wires, ""]))
    options = ("-nogui", "-stderr", "-noaudio", "-nomidi")
    command = (PD, *options, probe, moved("stage.pd", port, tmp_path))
    with running(command, tmp_path, environment(tmp_path)) as (process, log):
        assert received(port, process, log) == {"motion": 0.25, "trust": 0.75, "fader": 1.0}
    # At the start what is not sent is open; a fader beyond its range is held to it.
    output = log.read_text("utf-8", "replace")
    assert output.startswith("trust: 1\nfader: 1\n")
    assert "couldn't create" not in output


@needs(SCLANG)
def test_the_program_receives_what_a_stage_sends_and_its_sound_is_one(
    port: int, tmp_path: Path
) -> None:
    program = moved("stage.scd", port, tmp_path)
    probe = """
        ("sound: " ++ ~sound.class ++ " " ++ ~sound.allControlNames.collect(_.name)).postln;
        fork { loop {
            [\\motion, \\trust, \\fader].do { |n| (n ++ ": " ++ ~stage[n]).postln };
            0.05.wait;
        } };
    """
    program.write_text(f"{program.read_text('utf-8')};\n{probe}", "utf-8")
    command, env = interpreter(tmp_path, program)
    with running(command, tmp_path, env) as (process, log):
        assert received(port, process, log) == {"motion": 0.25, "trust": 0.75, "fader": 1.0}
    output = log.read_text("utf-8", "replace")
    assert "sound: SynthDef [ motion, trust, fader ]" in output
    assert "trust: 1\n" in output


def test_the_shipped_stage_sends_what_the_receivers_take() -> None:
    (sound,) = load(str(ROOT / "configs/stage.yaml")).config.send
    assert sound.to == f"127.0.0.1:{BACK}"
    assert set(sound.map) == {f"/stage/{name}" for name in PROBED}
    for receiver in ("stage.pd", "stage.scd"):
        text = (EXAMPLES / receiver).read_text("utf-8")
        assert all(name in text for name in ("stage", *PROBED))
