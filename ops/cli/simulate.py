"""`lumen simulate`: a seeded recording with known truth, or the devices of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from ops.simulate.recording import make
from ops.simulate.scenario import studio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen simulate`."""
    parser.add_argument("--seed", type=_seed, default=1, help="default %(default)s")
    parser.add_argument("--seconds", type=_seconds, help="default 180; with --live until Ctrl-C")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("studio.ndjson.gz"),
        metavar="PATH",
        help="a .ndjson or .ndjson.gz file; default %(default)s",
    )
    parser.add_argument(
        "--live",
        nargs="?",
        const="configs/stage.yaml",
        metavar="CONFIG",
        help="play the devices of a configuration instead, by default %(const)s",
    )


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 1 to a day")
    return seconds


def main(args: argparse.Namespace) -> int:
    """Write a recording of the studio and its truth, or play devices."""
    if args.live:
        from ops.simulate.live import play_until_stopped

        return play_until_stopped(args.live, args.seconds, args.seed)
    truth = make(studio(args.seconds or 180.0), args.seed).write(args.out)
    print(f"{args.out}  {args.out.stat().st_size / 1000:.0f} kB\n{truth}")
    return 0
