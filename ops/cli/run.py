"""`lumen run`: one configuration from start to end, with a summary after it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from flows.run import execute
from ops.results.summary import summary


def show(folder: Path) -> None:
    """Print the summary of the run in `folder`; a closed pipe is not an error."""
    try:
        print(*summary(folder), sep="\n\n", flush=True)
    except BrokenPipeError:
        with Path(os.devnull).open(
            "wb"
        ) as nowhere:  # for the rest of the buffer, flushed at the exit
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def remark(line: str) -> None:
    """Print a remark on standard error."""
    print(f"lumen: {line}", file=sys.stderr)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen run`."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    add_recovery(parser)
    parser.add_argument(
        "--from",
        dest="begin",
        choices=("earliest",),
        help="of a topic: go on at the earliest offset where the wanted one was deleted",
    )


def add_recovery(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of a resumable run."""
    parser.add_argument(
        "--recover",
        type=Path,
        metavar="DIR",
        help="folder of the state, from which a restarted run resumes; keep it private",
    )
    parser.add_argument(
        "--snapshot-s",
        type=float,
        default=10.0,
        metavar="S",
        help="seconds between two snapshots; default %(default)s",
    )


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Declare the mode of a run over bare recordings."""
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--hindsight",
        dest="mode",
        action="store_const",
        const="hindsight",
        help="two passes: clocks and lags of the whole recording; default except for tapes",
    )
    modes.add_argument(
        "--causal",
        dest="mode",
        action="store_const",
        const="causal",
        help="one pass: at each moment the estimates of a live run",
    )


def main(args: argparse.Namespace) -> int:
    """Run a configuration and show the summary."""
    earliest = args.begin == "earliest"
    show(execute(args.config, args.recover, args.snapshot_s, from_earliest=earliest))
    return 0
