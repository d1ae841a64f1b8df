"""`lumen rules test`: when rules fire on given series or a recording, beside the expected times."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from configs.document import ConfigError, Fault
from configs.load import load
from configs.shipped import shipped
from operators.conditions import readable
from operators.records import Fused
from operators.types import F64
from ops.evaluate.rule_cases import CaseRow, PlacedCase, columns_of, judge, read_cases
from ops.text.table import table
from ops.tune.recorded_packets import packets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen rules`."""
    parser.add_argument("action", choices=("test",), help="judge the cases of files")
    parser.add_argument("files", nargs="+", metavar="FILE", help="cases in YAML")


def main(args: argparse.Namespace) -> int:
    """Judge all cases.

    Returns
    -------
    int
        0 if all are met, 1 if one is not, 2 for a file with a fault.
    """
    faults: list[Fault] = []
    cases: list[PlacedCase] = []
    answers: list[tuple[str, list[CaseRow]]] = []
    for path in args.files:
        try:
            cases += read_cases(path, os.environ)
        except ConfigError as error:
            faults += error.faults
    for placed in cases:
        try:
            answers.append((placed.title, _judged(placed)))
        except ConfigError as error:
            faults += error.faults
    if faults:
        print(*ConfigError(faults).lines(), sep="\n", file=sys.stderr)
        return 2
    print(described(answers))
    return 0 if all(row.met for _, rows in answers for row in rows) else 1


def described(answers: list[tuple[str, list[CaseRow]]]) -> str:
    """Return the events of all cases as a table, and the numbers of cases met and unmet."""
    rows = [
        (title, row.rule, row.event, row.expected, row.seen, "ok" if row.met else "BAD")
        for title, found in answers
        for row in found
    ]
    met = sum(all(row.met for row in found) for _, found in answers)
    shown = table(("case", "rule", "event", "expected", "seen", ""), rows)
    return f"{shown}\n{met} of {len(answers)} cases met"


def _judged(placed: PlacedCase) -> list[CaseRow]:
    """Return the events of a case."""
    case = placed.case
    if case.series is not None:
        columns, ts = columns_of(case)
        return judge(placed, columns, ts, case.tick_hz, os.environ)
    columns, ts, tick_hz = _recorded(placed)
    return judge(placed, columns, ts, tick_hz, os.environ)


def _recorded(placed: PlacedCase) -> tuple[dict[str, F64], F64, float]:
    """Return the columns of a replay, its ticks (s after the first) and their rate (Hz).

    Raises
    ------
    ConfigError
        The rig is not in the recording, or one of several is to be chosen.
    """
    case = placed.case
    recording = Path(shipped(case.recording or ""))
    with tempfile.TemporaryDirectory(prefix="lumen-rules-") as place:
        path = case.config
        if path is None:
            from ops.cli.guess.config import derive

            path = str(derive([recording], Path(place, "out"), "causal"))
        config = load(path).config
        names = readable(config.plan())
        rigs: dict[str, list[Fused]] = {}
        for rig, packet in packets(config, recording, "bridge"):
            if packet.fused is not None and len(packet.fused):
                rigs.setdefault(rig, []).append(packet.fused)
    chosen = case.rig or (next(iter(rigs)) if len(rigs) == 1 else config.rig)
    if chosen not in rigs:
        line, col = placed.document.place((*placed.at, "rig"))
        message = f"no tick of rig '{chosen}', expected one of {', '.join(sorted(rigs)) or 'none'}"
        raise ConfigError([Fault(placed.document.path, line, col, message)])
    parts = rigs[chosen]
    ts = np.concatenate([fused.ts for fused in parts])
    columns = {
        name: np.concatenate([column.of(fused) for fused in parts])
        for name, column in names.items()
    }
    return columns, ts - ts[0], config.resample.target_hz
