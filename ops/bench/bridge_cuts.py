"""The bridge however its input is cut, and the CPU time of its station.

    python -m ops.bench.bridge_cuts [--cuttings 200] [--first 0] [--seconds 120] [--rounds 5]

A band of two instruments and a reference of 5 Hz runs under `configs/bridge.yaml`: 5 ms of jitter,
5 % of the beats lost, 5 % doubled, 2 % wild, a gap, and a rollback with its release. Each cutting
reads the rows as batches cut at random places, and rebuilds each station from its encoded snapshot
at random places. Its bridge.jsonl must have the bytes of the run of one batch; otherwise the exit
code is 1.

The time is that of the station alone, the least of the rounds, by second of data. The parts share
it by their times under cProfile, which makes small calls larger than they are.
"""

from __future__ import annotations

import argparse
import cProfile
import math
import pstats
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from configs.load import load
from flows.pipeline import makers
from flows.stations import Make, Settings
from operators.collect import BlockRule
from operators.events import Batch, CommandRow
from operators.records import Packet
from operators.snapshot import decode_state, encode_state
from operators.station import updated
from operators.types import BridgeCommand
from ops.simulate.beats import BeatScenario
from ops.simulate.recording import START, SimulatedRecording, make
from ops.simulate.scenario import band
from ops.text.table import table
from sinks.files.encode import packet_lines

SHIPPED = Path(__file__).parents[2] / "configs" / "bridge.yaml"
BLOCKS: tuple[BlockRule, ...] = (0.05, 1.0, "density")
"""Blocks of the packets; the cuttings take them in turn."""
MAX_MS, GOAL_MS = 0.6, 0.1
"""CPU time of the station by second of data and rig."""
MAX_BATCHES, MAX_RESUMES = 40, 12
PARTS = {
    "observer, with its windows": (("reference.py", "row"), ("bridge.py", "_beat")),
    "clock": (("steering.py", "step"),),
    "frames": (("bridge.py", "_frame"),),
    "judging": (("grid_ticks.py", "read"), ("bridge.py", "_judge")),
    "figures for rules": (("bridge.py", "_columns"),),
    "status": (("bridge.py", "_status"),),
}
"""Functions of each part; none calls one of another but for the frame of a change of state."""


def recording(seconds: float, seed: int = 1) -> Batch:
    """Return the rows of a band and its reference, and two commands among them, as one batch."""
    beats = BeatScenario(
        loss=0.05, doubles=0.05, wild=0.02, gaps=((0.7 * seconds, 0.77 * seconds),)
    )
    made = make(band(beats, seconds), seed)
    return one_batch(made, (0.4 * seconds, "bridge.rollback"), (0.5 * seconds, "bridge.release"))


def one_batch(made: SimulatedRecording, *sent: tuple[float, BridgeCommand]) -> Batch:
    """Return the rows of a recording, with commands at times after the start (s)."""
    rows = made.rows
    at = np.searchsorted(rows.rx, [moment for moment, _ in sent])
    order = np.insert(np.arange(len(rows.rx)), at, -1)
    is_tick = order < 0
    rx = START + rows.rx[order]
    rx[is_tick] = [START + moment for moment, _ in sent]
    places = np.flatnonzero(is_tick).tolist()
    return Batch(
        rig="studio",
        names=made.names,
        name=np.where(is_tick, -1, rows.name[order]).astype(np.int32),
        ts=np.where(is_tick | ~rows.stamped[order], np.nan, rows.ts[order]),
        rx=rx,
        stamped=rows.stamped[order] & ~is_tick,
        wild=np.zeros(len(order), bool),
        value=np.where(is_tick, np.nan, rows.value[order]),
        seq=np.where(is_tick, -1, rows.seq[order]),
        line=np.arange(len(order)),
        controls=tuple(
            CommandRow(row, command, "bench")
            for row, (_, command) in zip(places, sent, strict=True)
        ),
        end=True,
    )


def pieces(batch: Batch, places: Iterable[int]) -> list[Batch]:
    """Return the batch in pieces that begin at these rows."""
    n = len(batch.ts)
    made = []
    for a, b in pairwise((0, *sorted(places), n)):
        rows = slice(a, b)
        columns = ("name", "ts", "rx", "stamped", "wild", "value", "seq", "line")
        made.append(
            replace(
                batch,
                **{name: getattr(batch, name)[rows] for name in columns},
                controls=tuple(c._replace(row=c.row - a) for c in batch.controls if a <= c.row < b),
                end=b == n,
            )
        )
    return made


def stations(block_s: BlockRule) -> dict[str, Make]:
    """Return the builders of the stations under the shipped configuration."""
    return makers(replace(_settings(), block_s=block_s))


@cache
def _settings() -> Settings:
    loaded = load(SHIPPED)
    return Settings.of(loaded.config, loaded.rules)


def resumed(name: str, build: Make, items: Sequence[Any], places: set[int]) -> list[Packet]:
    """Return the packets of a station that is rebuilt from its snapshot before these items."""
    core = build(None)
    out: list[Packet] = []
    for i, item in enumerate(items):
        if i in places:
            stored = encode_state(core.snapshot(), name, "bench")
            core = build(decode_state(stored, name, "bench"))
        out += updated(core, item, name)
    return out


def bridge_lines(
    batches: Sequence[Batch], block_s: BlockRule, rng: np.random.Generator | None = None
) -> bytes:
    """Return bridge.jsonl; with `rng`, each station is rebuilt at random places."""
    items: list[Any] = list(batches)
    for name, build in stations(block_s).items():
        count = 0 if rng is None else int(rng.integers(1, MAX_RESUMES + 1))
        places = set() if rng is None else set(rng.integers(0, len(items), count).tolist())
        items = resumed(name, build, items, places)
    found = (line for packet in items for line in packet_lines(packet))
    return b"".join(text for stem, text in found if stem == "bridge")


def equal_cuttings(seconds: float, seeds: Iterable[int]) -> tuple[list[int], bytes]:
    """Return the seeds whose cutting gives other bytes, and those of the run of one batch."""
    batch = recording(seconds)
    whole: dict[BlockRule, bytes] = {}
    other = []
    for seed in seeds:
        rng = np.random.default_rng([15, seed])
        block_s = BLOCKS[seed % len(BLOCKS)]
        if block_s not in whole:
            whole[block_s] = bridge_lines([batch], block_s)
        places = rng.integers(1, len(batch.ts), int(rng.integers(1, MAX_BATCHES))).tolist()
        if bridge_lines(pieces(batch, set(places)), block_s, rng) != whole[block_s]:
            other.append(seed)
    return other, next(iter(whole.values()), b"")


def inputs(batch: Batch, block_s: BlockRule) -> tuple[Make, list[Packet]]:
    """Return the builder of the station, and the packets that reach it."""
    items: list[Any] = [batch]
    for name, build in stations(block_s).items():
        if name == "bridge":
            return build, items
        items = resumed(name, build, items, set())
    raise RuntimeError("no station is named bridge")


def least_ms(call: Callable[[], object], rounds: int) -> float:
    """Return the least CPU time of a call (ms)."""
    least = math.inf
    for _ in range(rounds):
        begun = time.process_time()
        call()
        least = min(least, time.process_time() - begun)
    return 1e3 * least


def shares(call: Callable[[], object]) -> dict[str, float]:
    """Return the part of the profiled time that each of PARTS takes, and the rest."""
    profile = cProfile.Profile()
    profile.runcall(call)
    stats: dict[tuple[str, int, str], tuple[int, int, float, float, object]]
    stats = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    whole = sum(own for _, _, own, _, _ in stats.values())
    times = dict.fromkeys(PARTS, 0.0)
    for (file, _, function), (_, _, _, total, _) in stats.items():
        for part, functions in PARTS.items():
            if (Path(file).name, function) in functions:
                times[part] += total / whole
    return {**times, "steps and the rest": 1 - sum(times.values())}


def costs(seconds: float, rounds: int) -> tuple[list[list[str]], float]:
    """Return the rows of the table of costs, and the largest cost (ms a second)."""
    batch = recording(seconds)
    columns = []
    for block_s in BLOCKS:
        build, items = inputs(batch, block_s)

        def run(build: Make = build, items: list[Packet] = items) -> None:
            core = build(None)
            for item in items:
                core.update(item)

        whole = least_ms(run, rounds) / seconds
        columns.append((whole, {part: whole * x for part, x in shares(run).items()}, len(items)))
    rows = [[part, *(f"{parts[part]:.3f}" for _, parts, _ in columns)] for part in columns[0][1]]
    rows.append(["station", *(f"{whole:.3f}" for whole, _, _ in columns)])
    rows.append(["packets a second", *(f"{count / seconds:.2f}" for _, _, count in columns)])
    return rows, max(whole for whole, _, _ in columns)


def main() -> int:
    """Print both tables; 1 beyond a limit."""
    parser = argparse.ArgumentParser(
        prog="python -m ops.bench.bridge_cuts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cuttings", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    slow = False
    if args.rounds:
        rows, most_ms = costs(args.seconds, args.rounds)
        slow = most_ms > MAX_MS
        print(f"CPU ms a second of data and rig, by block: at most {MAX_MS:g}, goal {GOAL_MS:g}\n")
        print(table(("part", *(f"{b} s" if b != "density" else b for b in BLOCKS)), rows))
    other: list[int] = []
    if args.cuttings:
        seeds = range(args.first, args.first + args.cuttings)
        other, lines = equal_cuttings(args.seconds, seeds)
        equal = args.cuttings - len(other)
        count = len(lines.splitlines())
        print(f"\n{equal} of {args.cuttings} cuttings give the {count} lines of one batch")
        if other:
            print(f"seeds of others: {other}")
    return 1 if other or slow else 0


if __name__ == "__main__":
    raise SystemExit(main())
