"""Time of snapshot, drill and restore of a large history, and what a writer beside them waits.

`python -m ops.bench.snapshots` (`--mb 1024`): a store of that size is made of ticks and signals;
a writer commits 1,000 rows each 0.1 s, as a follower of many rigs. CPU is that of the command.
Asked: a drill of 1 GiB within 60 s; a snapshot delays no commit by more than 5 s.
"""

from __future__ import annotations

import argparse
import resource
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from ops.text.table import table
from sinks.history.sqlite_store import SqliteStore
from sinks.history.tables import SIGNAL, TICK
from sinks.snapshots.drills import drills

MAX_DRILL_S, MAX_WAIT_S = 60.0, 5.0
EVERY_S, ROWS = 0.1, 1000
_TICKS = 50_000
_NULLS = (None,) * 7
_WEIGHTS = '{"ure:pulse":0.31,"osc_1:/body/pulse":0.42,"osc_2:/body/pulse":0.27}'


class Timed(NamedTuple):
    """One command: wall and CPU time, and the longest commit of a writer beside it (s)."""

    name: str
    wall_s: float
    cpu_s: float
    commit_s: float | None


def fill(path: Path, megabytes: int) -> int:
    """Fill a new store; return its number of ticks."""
    store = SqliteStore(path)
    ticks = 0
    while store.size() < megabytes << 20:
        with store.transaction():
            times = [0.2 * k for k in range(ticks, ticks + _TICKS)]
            store.write(TICK, [(1, 2, ts, ts + 1, "fused", 3, *([0.01] * 7)) for ts in times])
            signals = [(1, 2, ts, 3, 0.5, 0.1, 0.1, "fused", 3, _WEIGHTS) for ts in times]
            store.write(SIGNAL, signals)
        ticks += _TICKS
    store.close()
    return ticks


@contextmanager
def writing(path: Path) -> Iterator[list[float]]:
    """Write to a store in a thread; the list gets the length of each commit (s)."""
    commits: list[float] = []
    ended = threading.Event()

    def write() -> None:
        with closing(SqliteStore(path)) as store:
            first = 10_000_000
            while not ended.wait(EVERY_S):
                rows = [(9, 9, float(k), 0.0, "fused", 1, *_NULLS) for k in range(ROWS)]
                start = time.monotonic()
                with store.transaction():
                    store.write(TICK, [(9, 9, first + row[2], *row[3:]) for row in rows])
                commits.append(time.monotonic() - start)
                first += ROWS

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield commits
    finally:
        ended.set()
        writer.join()


@contextmanager
def _nobody() -> Iterator[list[float]]:
    yield []


def timed(name: str, path: Path, *, beside: bool = False) -> Timed:
    """Run a command on a store, with a writer beside it or without."""
    command = [sys.executable, "-m", "ops", *name.split(), "--store", f"sqlite:{path}"]
    with writing(path) if beside else _nobody() as commits:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        wall_s = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Timed(name, wall_s, cpu_s, max(commits, default=None))


def main() -> int:
    """Measure and print; return 1 beyond a bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=1024, help="size of the store (MiB)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-snapshots-") as name:
        path = Path(name, "history.sqlite")
        ticks = fill(path, args.mb)
        with writing(path) as commits:
            time.sleep(10)
        alone_s = max(commits)
        found = [
            timed("snapshot", path, beside=True),
            timed("drill", path, beside=True),
            timed("restore newest", path),
            timed("prune", path),
        ]
        drill = drills(path.parent / "snapshots")[-1]
        with closing(sqlite3.connect(path)) as base:
            kept = base.execute("SELECT count(*) FROM tick WHERE run = 1").fetchone()[0]
    rows = [
        (each.name, f"{each.wall_s:.1f}", f"{each.cpu_s:.1f}",
         "-" if each.commit_s is None else f"{each.commit_s:.2f}")
        for each in found
    ]  # fmt: skip
    print(f"{args.mb} MiB, {ticks:,} ticks; {kept:,} after the restore")
    print(f"longest commit of the writer alone, 10 s: {alone_s:.2f} s")
    print(table(("command", "wall s", "CPU s", "longest commit s"), rows))
    print(f"drill, its own figure: {drill.seconds:.1f} s")
    longest = found[0].commit_s or 0.0
    ok = drill.seconds <= MAX_DRILL_S and longest <= MAX_WAIT_S and kept == ticks
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
