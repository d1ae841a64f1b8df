"""The commands of the page on the API, as they stand there."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.fakes.ports import free_port
from tests.support.stored import History
from tests.support.waiting import HUNG_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "ops" / "docs" / "API.md").read_text()
MAX_COMMANDS = 10


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl here")
def test_the_commands_answer(tmp_path):
    commands = re.search(r"```sh\n(.*?)```", PAGE, re.DOTALL)[1]
    settings = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)[1]
    assert commands.count("\n") <= MAX_COMMANDS
    port = free_port()
    settings = settings.replace("exporter: {", f"exporter: {{http_port: {port}, ")
    (tmp_path / "mine.yaml").write_text(
        'version: 2\nstreams: [{name: o, type: osc, addr: "127.0.0.1:9"}]\n'
        f'signals: {{pulse: {{members: {{"o:/x": {{}}}}}}}}\n{settings}'
    )
    (tmp_path / "history").mkdir()
    history = History(tmp_path / "history" / "history.sqlite")
    history.add(0, 100, rig="studio")
    history.store.close()
    (tmp_path / "lumen").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m ops "$@"\n')
    (tmp_path / "lumen").chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    commands = commands.replace(":9310", f":{port}").replace(
        "curl -s", "curl -s --retry 40 --retry-connrefused --retry-delay 1"
    )
    shell = subprocess.Popen(
        ["bash", "-ec", f"{commands}\nkill -TERM $!; wait $!"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        shown = shell.communicate(timeout=HUNG_S)[0]
    finally:
        if shell.poll() is None:
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, shown
    rig, *ticks, minutes = [line for line in shown.splitlines() if line.startswith("{")]
    assert json.loads(rig)["rig"] == "studio"
    assert [json.loads(tick)["ts"] for tick in ticks] == [0, 0.2, 0.4, 0.6, 0.8]
    assert json.loads(minutes)["rows"][0]["ticks"] == 100
