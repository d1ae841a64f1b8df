"""Lint for heartbeat rules: `python -m ops.monitoring.prometheus.heartbeat_lint [FILE ...]`.

- `sign`, `abs` and `increase` of a heartbeat are faults. The first two are constant or a stamp even
  for a dead writer. The third counts a restarted counter, or a second writer, as beats.
- A verdict record with a comparison without `bool` is a fault: its series vanishes instead of
  turning 0.
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
"""Text with comparison signs that compares nothing: matchers, strings, comments."""


def faults(path: Path) -> Iterator[str]:
    """Yield the faults of a rule file, one line each, which begins with the position."""
    for name, expression in _rules(path):
        where = f"{path}:{expression.start_mark.line + 1}:{expression.start_mark.column + 1}"
        text = expression.value
        for call in _CALL.finditer(text):
            if SERIES in _argument(text[call.end() :]):
                remedy = "use changes(...seq[6m]) and the age of ...ts"
                yield f"{where}: {name}: {call[1]}() of {SERIES}_*: {remedy}"
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
    """Return the text before the closing parenthesis."""
    depth = 1
    for i, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return text[:i]
    return text


def main() -> int:
    """Print the faults; return 1 if there are any."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.prometheus.heartbeat_lint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="default: all rules")
    files = parser.parse_args().files or sorted(RULES.glob("*.yml"))
    found = [fault for path in files for fault in faults(path)]
    print(*found, sep="\n", end="\n" * bool(found), file=sys.stderr)
    return int(bool(found))


if __name__ == "__main__":
    raise SystemExit(main())
