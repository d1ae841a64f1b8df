"""Recordings as a source: one partition that merges all files by arrival.

Lines of one file keep its order; files are merged by the newest accepted arrival of each, ties
by their order in the configuration. How rows are cut into batches changes nothing: they are the
same rows with the same verdicts whatever `batch_lines`, `speed` or the point of a resume.

State: two blocks of a file (2 MiB) and their columns, `batch_lines` rows, 65,536 names.
Losses: none here; what cannot be used travels on as a reject in its place.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from configs.schema import Config, FileStream
from operators.records import Batch
from sources import stop
from sources.dealer import Dealer
from sources.decode import Decoder
from sources.feed import Feed, FeedState
from sources.names import Names
from sources.progress import Progress
from sources.recording import head
from sources.rows import Arrived

_POLL = timedelta(milliseconds=10)
_PACE = timedelta(milliseconds=4)
_LOOK_AHEAD = 1 << 20
_VERSION = 1


class ReplayState(msgspec.Struct, frozen=True):
    """What a replay goes on from."""

    version: int
    ended: bool
    rigs: list[str]
    seen: list[str]
    feeds: list[FeedState]


class Replay(FixedPartitionedSource[tuple[str, Batch], bytes]):
    """The file streams of a configuration.

    Parameters
    ----------
    config : Config
    progress : bool
        Say on standard error how far it is.
    """

    def __init__(self, config: Config, progress: bool = False) -> None:
        self._config = config
        self._progress = progress

    def list_parts(self) -> list[str]:
        """Name the one partition."""
        return ["replay"]

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> ReplayPartition:
        """Open the files.

        Raises
        ------
        OSError
            One cannot be opened; it is named.
        ValueError
            One is shorter than it was, or the state is of other files.
        """
        return ReplayPartition(self._config, resume_state, self._progress)


class ReplayPartition(StatefulSourcePartition[tuple[str, Batch], bytes]):
    """Hands on `batch_lines` lines at a time, each rig's rows as a batch of their own."""

    def __init__(
        self,
        config: Config,
        state: bytes | None = None,
        progress: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        streams = [s for s in config.streams if isinstance(s, FileStream)]
        known = msgspec.msgpack.decode(state, type=ReplayState) if state else None
        if known and (known.version, [f.path for f in known.feeds]) != (
            _VERSION, [s.path for s in streams],
        ):  # fmt: skip
            raise ValueError("the recovery store is of a run with other recordings: "
                             + ", ".join(f.path for f in known.feeds))  # fmt: skip
        delay = config.drift.max_delay_s
        self._feeds = [
            Feed(i, s.path, s.follow, delay, known.feeds[i] if known else None)
            for i, s in enumerate(streams)
        ]
        self._names = Names(config.rig)
        self._dealer = Dealer(config.rig, config.max_rigs,
                              known.rigs if known else [], known.seen if known else [])  # fmt: skip
        self._ended = bool(known and known.ended)
        self._merged: list[Arrived] = []
        self._batch_lines = min((s.batch_lines for s in streams), default=1)
        self._follows = any(s.follow for s in streams)
        self._speed = min((s.speed for s in streams if s.speed > 0), default=0.0)
        self._clock = clock
        self._begin: tuple[float, float] | None = None
        self._idle = False
        size = sum(f.recording.size for f in self._feeds)
        self._progress = Progress(size) if progress else None

    def next_batch(self) -> list[tuple[str, Batch]]:
        """Return the next rows; the last ones with the end of every rig."""
        if self._ended:
            raise StopIteration
        if stop.requested():
            return self._stop()
        self._idle = False
        rows = self._next_rows()
        if rows is None:
            self._idle = True
            return []
        return self._hand_on(rows, end=self._is_empty())

    def _next_rows(self) -> Arrived | None:
        """Return what is due of at most `batch_lines` lines; None if nothing is."""
        while (have := _lines(self._merged)) < self._batch_lines:
            if not self._merge() and not self._read_on():
                break
        del have
        if not self._merged:
            return None if not self._is_empty() else Arrived.none(self._names)
        rows = Arrived.join(self._merged)
        cut = _cut(rows, self._batch_lines)
        if self._speed and not self._follows:
            cut = min(cut, self._due(rows))
        self._merged = [rows.take(slice(cut, None))] if cut < len(rows) else []
        return rows.take(slice(0, cut)) if cut else None
