"""Snapshot, restore and prune, killed at each file that they touch and at random times."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("command", ["snapshot", "restore", "prune", "restore --into"])
def test_a_death_at_any_file_leaves_sound_stores_and_snapshots(command):
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench.snapshot_kills", "--random", "3", "--only", command],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 faults" in done.stdout
    (deaths,) = re.findall(rf"^{command} +(\d+) ", done.stdout, re.MULTILINE)
    assert int(deaths) > 15
