"""Recovery options of the engine's own command."""

import sys
from pathlib import Path

import pytest

from flows.recovery import of_command


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-m", "bytewax.run", "flows.fusion"], False),
        (["-m", "bytewax.run", "flows.fusion", "-r", "db"], True),
        (["-m", "bytewax.run", "flows.fusion", "-rdb"], True),
        (["-m", "bytewax.run", "--recovery-directory=db", "flows.fusion"], True),
        (["-m", "bytewax.run", "--recovery-dir", "db", "flows.fusion"], True),
        (["-m", "pytest", "-rA"], False),
    ],
)
def test_recovery_is_read_from_the_command_line(monkeypatch, arguments, expected):
    monkeypatch.delenv("BYTEWAX_RECOVERY_DIRECTORY", raising=False)
    monkeypatch.setattr("sys.argv", ["x", *arguments[2:]])
    monkeypatch.setattr("sys.orig_argv", ["python", *arguments])
    assert of_command().on is expected
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", "db")
    assert of_command().on


@pytest.mark.parametrize(
    ("arguments", "environ", "expected"),
    [
        (["run.py", "flows.fusion", "-r", "a/b", "-s", "0"], {}, "a/b"),
        (["run.py", "-w", "1", "flows.fusion", "-ra"], {}, "a"),
        (["run.py", "flows.fusion", "--recovery-directory=a"], {}, "a"),
        (["run.py", "flows.fusion", "--recov", "a", "-b", "0"], {}, "a"),
        (["run.py", "flows.fusion"], {"BYTEWAX_RECOVERY_DIRECTORY": "a"}, "a"),
        (["run.py", "flows.fusion", "-s", "0"], {}, None),
    ],
)
def test_the_store_of_the_engines_command_is_found(monkeypatch, arguments, environ, expected):
    monkeypatch.delenv("BYTEWAX_RECOVERY_DIRECTORY", raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["bytewax/" + arguments[0], *arguments[1:]])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "bytewax.run", *arguments[1:]])
    assert of_command().store == (Path(expected) if expected else None)
