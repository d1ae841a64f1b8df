"""Kill a replay at many points, resume each time, and compare every byte with an unbroken run.

`python -m ops.bench.kill_points`: 40 points where the process dies, 20 where it dies within a write
or loses unsynced data, 20 in the creation of the recovery store, and 20 full disks. About five
minutes. With `--hindsight` the replay has two passes, with 12 points in the first. `--rounds 2`
adds other points; `--only make full` selects kinds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from configs.load import load
from configs.schema import Config
from ops.cli.verify import digests, replay, run, write_config
from ops.engine_runs import command
from ops.simulate.recording import make, write
from ops.simulate.scenario import Scenario, Sensor
from ops.text.table import table

MODULE = "tests.flow.killed"
TORN = ("torn", "cut")
MAX_TOUCHED = 19
"""Smallest number of files, folders and names that the preflight of a store touches."""
FULL_BYTES = 200_000
"""Larger than any output file, and about half the final size of the store."""
CONFIG = """version: 2
streams:
  - {{name: both, type: file, path: "{path}", batch_lines: 100}}
channels:
  "*:cc/1/1": {{kind: held, stale_after_s: 5}}
signals:
  pulse:
    members:
      "ure:pulse": {{group: ure}}
      "osc_1:/body/pulse": {{group: sensors}}
facts: ["midi_1:cc/1/1"]
collect: {{block_s: 1}}
align: {{max_lag_s: 1.0, window_s: 14, hop_s: 2}}
quality: {{window_s: 30}}
output: {{dir: "{out}", sync_every_s: 5, rotate_mb: {rotate_mb}}}
"""


@dataclass(frozen=True)
class Point:
    """Point of death, in the terms of `tests/flow/killed.py`.

    `cut` is `write` followed by a partial loss of the data after the last snapshot, as after a
    loss of power.
    """

    at: str
    n: int


@dataclass(frozen=True)
class Outcome:
    """Number of deaths at the points, equality of the bytes, and duration."""

    points: tuple[Point, ...]
    killed: int
    same: bool
    wall_s: float


def recording(path: Path, seconds: float = 40.0) -> Path:
    """Write a recording of two rigs with every kind of fault."""
    unit = seconds / 40
    sensors = (
        Sensor("ure", "pulse", 10.0, "ure", noise=0.1, loss=0.02),
        Sensor(
            "osc_1",
            "/body/pulse",
            25.0,
            offset_s=-3.2,
            skew_ppm=87.0,
            lag_s=0.18,
            noise=0.12,
            loss=0.02,
            duplicates=5,
            wild=1,
            outliers=0.01,
            resets=((20 * unit, 0.5),),
            silent=((28 * unit, 32 * unit),),
        ),
        Sensor("midi_1", "cc/1/1", 4.0, held=True, stamped=False),
    )
    write(
        path,
        *(make(Scenario(seconds, sensors, rig=rig, damaged=3), i) for i, rig in enumerate("ab")),
    )
    return path


def configuration(folder: Path, rotate_mb: float = 256.0) -> Config:
    """Write a small recording of two rigs into `folder`; return its configuration."""
    path = folder / "both.ndjson"
    if not path.exists():
        recording(path)
    text = CONFIG.format(path=path, out=folder / "out", rotate_mb=rotate_mb)
    (folder / "both.yaml").write_text(text)
    return load(folder / "both.yaml").config


def attempt(
    config: Config, folder: Path, expected: dict[str, str], points: Sequence[Point], seed: int = 0
) -> Outcome:
    """Kill a run at each of the points in turn, resume to the end, start again, compare.

    Raises
    ------
    RunError
        The resume failed.
    """
    folder.mkdir()
    out, notes = folder / "out", folder / "notes"
    store = folder / "store"  # created by the first run, as under a service manager
    path = write_config(config, folder / "run.yaml", out)
    start, killed = time.monotonic(), 0
    for point in points:
        at = "write" if point.at == "cut" else point.at
        killed += (
            run(
                command(path, store, MODULE),
                (0, 1, 2) if at == "full" else (0, -9),
                LUMEN_KILL=f"{at} {point.n}",
                LUMEN_NOTES=str(notes),
            )
            != 0
        )
        if point.at == "cut":
            _lose(out, notes, random.Random(seed))
    for _ in range(2):
        run(command(path, store))
    same = digests(out) == expected
    return Outcome(tuple(points), killed, same, time.monotonic() - start)


def _lose(out: Path, notes: Path, chance: random.Random) -> None:
    """Remove a part of the data after the last snapshot."""
    vouched = json.loads(notes.read_text()) if notes.exists() else {}
    for path in sorted(out.rglob("*.jsonl")):
        size, least = path.stat().st_size, vouched.get(str(path), 0)
        if size > least:
            os.truncate(path, chance.randint(least, size))


def places(seed: int, most: int, hindsight: bool = False) -> list[list[Point]]:
    """Return 100 tries: 40 deaths, 20 within a write or with a loss, 20 in the creation of the
    store, 20 on a full disk.

    In hindsight 12 more: in the first pass, during and after the write of its results.
    """
    chance = random.Random(seed)
    whole = [Point(at, chance.randint(1, most)) for at in ("write", "snapshot") for _ in range(16)]
    whole += [Point("begin", n) for n in (1, 2, 3, 4, 5)]
    whole += [Point("end", 1), Point("write", 1), Point("snapshot", 1)]
    torn = [Point(at, chance.randint(1, most)) for at in TORN for _ in range(10)]
    made = [Point("make", n) for n in chance.sample(range(1, MAX_TOUCHED + 1), 14)]
    made += [Point("made", n) for n in (0, 1, 125, *(chance.randint(2, 999) for _ in range(3)))]
    full = [Point("full", chance.randint(0, FULL_BYTES)) for _ in range(20)]
    first = [Point("first", chance.randint(1, most)) for _ in range(10)]
    first += [Point("draft", 1), Point("shown", 1)]
    return [[point] for point in whole + torn + made + full + first * hindsight]


def main() -> int:
    """Run all tries and print the outcomes; return 1 if a byte differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--hindsight", action="store_true", help="a replay of two passes")
    parser.add_argument("--rounds", type=int, default=1, metavar="N")
    parser.add_argument("--only", nargs="+", default=[], metavar="KIND", help="of the first column")
    args = parser.parse_args()
    seed, mode = args.seed, "hindsight" if args.hindsight else "causal"
    with tempfile.TemporaryDirectory(prefix="lumen-kill-") as name:
        folder = Path(name)
        small = msgspec.structs.replace(configuration(folder), mode=mode)
        plain = write_config(small, folder / "plain.yaml", folder / "plain")
        expected = replay("plain", plain, folder / "plain").digests
        config = msgspec.structs.replace(configuration(folder, rotate_mb=0.02), mode=mode)
        outcomes = []
        rounds = (places(seed + 1000 * n, 28, args.hindsight) for n in range(args.rounds))
        tries = [t for tries in rounds for t in tries if not args.only or t[0].at in args.only]
        for i, points in enumerate(tries):
            outcomes.append(attempt(config, folder / f"try_{i}", expected, points, seed + i))
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(_table(outcomes))
    return 0 if all(outcome.same for outcome in outcomes) else 1


def _table(outcomes: Sequence[Outcome]) -> str:
    rows = []
    for at in dict.fromkeys(outcome.points[0].at for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.points[0].at == at]
        seconds = sorted(outcome.wall_s for outcome in mine)
        rows.append(
            (
                at,
                str(len(mine)),
                str(sum(outcome.killed for outcome in mine)),
                str(sum(outcome.same for outcome in mine)),
                f"{seconds[len(seconds) // 2]:.1f}",
            )
        )
    return table(("point", "tries", "ended there", "identical", "median s"), rows)


if __name__ == "__main__":
    raise SystemExit(main())
