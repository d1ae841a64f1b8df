"""Recordings as a source: a partition merges its files by arrival.

One partition has all files, or each has files of its own rigs (`partitions`). Lines of one file
keep its order; files are merged by the newest accepted arrival of each, ties by their order in the
configuration. Rows and verdicts do not depend on the batches: they are equal
for every `batch_lines`, `speed` and position of a resume.

State: two blocks of a file (2 MiB) and their columns, `batch_lines` rows, 65,536 names.
Losses: none here; an unusable line is a reject in its place.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from configs.inert import inert
from configs.inputs import FileStream, is_delimited, is_mcap
from configs.schema import Config
from operators.errors import SourceError
from operators.events import Batch
from operators.snapshot import StateRefusedError, seal, unseal
from operators.types import I64
from sources.host.shutdown import Shutdown
from sources.mcap.channels import remarks as mcap_remarks
from sources.opening import FileDecoder, open_recording, reader_of
from sources.recordings.progress import Progress
from sources.recordings.recording import UnusableError, is_columnar, is_xdf
from sources.replay.arrival_check import Arrivals
from sources.replay.partitions import deal
from sources.replay.poll import AT_ONCE, Poll
from sources.replay.recording_reader import FeedState, RecordingLike, RecordingReader
from sources.replay.replay_input import ReplayInput, file_inputs
from sources.rows.admission import Admission
from sources.rows.by_rig import RigSplitter, byte_offset
from sources.rows.names import Names
from sources.rows.rows import Arrived
from sources.tape.reader import is_tape, read_manifest

_POLL_S, _PACE_S = 0.010, 0.004
_MAX_READS = 16
"""In one call: a source has to return soon for any content of the file."""
MAX_ROWS = 65_536
"""In one call, of whole lines: a line may be an array."""
MAX_SILENT_TICKS = 100_000
"""The longest leap of a recording that is accepted (ticks)."""
_VERSION = 2


class ReplayState(msgspec.Struct, frozen=True):
    """The state from which a replay resumes."""

    version: int
    ended: bool
    rigs: list[str]
    seen: list[str]
    feeds: list[FeedState]
    names: bytes = b""


class Replay(FixedPartitionedSource[tuple[str, Batch], bytes]):
    """The file streams of a configuration.

    Parameters
    ----------
    config : Config
    progress : bool
        Report the progress on standard error.
    heading : str
        Prefix of each progress line.
    recovering : bool
        The run has a recovery store.
    shutdown : Shutdown, optional
        Of the run; by default one of its own.

    Attributes
    ----------
    undealt : str
        Reason why one partition has all recordings of a run with several output parts, or empty.
    """

    def __init__(
        self,
        config: Config,
        progress: bool = False,
        heading: str = "",
        *,
        recovering: bool = False,
        shutdown: Shutdown | None = None,
    ) -> None:
        self._recovering = recovering
        self._shutdown = shutdown or Shutdown()
        self._progress = Progress(heading=heading) if progress else None
        dealt, self.undealt = deal(config)
        self._partitions = {partition.name: partition for partition in dealt}

    def list_parts(self) -> list[str]:
        """Return the names of the partitions."""
        return list(self._partitions)

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> ReplayPartition:
        """Open the files.

        Raises
        ------
        OSError
            A file cannot be opened; it is named.
        ValueError
            A file is shorter than before, or the state belongs to other files.
        """
        self._shutdown.start(
            "Ctrl-C: reading ends, rows already read are written; again to end at once"
        )
        partition = self._partitions[for_part]
        return ReplayPartition(
            partition.config,
            resume_state,
            self._progress,
            number=list(self._partitions).index(for_part),
            home=partition.home,
            recovering=self._recovering,
            shutdown=self._shutdown,
        )


class ReplayPartition(StatefulSourcePartition[tuple[str, Batch], bytes]):
    """Emits `batch_lines` lines at a time, as one batch for each rig.

    Parameters
    ----------
    config : Config
        With the files of this partition.
    state : bytes or None
        Of `snapshot`.
    progress : Progress, optional
        Of all partitions of this process.
    clock : callable
        Monotonic seconds.
    number : int
        Among the partitions of the run.
    home : str
        Rig of undecodable lines; by default that of the configuration.
    recovering : bool
        The run has a recovery store: a stop is a pause, not the end of the rigs.
    shutdown : Shutdown or None
        Of the run; by default one of its own.
    inputs : sequence of ReplayInput, optional
        By default the file streams of the configuration.
    """

    def __init__(
        self,
        config: Config,
        state: bytes | None = None,
        progress: Progress | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        number: int = 0,
        home: str = "",
        recovering: bool = False,
        shutdown: Shutdown | None = None,
        inputs: Sequence[ReplayInput] | None = None,
    ) -> None:
        self._number = number
        self._recovering = recovering
        self._shutdown = shutdown or Shutdown()
        if inputs is None:
            inputs = file_inputs(config, progress is not None, self._shutdown.requested)
        known = stored_state(state) if state else None
        if known:
            stored, paths = [f.path for f in known.feeds], [inert(s.path) for s in inputs]
            if known.version != _VERSION or stored != paths:
                raise StateRefusedError(
                    "the recovery store is of a run with other recordings: " + ", ".join(stored)
                )
        self._feeds: list[RecordingReader] = []
        self._final = state if known and known.ended else None
        if self._final is None:
            self._open(inputs, config, known.feeds if known else [])
        self._names = Names(config.rig)
        admission = Admission(config.plan().admitted, known.names if known else b"")
        self._splitter = RigSplitter(
            [s.path for s in inputs],
            config.rig,
            config.max_rigs,
            admitted=known.rigs if known else [],
            seen=known.seen if known else [],
            names=admission,
            home=home,
            part=number,
            where=next((s.where for s in inputs), byte_offset),
        )
        self._ended = self._final is not None
        self._merged: list[Arrived] = []
        self._batch_lines = min((s.batch_lines for s in inputs), default=1)
        self._follows = any(s.follow for s in inputs)
        self._speed = min((s.speed for s in inputs if s.speed > 0), default=0.0)
        self._clock = clock
        self._pace = Poll(_POLL_S if self._follows else _PACE_S, clock)
        self._begin: tuple[float, float] | None = None
        self._idle = self._busy = False
        self._progress = progress
        self._size = sum(f.recording.size for f in self._feeds)
        if progress is not None:
            progress.total += self._size

    def _open(self, inputs: Sequence[ReplayInput], config: Config, known: list[FeedState]) -> None:
        try:
            for i, each in enumerate(inputs):
                state = known[i] if known else None
                arrivals = Arrivals(
                    config.drift.max_delay_s, MAX_SILENT_TICKS / config.resample.target_hz
                )
                recording, reader = each.opened(state.mark if state else None)
                self._feeds.append(self._reader(i, recording, arrivals, state, reader))
        except OSError:
            self.close()
            raise
        except ValueError as error:
            self.close()
            raise UnusableError(str(error)) from error

    def _reader(
        self,
        number: int,
        recording: RecordingLike,
        arrivals: Arrivals,
        state: FeedState | None,
        reader: FileDecoder,
    ) -> RecordingReader:
        """Return the reader of an input."""
        return RecordingReader(number, recording, arrivals, state, reader)

    def next_batch(self) -> list[tuple[str, Batch]]:
        """Return the next rows; with the last ones, the end of every rig."""
        if self._idle and not self._busy and not self._ended:
            self._pace.wait()
        stopped = self._shutdown.requested()
        if self._ended or (stopped and self._recovering):
            raise StopIteration
        if stopped:
            rows = self._rest()
            if self._speed and not self._follows:
                rows = rows.take(slice(0, self._due(rows)))  # the others are not due yet
            return self._hand_on(rows, end=True)
        self._busy = False
        rows = self._next_rows()
        end = self._is_empty()
        self._idle = not len(rows) and not end
        return [] if self._idle else self._hand_on(rows, end)

    def _next_rows(self) -> Arrived:
        """Return the due rows of at most `batch_lines` lines."""
        for feed in self._feeds:
            feed.idle = False
        for _ in range(_MAX_READS):
            self._merge()
            full = sum(map(len, self._merged)) >= MAX_ROWS
            if full or _count(self._merged) >= self._batch_lines:
                break
            if self._shutdown.requested() or not self._read_on():
                self._merge()
                break
        else:
            self._busy = True
        if not self._merged:
            return Arrived.none(self._names)
        rows = Arrived.join(self._merged)
        starts = _line_starts(rows)
        ends = np.append(starts[1:], len(rows))[: self._batch_lines]
        whole = int(np.searchsorted(ends, MAX_ROWS, "right"))
        cut = int(ends[max(whole, 1) - 1])
        if self._speed and not self._follows:
            cut = min(cut, self._due(rows))
        self._merged = [rows.take(slice(cut, None))] if cut < len(rows) else []
        return rows.take(slice(0, cut))

    def _due(self, rows: Arrived) -> int:
        """Return the number of rows that are due, at the configured speed.

        now = first arrival + elapsed wall time x speed
        """
        if self._begin is None:
            known = rows.merge_time[np.isfinite(rows.merge_time)]
            if not len(known):
                return len(rows)
            self._begin = (self._clock(), float(known[0]))
        wall, data = self._begin
        now = data + (self._clock() - wall) * self._speed
        return int(np.searchsorted(rows.merge_time, now, "right"))

    def _merge(self) -> bool:
        """Take the rows that no later row of a file can precede; return whether there are any."""
        bound = min((f.frontier() for f in self._feeds if f.holds_back()), default=(math.inf, 0))
        parts = [part for f in self._feeds for part in f.take_up_to(*bound)]
        return self._add(parts)

    def _add(self, parts: list[Arrived]) -> bool:
        if parts:
            rows = Arrived.join(parts)
            if len(self._feeds) > 1:
                rows = rows.take(np.argsort(rows.merge_time, kind="stable"))
            self._merged.append(rows)
        return bool(parts)

    def _read_on(self) -> bool:
        """Read the files that the merge waits for; return whether any delivered rows."""
        names = self._names.rotated()
        if names is not self._names:
            self._names = names
            self._merged = [rows.renamed(names) for rows in self._merged]
            for feed in self._feeds:
                feed.ready = [rows.renamed(names) for rows in feed.ready]
        waiting = [f for f in self._feeds if f.holds_back()]
        first = min((f.frontier() for f in waiting), default=None)
        blocking = [f for f in waiting if not f.ready or f.frontier() == first]
        filled = [f.fill(names) for f in blocking]
        return any(filled)

    def _rest(self) -> Arrived:
        """Return all rows that have been read, at the end of the run."""
        for feed in self._feeds:
            if feed.recording.follow:
                feed.finish(self._names)
        self._add([part for f in self._feeds for part in f.take_up_to(math.inf, 0)])
        rest, self._merged = self._merged, []
        return Arrived.join(rest) if rest else Arrived.none(self._names)

    def _is_empty(self) -> bool:
        return not self._merged and all(f.ended and not f.ready for f in self._feeds)

    def _hand_on(self, rows: Arrived, end: bool) -> list[tuple[str, Batch]]:
        for feed in self._feeds:
            feed.used(rows)
        self._ended = end
        if self._progress:
            read = self._size if self._is_empty() else sum(f.progress() for f in self._feeds)
            newest = max((f.newest for f in self._feeds), default=math.nan)
            self._progress.show(read, len(rows), newest, end, part=self._number)
        return self._splitter.split(self._screened(rows), end)

    def _screened(self, rows: Arrived) -> Arrived:
        """Return the rows to be split by rig."""
        return rows

    def next_awake(self) -> datetime | None:
        """Return a past moment if nothing was due: `next_batch` then waits by itself."""
        if self._busy or not self._idle:
            return None
        return AT_ONCE

    def snapshot(self) -> bytes:
        """Return the state at the first row that is not emitted yet."""
        if self._final is not None:
            return self._final
        state = ReplayState(
            version=_VERSION,
            ended=self._ended,
            rigs=list(self._splitter.admitted),
            seen=list(self._splitter.seen),
            feeds=[f.state(self._merged) for f in self._feeds],
            names=self._splitter.names.snapshot(),
        )
        return seal(msgspec.msgpack.encode(state))

    def close(self) -> None:
        """Close the files."""
        for feed in self._feeds:
            feed.recording.close()


def stored_state(state: bytes) -> ReplayState:
    """Return a stored state."""
    try:
        return msgspec.msgpack.decode(unseal(state, "replay"), type=ReplayState)
    except msgspec.DecodeError as error:
        raise StateRefusedError(f"replay: the stored state cannot be read ({error})") from error


class RecordingsError(SourceError):
    """Recordings that are refused before a start: one report each."""

    def __init__(self, reports: list[str]) -> None:
        self.reports = tuple(reports)
        super().__init__("\n".join(reports))

    def lines(self) -> list[str]:
        """Return a line for each recording."""
        return [f"lumen: {report}" for report in self.reports]


def preflight(config: Config) -> None:
    """Refuse tables without a meaning and foreign tape folders, before any start.

    Raises
    ------
    RecordingsError
        With one line for each.
    """
    refused: list[str] = []
    for stream in config.streams:
        if isinstance(stream, FileStream):
            try:
                if is_tape(stream.path):
                    read_manifest(Path(stream.path))
                elif is_delimited(stream.path):
                    reader_of(stream)
                elif is_mcap(stream.path):
                    for remark in mcap_remarks(stream.path):
                        print(f"lumen: {remark}", file=sys.stderr)
                elif is_columnar(stream.path):
                    open_recording(stream.path, stream.follow).close()
            except (OSError, ValueError) as error:
                refused.append(str(error))
    if refused:
        raise RecordingsError(refused)


def remarks_on(path: str) -> list[str]:
    """Return the remarks on a recording, a sentence each."""
    try:
        if is_mcap(path):
            return mcap_remarks(path)
        if not is_xdf(path):
            return []
        from sources import xdf  # a slow import for a rare format

        return list(xdf.load(path).remarks)
    except (OSError, ValueError):  # missing, or changed since it was read
        return []


def _line_starts(rows: Arrived) -> I64:
    """Return the index of the first row of each line."""
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows.line[1:] != rows.line[:-1]) | (rows.feed[1:] != rows.feed[:-1])
    return np.flatnonzero(new)


def _count(merged: list[Arrived]) -> int:
    return sum(len(_line_starts(rows)) for rows in merged)
