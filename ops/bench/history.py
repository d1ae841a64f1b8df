"""Cost of the history: CPU a tick, size, pruning beside new ticks, the flow beside its follower.

    python -m ops.bench.history [--ticks 200000] [--old 1000000] [--rounds 3]

Ticks have one signal of four members. CPU seconds are those of the process that works, the least of
three; other load of the machine lengthens only the steps, which are wall time.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ops.bench.history_kills import tick
from ops.bench.throughput import Race
from ops.text.table import table
from sinks.files.jsonl import Segments
from sinks.files.progress import Final, RigFiles
from sinks.history.follower import POLL_S, Follower, FollowSettings
from sinks.history.sqlite_store import SqliteStore
from sinks.history.tables import TICK

_EVENTS = 1_000_000
_STEP = 1_000


def written(out: Path, ticks: int, first: int = 0) -> None:
    """Write the files of a rig that ticks at 5 Hz."""
    out.mkdir(exist_ok=True)
    for path in out.glob("*.jsonl"):
        path.unlink()
    segments = Segments(out, "fused", limit=64_000_000, durable=False)
    values = random.Random(first)
    for start in range(first, first + ticks, _STEP):
        numbers = range(start, start + _STEP)
        lines = (tick(1.7e9 + 0.2 * k, "studio", values.random()) for k in numbers)
        segments.write(b"".join(lines))
    Final(f"run-{first}", 0.0, "", 0, True, 0, {"studio": RigFiles(".")}).write(out)


def taken(settings: FollowSettings) -> tuple[float, list[float]]:
    """Take all lines in; return the CPU seconds and the length of each step (s)."""
    follower, steps = Follower(settings), []
    begun = time.process_time()
    more = True
    while more:
        at = time.monotonic()
        more = follower.step()
        steps.append(time.monotonic() - at)
    spent = time.process_time() - begun
    follower.close()
    return spent, steps


def cost(folder: Path, ticks: int) -> list[tuple[str, str, str]]:
    """Return rows of the cost of a tick."""
    written(folder / "out", ticks)
    spent, size = [], 0
    for number in range(3):
        store = folder / f"cost-{number}.sqlite"
        out = (str(folder / "out"),)
        spent.append(taken(FollowSettings(f"sqlite:{store}", out))[0])
        size = store.stat().st_size
        store.unlink()
    lines = sum(path.stat().st_size for path in (folder / "out").glob("*.jsonl"))
    return [
        ("CPU a tick, reading and parsing included", f"{min(spent) / ticks * 1e6:.1f} us", "20"),
        ("bytes a tick: store / line", f"{size / ticks:.0f} / {lines / ticks:.0f}", ""),
        ("CPU of 10,000 ticks (20,000 rows) a second", f"{min(spent) / ticks * 1e4:.2f} s", "0.2"),
    ]


def pruning(folder: Path, old: int) -> list[tuple[str, str, str]]:
    """Return rows of pruning old ticks while new ones come."""
    store, out = folder / "old.sqlite", folder / "out"
    written(out, old)
    taken(FollowSettings(f"sqlite:{store}", (str(out),)))
    base = SqliteStore(store)
    size = base.size()
    count = next(iter(base.rows(f"SELECT count(*) FROM {TICK.name}", limit_s=600.0)))[0]
    base.close()
    written(out, 20_000, first=old)
    settings = FollowSettings(f"sqlite:{store}", (str(out),), keep_d=0.001, minutes_d=36_500)
    follower = Follower(settings)
    steps, cpu = [], []
    more = True
    while more or follower.prunes:
        at, used = time.monotonic(), time.process_time()
        more = follower.step()
        steps.append(time.monotonic() - at)
        cpu.append(time.process_time() - used)
    follower.close()
    return [
        (f"steps that prune {count:,} ticks, {size / 2**20:.0f} MiB", f"{len(steps)}", ""),
        ("longest step / its 99th percentile", _ms(steps), "250 ms"),
        ("the same, CPU", _ms(cpu), ""),
        ("lag while pruning: a step and the pause", f"{max(steps) + POLL_S:.2f} s",
         "5"),
    ]  # fmt: skip


def _ms(steps: list[float]) -> str:
    ordered = sorted(steps)
    return f"{ordered[-1] * 1e3:.0f} / {ordered[int(len(ordered) * 0.99)] * 1e3:.0f} ms"


def beside(folder: Path, rounds: int) -> list[tuple[str, str, str]]:
    """Return rows of the flow's CPU time with and without a follower, in pairs."""
    race = Race(folder, _EVENTS, arrival=True)
    plain = race.config.read_text()
    spent: dict[str, list[float]] = {"": [], _store(folder): []}
    for _ in range(rounds):
        for more, each in spent.items():
            race.config.write_text(plain + more)
            race.flow()
            run: dict[str, Any] = json.loads((race.out / "run.json").read_bytes())
            each.append(run["cpu_s"])
            for path in folder.glob("beside.sqlite*"):
                path.unlink()
    without, with_ = (min(each) for each in spent.values())
    text = f"{without / with_:.3f} ({without:.2f} s / {with_:.2f} s)"
    return [(f"the flow's CPU, without / with a follower, least of {rounds}", text, "0.97")]


def _store(folder: Path) -> str:
    return f'store: {{dsn: "sqlite:{folder}/beside.sqlite"}}\n'


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=200_000)
    parser.add_argument("--old", type=int, default=1_000_000, help="ticks of the pruned store")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-history-") as name:
        folder = Path(name)
        rows = [
            *cost(folder, args.ticks), *pruning(folder, args.old), *beside(folder, args.rounds)
        ]  # fmt: skip
    print(table(("figure", "measured", "asked"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
