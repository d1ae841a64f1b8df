"""`lumen demo`: a studio is replayed, and every number stands beside its truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ops import summary, truth
from ops.results import Results, rigs
from ops.run import execute
from ops.table import number, table, with_sd
from ops.truth import Truth

CONFIG = Path("configs/fusion.yaml")
RECORDING = Path("configs/recordings/demo.ndjson.gz")


def against_truth(results: Results, true: Truth) -> str:
    """Return the newest clock and lag of each channel beside what they are."""
    rows = []
    for channel, told in results.last_sync().items():
        if channel not in true.channels:
            continue
        known = true.channels[channel]
        rows.append(
            (
                channel,
                with_sd(told.offset_s, told.offset_sd_s, 5),
                number(true.offset_s(channel, told.ts), 5),
                with_sd(told.skew_ppm, told.skew_sd_ppm, 2),
                number(known.skew_ppm, 2),
                with_sd(told.lag_s, told.lag_sd_s, 4),
                number(known.lag_s, 4),
                f"{told.clock_resets} of {len(known.resets)}",
            )
        )
    head = ("channel", "offset s", "true", "skew ppm", "true", "lag s", "true", "resets")
    return f"Clocks and lags at the end, estimated beside true\n{table(head, rows)}"


def errors(results: Results, true: Truth) -> str:
    """Return the fused signal's error beside that of each stream alone."""
    ticks = list(results.ticks())
    time, value, sd = truth.fused(ticks, true.signal)
    clean = true.at(time)
    members = len(true.channels)
    whole = np.array([tick.live == members for tick in ticks])
    streams = truth.alone(results.aligned(), true, time)
    rows = [
        (
            channel,
            number(truth.rms_error(came[whole], clean[whole]), 3),
            number(truth.rms_error(best[whole], clean[whole]), 3),
        )
        for channel, (came, best) in streams.items()
        if channel in true.channels
    ]
    fused = truth.rms_error(value[whole], clean[whole])
    rows.append(("fused", "", number(fused, 3)))
    inside = np.abs(value - clean) <= 1.96 * sd
    known = np.isfinite(value - clean)
    return (
        f"RMS error where all {members} are live (the movement has an RMS of 1)\n"
        f"{table(('stream', 'as it comes', 'corrected'), rows)}\n"
        f"The stated 95 % interval holds the truth in {100 * inside[known].mean():.0f} % of all "
        f"{known.sum()} ticks with a value."
    )


def story(folder: Path, true: Truth) -> Iterator[str]:
    """Yield what the demo shows, section by section."""
    results = rigs(folder)[0]
    yield against_truth(results, true)
    yield errors(results, true)
    yield summary.modes(results)
    yield summary.evidence(results)
    yield summary.losses(results)
    yield summary.account(folder)
    yield summary.files(folder)
    yield "Now try   .venv/bin/python -m bytewax.run flows.fusion"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen demo` takes: nothing."""


def main(args: argparse.Namespace) -> int:
    """Replay the studio and show the story."""
    print(*story(execute(CONFIG), truth.load(RECORDING)), sep="\n\n")
    return 0
