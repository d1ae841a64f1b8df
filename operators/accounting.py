"""Counting losses by the moment at which they were known.

Every event has one end (SPEC section 5). Stations hand on `Ends` with one moment per event, so
that the counts of a sync line are those that were known when its tick was released, whatever
the width of the blocks. Dead letters of one kind share a line within fixed windows of data time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from operators.lines import DeadLine
from operators.plan import Plan
from operators.records import DeadLetter, Ends
from operators.types import ENDS, F64, I64, Bool, End, Reason, State

T = TypeVar("T", bound=np.generic)
MAX_COMING = 256
"""Packets' worth of events that may wait to be counted: more are counted also when unasked."""


def spread(column: NDArray[T], weight: I64 | None) -> NDArray[T]:
    """Return a column with each row repeated for all the events that it stands for."""
    return column if weight is None else np.repeat(column, weight)


def ended(source: str, channel: str, end: End, before: F64) -> tuple[Ends, ...]:
    """Return the events as `Ends`, nothing when there are none."""
    return (Ends(source, channel, end, before),) if len(before) else ()


def letters(
    plan: Plan, stage: str, reason: Reason, source: str, before: F64, line: I64, samples: list[str]
) -> tuple[DeadLetter, ...]:
    """Return one dead letter for each window of data time that the losses fall into.

    It tells where the first of them stood, and shows it.
    """
    if not len(before):
        return ()
    where = [plan.where(n) for n in line.tolist()]
    # The first as in `LossCounter.add`, so that it is the same one however rows came in packets.
    order = sorted(range(len(before)), key=lambda i: (before[i], where[i], samples[i]))
    window = np.floor(before[order] / plan.sync_every_s)
    _, first, count = np.unique(window, return_index=True, return_counts=True)
    return tuple(
        DeadLetter(float(before[i]), stage, reason, source, where[i], samples[i], n)
        for i, n in zip((order[k] for k in first.tolist()), count.tolist(), strict=True)
    )


class LossCounter:
    """Counts by channel and open dead lines.

    State: eight counts a channel, events whose moment has not come yet (those of
    one delay and `MAX_COMING`), and one open line for each kind of loss and window.
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
        """Take in what a packet brought."""
        self._coming += [(e.channel, ENDS.index(e.end), e.watermark) for e in ends if e.channel]
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
        """Whether to advance though no count is asked for: dead lines, or much to be counted."""
        return bool(self._open) or len(self._coming) > MAX_COMING

    def advance(self, rig: str, moment: float) -> tuple[DeadLine, ...]:
        """Count what was known before `moment`; return the dead lines whose window is over."""
        coming: list[tuple[str, int, F64]] = []
        for channel, end, before in self._coming:
            known: Bool = before < moment
            n = int(np.count_nonzero(known))
            if n:
                self.counts.setdefault(channel, [0] * len(ENDS))[end] += n
            if n < len(before):
                coming.append((channel, end, before[~known] if n else before))
        self._coming = coming
        if not self._open:
            return ()
        over = [k for k in self._open if (k[0] + 1) * self.window_s <= moment]
        lines = [(k[0], self._open.pop(k)) for k in over]
        lines.sort(key=lambda x: (x[0], x[1].watermark, x[1].stage, x[1].reason, x[1].source))
        return tuple(
            DeadLine(
                ts=d.watermark, rig=rig, stage=d.stage, reason=d.reason, source=d.source,
                where=d.where, count=d.count, sample=d.sample,
            )
            for _, d in lines
        )  # fmt: skip

    def of(self, channel: str) -> dict[End, int]:
        """Return a channel's counts."""
        return dict(zip(ENDS, self.counts.get(channel, [0] * len(ENDS)), strict=True))
