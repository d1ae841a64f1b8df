"""Duplicates: rows of a channel with the same source time and value, close in arrival.

Both rows lie within `within_s` of the channel's newest arrival so far, however blocks are cut.

If both rows carry a sequence number, that has to be the same, too. The first row stays. Elements
of one array share a line and are no duplicates of one another.

State: each channel's newest arrival, and its rows of the last `within_s`, at most `max_rows`
(64 Ki).
"""

from __future__ import annotations

import math

import numpy as np

from operators.records import Block
from operators.types import F64, I64, Bool, State

MAX_PLAIN = 32
"""Rows up to which plain floats are faster than arrays."""
MAX_PIECES = 1024
"""Pieces of a channel at which they are joined: the state is bounded."""
_EMPTY: tuple[np.ndarray, ...] = tuple(np.empty(0, t) for t in (float, float, int, float, int))
"""Columns of a tail: source time, value, sequence number, arrival, line."""


class _Tail:
    """The newest rows of a channel: pieces of five columns, with the newest arrival of each.

    `newest` is the channel's newest arrival, `latest` the latest source time of the pieces. Old
    rows leave by whole pieces; `cut` removes all rows that `find` must not see.
    """

    __slots__ = ("latest", "newest", "pieces")

    def __init__(self) -> None:
        self.newest = self.latest = -math.inf
        self.pieces: list[tuple[float, list[np.ndarray]]] = []

    def add(self, columns: list[np.ndarray], newest: float) -> None:
        """Append rows (n,) whose newest arrival is given."""
        self.newest = max(self.newest, newest)
        if len(columns[0]):
            self.pieces.append((newest, columns))

    def forget(self, before: float) -> None:
        """Drop leading pieces that arrived before a time."""
        while self.pieces and self.pieces[0][0] < before:
            del self.pieces[0]

    def cut(self, within_s: float, max_rows: int) -> list[np.ndarray]:
        """Join the pieces from the first row of the last `within_s` on; return the columns."""
        if not self.pieces:
            self.latest = -math.inf
            return list(_EMPTY)
        columns = self.pieces[0][1]
        if len(self.pieces) > 1:
            every = (piece for _, piece in self.pieces)
            columns = [np.concatenate(c) for c in zip(*every, strict=True)]
        recent = columns[3] >= self.newest - within_s
        n = len(recent)
        first = max(int(recent.argmax()) if np.count_nonzero(recent) else n, n - max_rows)
        if first:
            columns = [c[first:].copy() for c in columns]
        self.latest = float(np.fmax.reduce(columns[0], initial=-np.inf))
        self.pieces = [(float(columns[3].max()), columns)] if n > first else []
        return columns


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
        self._tails: dict[str, _Tail] = {}

    @classmethod
    def from_snapshot(cls, state: State, within_s: float, max_rows: int) -> Duplicates:
        """Return the finder of a snapshot."""
        core = cls(within_s, max_rows)
        for channel, newest in state["newest"].items():
            tail = core._tails[channel] = _Tail()
            tail.add(list(state["tails"][channel]), newest)
            tail.cut(within_s, max_rows)
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        every = self._tails.items()
        return {
            "tails": {c: t.cut(self._within_s, self._max_rows) for c, t in every},
            "newest": {c: t.newest for c, t in every},
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
        if tail is None:
            tail = self._tails[block.channel] = _Tail()
        duplicate = None
        rising, latest = rises(block.source_time, tail.latest)
        if not rising:
            duplicate = self._repeated(tail, new)
            latest = rises(block.source_time, tail.latest)[1]
            if duplicate is not None:
                new = [c[~duplicate] for c in new]
        tail.latest = latest
        tail.add(new, _newest(block.arrival))
        tail.forget(tail.newest - self._within_s)
        if len(block) > MAX_PLAIN or len(tail.pieces) > MAX_PIECES:
            # Long pieces must not keep rows that have left, nor may pieces add up.
            tail.cut(self._within_s, self._max_rows)
        return duplicate

    def _repeated(self, tail: _Tail, new: list[np.ndarray]) -> Bool | None:
        """Return which new rows repeat an earlier one, None without one."""
        old = tail.cut(self._within_s, self._max_rows)
        both = [np.concatenate(c) for c in zip(old, new, strict=True)]
        ordered = np.sort(both[0])
        if not np.count_nonzero(ordered[1:] == ordered[:-1]):
            return None
        # newest[i] = max(rx[0..i]), duplicates included: the window never moves back.
        newest = np.maximum(np.maximum.accumulate(both[3]), tail.newest)
        had = len(old[0])
        repeated = _repeats(both, had, newest - self._within_s)
        return repeated[had:] if np.count_nonzero(repeated) else None


def rises(time: F64, latest: float) -> tuple[bool, float]:
    """Return whether each time (n,) exceeds all before it and `latest`, and the new latest time.

    Unknown times (NaN) repeat none.
    """
    if len(time) > MAX_PLAIN:
        before = np.fmax.accumulate(np.concatenate(([latest], time)))
        return not np.count_nonzero(time <= before[:-1]), float(before[-1])
    rising = True
    for t in time.tolist():
        if t > latest:
            latest = t
        elif t <= latest:
            rising = False
    return rising, latest


def _newest(arrival: F64) -> float:
    """Return the newest arrival of at least one row."""
    return max(arrival.tolist()) if len(arrival) <= MAX_PLAIN else float(arrival.max())


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
