"""One channel's samples, and their readings on the grid.

A sample takes part in tick g only if it was known when the tick was due, and also the later samples
that its cell depends on: results do not depend on the blocks. The kernel is that of
operators/sinc.py, the cells those of operators/resample/voronoi.py.

The guard holds a sample until five more have arrived, at most `decide_s`, and a cell ends with the
next sample. A kernel of full width would lack the last samples, and a kernel truncated on one side
shifts its result in time. The half-width is therefore reduced by that delay.

A channel with fewer than four samples a half-width is interpolated linearly and held beyond its
newest sample. With `eager` (low latency) cells do not wait for the next sample, and no hole is
filled.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from operators.limits import GUARD_SIDE, MIN_COVERAGE
from operators.records import Block
from operators.resample.voronoi import cells_of, covered, led_by
from operators.sinc import BETA, CUTOFF, PHASES, kernel, weigh
from operators.types import F64, I64, Bool, State

MIN_SAMPLES = 4.0
"""Samples a half-width below which a channel is interpolated linearly."""
HOLD_SPACINGS = 3.0
LEVELS, LEVEL_TOLERANCE = 4, 1.0
"""Steps of the cut-off an octave, and the tolerance of a channel's rate in steps."""
WIDTHS = 8
"""Steps of the half-width a tick."""
MIN_BETA = 5.4
TINY_S = 1e-6
"""More than the rounding of stamps since the epoch."""
MARGIN = 4
"""Samples kept and used beyond the kernel's reach: neighbours of neighbours."""

_COLUMNS = ("time", "value", "ready", "spacing", "noise", "changed")


def newest(time: F64, ready: F64, at: F64, due: F64) -> I64:
    """Return the index of the newest of `time` at or before each `at` that was ready when due.

    -1 where there is none.
    """
    i = np.searchsorted(time, at, "right") - 1
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
        self.held, self.eager, self.changes = held, eager, changes
        self.decide_s, self.spare_s = decide_s, spare_s
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
        k = int(np.searchsorted(self.time, (tick - self.origin) / self.tick_hz)) - MARGIN
        if k > 0:
            self._look(self._from + k, self._from + len(self))

    def since(self, tick: I64, lag_s: float | F64 = 0.0) -> F64:
        """Return ticks as `time`, a lag later."""
        return (tick - self.origin) / self.tick_hz + lag_s

    def newest(self, at: F64, due: F64) -> I64:
        """Return the index of the newest known sample at or before each time, -1 without one."""
        return newest(self.time, self.ready, at, due)

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
        if self.held:
            i = self.newest(self.since(tick, lag_s), due)
            value = np.where(i >= 0, self.value[np.maximum(i, 0)], np.nan) if n else np.empty(k)
            return value, (i >= 0).astype(float), np.full(k, np.nan)
        if n < 2 or not k:
            return np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        at = self.since(tick, lag_s)
        a = max(int(np.searchsorted(self.time, at[0] - self.half_width_s)) - MARGIN, 0)
        b = min(int(np.searchsorted(self.time, at[-1] + self.half_width_s)) + MARGIN, n)
        rows = self._rows[:, a:b]
        reading = _Reading(self, int(tick[0]) - self.origin, lag_s)
        if b - a < 2:
            return np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        if self._known(rows, at, due, b == n):
            return reading.of(rows, at, None)
        if (rows[2, 1:] >= rows[2, :-1]).all():
            return reading.of(rows, at, due)
        prefix = np.searchsorted(np.maximum.accumulate(rows[2]), due, "left")
        odd = prefix < np.searchsorted(np.sort(rows[2]), due, "left")
        # A straggler not yet known lies among known samples: these are read without it.
        out = np.full((3, k), np.nan)
        out[1] = 0.0
        turn = np.flatnonzero(odd[1:] != odd[:-1]) + 1
        for u, v in pairwise([0, *turn.tolist(), k]):
            if not odd[u]:
                out[:, u:v] = reading.later(u).of(rows, at[u:v], due[u:v])
        for j in np.flatnonzero(odd).tolist():
            known = rows[2] < due[j]
            if known.sum() > 1:
                known[np.flatnonzero(known)[-1] + 1 :] = True
                one = slice(j, j + 1)
                out[:, one] = reading.later(j).of(rows[:, known], at[one], due[one])
        return out[0], out[1], out[2]

    def _known(self, rows: F64, at: F64, due: F64, last: bool) -> bool:
        """Return whether all samples in reach, and their neighbours, are known at every tick."""
        if np.isinf(due[0]):
            return True
        if last or rows.shape[1] <= MARGIN:
            return False
        # All have two successors: these end the cell and fill a hole.
        spread = float((rows[2, 2:] - rows[0, :-2]).max())
        return spread < float((due - at).min()) - self.half_width_s - TINY_S


class _Reading(NamedTuple):
    """A reading from tick `first` (since the origin) on, a lag later, by one sampler's kernel."""

    sampler: Sampler
    first: int
    lag_s: float

    def later(self, ticks: int) -> _Reading:
        """Return the reading that begins some ticks later."""
        return self._replace(first=self.first + ticks)

    def of(self, rows: F64, at: F64, due: F64 | None) -> tuple[F64, F64, F64]:
        """Return value, coverage and noise at times `at` (k,) from these samples.

        `due` None: every tick knows all samples; else the known samples precede all others.
        """
        hz, half = self.sampler.tick_hz, self.sampler.half_width_s
        time, _, ready = rows[:3]
        i = np.searchsorted(time, at, "right")
        if due is not None:
            i = np.minimum(i, np.searchsorted(np.maximum.accumulate(ready), due))
        i = np.maximum(i - 1, 0)
        spacing = rows[3, i]
        ratio = spacing * hz
        cells = led_by(rows, half) if self.sampler.eager else cells_of(rows, half, 0.5 / hz)
        node = np.rint((cells.time - self.lag_s) * (hz * PHASES)).astype(np.int64)
        known = None
        if due is not None:
            known = np.searchsorted(cells.whole(), due, "left")
            if np.isinf(due[-1]):
                known[np.isinf(due)] = len(node)
        value, coverage, gain = np.empty((3, len(at)))
        width = self._widths(spacing)
        for a, b, level in _runs(ratio, width, MIN_SAMPLES * ratio > width / WIDTHS):
            mine = slice(a, b)
            if level < 0:
                limit = np.full(b - a, np.inf) if due is None else due[mine]
                value[mine], coverage[mine] = _lerp(rows, at[mine], limit, spacing[mine])
                gain[mine] = 1.0
                continue
            wide = float(width[a]) / WIDTHS
            cutoff = CUTOFF * hz * 2.0 ** (-level / LEVELS)
            # beta = BETA wide / half: the slope of the widest kernel, with less attenuation.
            beta = max(BETA * wide / (half * hz), MIN_BETA)
            k_of = kernel(cutoff, wide / hz, hz, beta)
            first = None
            if known is not None:
                first = np.searchsorted(known[mine], np.arange(len(node)), "right")
            shifted = node - (self.first + a) * PHASES
            value[mine] = weigh(k_of, shifted, cells.cell, cells.value, first, b - a)
            lobe = min(0.5 / cutoff, wide / hz)
            coverage[mine] = covered(cells, at[mine], lobe, known if known is None else known[mine])
            gain[mine] = k_of.energy * spacing[mine]
        value[coverage < MIN_COVERAGE] = np.nan
        return value, np.minimum(coverage, 1.0), rows[4, i] * gain

    def _widths(self, spacing: F64) -> F64:
        """Return the half-width in 1 / WIDTHS tick, by spacing (s).

        half-width - max(min(GUARD_SIDE spacing, decide_s) + spacing - spare_s, 0); full if eager.
        """
        x = self.sampler
        late = np.minimum(GUARD_SIDE * spacing, x.decide_s) + spacing - x.spare_s
        late = np.nan_to_num(np.where(x.eager, 0.0, np.maximum(late, 0.0)))
        return np.floor((x.half_width_s - late) * (x.tick_hz * WIDTHS) + TINY_S)


def _runs(ratio: F64, width: F64, slow: Bool) -> Iterable[tuple[int, int, int]]:
    """Yield runs (start, stop) of ticks of one `width`, with their cut-off level.

    The cut-off is CUTOFF 2^(-level / LEVELS), level = ceil(LEVELS log2(ratio) - tolerance). `ratio`
    (k,) is the channel's spacing in ticks. Level -1: too slow for a kernel.
    """
    ratio = np.maximum(np.nan_to_num(ratio, nan=1.0), 1.0)
    level = np.ceil(np.maximum(LEVELS * np.log2(ratio) - LEVEL_TOLERANCE, 0.0))
    level[slow & (level > 0)] = -1
    turn = np.flatnonzero((level[1:] != level[:-1]) | (width[1:] != width[:-1])) + 1
    for a, b in pairwise([0, *turn.tolist(), len(ratio)]):
        yield a, b, int(level[a])


def _lerp(rows: F64, at: F64, due: F64, spacing: F64) -> tuple[F64, F64]:
    """Return the linearly interpolated or held value, and its coverage (0 or 1)."""
    time, value, ready = rows[:3]
    known = np.searchsorted(np.maximum.accumulate(ready), due, "left")
    right = np.searchsorted(time, at, "right")
    left = np.minimum(right, known) - 1
    between = (right < known) & (left >= 0)
    old, new = np.maximum(left, 0), np.clip(right, 0, len(time) - 1)
    width = np.where(between, time[new] - time[old], 1.0)
    part = np.where(between, (at - time[old]) / np.where(width > 0, width, 1.0), 0.0)
    drawn = value[old] + part * (value[new] - value[old])
    reach = np.where(between, width, at - time[old])
    ok = (left >= 0) & (reach <= HOLD_SPACINGS * spacing)
    return np.where(ok, drawn, np.nan), ok.astype(float)
