"""Cost of the history in PostgreSQL, and a hard stop of its server beside a run of ticks.

    python -m ops.bench.history_postgres [--ticks 200000] [--rate 1000] [--stopped 60]

Ticks have one signal of four members. CPU seconds are ours, without those of the server, the least
of three. The server is `ops.fakes.postgres_server`. Asked is a stop of ten minutes; the stop here
is shorter by default.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import threading
import time
from contextlib import closing
from pathlib import Path

from ops.bench.history import taken, written
from ops.bench.history_kills import tick
from ops.fakes.postgres_server import PostgresServer, missing, serving
from ops.text.table import table
from sinks.files.jsonl import Segments
from sinks.files.progress import Final, RigFiles
from sinks.history.back_end import AwayError
from sinks.history.follower import RETRY_S, Follower, FollowSettings
from sinks.history.open_store import opened

_PER_WRITE = 10
Rows = list[tuple[str, str, str]]


def cost(server: PostgresServer, folder: Path, ticks: int) -> Rows:
    """Return rows of the cost of a tick, beside SQLite in turns."""
    out = folder / "out"
    written(out, ticks)
    ours: list[float] = []
    beside: list[float] = []
    size = 0
    for number in range(3):
        dsn = server.new_database()
        ours.append(taken(FollowSettings(dsn, (str(out),)))[0])
        with closing(opened(dsn, read_only=True)) as store:
            size = store.size()
        path = folder / f"cost-{number}.sqlite"
        beside.append(taken(FollowSettings(f"sqlite:{path}", (str(out),)))[0])
        path.unlink()
    each = [min(times) / ticks * 1e6 for times in (ours, beside)]
    return [
        ("CPU a tick, reading and parsing included", f"{each[0]:.1f} us", "25"),
        ("the same in SQLite", f"{each[1]:.1f} us", ""),
        ("bytes a tick", f"{size / ticks:.0f}", ""),
    ]


class Ticking:
    """Writes ticks at a rate, in a thread, as a run does.

    Parameters
    ----------
    out : Path
    per_s : int
        Ticks a second.
    """

    def __init__(self, out: Path, per_s: int) -> None:
        out.mkdir()
        self._segments = Segments(out, "fused", limit=16_000_000, durable=False)
        Final("run", 0.0, "", 0, True, 0, {"studio": RigFiles(".")}).write(out)
        self._pause = _PER_WRITE / per_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.ticks = 0

    def __enter__(self) -> Ticking:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        values, due = random.Random(1), time.monotonic()
        while not self._ended.is_set():
            numbers = range(self.ticks, self.ticks + _PER_WRITE)
            lines = (tick(1.7e9 + 0.2 * k, "studio", values.random()) for k in numbers)
            self._segments.write(b"".join(lines))
            self.ticks += _PER_WRITE
            due += self._pause
            self._ended.wait(due - time.monotonic())


def stopped(server: PostgresServer, folder: Path, per_s: int, stop_s: float) -> Rows:
    """Return rows of a hard stop of the server beside ticks."""
    dsn, out = server.new_database(), folder / "ticking"
    follower = Follower(FollowSettings(dsn, (str(out),)))
    tries, behind, caught_s = 0, 0, 0.0
    with Ticking(out, per_s) as run:
        stops, starts = time.monotonic() + 2.0, time.monotonic() + 2.0 + stop_s
        crashed = up_again = False
        while True:
            now = time.monotonic()
            if not crashed and now >= stops:
                server.stop("immediate")
                crashed = True
            if crashed and not up_again and now >= starts:
                server.start()
                up_again, behind, back = True, run.ticks, time.monotonic()
            try:
                left = follower.step()
            except AwayError as error:
                follower.failed(error)
                tries += 1
                time.sleep(min(RETRY_S, max(0.0, starts - now)))
                continue
            if up_again and not left:
                caught_s = time.monotonic() - back
                break
            if not left:
                time.sleep(0.05)
    while follower.step():
        pass
    follower.close()
    with closing(opened(dsn, read_only=True)) as store:
        ((rows, times),) = store.rows("SELECT count(*), count(DISTINCT ts) FROM tick", limit_s=60.0)
        ((sums,),) = store.rows("SELECT sum(ticks) FROM minute")
    return [
        (f"ticks lost / twice, {stop_s:g} s of {per_s} a second",
         f"{run.ticks - times} / {rows - times + abs(sums - rows)}", "0 / 0"),
        ("ticks at the server's return; tries", f"{behind:,}; {tries}", ""),
        ("caught up after", f"{caught_s:.1f} s", "120"),
    ]  # fmt: skip


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=200_000)
    parser.add_argument("--rate", type=int, default=1_000, help="ticks a second")
    parser.add_argument("--stopped", type=float, default=60.0, help="length of the stop (s)")
    args = parser.parse_args()
    if reason := missing():
        print(reason)
        return 0
    with serving() as server, tempfile.TemporaryDirectory(prefix="lumen-history-") as name:
        rows = cost(server, Path(name), args.ticks)
        rows += stopped(server, Path(name), args.rate, args.stopped)
    print(table(("figure", "measured", "asked"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
