"""Packages that a start does not import: each costs time in every run that does without it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RARE = ("scipy", "pyxdf", "prometheus_client", "mido", "pythonosc", "arro3", "matplotlib")


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import bytewax.run, flows.fusion", RARE),
        ("from ops.__main__ import main; main([])", (*RARE, "numpy", "bytewax")),
    ],
)
def test_a_start_imports_no_package_that_only_some_runs_need(code, absent):
    shown = "print(*[n for n in sys.modules if '.' not in n], file=sys.stderr)"
    argv = [sys.executable, "-c", f"import sys\n{code}\n{shown}"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(absent) & set(done.stderr.split()) == set()
