"""`lumen chaos`: a recording or a live stream with one fault, and the truth about it."""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

from configs.inert import inert
from operators.errors import SourceError
from ops.chaos.fault import DURATIONS, MODES, TEXTS, Disturbance
from ops.chaos.rewriting import RecordingSurvey, Rewriter
from ops.cli.bounded_number import bounded_number
from ops.cli.convert import ConvertError, convert, parts_of

_EPILOG = "modes: " + "; ".join(f"{mode}: {TEXTS[mode]}" for mode in MODES) + "."
MAX_TEMPO = 16.0


class ChaosError(SourceError):
    """A fault that cannot be applied: one line with the reason."""

    def lines(self) -> list[str]:
        """Return the line."""
        return [f"lumen chaos: {self}"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen chaos`."""
    parser.epilog = _EPILOG
    parser.add_argument("mode", choices=MODES, metavar="MODE", help=f"one of {', '.join(MODES)}")
    parser.add_argument("input", metavar="IN", help="a recording; with --proxy: its own address")
    parser.add_argument(
        "output", metavar="OUT", help="a new recording; with --proxy: the address of the receiver"
    )
    parser.add_argument(
        "--at", type=_seconds, metavar="S",
        help="begin after the first arrival, default: a third of the recording; "
        "with --proxy: after the start, default: 0",
    )  # fmt: skip
    parser.add_argument(
        "--for", type=_seconds, metavar="S", dest="for_s",
        help="duration, 0: without an end; default: "
        + ", ".join(f"{mode} {DURATIONS[mode]:g}" for mode in MODES),
    )  # fmt: skip
    parser.add_argument(
        "--on", nargs="+", default=[], metavar="STREAM",
        help="sources, or channels <source>:<key>; default: all",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the random draws; default: 0")
    parser.add_argument(
        "--entropy", type=_entropy, metavar="X", help="reported entropy during a spike"
    )
    parser.add_argument(
        "--tempo", type=_tempo, metavar="X",
        help="step of recordings: events of --on come so much faster",
    )  # fmt: skip
    parser.add_argument(
        "--proxy", action="store_true",
        help="forward OSC by UDP, or URE by HTTP where OUT begins with http://",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Write a recording and its truth, or run a proxy."""
    if args.entropy is not None and args.mode != "spike":
        raise ChaosError("--entropy: for spike only")
    if args.tempo is not None and (args.mode != "step" or not args.on or args.proxy):
        raise ChaosError("--tempo: for step of a recording with --on only")
    fault = Disturbance(
        args.mode,
        args.at or 0.0,
        DURATIONS[args.mode] if args.for_s is None else args.for_s,
        tuple(args.on),
        args.seed,
        args.entropy,
        args.tempo,
    )
    if args.proxy:
        return _forward(fault, args.input, args.output)
    target = Path(args.output)
    truth = rewrite(args.input, target, fault, middle=args.at is None)
    begin, end = truth["window"]
    print(f"{inert(str(target))}  {target.stat().st_size / 1000:.0f} kB")
    print(inert(str(truth_path(target))))
    until = "the end" if end is None else f"{end - truth['first']:g} s"
    print(
        f"{fault.mode} from {begin - truth['first']:g} s to {until}: {truth['changed']:,} changed "
        f"and {truth['removed']:,} removed of {truth['events']:,} events"
    )
    return 0


def _forward(fault: Disturbance, own: str, to: str) -> int:
    """Run a proxy up to Ctrl-C, and print its numbers."""
    from ops.chaos.proxy import ProxyError, proxy

    if fault.on:
        raise ChaosError("--on: a proxy is on all of its stream")
    try:
        running = proxy(fault, own, to)
    except ProxyError as error:
        raise ChaosError(inert(str(error))) from None
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    until = f"{fault.end_s:g} s" if fault.for_s else "the end"
    host, port = running.address
    print(
        f"{host}:{port} to {inert(to)}, {fault.mode} from {fault.at_s:g} s to {until}; Ctrl-C ends",
        flush=True,
    )
    running.run(stop.is_set)
    print(json.dumps(asdict(running.counts)))
    return 0


def rewrite(source: str, target: Path, fault: Disturbance, middle: bool = False) -> dict[str, Any]:
    """Write a recording with a fault, and the truth beside it.

    Parameters
    ----------
    source : str
    target : Path
        A new file; as in `lumen convert` its name selects the form.
    fault : Disturbance
    middle : bool
        Begin after a third of the recording instead of `fault.at_s`.

    Returns
    -------
    dict
        The truth: the fault, its window in host time (the end is None without one), the numbers of
        events, and the standard deviation of each channel.

    Raises
    ------
    ChaosError
        A file cannot be used, or the fault meets no event.
    """
    beside = truth_path(target)
    if os.path.lexists(beside):
        raise ChaosError(f"{inert(str(beside))}: exists already; choose another name")
    try:
        survey = RecordingSurvey.of(parts_of(source))
    except (OSError, ValueError) as error:
        raise ChaosError(inert(str(error))) from None
    length = survey.last - survey.first
    if middle:
        fault = fault._replace(at_s=round(length / 3) if math.isfinite(length) else 0.0)
    if not fault.at_s <= length:
        raise ChaosError(f"{inert(source)}: no arrival at {fault.at_s:g} s or later")
    channels = {(owner[1], owner[2]) for owner in survey.spreads}
    for name in fault.on:
        if not any(fault._replace(on=(name,)).hits(*channel) for channel in channels):
            raise ChaosError(f"{inert(source)}: no stream {inert(name)}")
    rewriter = Rewriter(fault, survey)
    try:
        convert(source, target, change=rewriter.parts)
    except ConvertError as error:
        raise ChaosError(str(error)) from None
    truth = _truth(fault, survey, rewriter)
    beside.write_text(json.dumps(truth, indent=1) + "\n", "utf-8")
    return truth


def truth_path(recording: Path) -> Path:
    """Return the path of the truth about a recording."""
    name = recording.name
    for ending in (".gz", ".zst", ".ndjson", ".csv", ".parquet", ".arrow", ".mcap"):
        name = name.removesuffix(ending)
    return recording.with_name(f"{name}.truth.json")


def _truth(fault: Disturbance, survey: RecordingSurvey, rewriter: Rewriter) -> dict[str, Any]:
    end = rewriter.end if math.isfinite(rewriter.end) else None
    return {
        "version": 1,
        **fault._asdict(),
        "first": survey.first,
        "last": survey.last,
        "window": [rewriter.begin, end],
        "events": rewriter.counts.events,
        "changed": rewriter.counts.changed,
        "removed": rewriter.counts.removed,
        "sd": {
            "/".join(filter(None, (rig, f"{source}:{key}"))): spread.sd
            for (rig, source, key), spread in sorted(survey.spreads.items())
        },
    }


def _seconds(text: str) -> float:
    return bounded_number(text, 0, 1e6, "a number of seconds, 0 to 1e6")


def _entropy(text: str) -> float:
    return bounded_number(text, 0, 1, "a number from 0 to 1")


def _tempo(text: str) -> float:
    return bounded_number(text, 1 / MAX_TEMPO, MAX_TEMPO, "a number from 1/16 to 16")
