"""Sends the lines of result files to a topic, in a process of its own.

One step reads whole lines beyond the places, at most `MAX_STEP` bytes, sends each as a message, and
notes the new places on the disk once all are acknowledged. A kill in between sends lines again:
delivery is at least once, and the key of a message with its header `ts` identifies it.

State: the lines of one step, and a place for each file of the runs.
Losses: lines over the limit of the broker, counted.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from math import inf
from pathlib import Path

import msgspec

from configs.files import ACCESS, AccessMode, open_own
from configs.inert import inert
from configs.kafka_cluster import SecurityFileError
from operators.rig_partition import partition_of
from sinks.files.aside import has_left, later_runs, leave
from sinks.files.line_reader import Chunk, chunks_of
from sinks.files.progress import FilePlace, Final, final_of
from sinks.files.readers import SentReport, sent_of
from sinks.kafka.producer import STUCK_S, ClusterAwayError, Headers, TopicProducer

if sys.platform != "win32":
    import fcntl

MAX_STEP = 4 << 20
"""Bytes of lines that are sent before their places are noted."""
POLL_S = 0.2
RETRY_S = (0.5, 5.0)
PATIENCE_S = 10.0
"""At the end of a run, a cluster that takes nothing is waited for so long."""
_ANSWER_S = 3.0
_SILENT_S = 2.0
_LOOK_S = 0.1
_TS = re.compile(rb'"ts":(-?[0-9.eE+-]{1,32})')


class TopicSettings(msgspec.Struct, frozen=True):
    """Settings of the follower.

    Attributes
    ----------
    name : str
        Of the destination.
    brokers : list of str
    topic : str
    security_file : str or None
    stems : tuple of str
        Result files to send.
    folders : tuple of str
        Output folders, one a part of the output.
    report : str
        Name of the follower's report in them.
    mode : AccessMode
        Rights of the report.
    """

    name: str
    brokers: list[str]
    topic: str
    security_file: str | None
    stems: tuple[str, ...]
    folders: tuple[str, ...]
    report: str
    mode: AccessMode = "private"


class TopicFollower:
    """Sends the files of the output folders.

    Parameters
    ----------
    settings : TopicSettings
    """

    def __init__(self, settings: TopicSettings) -> None:
        self._settings = settings
        self._folders = [Path(folder) for folder in settings.folders]
        self._reports = {folder: self._report_of(folder) for folder in self._folders}
        self._producer: TopicProducer | None = None
        self._count = 0
        self._first = 0
        self._answered_at = -inf
        self._why = ""

    def step(self) -> bool:
        """Send lines; return whether more may be left.

        Raises
        ------
        ClusterAwayError
            No broker takes messages; nothing is noted.
        SecurityFileError
            The security file cannot be used.
        """
        found = False
        for root in self._folders:
            for folder, final in self._runs(root):
                chunks = list(self._read(root, folder, final))
                if chunks and self._still_there(root, folder, final):
                    self._send(root, chunks)
                    self._note(root, final, chunks)
                    found = True
            self._leave_later(root)
        self._first += 1
        return found

    def failed(self, error: Exception) -> None:
        """Close the producer after an error; a new reason is printed."""
        self.close()
        self._away(str(error))

    def close(self) -> None:
        """Close the producer."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _report_of(self, folder: Path) -> SentReport:
        report = sent_of(folder, self._settings.report) or SentReport(os.getpid())
        return msgspec.structs.replace(report, pid=os.getpid(), why="", messages=0, lost=0)

    def _runs(self, root: Path) -> Iterator[tuple[Path, Final]]:
        """Yield the runs with their folders, those that were set aside first."""
        for folder in later_runs(root):
            final = final_of(folder)
            if final is not None and self._is_left(folder, final):
                final.whole = True
                yield folder, final
        if (final := final_of(root)) is not None:
            yield root, final

    def _is_left(self, folder: Path, final: Final) -> bool:
        name = self._settings.report
        return name in final.readers and not has_left(folder, name)

    def _still_there(self, root: Path, folder: Path, final: Final) -> bool:
        """Whether lines that were read are those of the run: it may have been replaced since."""
        now = final_of(folder)
        if now is None or now.run != final.run:
            return False
        return now.whole == final.whole or folder != root

    def _read(self, root: Path, folder: Path, final: Final) -> Iterator[Chunk]:
        size = 0
        with suppress(OSError):
            places = self._places(root, final.run)
            for found in chunks_of(folder, final, places, self._first, self._settings.stems):
                if isinstance(found, Chunk):
                    yield found
                    size += len(found.lines)
                    if size >= MAX_STEP:
                        return

    def _places(self, root: Path, run: str) -> Mapping[tuple[str, str], FilePlace]:
        found = self._reports[root].runs.get(run, {})
        return {(rig, stem): place for rig, files in found.items() for stem, place in files.items()}

    def _send(self, root: Path, chunks: list[Chunk]) -> None:
        """Send the lines, and wait until all are acknowledged."""
        producer = self._connected()
        for chunk in chunks:
            key, partition = chunk.rig.encode(), partition_of(chunk.rig, self._count)
            kind: Headers = [("file", chunk.stem)]
            for line in chunk.lines.removesuffix(b"\n").split(b"\n"):
                found = _TS.search(line)
                headers: Headers = [("ts", found[1]), *kind] if found else kind
                done = self._delivered(root, chunk)
                while not producer.send(line, key, partition, headers, done):
                    self._wait(producer)
        while producer.waiting:
            self._wait(producer)
        if self._why:
            self._why = ""
            self.report("messages are taken again")

    def _delivered(self, root: Path, chunk: Chunk) -> Callable[[str], None]:
        report = self._reports[root]

        def note(why: str) -> None:
            if why:
                if not report.lost:
                    self.report(f"a line of {chunk.rig}/{chunk.stem} is lost: {why}")
                report.lost += 1
            else:
                report.messages += 1

        return note

    def _wait(self, producer: TopicProducer) -> None:
        """Wait for an acknowledgement."""
        before = producer.waiting
        producer.poll(_LOOK_S)
        now = time.monotonic()
        if producer.waiting < before:
            self._answered_at = now
        elif now - self._answered_at >= _SILENT_S:
            self._away(producer.why or "no acknowledgement")
            if now - self._answered_at >= STUCK_S:
                raise ClusterAwayError(self._why)

    def _connected(self) -> TopicProducer:
        settings = self._settings
        if self._producer is None:
            producer = TopicProducer(
                settings.brokers, settings.topic, settings.security_file, f"lumen-{settings.name}"
            )
            self._producer = producer
            self._count = producer.partitions(_ANSWER_S)
        self._answered_at = time.monotonic()
        return self._producer

    def _note(self, root: Path, final: Final, chunks: list[Chunk]) -> None:
        """Note the places behind lines, on the disk."""
        report = self._reports[root]
        run = report.runs.setdefault(final.run, {})
        for chunk in chunks:
            run.setdefault(chunk.rig, {})[chunk.stem] = chunk.after
        self._save(root)

    def _save(self, root: Path) -> None:
        with suppress(OSError):  # written again with the next lines
            self._reports[root].write(root, self._settings.report, ACCESS[self._settings.mode])

    def _leave_later(self, root: Path) -> None:
        """Leave the runs that were set aside and are sent as a whole; forget the others' places."""
        for folder in later_runs(root):
            final = final_of(folder)
            if final is None or not self._is_left(folder, final):
                continue
            final.whole = True
            left = chunks_of(
                folder, final, self._places(root, final.run), stems=self._settings.stems
            )
            if not any(isinstance(each, Chunk) for each in left):
                with suppress(OSError):
                    leave(folder, final, self._settings.report)
        report = self._reports[root]
        known = {path.name for path in later_runs(root)}
        if (final := final_of(root)) is not None:
            known.add(final.run)
            if gone := report.runs.keys() - known:
                for run in gone:
                    del report.runs[run]
                self._save(root)

    def _away(self, why: str) -> None:
        if not self._why:
            self.report(f"not sent now: {inert(why)}")
        self._why = why
        for folder, report in self._reports.items():
            if report.why != why:
                report.why = why
                self._save(folder)

    def report(self, text: str) -> None:
        """Print a line for the user."""
        print(f"lumen: {self._settings.name}: {text}", file=sys.stderr, flush=True)


def follow(settings: TopicSettings, wait: Callable[[float], bool]) -> None:
    """Follow the output folders until the end is asked for, and then send the rest.

    Parameters
    ----------
    settings : TopicSettings
    wait : callable
        Waits for so many seconds (s), or until the end is asked for; returns whether it is.
    """
    lock = _lock(settings, wait)
    if lock is None:
        return
    follower, away_since, pause_s = TopicFollower(settings), inf, RETRY_S[0]
    try:
        while True:
            ends, left = wait(0.0), False
            try:
                left = follower.step()
                away_since, pause_s = inf, RETRY_S[0]
            except (ClusterAwayError, SecurityFileError) as error:
                follower.failed(error)
                away_since = min(away_since, time.monotonic())
            if away_since == inf:
                if ends and not left:
                    return
                wait(0.0 if left else POLL_S)
            elif ends and time.monotonic() - away_since > PATIENCE_S:
                follower.report("the rest is left for the next run")
                return
            else:
                time.sleep(_LOOK_S) if ends else wait(pause_s)
                pause_s = min(2 * pause_s, RETRY_S[1])
    finally:
        follower.close()
        os.close(lock)


def _lock(settings: TopicSettings, wait: Callable[[float], bool]) -> int | None:
    """Return the lock of the follower, which one process has; None if another one keeps it."""
    path = Path(settings.folders[0]) / f"{settings.report}.lock"
    ended_at = inf
    while time.monotonic() - ended_at <= PATIENCE_S:
        with suppress(FileNotFoundError):  # the folder is not made yet
            lock = open_own(path, os.O_RDWR | os.O_CREAT, ACCESS[settings.mode])
            if sys.platform == "win32":
                return lock
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:  # the follower of an earlier run takes in the rest
                os.close(lock)
            else:
                return lock
        if wait(POLL_S):
            ended_at = min(ended_at, time.monotonic())
            time.sleep(_LOOK_S)
    return None
