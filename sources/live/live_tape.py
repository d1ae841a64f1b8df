"""The tape of a live run: the part to be read before the run is live, and the writer.

A run that resumes reads its tape from the snapshot's position to the end, then appends. Without a
tap there is no tape: positions then count events, and nothing is read.

State: one open file. Losses: none; without a tap, the events after the last snapshot.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from configs.files import ACCESS
from configs.schema import Config
from operators.types import I64
from sources.live.inbox_rows import Arrival, lines_of, starts_of
from sources.live.tape_position import TapePosition
from sources.recordings.recording import Mark
from sources.tape.reader import Tape
from sources.tape.writer import TapeWriter, unfinished


class LiveTape:
    """Reads the earlier part of a tape, then appends to it.

    Parameters
    ----------
    config : Config
    fingerprint : str
        Of the configuration.
    resumed : bool
        The run continues from a snapshot.
    run : str or None
        Name of the snapshot's tape.
    mark : Mark
        The snapshot's position.
    recovering : bool
        The run has a recovery store: a tape without a snapshot is continued, and segments that a
        later run needs are kept.

    Attributes
    ----------
    start : Tape or TapePosition
        What the run reads first.
    writer : TapeWriter or None
    """

    def __init__(
        self,
        config: Config,
        fingerprint: str,
        *,
        resumed: bool,
        run: str | None,
        mark: Mark,
        recovering: bool,
    ) -> None:
        self._rig, self._recovering = config.rig, recovering
        self.writer: TapeWriter | None = None
        self.start: Tape | TapePosition
        if config.tap is None:
            self.start = TapePosition("live", mark.offset)
            return
        if not resumed and recovering:
            run = unfinished(config.tap, fingerprint)
        needed = mark.offset if recovering else None
        access = ACCESS[config.output.mode]
        self.writer = TapeWriter(
            config.tap, config.rig, fingerprint, run, needed, access, config.block_s()
        )
        path = str(self.writer.folder)
        self.start = Tape(path, mark, growing=True) if run else TapePosition(path, 0)

    @property
    def folder(self) -> Path | None:
        """Folder of the tape; None without one."""
        return self.writer.folder if self.writer else None

    @property
    def run(self) -> str | None:
        """Name of the tape; None without one."""
        return self.writer.run if self.writer else None

    def append(self, items: list[Arrival], end: TapePosition) -> I64:
        """Write items at the end of the tape; return the position of each (bytes or events)."""
        before = end.offset
        if self.writer is None:
            end.offset += len(items)
            return before + np.arange(len(items))
        lines = lines_of(items, self._rig)
        self.writer.write(lines)
        end.offset += len(lines)
        return before + starts_of(lines)

    def sync(self, needed: int) -> None:
        """Wait for the disk before a snapshot that needs the tape from an offset on (bytes)."""
        if self.writer is not None and self._recovering:
            self.writer.sync(needed)

    def close(self, ended: bool) -> None:
        """Complete the tape; `ended`: no later run continues it."""
        if self.writer is not None:
            self.writer.close(ended)
            self.writer = None
