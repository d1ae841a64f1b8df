"""`lumen bridge` beside a live run: its states, its commands, and runs that are not there."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.__main__ import main
from ops.bench.osc_fuzz import message
from ops.cli.bridge import recorded
from ops.fakes.ports import free_port
from tests.support.json_lines import json_lines
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[3]
CONFIG = """version: 2
rig: stage
streams: [{{name: osc_1, type: osc, addr: "127.0.0.1:{port}"}}]
signals: {{pulse: {{members: {{"osc_1:/a": {{}}, "osc_1:/b": {{}}}}}}}}
bridge:
  reference: {{beat: "osc_1:/beat"}}
  phase: {{rebalance_window_s: 5}}
  protocol: {{idle_s: 0.2, sync_hold: 0.3, sync_bridged: 0.3}}
output: {{dir: {folder}/out}}
"""


@pytest.fixture(autouse=True)
def an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LUMEN_URL", raising=False)


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen]]:
    """Return the configuration of a run that receives five beats a second, and its process."""
    port, done = free_port(), threading.Event()
    config = tmp_path / "live.yaml"
    served = f"exporter: {{http_port: {free_port()}}}\n"
    config.write_text(CONFIG.format(port=port, folder=tmp_path) + served)

    def beat() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not done.wait(0.2):
                out.sendto(message("/beat", "f", bytes(4)), ("127.0.0.1", port))

    command = (sys.executable, "-m", "ops", "run", str(config))
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    beats = threading.Thread(target=beat)
    beats.start()
    yield config, process
    done.set()
    beats.join()
    process.terminate()
    process.wait(HUNG_S)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Return the exit code of `lumen bridge`, and its output."""
    capsys.readouterr()
    try:
        code = main(["bridge", *arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out + err


def test_release_follows_rollback_and_nothing_else(live, tmp_path, capsys) -> None:
    config, process = live

    def reached(*arguments: str, state: str) -> bool:
        return f"stage: {state} " in shown(capsys, "status", *arguments)[1]

    until(lambda: reached(str(config), state="E2"), process=process)
    _, text = shown(capsys, "status", str(config), "--rig", "stage")
    assert "clock: " in text
    assert "safety gain 1" in text
    assert shown(capsys, "release") == (1, "nothing to release: stage is in E2 bridged\n")
    assert shown(capsys, "status", str(config), "--rig", "nowhere")[0] == 2
    assert shown(capsys, "rollback", "--rig", "nowhere")[0] == 2

    assert shown(capsys, "rollback")[0] == 0
    # Without an exporter at the usual address the state is that of the files.
    until(lambda: reached(state="E4"), process=process)
    assert "the unmet conditions are not known" in shown(capsys, "status")[1]
    until(lambda: reached(str(config), state="E4"), process=process)
    _, text = shown(capsys, "status", str(config))
    assert "E4 until `lumen bridge release`; then E1" in text
    assert "safety gain 0" in text

    assert shown(capsys, "release", str(config), "--rig", "stage")[0] == 0
    until(lambda: recorded(tmp_path / "out")["stage"].state != "E4", process=process)
    changes = json_lines(tmp_path / "out/bridge.jsonl")
    assert [x["why"] for x in changes if x["why"] in ("rollback", "release")] == [
        "rollback",
        "release",
    ]


@pytest.mark.parametrize("action", ["status", "release", "rollback"])
def test_without_a_run_the_exit_code_is_2(action, tmp_path, capsys) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(CONFIG.format(port=free_port(), folder=tmp_path))
    code, text = shown(capsys, action, str(config))
    assert code == 2
    assert "no run" in text
    assert text.count("\n") == 1


def test_a_configuration_without_a_bridge_is_refused(tmp_path, capsys) -> None:
    assert shown(capsys, "status", str(ROOT / "configs/fusion.yaml"))[0] == 2


def test_the_newest_state_of_each_rig_is_that_of_its_file(tmp_path) -> None:
    for rig, states in {"a": ("E1", "E2", None), "b": ("E4",)}.items():
        (tmp_path / rig).mkdir()
        lines, state = [], "E0"
        for ts, after in enumerate(states):
            state = after or state
            why = "good" if after else None
            lines.append({"ts": float(ts), "rig": rig, "state": state, "why": why})
        text = "".join(f"{json.dumps(line)}\n" for line in lines) + '{"ts": 9, "ri'
        (tmp_path / rig / "bridge.jsonl").write_text(text)
    found = recorded(tmp_path)
    assert (found["a"].state, found["a"].ts, found["a"].since) == ("E2", 2.0, 1.0)
    assert (found["b"].state, found["b"].since) == ("E4", 0.0)
