"""Duplicates: rows of a channel with the same source time and value, close in arrival.

Both rows lie within `within_s` of the channel's newest arrival so far, however blocks are cut.

If both rows carry a sequence number, that has to be the same, too. The first row stays. Elements
of one array share a line and are no duplicates of one another.

State: each channel's newest arrival, and its rows of the last `within_s`, at most `max_rows`
(64 Ki).
"""

from __future__ import annotations

import numpy as np

from operators.records import Block
from operators.types import F64, I64, Bool, State


class Duplicates:
    """The newest rows of each channel.

    Parameters
    ----------
    within_s : float
        Largest distance from the newest arrival (s).
    max_rows : int
        Rows that are kept of a channel.
    """

    def __init__(self, within_s: float, max_rows: int) -> None:
        self._within_s, self._max_rows = within_s, max_rows
        self._tails: dict[str, list[np.ndarray]] = {}
        self._newest: dict[str, float] = {}

    @classmethod
    def from_snapshot(cls, state: State, within_s: float, max_rows: int) -> Duplicates:
        """Return the finder of a snapshot."""
        core = cls(within_s, max_rows)
        core._tails = {c: list(t) for c, t in state["tails"].items()}
        core._newest = dict(state["newest"])
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "tails": {c: list(t) for c, t in self._tails.items()},
            "newest": dict(self._newest),
        }

    def find(self, block: Block, seq: I64) -> Bool | None:
        """Return which rows of a channel's next block are duplicates (n,), None without one.

        Parameters
        ----------
        block : Block
        seq : int64 (n,)
            Sequence numbers, -1 for none.
        """
        new: list[np.ndarray] = [block.source_time, block.value, seq, block.arrival, block.line]
        tail = self._tails.get(block.channel)
        had = len(tail[0]) if tail else 0
        ts, rx = (np.concatenate((tail[i], new[i])) if tail else new[i] for i in (0, 3))
        # newest[i] = max(rx[0..i]), duplicates included: the window never moves back.
        newest = np.maximum.accumulate(rx)
        newest = np.maximum(newest, self._newest.get(block.channel, -np.inf))
        self._newest[block.channel] = float(newest[-1])
        ordered = np.sort(ts)
        duplicate = None
        if np.count_nonzero(ordered[1:] == ordered[:-1]):
            both = [np.concatenate(c) for c in zip(tail, new, strict=True)] if tail else new
            repeated = _repeats(both, had, newest - self._within_s)
            if np.count_nonzero(repeated):
                duplicate = repeated[had:]
                new, rx = [c[~duplicate] for c in new], rx[~repeated]
        recent = rx >= newest[-1] - self._within_s
        oldest = int(recent.argmax()) if recent.any() else len(rx)
        first = max(oldest, len(rx) - self._max_rows)
        if tail and first < had:
            new = [np.concatenate((a[first:], b)) for a, b in zip(tail, new, strict=True)]
        self._tails[block.channel] = [c[max(first - had, 0) :].copy() for c in new]
        return duplicate


def _repeats(columns: list[np.ndarray], had: int, since: F64) -> Bool:
    """Return which rows after the first `had` repeat an earlier row that stays.

    `columns`: source time, value, sequence number (-1: none), arrival, line. `since` (n,) is the
    oldest arrival of a row that each may repeat.
    """
    ts, value, seq, rx, line = columns
    again = np.zeros(len(ts), bool)
    order = np.lexsort((np.arange(len(ts)), value, ts))
    t, v = ts[order], value[order]
    latest: dict[int, int] = {}
    last = -2
    for p in np.flatnonzero((t[1:] == t[:-1]) & (v[1:] == v[:-1])).tolist():
        if p != last + 1:
            i = int(order[p])
            latest = {int(seq[i]): i, -2: i}
        last = p
        i, number = int(order[p + 1]), int(seq[order[p + 1]])
        # A row without a number matches any row; one with a number, the same number or none.
        for j in (latest.get(-2),) if number < 0 else (latest.get(number), latest.get(-1)):
            if j is not None and line[i] != line[j] and min(rx[i], rx[j]) >= since[i]:
                again[i] = i >= had
        if not again[i]:
            latest |= {number: i, -2: i}
    return again
