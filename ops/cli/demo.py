"""`lumen demo`: a studio is replayed, and every number stands beside its truth."""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from configs.load import load
from flows.run import execute
from operators.types import F64, Bool
from ops.cli import report
from ops.cli.verify import write_config
from ops.evaluate import truth
from ops.evaluate.truth import Truth
from ops.results import summary
from ops.results.folder import FusedTick, Results, rigs
from ops.results.summary import Moment
from ops.text.table import number, table, with_sd

CONFIG = Path("configs/fusion.yaml")
RECORDING = Path("configs/recordings/demo.ndjson.gz")
MINUTE_S = 60.0
NEXT = ".venv/bin/python -m bytewax.run flows.fusion"


def opening(true: Truth) -> str:
    """Return what is going to be told."""
    seconds = (len(true.clean) - 1) / true.tick_hz
    return (
        f"{seconds:.0f} s of a studio: {len(true.channels)} instruments measure one movement, "
        "each with a clock, a rate and a lag\nof its own. What was done to them is known: "
        "it stands beside what was found."
    )


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
                with_sd(told.offset_s, told.offset_sd_s, 2, 1e3),
                number(true.offset_s(channel, told.ts), 2, 1e3),
                with_sd(told.skew_ppm, told.skew_sd_ppm, 1),
                number(known.skew_ppm, 1),
                with_sd(told.lag_s, told.lag_sd_s, 1, 1e3),
                number(known.lag_s, 1, 1e3),
                f"{told.clock_resets} of {len(known.resets)}",
            )
        )
    head = ("channel", "offset ms", "true", "skew ppm", "true", "lag ms", "true", "resets")
    return (
        f"Clocks and lags at the end: estimated ±sd, beside true\n{table(head, rows)}\n"
        "Host time = source time + offset. A fast clock has a positive skew, a late channel a\n"
        "positive lag. Without a clock of its own (-), a channel has a lag only."
    )


def errors(results: Results, true: Truth) -> str:
    """Return the fused signal's error and each stream's, and how much each was believed."""
    ticks = list(results.ticks())
    time, value, sd = truth.fused(ticks, true.signal)
    clean = true.at(time)
    whole = truth.settled(ticks, len(true.channels))
    noisy = _noisy(true, time)
    spells = (whole & ~noisy, whole & noisy)

    def cells(signal: F64) -> list[str]:
        return [number(truth.rms_error(signal[spell], clean[spell]), 3) for spell in spells]

    weights = [_weights(ticks, true.signal, spell) for spell in spells]
    rows = [
        (
            channel, cells(came)[0], *cells(corrected),
            *(number(weight.get(channel), 2) for weight in weights),
        )
        for channel, (came, corrected) in truth.alone(results.aligned(), true, time).items()
        if channel in true.channels
    ]  # fmt: skip
    rows.append(("fused", "", *cells(value), "", ""))
    head = ("stream", "as it comes", "corrected", "in noise", "weight", "in noise")
    known = np.isfinite(value - clean) & np.isfinite(sd)
    inside = np.abs(value - clean)[known] <= 1.96 * sd[known]
    return (
        f"Error while all {len(true.channels)} are live (RMS; the movement itself has 1), "
        f"and the weight of each\n{table(head, rows)}\n"
        "Corrected: alone, at its best, with clock and lag put right. In noise: during that spell."
        f"\nThe stated 95 % interval holds the truth in {100 * inside.mean():.0f} % of "
        f"{known.sum()} ticks."
    )


def both_modes(causal: Results, hindsight: Results, true: Truth) -> str:
    """Return the fused signal's error in one pass beside that in two."""
    rows = []
    for mode, results in (("causal", causal), ("hindsight", hindsight)):
        ticks = list(results.ticks())
        time, value, _ = truth.fused(ticks, true.signal)
        clean = true.at(time)
        fused = np.array([tick.mode == "fused" for tick in ticks])
        begins = time < true.start + MINUTE_S
        cells = [mode]
        for spell in (begins, ~begins):
            cells += [number(truth.rms_error(value[spell], clean[spell]), 3),
                      f"{100 * fused[spell].mean():.0f} %"]  # fmt: skip
        rows.append(tuple(cells))
    head = ("mode", "first minute", "fused", "later", "fused")
    return (
        "The same recording in one pass and in two: error of the fused value, ticks in mode fused\n"
        f"{table(head, rows)}\n"
        "Causal: at each moment what a live run would have known by then. Hindsight: clocks and\n"
        "lags of the whole recording, from the first tick on. All the rest here is causal."
    )


def _noisy(true: Truth, time: F64) -> Bool:
    """Return which ticks (k,) a spell of noise of any channel reaches."""
    noisy = np.zeros(len(time), dtype=bool)
    for a, b in (span for channel in true.channels.values() for span in channel.noisy):
        noisy |= (time >= a - truth.HALF_WIDTH_S) & (time < b + truth.HALF_WIDTH_S)
    return noisy


def _weights(ticks: list[FusedTick], signal: str, spell: Bool) -> dict[str, float]:
    """Return the mean weight of each channel over some ticks (k,)."""
    said = [tick.signals[signal].weights for tick, there in zip(ticks, spell, strict=True) if there]
    total: defaultdict[str, float] = defaultdict(float)
    for channel, weight in (item for weights in said for item in weights.items()):
        total[channel] += weight / len(said)
    return total


def done(true: Truth) -> list[Moment]:
    """Return what was done to the instruments, and when."""
    together: defaultdict[tuple[float, float, str], list[str]] = defaultdict(list)
    moments = []
    for known in true.channels.values():
        for begin, end in known.silent:
            together[begin, end, "silent"].append(known.source)
        for begin, end in known.noisy:
            together[begin, end, "noisy"].append(known.source)
        moments += [(r.at, f"clock of {known.source} steps by {r.step_s:+.3f} s")
                    for r in known.resets]  # fmt: skip
    moments += [
        (begin, f"{', '.join(dict.fromkeys(sources))} {how} for {end - begin:.0f} s")
        for (begin, end, how), sources in together.items()
    ]
    return sorted(moments)


def story_line(results: Results, true: Truth) -> str:
    """Return what was done and what was seen, in order of time."""
    moments = [(ts, f"done  {what}") for ts, what in done(true)]
    moments += [(ts, f"seen  {what}") for ts, what in summary.seen(results)]
    return (
        "What was done, and what was seen, at which second\n"
        f"{summary.timeline(sorted(moments), true.start)}\n{summary.modes(results)}"
    )


def in_hindsight(config: Path, place: Path) -> Results:
    """Run a configuration in two passes; its files lie in `place`."""
    chosen = msgspec.structs.replace(load(config).config, mode="hindsight")
    folder = execute(write_config(chosen, place / "hindsight.yaml", place / "out"))
    return rigs(folder)[0]


def story(folder: Path, hindsight: Results, true: Truth) -> Iterator[str]:
    """Yield the sections of the demo."""
    results = rigs(folder)[0]
    yield opening(true)
    yield against_truth(results, true)
    yield errors(results, true)
    yield both_modes(results, hindsight, true)
    yield story_line(results, true)
    yield summary.losses(results)
    yield summary.account(folder)
    yield summary.files(folder)


def ending(folder: Path) -> str:
    """Write the report, and return where it lies and what to type next."""
    look = report.write(folder) if report.possible() else f"no report: {report.LACKING}"
    return f"Look at   {look}\nNow try   {NEXT}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen demo` takes: nothing."""


def main(args: argparse.Namespace) -> int:
    """Replay the studio and show the story."""
    folder = execute(CONFIG)
    with tempfile.TemporaryDirectory(prefix="lumen-demo-") as place:
        hindsight = in_hindsight(CONFIG, Path(place))
        sections = story(folder, hindsight, truth.load(RECORDING))
        print(*sections, sep="\n\n", end="\n\n", flush=True)
    print(ending(folder))
    return 0
