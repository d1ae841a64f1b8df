"""`lumen smoke`: does a flow keep the three budgets that say that all is well?

A running flow is judged by its newest tick. Where none is named, the shipped recording is
replayed, and judged by the median of its ticks: there are failures in it on purpose.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from configs.load import load
from configs.thresholds import THRESHOLDS
from flows.run import execute
from ops.cli.state_client import URL, NoAnswerError, address, ask
from ops.cli.verify import write_config
from ops.text.table import number, table
from sinks.files.jsonl import segments_of

JUDGED = ("phase_diff", "sync_quality", "entropy_ratio")
CONFIG = Path("configs/fusion.yaml")
Values = dict[str, float | None]


class TickIndicators(msgspec.Struct):
    """What is judged of a line of `fused.jsonl`."""

    indicators: Values


def judge(values: Values, left_out: str | None = None) -> tuple[str, bool]:
    """Return the values beside their budgets, and whether all are kept.

    An unknown one is not kept, but where members are left out (`left_out` names them and why): then
    it is not compared. One value at least has to be known.
    """
    rows, well, known = [], True, False
    for name in JUDGED:
        budget, value = THRESHOLDS[name], values.get(name)
        sign = "≥" if budget.least else "≤"
        kept = value is not None and bool(budget.keeps(value))
        apart = value is None and bool(left_out)
        well, known = well and (kept or apart), known or value is not None
        verdict = "ok" if kept else "not compared" if apart else "BAD"
        rows.append((name, number(value, 3), f"{sign} {budget.good:g}", verdict))
    shown = table(("indicator", "value", "budget", ""), rows)
    return f"{shown}\n{left_out}" if left_out else shown, well and known


def running(url: str) -> Iterator[tuple[str, Values, str | None]]:
    """Yield each rig of a running flow, its newest indicators, and whom they leave out."""
    for name, rig in ask(url).rigs.items():
        values = {i: each.value for i, each in rig.indicators.items()}
        yield f"rig {name} at {url}", values, rig.left_out


def replayed(config: Path) -> Iterator[tuple[str, Values, str | None]]:
    """Replay a configuration; yield the medians of its indicators."""
    with tempfile.TemporaryDirectory(prefix="lumen-smoke-") as place:
        chosen = write_config(load(config).config, Path(place, "smoke.yaml"), Path(place, "out"))
        folder = execute(chosen, progress=False)
        decode = msgspec.json.Decoder(TickIndicators).decode
        ticks = [
            decode(line).indicators
            for _, path in segments_of(folder, "fused")
            for line in path.read_bytes().splitlines()
        ]
    medians: Values = {}
    for name in JUDGED:
        known = [x for x in (tick[name] for tick in ticks) if x is not None]
        medians[name] = statistics.median(known) if known else None
    yield (
        f"a replay of {config}, medians of {len(ticks)} ticks; ${URL} names a running flow",
        medians,
        None,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen smoke` takes."""
    parser.add_argument(
        "url", nargs="?", metavar="URL",
        help=f"where a flow shows itself; default ${URL}, else the shipped recording is replayed",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Judge; 0 if all budgets are kept, 1 if not or if nobody answers, 2 if it is no address."""
    try:
        url = address(args.url) if args.url or os.environ.get(URL) else None
    except NoAnswerError as error:
        print(f"lumen smoke: {error}", file=sys.stderr)
        return 2
    all_well = True
    try:
        for what, values, left_out in running(url) if url else replayed(CONFIG):
            told, well = judge(values, left_out)
            all_well &= well
            print(f"{what}\n{told}\nsmoke: {'OK' if well else 'BAD'}")
    except NoAnswerError as error:
        print(f"lumen smoke: {error}", file=sys.stderr)
        return 1
    return 0 if all_well else 1
