"""Many rigs in one process, in two shards, in a cluster of two: events/s, CPU, memory, state.

`python -m ops.bench.scale_out [--rigs N ...] [--events N] [--rounds N] [--files] [--state]`

Rigs of five streams (190 events/s together) lie in eight partitions, dealt evenly to partitions
and to the engine's processes where their names allow it (below 100 rigs). One process, two shards
and a cluster of two read the same partitions in turn, from a topic of the broker of developers, or
with `--files` from files. Each must give each rig the same bytes.

Start-up is the CPU time of a run over one second of the same rigs' partition layout with one rig.
The ratio of wall times needs two free cores; that of CPU time, net of start-up, one process over
the busier of two, holds under load as well. The load is printed. `--state` also runs each process
with a recovery store, and divides the size of its files by the rigs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

from operators.engine import route
from operators.rig_partition import partition_of
from ops.engine_runs import command, make_store
from ops.results.folder import run_json
from ops.scale_out.field import RigField, even_names
from ops.scale_out.proof import (
    PARTITIONS,
    PROCESSES,
    topic_of,
    ways_over_files,
    ways_over_topic,
)
from ops.scale_out.ways import Way, rig_digests, spent, unbalanced, whole
from ops.text.table import table

RATE_HZ = 190.7
EVEN_RIGS = 100
SHORTEST_S = 3.0


class ProcessRun(NamedTuple):
    """One run of a way: events, wall time, CPU by process net of start-up, memory, its hash."""

    name: str
    events: int
    wall_s: float
    cpu_s: tuple[float, ...]
    peak_mib: float
    hash: str


def names_of(rigs: int) -> list[str]:
    """Return names that deal evenly where that is possible, else the first ones."""
    if rigs <= EVEN_RIGS:
        return even_names(rigs, PARTITIONS, PROCESSES)
    return [f"rig-{number:06d}" for number in range(rigs)]


def largest_shares(names: Sequence[str]) -> tuple[float, float]:
    """Return the largest share of the rigs of a shard, and of a process of a cluster."""
    half = PARTITIONS // PROCESSES
    shard = [partition_of(name, PARTITIONS) // half for name in names]
    process = [route(name) % PROCESSES for name in names]
    return tuple(max(map(each.count, set(each))) / len(names) for each in (shard, process))  # type: ignore[return-value]


def start_up(folder: Path) -> float:
    """Return the CPU time of a run over one second of a rig (s)."""
    made = RigField(names_of(1), PARTITIONS, 1.0)
    folder.mkdir()
    way = ways_over_files(folder, made)[0]
    found = [spent(way)[0][0].cpu_s for _ in range(3)]
    shutil.rmtree(folder)
    return statistics.median(found)


def measured(way: Way, start_s: float) -> ProcessRun:
    """Run a way, check it, and remove its results."""
    costs, wall = spent(way)
    outs = way.outs()
    if wrong := unbalanced(outs):
        raise RuntimeError(f"{way.name}: the account of {wrong[0]} does not balance")
    events = sum(run_json(out)["account"]["total"]["received"] for out in outs)
    net = tuple(max(cost.cpu_s - start_s, 0.0) for cost in costs)
    course = ProcessRun(way.name, events, wall, net, max(c.peak_mib for c in costs),
                    whole(rig_digests(outs)))  # fmt: skip
    for out in outs:
        shutil.rmtree(out)
    return course


def state_bytes(way: Way, folder: Path, rigs: int) -> float:
    """Return the size of the recovery store of one process at the end of a run, by rig."""
    store = make_store(folder / "state")
    argv = command(way.configs[0], store)
    argv[argv.index("-s") + 1] = "10"
    subprocess.run(argv, check=True, capture_output=True)
    size = sum(path.stat().st_size for path in store.iterdir())
    shutil.rmtree(store)
    shutil.rmtree(way.outs()[0])
    return size / rigs


def report(rigs: int, args: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of one number of rigs."""
    names = names_of(rigs)
    seconds = max(args.events / (RATE_HZ * rigs), SHORTEST_S)
    made = RigField(names, PARTITIONS, seconds, patterns=8)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        start_s = start_up(folder / "start")
        with nullcontext(("", "")) if args.files else topic_of(made, "") as (address, topic):
            ways = (
                ways_over_files(folder, made)
                if args.files
                else ways_over_topic(folder, made, address, topic, args.batch_lines)
            )
            courses = [measured(way, start_s) for _ in range(args.rounds) for way in ways]
            stored = state_bytes(ways[0], folder, rigs) if args.state else None
    hashes = {course.hash for course in courses}
    if len(hashes) > 1:
        raise RuntimeError("the bytes differ")
    shard, process = largest_shares(names)
    yield (
        f"{rigs:,} rigs of {RATE_HZ:g} events/s, {seconds:.0f} s, {courses[0].events:,} events;"
        f" start-up {start_s:.2f} CPU s; one hash: {hashes.pop()}"
    )
    yield f"largest share of the rigs: shard {shard:.1%}, process of the cluster {process:.1%}"
    yield table(
        ("run", "wall s", "events/s", "CPU s net", "peak MiB", "us an event"),
        [
            (
                course.name,
                f"{course.wall_s:.1f}",
                f"{course.events / course.wall_s:,.0f}",
                " + ".join(f"{s:.2f}" for s in course.cpu_s),
                f"{course.peak_mib:.0f}",
                f"{1e6 * sum(course.cpu_s) / course.events:.2f}",
            )
            for course in courses
        ],
    )
    kinds = len(ways)
    for at in range(1, kinds):
        pairs = [(courses[n], courses[n + at]) for n in range(0, len(courses), kinds)]
        cpu = statistics.median(a.cpu_s[0] / max(b.cpu_s) for a, b in pairs)
        wall = statistics.median(a.wall_s / b.wall_s for a, b in pairs)
        yield f"{ways[at].name}: one over the busier of two {cpu:.2f} CPU, {wall:.2f} wall"
    one = statistics.median(c.cpu_s[0] for c in courses if c.name == ways[0].name)
    yield (
        f"rigs of {RATE_HZ:g} events/s that one core carries in catch-up:"
        f" {courses[0].events / RATE_HZ / one:,.0f}"
    )
    if stored is not None:
        yield f"recovery store: {stored:,.0f} bytes a rig"
    yield f"load {os.getloadavg()[0]:.1f}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rigs", type=int, nargs="+", default=[22])
    parser.add_argument("--events", type=int, default=2_000_000, help="of a field, about")
    parser.add_argument("--batch-lines", type=int, default=65_536, help="of a topic's stream")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--files", action="store_true", help="files in place of a topic")
    parser.add_argument("--state", action="store_true", help="also the size of the store")
    args = parser.parse_args()
    for rigs in args.rigs:
        for line in report(rigs, args):
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
