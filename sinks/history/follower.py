"""Takes the result files of runs into the history.

One step reads whole lines beyond the stored places, at most `MAX_STEP` bytes, and writes their rows
and the new places in one transaction: a kill at any point loses no line and takes none in twice.
Old rows are deleted in small steps between.

State: the lines of one step, and a place for each file of the runs.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from math import inf
from pathlib import Path

import msgspec

from configs.files import ACCESS, AccessMode
from configs.inert import inert
from sinks.files.aside import has_left, later_runs, leave
from sinks.files.line_reader import Chunk, chunks_of
from sinks.files.progress import (
    TAKEN,
    FilePlace,
    Final,
    TakenIn,
    final_of,
)
from sinks.history.back_end import AwayError, BackEnd, HistoryError
from sinks.history.line_rows import LineRows
from sinks.history.open_store import opened
from sinks.history.tables import (
    BRIDGE,
    DEAD,
    EVIDENCE,
    MINUTE,
    PLACE,
    RUN,
    SIGNAL,
    SYNC,
    TICK,
    Table,
)

MAX_STEP = 4 << 20
"""Bytes of lines in one transaction."""
MAX_DELETED = 5_000
"""Rows of one table that are deleted in one transaction."""
POLL_S = 1.0
RETRY_S = 1.0
PATIENCE_S = 10.0
"""At the end of a run, a database that is away is waited for so long."""
BEAT_S = 5.0
"""Greatest time between two reports."""
PRUNE_S = 300.0
_DAY_S = 86_400.0
_PLACES = (
    "SELECT rig.text, place.file, place.segment, place.byte, place.lines FROM place"
    " JOIN name AS rig ON rig.id = place.rig JOIN name AS run ON run.id = place.run"
    " WHERE run.kind = 'run' AND run.text = :run"
)
_KEPT = {"keep_d": (TICK, SIGNAL, BRIDGE), "minutes_d": (MINUTE, SYNC, EVIDENCE, DEAD)}


class FollowSettings(msgspec.Struct, frozen=True):
    """Settings of the follower.

    Attributes
    ----------
    dsn : str
    folders : tuple of str
        Output folders, one a part of the output.
    mode : AccessMode
        Rights of the reports in them.
    keep_d, minutes_d, every_s : float
        As in the configuration.
    """

    dsn: str
    folders: tuple[str, ...]
    mode: AccessMode = "private"
    keep_d: float = 30.0
    minutes_d: float = 730.0
    every_s: float = 0.0


class Follower:
    """Takes the files of the output folders into one store.

    Parameters
    ----------
    settings : FollowSettings
    clock, wall : callable
        Monotonic seconds; host time (s since the epoch).
    forgets : bool
        Remove the runs that were set aside once they are taken in.

    Attributes
    ----------
    rows : Counter
        Rows by table.
    """

    def __init__(
        self,
        settings: FollowSettings,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        forgets: bool = True,
    ) -> None:
        self._settings = settings
        self._clock, self._wall, self._forgets = clock, wall, forgets
        self._folders = [Path(folder) for folder in settings.folders]
        self._store: BackEnd | None = None
        self._places: dict[str, dict[tuple[str, str], FilePlace]] = {}
        self._first = 0
        self._newest = -inf
        self._released: dict[str, float] = {}
        self._due: list[Table] = []
        self._pruned_at = -inf
        self.rows: Counter[str] = Counter()
        self._errors: Counter[str] = Counter()
        self._lost = 0
        self._cut: set[Path] = set()
        self._why = ""
        self._reported: dict[Path, TakenIn] = {}

    def open(self) -> BackEnd:
        """Return the store, opened and held.

        Raises
        ------
        HistoryError, AwayError
        """
        if self._store is None:
            store = opened(self._settings.dsn)
            try:
                store.hold()
            except BaseException:
                store.close()
                raise
            self._store = store
        return self._store

    def close(self) -> None:
        """Close the store; what is known of it is read again."""
        self._places.clear()
        if self._store is not None:
            self._store.close()
            self._store = None

    def step(self) -> bool:
        """Take in lines, and delete some old rows; return whether more lines may be left.

        Raises
        ------
        HistoryError, AwayError
        """
        store, size = self.open(), 0
        chunks: list[tuple[Path, Final, Chunk]] = []
        for folder, final in self._runs():
            found = []
            for chunk in self._read(folder, final):
                found.append((folder, final, chunk))
                size += len(chunk.lines)
                if size >= MAX_STEP:
                    break
            if found and self._still_there(folder, final):
                chunks += found
            if size >= MAX_STEP:
                break
        if chunks:
            self._first += len(chunks)
            self._take(store, chunks)
        self._prune(store, idle=not chunks)
        if self._forgets:
            self._forget_later()
        return bool(chunks)

    def failed(self, error: AwayError | HistoryError) -> None:
        """Close the store after an error, and count it; a new one is printed."""
        self.close()
        self._errors[getattr(error, "reason", "unusable")] += 1
        if str(error) != self._why:
            self._why = str(error)
            print(f"lumen: store: {inert(self._why)}", file=sys.stderr, flush=True)

    def succeeded(self) -> None:
        """Note that the store answers again."""
        if self._why:
            self._why = ""
            print("lumen: store: the database answers again", file=sys.stderr, flush=True)

    def report(self) -> None:
        """Publish how far the runs are taken in, in each folder where it has changed."""
        now, size = self._clock(), 0
        if self._store is not None:
            with suppress(AwayError, HistoryError):
                size = self._store.size()
        for folder in self._folders:
            final = final_of(folder)
            run = final.run if final is not None else ""
            places: dict[str, dict[str, FilePlace]] = {}
            for (rig, stem), place in self._places.get(run, {}).items():
                places.setdefault(rig, {})[stem] = place
            before = self._reported.get(folder)
            if before is not None and not places and before.run == run:
                places = before.places  # the store is closed
            report = TakenIn(
                os.getpid(),
                before.at if before is not None else -inf,
                self._store is not None,
                self._why,
                run,
                places,
                self._released.get(run),
                size,
                dict(self.rows),
                dict(self._errors),
                self._lost,
            )
            if report != before or now - report.at >= BEAT_S:
                report.at = now
                with suppress(OSError):
                    report.write(folder, ACCESS[self._settings.mode])
                    self._reported[folder] = report

    def _runs(self) -> Iterator[tuple[Path, Final]]:
        """Yield the runs with their folders, those that were set aside first."""
        for root in self._folders:
            for folder in later_runs(root):
                final = final_of(folder)
                if final is not None and not has_left(folder, TAKEN):
                    final.whole = True
                    yield folder, final
            if (final := final_of(root)) is not None:
                yield root, final

    def _still_there(self, folder: Path, final: Final) -> bool:
        """Whether lines that were read are those of the run: it may have been replaced since."""
        now = final_of(folder)
        if now is None or now.run != final.run:
            return False
        return now.whole == final.whole or folder not in self._folders

    def _read(self, folder: Path, final: Final) -> Iterator[Chunk]:
        places = self._places_of(final.run)
        try:
            for found in chunks_of(folder, final, places, self._first):
                if isinstance(found, Chunk):
                    yield found
                elif found.path not in self._cut:
                    self._cut.add(found.path)
                    self._errors["cut"] += 1
        except OSError:
            self._errors["files"] += 1

    def _places_of(self, run: str) -> dict[tuple[str, str], FilePlace]:
        if run not in self._places:
            rows = self.open().rows(_PLACES, {"run": run}, inf)
            self._places[run] = {(rig, stem): FilePlace(*at) for rig, stem, *at in rows}
        return self._places[run]

    def _take(self, store: BackEnd, chunks: list[tuple[Path, Final, Chunk]]) -> None:
        """Write the rows of the lines and their places, together."""
        rows: Counter[str] = Counter()
        released: dict[str, float] = {}
        lost = 0
        with store.transaction():
            for _, final, chunk in chunks:
                run = store.numbers("run", [final.run])[final.run]
                rig = store.numbers("rig", [chunk.rig])[chunk.rig]
                of_lines = LineRows(run, rig, store.numbers, self._settings.every_s)
                taken = of_lines.taken(
                    chunk.stem, chunk.lines, chunk.place.segment, chunk.place.byte
                )
                if taken.replaced is not None:
                    for table in (TICK, SIGNAL):
                        store.drop(table, run, rig, *taken.replaced)
                for table, new in taken.rows.items():
                    store.write(table, new)
                    rows[table.name] += len(new)
                at = chunk.after
                store.write(PLACE, [(run, rig, chunk.stem, at.segment, at.byte, at.lines)])
                store.write(RUN, [(run, final.started, final.version)])
                lost += taken.lost
                if taken.released is not None:
                    released[final.run] = max(released.get(final.run, -inf), taken.released)
        for _, final, chunk in chunks:
            self._places[final.run][chunk.rig, chunk.stem] = chunk.after
        self.rows += rows
        if lost:
            self._lost += lost
            self._errors["line"] += lost
        for run_id, at_s in released.items():
            self._released[run_id] = max(self._released.get(run_id, -inf), at_s)
            self._newest = max(self._newest, at_s)

    def _prune(self, store: BackEnd, *, idle: bool) -> None:
        """Delete some rows that are too old.

        Age counts from the newest tick that was taken in, or from now where that is earlier: the
        rows of an old recording stay, and a clock that was ahead deletes nothing.
        """
        now = self._clock()
        if not self._due:
            if now - self._pruned_at < PRUNE_S:
                return
            self._pruned_at = now
            if idle:
                store.tidy()
            self._due = [table for tables in _KEPT.values() for table in tables]
        table = self._due[-1]
        days = self._settings.keep_d if table.kept == "keep_d" else self._settings.minutes_d
        before = min(self._newest, self._wall()) - days * _DAY_S
        with store.transaction():
            deleted = store.delete(table, before, MAX_DELETED) if before > -inf else 0
        if deleted < MAX_DELETED:
            self._due.pop()

    @property
    def prunes(self) -> bool:
        """Whether old rows are left to be deleted."""
        return bool(self._due)

    def _forget_later(self) -> None:
        """Remove the runs that were set aside and are taken in as a whole."""
        for root in self._folders:
            for folder in later_runs(root):
                final = final_of(folder)
                if final is None or has_left(folder, TAKEN):
                    continue
                final.whole = True
                left = chunks_of(folder, final, self._places_of(final.run))
                if not any(isinstance(each, Chunk) for each in left):
                    self._places.pop(final.run, None)
                    with suppress(OSError):
                        leave(folder, final, TAKEN)


def follow(settings: FollowSettings, wait: Callable[[float], bool]) -> None:
    """Follow the output folders until the end is asked for, and then take in the rest.

    Parameters
    ----------
    settings : FollowSettings
    wait : callable
        Waits for so many seconds (s), or until the end is asked for; returns whether it is.
    """
    follower, away_since = Follower(settings), None
    try:
        while True:
            ends, left = wait(0.0), False
            try:
                left = follower.step()
                follower.succeeded()
                away_since = None
            except (AwayError, HistoryError) as error:
                follower.failed(error)
                away_since = time.monotonic() if away_since is None else away_since
            follower.report()
            if away_since is None:
                if ends and not left:
                    return
                pause = 0.0 if left or follower.prunes else POLL_S
            else:
                if ends and time.monotonic() - away_since > PATIENCE_S:
                    return
                pause = RETRY_S
            if ends:
                time.sleep(pause if away_since is not None else 0.0)
            else:
                wait(pause)
    finally:
        follower.close()
