"""`lumen shadow`: a candidate on the input of a running flow, compared with it tick by tick."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from configs.load import load
from operators.collect import BlockRule
from ops.gate.bounds import MAX_FAILURE, MIN_UNIQUE
from ops.results.folder import run_json
from ops.shadow import shadow_metrics
from ops.shadow.candidate import ShadowError, command, recorded
from ops.shadow.comparer import VERDICTS, Verdict, failure_ratio, total, unique_ratio
from ops.shadow.self_check import same_twice
from ops.shadow.shadow import DIFF, OUT, Shadow, compare
from ops.text.table import table
from sinks.files.folder import Folder
from sources.host.signal_shutdown import SignalShutdown
from sources.tape.reader import is_run, is_tape, read_manifest, segment_path

UNKNOWN = 3
"""Exit code without a verdict."""


def tapes(given: list[str]) -> tuple[list[Path], bool]:
    """Return the recordings of `--tape`, and whether they are a tape that may still grow.

    A folder of tapes means the newest of them.

    Raises
    ------
    ShadowError
        A recording does not exist, or a tape has lost its beginning.
    """
    if given == ["kafka"]:
        raise ShadowError("--tape kafka: this version has no Kafka stream")
    found = []
    for path in map(Path, given):
        if not path.exists():
            raise ShadowError(f"{path} does not exist")
        if path.is_dir() and not is_tape(str(path)):
            runs = sorted(p for p in path.iterdir() if is_run(p.name) and is_tape(str(p)))
            if not runs:
                raise ShadowError(f"{path}: no tape in this folder")
            path = runs[-1]
        found.append(path)
    folders = [path for path in found if path.is_dir()]
    if folders and len(found) > 1:
        raise ShadowError("a tape is the whole input: one --tape only")
    for folder in folders:
        try:
            segments = read_manifest(folder).segments
        except ValueError as error:
            raise ShadowError(str(error)) from None
        if not segments or segments[0].begin or not segment_path(folder, segments[0]).exists():
            raise ShadowError(f"{folder}: its beginning was deleted; a candidate needs tap.keep 0")
    return found, bool(folders)


def block_of(running: Path) -> BlockRule | None:
    """Return the blocks of a run that has ended; None without `run.json`."""
    try:
        found = run_json(running).get("block_s")
    except (OSError, msgspec.DecodeError):
        return None
    return "density" if found == "density" else float(found) if found is not None else None


def report(counts: dict[str, dict[Verdict, int]], unreadable: int) -> list[str]:
    """Return the lines of a result: counts by rig and verdict, and both ratios."""
    rows = [(rig, *(str(of[v]) for v in VERDICTS)) for rig, of in counts.items()]
    lines = [table(("rig", *VERDICTS), rows)] if rows else []
    both = total(counts)
    failure, unique, ticks = failure_ratio(both), unique_ratio(both), sum(both.values())
    same = f"{both['identical'] / ticks:.4f}" if ticks else "-"
    lines.append(
        f"canary_failure_ratio {_ratio(failure)} (at most {MAX_FAILURE:g}),"
        f" canary_unique_ratio {_ratio(unique)} (at least {MIN_UNIQUE:g}),"
        f" identical {same} of {ticks} ticks"
    )
    return lines + ([f"{unreadable} lines could not be read"] if unreadable else [])


def _ratio(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4f}"


def verdict(counts: dict[str, dict[Verdict, int]]) -> int:
    """Return the exit code of a result."""
    both = total(counts)
    failure, unique = failure_ratio(both), unique_ratio(both)
    if failure is None or unique is None:
        return UNKNOWN
    return int(failure > MAX_FAILURE or unique < MIN_UNIQUE)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen shadow`."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="of the candidate")
    parser.add_argument(
        "--against", type=Path, required=True, metavar="DIR",
        help="output folder of the running flow",
    )  # fmt: skip
    parser.add_argument(
        "--tape", nargs="+", required=True, metavar="PATH",
        help="input of the running flow: its tape (which is followed), or recordings",
    )  # fmt: skip
    parser.add_argument(
        "--into", type=Path, default=Path("shadow"), metavar="DIR",
        help="folder of the shadow; default %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--share", type=_share, default=1.0, metavar="PART",
        help="part of the rigs to compare, 0 to 1; a file `share` in the folder changes it",
    )  # fmt: skip
    parser.add_argument(
        "--host", default=shadow_metrics.HOST, metavar="HOST",
        help=f"address at which {shadow_metrics.PATH} is served; default %(default)s",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=shadow_metrics.PORT, metavar="PORT",
        help=f"of {shadow_metrics.PATH}; default %(default)s",
    )  # fmt: skip


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError("has to lie between 0 and 1")
    return value


def main(args: argparse.Namespace) -> int:
    """Compare; 0 within the bounds, 1 beyond them, 2 for an invalid call, 3 without a verdict."""
    loaded = load(args.config)
    inputs, follow = tapes(args.tape)
    if not args.against.is_dir():
        raise ShadowError(f"{args.against} is no folder: the running flow writes it")
    if args.into.resolve() == args.against.resolve():
        raise ShadowError(f"{args.into} is the folder of the running flow: choose another --into")
    block = None if follow else block_of(args.against)
    recorded(loaded.config, inputs, args.into, follow=follow, block=block)
    args.into.mkdir(mode=0o700, parents=True, exist_ok=True)
    Folder(args.into / OUT).check()
    settings = loaded.config.shadow
    with SignalShutdown() as shutdown:
        shutdown.start("Ctrl-C: the comparison ends")
        if not same_twice(
            args.config, inputs, args.into, follow=follow, block=block, wait=shutdown.event.wait
        ):
            print("UNKNOWN: two runs of the candidate on the same minute differ")
            return UNKNOWN
        if shutdown.requested():
            return UNKNOWN
        shadow = Shadow(args.against, args.into, settings.wait_s, settings.settle_s, args.share)
        made = command(args.config, inputs, args.into / OUT, follow=follow, block=block)
        with (
            shadow_metrics.served(shadow.comparer, args.host, args.port) as port,
            subprocess.Popen(made, start_new_session=True) as candidate,
        ):
            where = f"http://{args.host}:{port}{shadow_metrics.PATH}"
            print(f"lumen shadow: {args.config} beside {args.against}; {where}", file=sys.stderr)
            try:
                code = compare(shadow, candidate, shutdown.requested, shutdown.event.wait)
            finally:
                candidate.send_signal(signal.SIGTERM)
                candidate.wait()
    print(*report(shadow.comparer.counts, shadow.comparer.unreadable), sep="\n")
    if code:
        print(f"lumen shadow: the candidate failed with exit code {code}", file=sys.stderr)
        return 1
    if sum(total(shadow.comparer.counts).values()) and (args.into / DIFF).stat().st_size:
        print(f"ticks that differ: {args.into / DIFF}")
    return verdict(shadow.comparer.counts)
