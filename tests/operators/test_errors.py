"""The tree of exceptions: complete, documented, and with lines and exit code for an entry point."""

import ast
from pathlib import Path

import pytest

from configs.document import ConfigError, Fault
from flows.failure import RunFailedError
from flows.first_pass import FirstPassError, FirstPassStoppedError
from operators import errors
from operators.errors import InUseError, LumenError
from sources.replay import RecordingsError

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "operators", "sources", "sinks", "configs", "ops")


def exceptions() -> dict[str, list[str]]:
    """Return the bases of each exception class of the product."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            if path.parent.name == "text" and path.stem in ("wheel", "extension"):
                # The build imports no room.
                continue
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                    found[node.name] = [ast.unparse(base) for base in node.bases]
    return found


def test_every_exception_is_a_lumen_error_in_the_documented_tree() -> None:
    bases = exceptions()
    assert bases.pop("LumenError") == ["Exception"]
    for name in bases:
        base = name
        while base != "LumenError":
            base = next(b for b in bases[base] if b in bases or b == "LumenError")
        assert name.startswith("_") or f" {name} " in (errors.__doc__ or ""), name


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (InUseError("out: in use"), 2, ["lumen: out: in use"]),
        (ConfigError([Fault("c.yaml", 2, 1, "wrong")]), 2, ["c.yaml:2:1: wrong"]),
        (RecordingsError(["a: none", "b: none"]), 2, ["lumen: a: none", "lumen: b: none"]),
        (FirstPassError("disk full"), 1, ["lumen: disk full"]),
        (FirstPassStoppedError("Stopped."), 0, ["Stopped."]),
        (RunFailedError(["lumen: x", "  y"], 1), 1, ["lumen: x", "  y"]),
    ],
)
def test_an_error_has_lines_and_an_exit_code(
    error: LumenError, code: int, lines: list[str]
) -> None:
    assert (error.exit_code, error.lines()) == (code, lines)
