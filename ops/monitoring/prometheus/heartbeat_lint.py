"""What rules may not do with a heartbeat: `python -m ops.monitoring.prometheus.heartbeat_lint [FILE ...]`.

- `sign`, `abs`, `increase` of it: the first two are 1, and a stamp, also of a writer that is
  dead; the third takes a count that begins anew, or a second writer, for beats.
- A record of a verdict whose comparison lacks `bool`: it vanishes just when it is to be 0.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

RULES = Path(__file__).with_name("rules")
SERIES = "duri_textfile_heartbeat"
VERDICTS = "duri_heartbeat_"
_CALL = re.compile(r"\b(sign|abs|increase)\s*\(")
_COMPARISON = re.compile(r"(?:[=!<>]=|[<>](?!=))(?!\s*bool\b)")
_NO_OPERATOR = re.compile(r"""\{[^}]*\}|"[^"]*"|'[^']*'|#.*""")
"""What holds `=` or any other sign without comparing: matchers, strings, comments."""


def faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with a rule file, a line each that begins with its place."""
    for name, expression in _rules(path):
        where = f"{path}:{expression.start_mark.line + 1}:{expression.start_mark.column + 1}"
        text = expression.value
        for call in _CALL.finditer(text):
            if SERIES in _argument(text[call.end() :]):
                said = "use changes(...seq[6m]) and the age of ...ts"
                yield f"{where}: {name}: {call[1]}() of {SERIES}_*: {said}"
        if name.startswith(VERDICTS) and _COMPARISON.search(_NO_OPERATOR.sub("", text)):
            yield f"{where}: {name}: a comparison without bool: it is gone where it should be 0"


def _rules(path: Path) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Yield the name and the expression of each rule."""
    pending = [yaml.compose(path.read_text("utf-8"))]
    while pending:
        node = pending.pop(0)
        if isinstance(node, yaml.SequenceNode):
            pending += node.value
        elif isinstance(node, yaml.MappingNode):
            keys = {key.value: value for key, value in node.value}
            pending += keys.values()
            name = keys.get("record", keys.get("alert"))
            if name is not None and "expr" in keys:
                yield name.value, keys["expr"]


def _argument(text: str) -> str:
    """Return what stands before the parenthesis that closes."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[:i]
    return text


def main() -> int:
    """Say what is wrong; 1 if anything is."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.prometheus.heartbeat_lint", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="default: all rules")
    files = parser.parse_args().files or sorted(RULES.glob("*.yml"))
    found = [fault for path in files for fault in faults(path)]
    print(*found, sep="\n", end="\n" * bool(found), file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
