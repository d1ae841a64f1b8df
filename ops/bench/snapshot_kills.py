"""Kill `lumen snapshot`, `restore` and `prune`, check what is left, and give the command again.

`python -m ops.bench.snapshot_kills`: each command dies before each file that it opens, renames,
removes or waits for, and at random times (`--random N`, 200 of each). A try begins with a store
whose last rows are in its log, with an older snapshot, and with a recovery store and its snapshot.
Asked: after each death the store has all rows of one moment, and each named snapshot is sound; the
command given again succeeds, and leaves no unfinished file.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from flows.store import PART as PART_NAME
from flows.store import Store, check_parts
from ops.__main__ import main as lumen
from ops.snapshots.snapshot_folder import SnapshotFolder
from ops.snapshots.sqlite_copy import problem_of
from ops.text.table import table
from sinks.history.sqlite_store import LOG_ENDINGS, SqliteStore
from sinks.history.tables import TICK
from sinks.snapshots.names import PART

EARLIER, LATER = 400, 700
"""Ticks in the snapshot, and in the store."""
MAX_POINTS = 500


class Command(NamedTuple):
    """A command under test, and the numbers of ticks that a store may have after a death in it."""

    name: str
    arguments: Callable[[Path], list[str]]
    ticks: frozenset[int]
    ticks_after: int


class Point(NamedTuple):
    """One death: before the n-th touched file, or after a time (s)."""

    touched: int = 0
    after_s: float = 0.0


def _store(base: Path) -> Path:
    return base / "history" / "history.sqlite"


def _snapshots(base: Path) -> Path:
    return base / "history" / "snapshots"


def _recovery_snapshot(base: Path) -> str:
    return str(next((base / "snapshots").glob("*.recovery.tar")))


COMMANDS = (
    Command(
        "snapshot",
        lambda base: ["snapshot", "--store", f"sqlite:{_store(base)}"],
        frozenset({LATER}),
        LATER,
    ),
    Command(
        "restore",
        lambda base: ["restore", "newest", "--store", f"sqlite:{_store(base)}"],
        frozenset({EARLIER, LATER}),
        EARLIER,
    ),
    Command(
        "prune",
        lambda base: [
            *("prune", "--keep", "1", "--daily", "0"),
            *("--store", f"sqlite:{_store(base)}"),
        ],
        frozenset({LATER}),
        LATER,
    ),
    Command(
        "snapshot --recovery",
        lambda base: ["snapshot", "--recovery", str(base / "state")],
        frozenset({LATER}),
        LATER,
    ),
    Command(
        "restore --into",
        lambda base: ["restore", _recovery_snapshot(base), "--into", str(base / "state")],
        frozenset({LATER}),
        LATER,
    ),
)


def made(base: Path) -> None:
    """Make the stores and snapshots from which each try begins."""
    path = _store(base)
    store = SqliteStore(path)
    _add(store, 0, EARLIER)
    for _ in range(3):
        _run(["snapshot", "--store", f"sqlite:{path}"])
    kept = base / "kept"
    _add(store, EARLIER, LATER)
    kept.mkdir()  # as a killed writer leaves them: the newest rows are in the log alone
    for ending in ("", *LOG_ENDINGS):
        shutil.copy(f"{path}{ending}", kept)
    store.close()
    for file in kept.iterdir():
        file.replace(path.parent / file.name)
    kept.rmdir()
    Store(base / "state", parts=2).release()
    _run(["snapshot", "--recovery", str(base / "state")])


def _add(store: SqliteStore, first: int, last: int) -> None:
    nothing = (None,) * 7
    rows = [(1, 2, float(ts), ts + 1.0, "fused", 3, *nothing) for ts in range(first, last)]
    with store.transaction():
        store.write(TICK, rows)


def _run(arguments: Sequence[str]) -> int:
    """Run a command in this process without output; return its exit code."""
    out, error = sys.stdout, sys.stderr
    try:
        with Path(os.devnull).open("w") as nowhere:
            sys.stdout = sys.stderr = nowhere
            return lumen(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        sys.stdout, sys.stderr = out, error


def died(command: Command, base: Path, point: Point) -> bool:
    """Run a command in a child that dies at a point; return whether it did."""
    child = os.fork()
    if child == 0:
        if point.touched:
            _die_before(point.touched, base)
        os._exit(_run(command.arguments(base)))
    if not point.touched:
        time.sleep(point.after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _die_before(number: int, base: Path) -> None:
    """Let this process die before it touches a file of `base` for the n-th time."""
    left = number

    def touched() -> None:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if arguments and str(base) in str(arguments[0]):
            touched()

    fsync = os.fsync

    def counted(file: int) -> None:
        touched()
        fsync(file)

    os.fsync = counted
    sys.addaudithook(hook)


def problems(command: Command, base: Path, ticks: frozenset[int]) -> list[str]:
    """Return all faults of the stores and snapshots that a death left."""
    found = []
    for name, folder in (("history", _snapshots(base)), ("recovery", base / "snapshots")):
        snapshots = SnapshotFolder(folder)
        for each in snapshots.names():
            try:
                snapshots.check(each)
            except Exception as error:  # each is a fault here
                found.append(f"{name}: {error}")
            if each.kind == "sqlite" and (problem := problem_of(snapshots.path(each))):
                found.append(f"{each}: {problem}")
        if not snapshots.names():
            found.append(f"{name}: no snapshot is left")
    found += _problems_of_store(_store(base), ticks)
    try:
        check_parts(base / "state")
    except Exception as error:
        found.append(f"{command.name}: {error}")
    return found


def _problems_of_store(path: Path, ticks: frozenset[int]) -> list[str]:
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as base:
            sound = base.execute("PRAGMA quick_check").fetchone()[0]
            count = base.execute("SELECT count(*) FROM tick").fetchone()[0]
    except sqlite3.Error as error:
        return [f"store: {error}"]
    problem = f"store: {sound}, {count} ticks"
    return [] if sound == "ok" and count in ticks else [problem]


def attempt(command: Command, made_base: Path, point: Point) -> tuple[bool, list[str]]:
    """Let a command die at a point and give it again; return whether it died, and all faults."""
    base = made_base.with_name("try")
    shutil.rmtree(base, ignore_errors=True)
    shutil.copytree(made_base, base)
    killed = died(command, base, point)
    found = problems(command, base, command.ticks)
    if killed:
        if code := _run(command.arguments(base)):
            found.append(f"the command given again exits {code}")
        found += problems(command, base, frozenset({command.ticks_after}))
    left = [
        path.name
        for path in base.rglob("*")
        if path.name.endswith((PART, ".restoring", ".tmp")) and not PART_NAME.fullmatch(path.name)
    ]
    if left:
        found.append(f"left behind: {', '.join(left)}")
    if command.name.startswith("restore"):
        place = base / "state" if "into" in command.name else _store(base)
        before = place.with_name(place.name + ".before")
        if not before.exists():
            found.append("the replaced store is gone")
        elif place != base / "state":
            found += _problems_of_store(before, frozenset({LATER}))
    return killed, found


def main() -> int:
    """Run all tries and print their counts; return 1 if one has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--random", type=int, default=200, metavar="N", help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", default=[], metavar="COMMAND")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    rows, faults = [], []
    with tempfile.TemporaryDirectory(prefix="lumen-kills-") as name:
        base = Path(name, "made")
        base.mkdir()
        made(base)
        for command in COMMANDS:
            if args.only and command.name not in args.only:
                continue
            touched = deaths = 0
            for number in range(1, MAX_POINTS):
                killed, found = attempt(command, base, Point(number))
                faults += [f"{command.name}, touch {number}: {fault}" for fault in found]
                if not killed:
                    break
                touched = number
            start = time.monotonic()
            attempt(command, base, Point(MAX_POINTS))
            longest = time.monotonic() - start
            for _ in range(args.random):
                point = Point(after_s=chance.uniform(0, longest))
                killed, found = attempt(command, base, point)
                deaths += killed
                faults += [f"{command.name}, {point.after_s:.4f} s: {fault}" for fault in found]
            rows.append((command.name, str(touched), f"{deaths} of {args.random}"))
    print(table(("command", "deaths at a file", "at a random time"), rows))
    print(f"{len(faults)} faults")
    print(*faults[:20], sep="\n", end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
