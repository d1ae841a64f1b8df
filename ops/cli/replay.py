"""`lumen replay`: bare recordings, with a configuration derived from their content."""

from __future__ import annotations

import argparse
from pathlib import Path

from configs.shipped import shipped
from flows.run import execute
from ops.cli.run import add_mode, add_recovery, remark, show

MODES = {
    "hindsight": "Hindsight, two passes: clocks and lags of the whole recording, from the first"
    " tick on.\nA live run cannot have such figures; --causal gives those of a live run.",
    "causal": "Causal, one pass: at each moment the estimates that a live run would have had.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen replay`."""
    parser.add_argument(
        "files",
        nargs="+",
        type=lambda path: Path(shipped(path)),
        metavar="FILE",
        help=".ndjson, .csv, .xdf, also packed (.gz, .zst), .parquet, .arrow, .mcap, or a tape",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("out"),
        metavar="DIR",
        help="folder of the results and of the configuration; default %(default)s",
    )
    parser.add_argument(
        "--time", metavar="COLUMN", help="the time column of delimited files; default: detected"
    )
    parser.add_argument(
        "--unit",
        choices=("s", "ms", "us", "ns"),
        help="of source stamps; default: detected in delimited files, else s",
    )
    add_mode(parser)
    add_recovery(parser)


def main(args: argparse.Namespace) -> int:
    """Derive a configuration, run it and show the summary."""
    from ops.cli.guess.config import derive, usual_mode
    from ops.cli.guess.delimited_files import dialects, remarks

    mode = args.mode or usual_mode(args.files)
    for line in remarks(args.files, dialects(args.files, args.time, args.unit)):
        print(line, flush=True)
    guesses: list[str] = []
    config = derive(args.files, args.out, mode, args.time, args.unit, guesses.append, remark)
    print(f"{MODES[mode]}\n", flush=True)
    if guesses:
        print(*guesses, sep="\n", end="\n\n", flush=True)
    show(execute(config, args.recover, args.snapshot_s))
    print(f"\nThe members of each signal are a guess, stored in {config}. Edit it, then")
    print(f"  lumen run {config}")
    return 0
