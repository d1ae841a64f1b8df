"""A drill: a restore is rehearsed in a scratch folder, each part timed; the store is not touched.

Parts: `restore` (copy, hash, check), `open` (rows of each table), `questions`, `flow` (the first
tick of a flow that resumes on a copy of the recovery store, and its end).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from flows.store import Store, StoreError, check_parts, parts_of
from ops.snapshots.faults import SnapshotError, SnapshotFailedError
from ops.snapshots.recovery_copy import copy_part
from ops.snapshots.rehearsal import has_ticked
from ops.snapshots.snapshot_folder import SnapshotFolder, copied, refuse_changed, remove
from ops.snapshots.sqlite_copy import refuse_unsound
from sinks.history.open_store import opened
from sinks.history.tables import TABLES
from sinks.snapshots.drills import drills
from sinks.snapshots.names import SnapshotName

LOCK = ".drill.lock"
SCRATCH = ".drill"
MIN_EVERY_S = 3600.0
TICK_S = 120.0
"""The first tick is waited for so long."""
END_S = 60.0
_POLL_S = 0.02
_QUERY_S = 600.0
Parts = dict[str, float]
"""Seconds by part."""


@contextmanager
def drilling(folder: SnapshotFolder, every_s: float = MIN_EVERY_S) -> Iterator[Path]:
    """Give a drill its scratch folder, which is removed after it.

    Parameters
    ----------
    folder : SnapshotFolder
    every_s : float
        Smallest time since the drill before it (s).

    Raises
    ------
    SnapshotError
        Another drill runs, or ended less than `every_s` ago.
    """
    with folder.hold(LOCK):
        earlier = drills(folder.root)
        age_s = time.time() - earlier[-1].ts if earlier else every_s
        if 0 <= age_s < every_s:
            raise SnapshotError(
                f"the last drill ended {age_s / 60:.0f} min ago; the next one may begin in"
                f" {(every_s - age_s) / 60:.0f} min"
            )
        scratch = folder.root / SCRATCH
        remove(scratch)  # of a killed drill
        scratch.mkdir(mode=0o700)
        try:
            yield scratch
        finally:
            remove(scratch)


def timed(parts: Parts, name: str, work: Callable[[], None]) -> None:
    """Do a part of a drill; its length is entered, also where it fails."""
    start = time.monotonic()
    try:
        work()
    finally:
        parts[name] = round(time.monotonic() - start, 3)


def rehearse_store(folder: SnapshotFolder, name: SnapshotName, scratch: Path, parts: Parts) -> str:
    """Restore a snapshot of the history into a scratch folder, and ask it; return its hash.

    Raises
    ------
    SnapshotError
        It is missing, damaged, or does not answer.
    """
    expected = folder.expected_hash(name)
    store = scratch / "history.sqlite"

    def restore() -> None:
        refuse_changed(folder.path(name), copied(folder.path(name), store), expected)
        refuse_unsound(store, str(name))

    timed(parts, "restore", restore)
    timed(parts, "open", lambda: _count(store))
    return expected


def _count(store: Path) -> None:
    with closing(opened(f"sqlite:{store}", read_only=True)) as base:
        for table in TABLES:
            list(base.rows(f"SELECT count(*) FROM {table.name}", limit_s=_QUERY_S))


def copy_for_drill(recovery: Path, target: Path) -> None:
    """Copy a recovery store, also while its run goes on if it is one file.

    Raises
    ------
    StoreError
        It is damaged, or a run with several files uses it.
    """
    if not recovery.is_dir() or not parts_of(recovery):
        raise StoreError(recovery, "there is no recovery store", "name the folder of --recover")
    held = Store(recovery) if len(parts_of(recovery)) > 1 else None
    try:
        target.mkdir(mode=0o700)
        for part in parts_of(recovery):
            copy_part(part, target / part.name)
    finally:
        if held is not None:
            held.release()
    check_parts(target)


def rehearse_flow(config: Path, recovery: Path, scratch: Path, tick_s: float = TICK_S) -> None:
    """Resume a flow on a copy of its recovery store, and end it after its first tick.

    Raises
    ------
    SnapshotFailedError
        It ends with an error, or has no tick within `tick_s`.
    StoreError
        As `copy_for_drill`.
    """
    copy, out, log = scratch / "recovery", scratch / "out", scratch / "flow.txt"
    copy_for_drill(recovery, copy)
    command = [sys.executable, "-m", "ops.snapshots.rehearsal", *map(str, (config, copy, out))]
    with log.open("wb") as into:
        flow = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=into, stderr=subprocess.STDOUT
        )
        try:
            _wait_for_tick(flow, out, log, tick_s)
            assert flow.stdin is not None
            flow.stdin.close()
            if flow.wait(END_S):
                raise SnapshotFailedError(f"the flow ended by {flow.returncode}: {_last(log)}")
        except subprocess.TimeoutExpired:
            raise SnapshotFailedError(f"the flow did not end within {END_S:g} s") from None
        finally:
            flow.kill()
            flow.communicate()


def _wait_for_tick(flow: subprocess.Popen[bytes], out: Path, log: Path, tick_s: float) -> None:
    """Wait for a tick, or for the end of a run whose data have ended."""
    end = time.monotonic() + tick_s
    while not has_ticked(out):
        if flow.poll() is not None:
            if flow.returncode:
                raise SnapshotFailedError(f"the flow ended by {flow.returncode}: {_last(log)}")
            return
        if time.monotonic() > end:
            raise SnapshotFailedError(f"the flow released no tick within {tick_s:g} s")
        time.sleep(_POLL_S)


def _last(log: Path) -> str:
    lines = log.read_text("utf-8", "replace").strip().split("\n")
    return lines[0][:300]
