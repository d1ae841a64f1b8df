"""Several starts of one configuration at once: one runs, the others end with its process named."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from flows.folder_lock import FolderLock
from operators.errors import InUseError
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("recover", [False, True])
def test_of_six_starts_one_runs_and_five_name_it(tmp_path: Path, recover: bool) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(f"""version: 2
streams: [{{name: demo, type: file, path: {ROOT}/configs/recordings/demo.ndjson.gz, speed: 5}}]
signals: {{pulse: {{members: {{"ure:pulse": {{group: ure}}, "osc_1:/body/pulse": {{}}}}}}}}
output: {{dir: {tmp_path}/out}}
""")
    more = ["--recover", f"{tmp_path}/store"] if recover else []
    command = [sys.executable, "-m", "ops", "run", str(config), *more]
    starts = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    try:
        until(lambda: sum(start.poll() is None for start in starts) <= 1)
        (runs,) = (start for start in starts if start.poll() is None)
        for start in starts:
            if start is not runs:
                assert start.returncode == 2
                output = start.communicate()[1]
                assert f"process {runs.pid} is writing there" in output
                assert output.count("\n") == 1
        runs.send_signal(signal.SIGINT)
        _, output = runs.communicate(timeout=60)
        assert runs.returncode == 0, output
    finally:
        for start in starts:
            start.kill()
            start.communicate()


def test_a_turn_ends_and_another_begins(tmp_path: Path) -> None:
    first = FolderLock(tmp_path / "new" / "out")
    with pytest.raises(InUseError, match=r"process .* is writing there"):
        FolderLock(tmp_path / "new" / "out")
    first.leave()
    first.leave()
    FolderLock(tmp_path / "new" / "out").leave()


def test_a_folder_that_cannot_be_is_left_to_the_look_at_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    FolderLock(tmp_path / "file" / "out").leave()
    assert (tmp_path / "file").read_text() == "mine"
