"""Unit tests of rules: `python -m ops.monitoring.prometheus.unit [--realm prod] [FILE ...]`.

The tests are written for the realm `prod`; for another realm, a rewritten copy goes to promtool.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import yaml

from ops.monitoring.heartbeat import realm_name
from ops.monitoring.programs import PeerError, peer

TESTS = Path(__file__).parents[3] / "tests" / "rules"
WRITTEN_FOR = "prod"


def run(files: Iterable[Path], realm: str = WRITTEN_FOR) -> int:
    """Run unit tests of rules, each file once; return the exit code of promtool.

    Raises
    ------
    PeerError
        promtool is missing.
    """
    promtool = peer("promtool")
    with tempfile.TemporaryDirectory() as folder:
        made = [
            _for_realm(path, realm, Path(folder) / f"{i}_{path.name}")
            for i, path in enumerate(dict.fromkeys(path.resolve() for path in files))
        ]
        return subprocess.run((promtool, "test", "rules", *map(str, made))).returncode


def _for_realm(path: Path, realm: str, made: Path) -> Path:
    """Write a copy of a test for a realm, with absolute paths of its rule files."""
    text = path.read_text("utf-8")
    if "metric_realm" in text:
        text = re.sub(rf"\b{WRITTEN_FOR}\b", realm, text)
    test = yaml.safe_load(text)
    test["rule_files"] = [str((path.parent / name).resolve()) for name in test["rule_files"]]
    made.write_text(yaml.safe_dump(test), "utf-8")
    return made


def main() -> int:
    """Run the tests; return 2 if promtool is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.monitoring.prometheus.unit", description=__doc__
    )
    parser.add_argument("files", type=Path, nargs="*", metavar="FILE", help="default tests/rules")
    parser.add_argument("--realm", type=realm_name, default=WRITTEN_FOR, help="default %(default)s")
    args = parser.parse_args()
    try:
        return run(args.files or sorted(TESTS.glob("*.yml")), args.realm)
    except PeerError as error:
        print(f"lumen: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
