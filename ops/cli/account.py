"""`lumen account`: the account of a run, added up over the parts of its output."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ops.results.folder import run_json
from ops.results.summary import account
from sinks.files.parts import parts_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen account`."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="output folder of a run")


def main(args: argparse.Namespace) -> int:
    """Show the account; return 1 if it does not balance or a part is missing."""
    run = run_json(args.folder)
    if not run:
        print(f"lumen: {args.folder}: no run.json, expected the folder of a run", file=sys.stderr)
        return 2
    print(account(args.folder))
    parts, count = len(parts_of(args.folder)), run.get("part", {"of": 1})["of"]
    if count > 1:
        print(f"{parts} of {count} parts, {len(run['rigs'])} rigs")
    return 0 if run["balanced"] and parts == count else 1
