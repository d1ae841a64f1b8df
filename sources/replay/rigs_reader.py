"""Reader of a recording with an arrival check for each rig.

A resume begins at the line that decides on the first row not emitted yet. The checks before this
line, with the rows that they hold, are in the state; rows that came out at this line before are
passed over. State: the rows of `RecordingReader`, and the checks before each block of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields

import numpy as np

from configs.inert import inert
from operators.types import I64
from sources.opening import FileDecoder
from sources.replay.arrival_check import Arrivals
from sources.replay.recording_reader import FeedState, RecordingLike, RecordingReader
from sources.replay.rig_arrivals import AT_END, JudgedRows, RigArrivals
from sources.rows.names import REJECT, Names
from sources.rows.rows import Arrived, DecodedRows


@dataclass(slots=True)
class _Portion:
    """Rows of one read: the checks before them, the lines that decided, the rows emitted."""

    before: RigArrivals
    rows: DecodedRows
    by: I64
    emitted: int


class RigsReader(RecordingReader):
    """The final rows of one recording, in the order of the lines that decided on them.

    Parameters
    ----------
    number, recording, state, reader
        Of `RecordingReader`.
    checks : RigArrivals
    """

    def __init__(
        self,
        number: int,
        recording: RecordingLike,
        checks: RigArrivals,
        state: FeedState | None,
        reader: FileDecoder,
    ) -> None:
        super().__init__(number, recording, Arrivals(0.0), state, reader)
        self._checks = checks
        self._steps: deque[_Portion] = deque()
        self._passed, self._begin = 0, 0
        self._newest = self._done[1]
        if state and state.rigs:
            checks.restore(state.rigs, Names(""))
            self._passed, self._begin = state.rigs.emitted, state.mark.offset

    def add(self, fresh: list[DecodedRows], names: Names) -> None:
        """Append rows, and check as many arrivals as possible."""
        if not fresh and not (self.ended and self._checks.holds()):
            return
        parts = [rows.renamed(names) for rows in fresh]
        rows = DecodedRows.join(parts) if parts else _none(names)
        before = self._checks.copy()
        judged = self._checks.judge(rows, self.ended)
        passed = self._pass_over(judged)
        if len(judged.by):
            self._steps.append(_Portion(before, rows, judged.by, passed))
            self.ready += [x for x in [self._arrived(judged).take(slice(passed, None))] if len(x)]
            self.used(Arrived.none(names))

    def _pass_over(self, judged: JudgedRows) -> int:
        """Return the number of first rows that were emitted before the resume."""
        n, self._passed = self._passed, 0
        by = judged.by[:n]
        known = ((by == self._begin) | (by == AT_END)) & (judged.rows.name[:n] != REJECT)
        return n if len(by) == n and bool(known.all()) else 0

    def _arrived(self, judged: JudgedRows) -> Arrived:
        rows, n = judged.rows, len(judged.by)
        merge_time = np.maximum.accumulate(np.append(self._newest, judged.merge_time))[1:]
        self._newest = float(merge_time[-1])
        return Arrived(
            **{f.name: getattr(rows, f.name) for f in fields(DecodedRows)},
            feed=np.full(n, self.number, np.int32),
            wild=judged.wild,
            merge_time=merge_time,
            reference_arrival=merge_time,
            calm=np.ones(n, np.bool_),
        )

    def used(self, rows: Arrived) -> None:
        """Note the newest emitted rows."""
        super().used(rows)
        left = len(rows)
        while self._steps:
            step = self._steps[0]
            n = min(left, len(step.by) - step.emitted)
            step.emitted += n
            left -= n
            if step.emitted < len(step.by):
                break
            self._steps.popleft()

    def state(self, merged: list[Arrived]) -> FeedState:
        """Return the position and the checks to resume from."""
        line, checks, emitted = None, self._checks, self._passed
        if self._steps:
            step = self._steps[0]
            by = int(step.by[step.emitted])
            line = None if by == AT_END else by
            checks = step.before.copy()
            checks.judge(step.rows.take(np.flatnonzero(step.rows.line < by)), end=False)
            emitted = int((step.by[: step.emitted] == by).sum())
        newest = self.newest
        return FeedState(
            path=inert(self.recording.path),
            mark=self.recording.mark(line),
            reference_arrival=None,
            merge_time=None if newest == float("-inf") else newest,
            verdicts=[],
            rigs=checks.state(emitted),
        )


def _none(names: Names) -> DecodedRows:
    """Return no rows."""
    empty = Arrived.none(names)
    return DecodedRows(**{f.name: getattr(empty, f.name) for f in fields(DecodedRows)})
