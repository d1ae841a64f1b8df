"""What a channel has said before: the same source time and value within a while of arrival.

Rows that both carry a sequence number also have to share it; the first stays. Elements of one
array share a line, and are no repeats of one another.

State: each channel's rows of the last `within_s`, at most `most` (64 Ki).
"""

from __future__ import annotations

import numpy as np

from operators.records import Block
from operators.types import I64, Bool, State


class Duplicates:
    """The newest rows of each channel.

    Parameters
    ----------
    within_s : float
        Of arrival (s).
    max_rows : int
        Rows that are kept of a channel.
    """

    def __init__(self, within_s: float, max_rows: int) -> None:
        self._within_s, self._max_rows = within_s, max_rows
        self._tails: dict[str, list[np.ndarray]] = {}

    @classmethod
    def from_snapshot(cls, state: State, within_s: float, max_rows: int) -> Duplicates:
        """Return the finder of a snapshot."""
        core = cls(within_s, max_rows)
        core._tails = {c: list(t) for c, t in state.items()}
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {c: list(t) for c, t in self._tails.items()}

    def find(self, block: Block, seq: I64) -> Bool | None:
        """Return which rows of a channel's next block are repeats (n,), None if there is none.

        Parameters
        ----------
        block : Block
        seq : int64 (n,)
            Sequence numbers, -1 where there is none.
        """
        new: list[np.ndarray] = [block.source_time, block.value, seq, block.arrival, block.line]
        tail = self._tails.get(block.channel)
        had = len(tail[0]) if tail else 0
        ts, rx = (np.concatenate((tail[i], new[i])) if tail else new[i] for i in (0, 3))
        ordered = np.sort(ts)
        again = None
        if np.count_nonzero(ordered[1:] == ordered[:-1]):
            both = [np.concatenate(c) for c in zip(tail, new, strict=True)] if tail else new
            said = _said_before(both, had, self._within_s)
            if np.count_nonzero(said):
                again = said[had:]
                new, rx = [c[~again] for c in new], rx[~said]
        recent = rx >= rx.max() - self._within_s
        first = max(int(recent.argmax()), len(rx) - self._max_rows)
        if tail and first < had:
            new = [np.concatenate((a[first:], b)) for a, b in zip(tail, new, strict=True)]
        self._tails[block.channel] = [c[max(first - had, 0) :].copy() for c in new]
        return again


def _said_before(columns: list[np.ndarray], had: int, within_s: float) -> Bool:
    """Return which rows but the first `had` repeat an earlier row that stays.

    `columns`: source time, value, sequence number (-1: none), arrival, line.
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
        # Without a number any row will do; with one, those of the same or of none.
        for j in (latest.get(-2),) if number < 0 else (latest.get(number), latest.get(-1)):
            if j is not None and line[i] != line[j] and abs(rx[i] - rx[j]) <= within_s:
                again[i] = i >= had
        if not again[i]:
            latest |= {number: i, -2: i}
    return again
