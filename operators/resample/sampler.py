"""One channel's samples, and their readings on the grid.

A sample takes part in tick g only if it was known when the tick was due, and also the later samples
that its cell depends on: results do not depend on the blocks. The kernel is that of
operators/numeric/sinc.py, the cells those of operators/resample/voronoi.py, the choice between
kernel and straight lines that of operators/resample/reader.py.

With `eager` (low latency) cells do not wait for the next sample, and no hole is filled.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from operators.numeric.search import places
from operators.records import Block
from operators.resample.reader import NAN, TINY_S, Reader
from operators.types import F64, I64, State

MARGIN = 4
"""Samples kept and used beyond the kernel's reach: neighbours of neighbours."""

_COLUMNS = ("time", "value", "ready", "spacing", "noise", "changed")


def newest(time: F64, ready: F64, at: F64, due: F64) -> I64:
    """Return the index of the newest of `time` at or before each `at` that was ready when due.

    -1 where there is none.
    """
    i = places(time, at, "right") - 1
    if not len(time) or not (ready[i] >= due).any():
        return i
    while True:
        unknown = (i >= 0) & (ready[np.maximum(i, 0)] >= due)
        if not unknown.any():
            return np.asarray(i, np.int64)
        i = i - unknown


class Sampler:
    """Samples of one channel: `time` (s since tick `origin`) rises.

    `ready` is the moment from which a sample may be used (strictly before a tick's due time).
    `changed`, with `changes`, is the time of the last change of value.
    State: the samples since the last `drop_before`, in a buffer that grows and is reused.
    """

    def __init__(
        self,
        tick_hz: float,
        half_width_s: float,
        held: bool,
        *,
        eager: bool = False,
        changes: bool = False,
        decide_s: float = 0.0,
        spare_s: float = 0.0,
    ) -> None:
        self.tick_hz, self.half_width_s = tick_hz, half_width_s
        self.held, self.changes = held, changes
        self.reader = Reader(tick_hz, half_width_s, eager, decide_s, spare_s)
        self.origin = 0
        self._keep(np.empty((len(_COLUMNS), 0)))

    @classmethod
    def from_snapshot(
        cls, state: State, tick_hz: float, half_width_s: float, held: bool, **options: Any
    ) -> Sampler:
        """Return the sampler of a snapshot; the other arguments are those of the constructor."""
        sampler = cls(tick_hz, half_width_s, held, **options)
        sampler.origin = state["origin"]
        sampler._keep(state["rows"])
        return sampler

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"origin": self.origin, "rows": self._rows.copy()}

    def __len__(self) -> int:
        return int(self._rows.shape[1])

    def _keep(self, rows: F64) -> None:
        """Set the samples to `rows` (6, n), in a new buffer of twice the size."""
        n = rows.shape[1]
        self._buffer = np.zeros((len(_COLUMNS), 2 * n + 256))
        self._buffer[:, :n] = rows
        self._look(0, n)

    def _look(self, a: int, b: int) -> None:
        """Set the samples to columns `a` to `b` of the buffer."""
        self._from = a
        self._rows = self._buffer[:, a:b]
        self.time, self.value, self.ready, self.spacing, self.noise, self.changed = self._rows

    def push(self, block: Block, origin: int) -> None:
        """Insert rows in order of time; `origin` is the first tick of the run."""
        had, n = len(self), len(block)
        if not had:
            self.origin = origin
        if self._from + had + n > self._buffer.shape[1]:
            rows = np.zeros((len(_COLUMNS), had + n))
            rows[:, :had] = self._rows
            self._keep(rows)
        self._look(self._from, self._from + had + n)
        new = self._rows[:, had:]
        np.subtract(block.host_time, self.origin / self.tick_hz, out=new[0])
        new[1], new[2], new[3], new[4] = block.value, block.watermark, block.spacing, block.noise
        since = max(had - 1, 0)
        if (self.time[since + 1 :] < self.time[since:-1]).any():
            self._rows[:5] = self._rows[:5, np.argsort(self.time, kind="stable")]
            since = 0
        if not self.changes:
            return
        if not had:
            self.changed[0] = self.time[0]
        moved = self.value[since + 1 :] != self.value[since:-1]
        self.changed[since + 1 :] = np.where(moved, self.time[since + 1 :], self.changed[since])
        np.maximum.accumulate(self.changed[since:], out=self.changed[since:])

    def drop_before(self, tick: float) -> None:
        """Drop samples before a tick (a fraction is allowed), except the newest `MARGIN`."""
        k = int(self.time.searchsorted((tick - self.origin) / self.tick_hz)) - MARGIN
        if k > 0:
            self._look(self._from + k, self._from + len(self))

    def since(self, tick: I64, lag_s: float | F64 = 0.0) -> F64:
        """Return ticks as `time`, a lag later."""
        return (tick - self.origin) / self.tick_hz + lag_s

    def newest(self, at: F64, due: F64) -> I64:
        """Return the index of the newest known sample at or before each time, -1 without one."""
        return newest(self.time, self.ready, at, due)

    def newest_at(self, at: float, due: float) -> int:
        """Return `newest` for one time."""
        i = int(self.time.searchsorted(at, "right")) - 1
        while i >= 0 and self.ready.item(i) >= due:
            i -= 1
        return i

    def read(self, tick: I64, lag_s: float, due: F64) -> tuple[F64, F64, F64]:
        """Return value, coverage and noise variance at each tick.

        Parameters
        ----------
        tick : int64 (k,)
            Consecutive ticks.
        lag_s : float
            Lag to add to the time of the tick (s).
        due : float64 (k,)
            Samples ready before this, and their successors, may be used; inf: all samples.
        """
        k, n = len(tick), len(self)
        if self.held and n:
            i = self.newest(self.since(tick, lag_s), due)
            value = np.where(i >= 0, self.value[np.maximum(i, 0)], np.nan)
            return value, (i >= 0).astype(float), np.full(k, np.nan)
        if n < 2 or not k:
            return np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        at, first = self.since(tick, lag_s), int(tick[0]) - self.origin
        a, b = self._near(float(at[0]), float(at[-1]))
        rows = self._rows[:, a:b]
        if b - a < 2:
            return np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        if self._known(rows, at, due, b == n):
            return self.reader.of(rows, first, lag_s, at, None)
        if (rows[2, 1:] >= rows[2, :-1]).all():
            return self.reader.of(rows, first, lag_s, at, due)
        prefix = np.maximum.accumulate(rows[2]).searchsorted(due, "left")
        odd = prefix < np.sort(rows[2]).searchsorted(due, "left")
        # A straggler not yet known lies among known samples: these are read without it.
        out = np.full((3, k), np.nan)
        out[1] = 0.0
        turn = np.flatnonzero(odd[1:] != odd[:-1]) + 1
        for u, v in pairwise([0, *turn.tolist(), k]):
            if not odd[u]:
                out[:, u:v] = self.reader.of(rows, first + u, lag_s, at[u:v], due[u:v])
        for j in np.flatnonzero(odd).tolist():
            known = rows[2] < due[j]
            if known.sum() > 1:
                known[np.flatnonzero(known)[-1] + 1 :] = True
                one = slice(j, j + 1)
                ready = rows.compress(known, axis=1)
                out[:, one] = self.reader.of(ready, first + j, lag_s, at[one], due[one])
        return out[0], out[1], out[2]

    def read_at(self, tick: int, lag_s: float, due: float) -> tuple[float, float, float]:
        """Return the reading of `read` at one tick."""
        n, at = len(self), (tick - self.origin) / self.tick_hz + lag_s
        if self.held:
            i = self.newest_at(at, due)
            return (self.value.item(i), 1.0, NAN) if i >= 0 else (NAN, 0.0, NAN)
        a, b = self._near(at, at) if n > 1 else (0, 0)
        if b - a < 2:
            return NAN, 0.0, NAN
        rows = self._rows[:, a:b]
        late = rows[2] >= due
        known = int(late.argmax()) if late[-1] else b - a
        if int(np.count_nonzero(late)) != b - a - known:
            # A straggler not yet known lies among known samples.
            x = self.read(np.array([tick]), lag_s, np.array([due]))
            return float(x[0][0]), float(x[1][0]), float(x[2][0])
        return self.reader.at(rows, tick - self.origin, lag_s, at, due, known)

    def _near(self, first: float, last: float) -> tuple[int, int]:
        """Return the columns from `first` to `last`, with those in the kernel's reach."""
        a = int(self.time.searchsorted(first - self.half_width_s)) - MARGIN
        b = int(self.time.searchsorted(last + self.half_width_s)) + MARGIN
        return max(a, 0), min(b, len(self))

    def _known(self, rows: F64, at: F64, due: F64, last: bool) -> bool:
        """Return whether all samples in reach, and their neighbours, are known at every tick."""
        if np.isinf(due[0]):
            return True
        if last or rows.shape[1] <= MARGIN:
            return False
        # All have two successors: these end the cell and fill a hole.
        spread = float((rows[2, 2:] - rows[0, :-2]).max())
        return spread < float((due - at).min()) - self.half_width_s - TINY_S
