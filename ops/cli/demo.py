"""`lumen demo`: replay of a studio recording, with every number beside its truth."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from configs.load import load
from configs.shipped import shipped
from flows.run import execute
from operators.types import F64, Bool
from ops.cli import report
from ops.cli.verify import write_config
from ops.evaluate import truth
from ops.evaluate.truth import Truth
from ops.results import summary
from ops.results.folder import Results, rigs
from ops.results.lines import TickLine
from ops.results.summary import Moment
from ops.text.table import number, table, with_sd

CONFIG = Path("configs/fusion.yaml")
RECORDING = Path("configs/recordings/demo.ndjson.gz")
MINUTE_S = 60.0
NEXT = "-m bytewax.run flows.fusion"


def opening(true: Truth) -> str:
    """Return the introduction."""
    seconds = (len(true.clean) - 1) / true.tick_hz
    return (
        f"{seconds:.0f} s of a studio: {len(true.channels)} instruments measure one movement, "
        "each with its own clock,\nrate and lag. The injected faults are known: "
        "truth stands beside each estimate."
    )


def against_truth(results: Results, true: Truth) -> str:
    """Return the newest clock and lag of each channel beside the truth."""
    rows = []
    for channel, line in results.last_sync().items():
        if channel not in true.channels:
            continue
        known = true.channels[channel]
        rows.append(
            (
                channel,
                with_sd(line.offset_s, line.offset_sd_s, 2, 1e3),
                number(true.offset_s(channel, line.ts), 2, 1e3),
                with_sd(line.skew_ppm, line.skew_sd_ppm, 1),
                number(known.skew_ppm, 1),
                with_sd(line.lag_s, line.lag_sd_s, 1, 1e3),
                number(known.lag_s, 1, 1e3),
                f"{line.clock_resets} of {len(known.resets)}",
            )
        )
    head = ("channel", "offset ms", "true", "skew ppm", "true", "lag ms", "true", "resets")
    return (
        f"Clocks and lags at the end: estimated ±sd, beside true\n{table(head, rows)}\n"
        "Host time = source time + offset. A fast clock has a positive skew, a late channel a\n"
        "positive lag. A channel without a clock (-) has a lag only."
    )


def errors(results: Results, true: Truth) -> str:
    """Return the error of the fused signal and of each stream, and the weight of each."""
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
            channel,
            cells(raw)[0],
            *cells(corrected),
            *(number(weight.get(channel), 2) for weight in weights),
        )
        for channel, (raw, corrected) in truth.alone(results.aligned(), true, time).items()
        if channel in true.channels
    ]
    rows.append(("fused", "", *cells(value), "", ""))
    head = ("stream", "uncorrected", "corrected", "in noise", "weight", "in noise")
    known = np.isfinite(value - clean) & np.isfinite(sd)
    inside = np.abs(value - clean)[known] <= 1.96 * sd[known]
    return (
        f"Error while all {len(true.channels)} are live (RMS; the movement itself has 1), "
        f"and the weight of each\n{table(head, rows)}\n"
        "Corrected: the stream alone, clock and lag corrected. In noise: during that spell."
        f"\nThe stated 95 % interval holds the truth in {100 * inside.mean():.0f} % of "
        f"{known.sum()} ticks."
    )


def both_modes(causal: Results, hindsight: Results, true: Truth) -> str:
    """Return the error of the fused signal in one pass and in two passes."""
    rows = []
    for mode, results in (("causal", causal), ("hindsight", hindsight)):
        ticks = list(results.ticks())
        time, value, _ = truth.fused(ticks, true.signal)
        clean = true.at(time)
        fused = np.array([tick.mode == "fused" for tick in ticks])
        begins = time < true.start + MINUTE_S
        cells = [mode]
        for spell in (begins, ~begins):
            cells += [
                number(truth.rms_error(value[spell], clean[spell]), 3),
                f"{100 * fused[spell].mean():.0f} %",
            ]
        rows.append(tuple(cells))
    head = ("mode", "first minute", "fused", "later", "fused")
    return (
        "The same recording in one pass and in two: error of the fused value, ticks in mode fused\n"
        f"{table(head, rows)}\n"
        "Causal: at each moment the estimates of a live run. Hindsight: clocks and lags of the\n"
        "whole recording, from the first tick on. All other tables here are causal."
    )


def _noisy(true: Truth, time: F64) -> Bool:
    """Return the ticks (k,) within reach of a noisy spell of any channel."""
    noisy = np.zeros(len(time), dtype=bool)
    for a, b in (span for channel in true.channels.values() for span in channel.noisy):
        noisy |= (time >= a - truth.HALF_WIDTH_S) & (time < b + truth.HALF_WIDTH_S)
    return noisy


def _weights(ticks: list[TickLine], signal: str, spell: Bool) -> dict[str, float]:
    """Return the mean weight of each channel over some ticks (k,)."""
    chosen = [tick.signals[signal].weights for tick, in_ in zip(ticks, spell, strict=True) if in_]
    total: defaultdict[str, float] = defaultdict(float)
    for channel, weight in (item for weights in chosen for item in weights.items()):
        total[channel] += (weight or 0.0) / len(chosen)
    return total


def done(true: Truth) -> list[Moment]:
    """Return the injected faults with their times."""
    together: defaultdict[tuple[float, float, str], list[str]] = defaultdict(list)
    moments = []
    for known in true.channels.values():
        for begin, end in known.silent:
            together[begin, end, "silent"].append(known.source)
        for begin, end in known.noisy:
            together[begin, end, "noisy"].append(known.source)
        moments += [
            (r.at, f"clock of {known.source} steps by {r.step_s:+.3f} s") for r in known.resets
        ]
    moments += [
        (begin, f"{', '.join(dict.fromkeys(sources))} {fault} for {end - begin:.0f} s")
        for (begin, end, fault), sources in together.items()
    ]
    return sorted(moments)


def story_line(results: Results, true: Truth) -> str:
    """Return the injected faults and the detected events in order of time."""
    moments = [(ts, f"done  {text}") for ts, text in done(true)]
    moments += [(ts, f"seen  {text}") for ts, text in summary.seen(results)]
    return (
        "Injected (done) and detected (seen), by second\n"
        f"{summary.timeline(sorted(moments), true.start)}\n{summary.modes(results)}"
    )


def in_hindsight(config: Path, place: Path) -> Results:
    """Run a configuration in two passes, with its files in `place`."""
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


def _interpreter() -> str:
    """Return the path of this interpreter, relative where it lies below the current folder."""
    path = Path(sys.executable)
    here = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    return shlex.quote(str(here))


def ending(folder: Path) -> str:
    """Write the report; return its path and the next command."""
    look = report.write(folder) if report.possible() else f"no report: {report.LACKING}"
    return f"Look at   {look}\nNow try   {_interpreter()} {NEXT}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen demo`: none."""


def main(args: argparse.Namespace) -> int:
    """Replay the studio recording and print all sections."""
    folder = execute(CONFIG)
    with tempfile.TemporaryDirectory(prefix="lumen-demo-") as place:
        hindsight = in_hindsight(CONFIG, Path(place))
        sections = story(folder, hindsight, truth.load(Path(shipped(str(RECORDING)))))
        print(*sections, sep="\n\n", end="\n\n", flush=True)
    print(ending(folder))
    return 0
