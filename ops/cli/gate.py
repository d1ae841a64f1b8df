"""`lumen gate`: GO, NO-GO or UNKNOWN from the numbers of a Prometheus."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import msgspec

from ops.gate.gates import ACTIONS, GATES, MIN_COVERED, Action, chosen
from ops.gate.judgement import EXIT_CODES, NAMES, GateResult, Judgement, judge
from ops.gate.queries import DEFAULT, QueryError, address
from ops.gate.watch import EVERY_S, Commands, Crossings, TwoRounds, look
from ops.text.table import table
from sources.host.signal_shutdown import SignalShutdown

URL = "LUMEN_PROMETHEUS"
"""The environment variable with the address of a Prometheus."""


def lines(judgement: Judgement) -> list[str]:
    """Return the lines of a judgement: a table of gates, their expressions, and the verdict."""
    rows = [
        (
            gate.name + ("" if gate.required else " (not required)"),
            gate.verdict,
            "-" if gate.value is None else f"{gate.value:.4g}",
            gate.bound,
            gate.window,
            _covered(gate),
            gate.reason or "-",
        )
        for gate in judgement.gates
    ]
    head = ("gate", "verdict", "value", "bound", "window", "covered", "remark")
    sources = [f"  {gate.name}: {gate.expression}" for gate in judgement.gates]
    return [
        table(head, rows), f"from {judgement.prometheus}", *sources, judgement.verdict,
    ]  # fmt: skip


def _covered(gate: GateResult) -> str:
    """Return the covered part of the window beside the needed one."""
    if not gate.needed:
        return "-"
    found = "-" if gate.covered is None else f"{gate.covered:.0%}"
    return f"{found} of {gate.needed:.0%}"


def write(judgement: Judgement, path: Path) -> None:
    """Replace a file by a judgement, as JSON."""
    made = path.with_name(f".{path.name}.new")
    made.write_bytes(msgspec.json.encode(judgement) + b"\n")
    made.replace(path)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen gate`."""
    parser.add_argument("--prometheus", metavar="URL", help=f"default ${URL}, else {DEFAULT}")
    parser.add_argument(
        "--require", metavar="NAMES", type=_names, default=NAMES,
        help="gates that may not be unknown, by name or its beginning, with commas; default all of"
        f" {', '.join(gate.name for gate in GATES)}",
    )  # fmt: skip
    parser.add_argument(
        "--covered", type=_part, default=MIN_COVERED, metavar="PART",
        help="part of an error budget's window that has to be covered; default %(default)s",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object a judgement")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="also replace a file by the judgement, as JSON"
    )
    parser.add_argument(
        "--watch", action="store_true",
        help=f"ask each {EVERY_S:g} s until Ctrl-C; GO needs two rounds running",
    )  # fmt: skip
    parser.add_argument(
        "--on", action="append", default=[], metavar="ACTION=COMMAND", type=_command,
        help=f"with --watch: run a command once per crossing of a trigger: {', '.join(ACTIONS)}",
    )  # fmt: skip
    parser.add_argument(
        "--shadow", type=Path, metavar="DIR",
        help="with --watch: folder of the shadow whose share a stop of promotions reduces",
    )  # fmt: skip


def _names(text: str) -> tuple[str, ...]:
    try:
        return tuple(gate.name for gate in chosen(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _part(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("has to lie between 0 and 1")
    return value


def _command(text: str) -> tuple[Action, str]:
    action, _, command = text.partition("=")
    if action not in ACTIONS or not command.strip():
        raise argparse.ArgumentTypeError(f"expected ACTION=COMMAND with {', '.join(ACTIONS)}")
    return action, command


def main(args: argparse.Namespace) -> int:
    """Judge once or until Ctrl-C; 0 for GO, 1 for NO-GO, 3 for UNKNOWN, 2 for an invalid call."""
    url = address(args.prometheus or os.environ.get(URL) or DEFAULT)
    if (args.on or args.shadow) and not args.watch:
        raise QueryError("--on and --shadow need --watch")
    if not args.watch:
        judgement = judge(url, time.time, args.require, args.covered)
        _show(judgement, args)
        return EXIT_CODES[judgement.verdict]
    rounds, crossings = TwoRounds(), Crossings(time.monotonic)
    commands = Commands(dict(args.on), args.shadow)
    with SignalShutdown() as shutdown:
        shutdown.start()
        while True:
            begun = time.monotonic()
            judgement = judge(url, time.time, args.require, args.covered)
            judgement.verdict = rounds.update(judgement.verdict)
            _show(judgement, args)
            for line in look(url, time.time, crossings, commands):
                print(f"lumen gate: {line}", file=sys.stderr, flush=True)
            if shutdown.event.wait(max(begun + EVERY_S - time.monotonic(), 0.0)):
                return EXIT_CODES[judgement.verdict]


def _show(judgement: Judgement, args: argparse.Namespace) -> None:
    if args.out is not None:
        try:
            write(judgement, args.out)
        except OSError as error:
            raise QueryError(f"{args.out}: {error.strerror}") from error
    if args.json:
        print(msgspec.json.encode(judgement).decode(), flush=True)
    else:
        print(*lines(judgement), sep="\n", flush=True)
