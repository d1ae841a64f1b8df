"""Counts of losses by watermark.

Every event has one end; ticks of the host clock and commands of persons are no events, a refused
command is one. Stations add `Ends` with one watermark per event. A sync line therefore has the
counts known when its tick was released, at any width of blocks. Dead letters of one kind share a
line within fixed windows of data time.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from operator import lt
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.lines import DeadLine
from operators.records import DeadLetter, Ends
from operators.settings.plan import Plan
from operators.types import ENDS, F64, I64, End, Reason, State

T = TypeVar("T", bound=np.generic)
_PLACE = {end: i for i, end in enumerate(ENDS)}
MAX_PLAIN = 8
"""Watermarks up to which plain floats are faster than an array."""
MAX_COMING = 256
"""Packets whose events may wait to be counted; beyond it they are counted without a request."""


def spread(column: NDArray[T], weight: I64 | None) -> NDArray[T]:
    """Return a column with each row repeated by the number of its events."""
    return column if weight is None else np.repeat(column, weight)


def ended(source: str, channel: str, end: End, before: F64) -> tuple[Ends, ...]:
    """Return the events as `Ends`; empty without events."""
    return (Ends(source, channel, end, before),) if len(before) else ()


def letters(
    plan: Plan, stage: str, reason: Reason, source: str, before: F64, line: I64, samples: list[str]
) -> tuple[DeadLetter, ...]:
    """Return one dead letter for each window of data time with losses.

    It carries place and sample of the first loss.
    """
    if not len(before):
        return ()
    where = [plan.where(n) for n in line.tolist()]
    # Order as in `LossCounter.add`: the first loss does not depend on the packets.
    order = sorted(range(len(before)), key=lambda i: (before[i], where[i], samples[i]))
    window = np.floor(before[order] / plan.sync_every_s)
    _, first, count = np.unique(window, return_index=True, return_counts=True)
    return tuple(
        DeadLetter(float(before[i]), stage, reason, source, where[i], samples[i], n)
        for i, n in zip((order[k] for k in first.tolist()), count.tolist(), strict=True)
    )


def _known(before: F64, moment: float) -> int:
    """Return the number of watermarks before a moment."""
    if len(before) > MAX_PLAIN:
        return int(np.count_nonzero(before < moment))
    return sum(map(lt, before.tolist(), repeat(moment)))


class LossCounter:
    """Counts by channel, and open dead lines.

    State: eight counts a channel; events not yet counted (those of one delay and `MAX_COMING`);
    one open line for each kind of loss and window.
    """

    def __init__(self, window_s: float) -> None:
        self.window_s = window_s
        self.counts: dict[str, list[int]] = {}
        self._coming: list[tuple[str, int, F64]] = []
        self._open: dict[tuple[float, str, str, str], DeadLetter] = {}

    @classmethod
    def from_snapshot(cls, state: State, window_s: float) -> LossCounter:
        """Return the counter of a snapshot."""
        counter = cls(window_s)
        counter.counts = {channel: list(counts) for channel, counts in state["counts"].items()}
        counter._coming = [(channel, end, mark) for channel, end, mark in state["coming"]]
        for window, *fields in state["open"]:
            letter = DeadLetter(*fields)
            counter._open[window, letter.stage, letter.reason, letter.source] = letter
        return counter

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "counts": {c: list(n) for c, n in self.counts.items()},
            "coming": [list(x) for x in self._coming],
            "open": [
                [key[0], *msgspec.structs.astuple(letter)] for key, letter in self._open.items()
            ],
        }

    def add(self, ends: Iterable[Ends], dead: Iterable[DeadLetter]) -> None:
        """Add the losses of a packet."""
        self._coming += [(e.channel, _PLACE[e.end], e.watermark) for e in ends if e.channel]
        for d in dead:
            key = (float(np.floor(d.watermark / self.window_s)), d.stage, d.reason, d.source)
            had = self._open.get(key)
            if had is None:
                self._open[key] = d
            else:
                early = min(had, d, key=lambda x: (x.watermark, x.where, x.sample))
                self._open[key] = msgspec.structs.replace(early, count=had.count + d.count)

    @property
    def waits(self) -> bool:
        """Whether to advance without a sync line: open dead lines, or many uncounted events."""
        return bool(self._open) or len(self._coming) > MAX_COMING

    def advance(self, rig: str, moment: float) -> tuple[DeadLine, ...]:
        """Count the events known before `moment`; return the dead lines of closed windows."""
        coming: list[tuple[str, int, F64]] = []
        for channel, end, before in self._coming:
            n = _known(before, moment)
            if n:
                counts = self.counts.get(channel)
                if counts is None:
                    counts = self.counts[channel] = [0] * len(ENDS)
                counts[end] += n
            if n < len(before):
                coming.append((channel, end, before[~(before < moment)] if n else before))
        self._coming = coming
        if not self._open:
            return ()
        over = [k for k in self._open if (k[0] + 1) * self.window_s <= moment]
        lines = [(k[0], self._open.pop(k)) for k in over]
        lines.sort(key=lambda x: (x[0], x[1].watermark, x[1].stage, x[1].reason, x[1].source))
        return tuple(
            DeadLine(
                ts=d.watermark,
                rig=rig,
                stage=d.stage,
                reason=d.reason,
                source=d.source,
                where=d.where,
                count=d.count,
                sample=d.sample,
            )
            for _, d in lines
        )

    def of(self, channel: str) -> dict[End, int]:
        """Return a channel's counts."""
        return dict(zip(ENDS, self.counts.get(channel, [0] * len(ENDS)), strict=True))
