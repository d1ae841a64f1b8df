"""`lumen replay`: bare recordings, with a configuration worked out from what is in them."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.run import execute
from ops.cli.run import add_mode, add_recovery, show

MODES = {
    "hindsight": "Hindsight, two passes: clocks and lags are those of the whole recording, from the"
    " first tick on.\nNo live run has such figures; --causal gives those that one would have had.",
    "causal": "Causal, one pass: at each moment what a live run would have known by then.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen replay` takes."""
    parser.add_argument(
        "files", nargs="+", type=Path, metavar="FILE",
        help=".ndjson, .csv, .xdf, also packed (.gz, .zst), or a tape",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR",
        help="folder of the results and of the configuration; default %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--time", metavar="COLUMN", help="the time column of delimited files; else it is found"
    )
    parser.add_argument(
        "--unit", choices=("s", "ms", "us", "ns"),
        help="of source stamps; default: found in delimited files, else s",
    )  # fmt: skip
    add_mode(parser)
    add_recovery(parser)


def main(args: argparse.Namespace) -> int:
    """Work a configuration out, run it and show the summary."""
    from ops.cli.guess.config import derive, usual_mode
    from ops.cli.guess.delimited_files import dialects, remarks

    mode = args.mode or usual_mode(args.files)
    for line in remarks(args.files, dialects(args.files, args.time, args.unit)):
        print(line, flush=True)
    guesses: list[str] = []
    config = derive(args.files, args.out, mode, args.time, args.unit, guesses.append)
    print(f"{MODES[mode]}\n", flush=True)
    if guesses:
        print(*guesses, sep="\n", end="\n\n", flush=True)
    show(execute(config, args.recover, args.snapshot_s))
    print(f"\nWhat is fused with what is a guess: it stands in {config}. Change it, then\n"
          f"  lumen run {config}")  # fmt: skip
    return 0
