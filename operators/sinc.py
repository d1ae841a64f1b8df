"""Uneven samples to an even grid: a Kaiser-windowed sinc read at the samples' own times.

    y(g) = sum K(t_i - g) D_i x_i / sum K(t_i - g) D_i

K has unit area, cut-off 0.4 of the slower of grid and channel, half-width 10 ticks and beta 6;
D_i is the sample's Voronoi cell, capped so that a hole shows as missing coverage: the part of
the kernel's main lobe that cells fill (the sum K D itself swings with the jitter of samples that
come hardly faster than the grid, without anything being missing).
One kernel is anti-alias filter, interpolator and (through the times) drift and lag correction.
It is tabulated at 1/4096 of a tick: a polyphase filter bank, -84 dB off the kernel at worst.
A channel with fewer than four samples a half-width is interpolated linearly instead and held past
its newest sample.

A sample takes part in tick g only if it was known, its successor too, when the tick was due:
results do not depend on how rows came in blocks.

Source: Kaiser & Schafer, IEEE Trans. ASSP 28 (1980); Crochiere & Rabiner, Multirate Digital
Signal Processing (1983); Voronoi weights, Feichtinger & Groechenig, in Wavelets: Mathematics and
Applications (1994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators.records import F64, I64, Block, State

BETA = 6.0
CUTOFF = 0.4
BITS = 12
PHASES = 1 << BITS
SHORT = 16
"""Runs of fewer ticks are read tick by tick."""
SLOW = 4.0
LEAST_COVERAGE = 0.9
GAP_SPACINGS = 2.5
HOLD_SPACINGS = 3.0
LEVELS, SLACK = 4, 1.0
"""Cut-offs an octave below the grid's, and by how much of a step a pace may miss its own."""


class Kernel(NamedTuple):
    """K (1/s) at multiples of 1 / PHASES tick.

    `table` (n,) from distance 0 to the half-width, where it is 0; `bank` (2 J, PHASES), J ticks
    being the half-width rounded up: what a sample r / PHASES past tick m gives to tick
    m + q - J + 1 stands in row q, column r. `energy` = integral K^2.
    """

    table: F64
    bank: F64
    energy: float


@lru_cache(maxsize=32)
def kernel(cutoff_hz: float, half_width_s: float, tick_hz: float) -> Kernel:
    """Return the kernel of unit area for a cut-off (Hz), half-width (s) and grid (Hz)."""
    n = round(half_width_s * tick_hz * PHASES)
    u = np.linspace(0.0, half_width_s, n + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (u / half_width_s) ** 2, 0, 1)))
    table = np.sinc(2 * cutoff_hz * u) * window
    table[-1] = 0.0
    du = half_width_s / n
    table /= 2 * du * (table.sum() - table[0] / 2)
    energy = 2 * du * ((table**2).sum() - table[0] ** 2 / 2)
    ticks = math.ceil(half_width_s * tick_hz - 1e-9)
    away = np.arange(PHASES) + PHASES * (ticks - 1 - np.arange(2 * ticks))[:, None]
    return Kernel(table, table[np.minimum(np.abs(away), n)], float(energy))


def newest(time: F64, ready: F64, at: F64, due: F64) -> I64:
    """Return the index of the newest of `time` at or before each `at` that was ready when due.

    -1 where there is none.
    """
    i = np.searchsorted(time, at, "right") - 1
    while len(time):
        unknown = (i >= 0) & (ready[np.maximum(i, 0)] >= due)
        if not unknown.any():
            break
        i = i - unknown
    return np.asarray(i, np.int64)


@dataclass
class Sampler:
    """One channel's samples and their reading on a grid.

    `time` (s since tick `origin`) rises; `ready` is the moment from which a sample may be used
    (strictly before a tick's due time). State: the samples since the last `drop_before`.
    """

    tick_hz: float
    half_width_s: float
    held: bool
    origin: int | None = None
    time: F64 = field(default_factory=lambda: np.empty(0))
    value: F64 = field(default_factory=lambda: np.empty(0))
    ready: F64 = field(default_factory=lambda: np.empty(0))
    spacing: F64 = field(default_factory=lambda: np.empty(0))
    noise: F64 = field(default_factory=lambda: np.empty(0))
    changed: F64 = field(default_factory=lambda: np.empty(0))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {n: getattr(self, n) for n in ("origin", *_COLUMNS)}

    def restore(self, state: State) -> Sampler:
        """Take the state of `snapshot` on."""
        return replace(self, **state)

    def push(self, block: Block, origin: int) -> None:
        """Take rows in, each in its place; `origin` is the first tick of the run."""
        if self.origin is None:
            self.origin = origin
        time = block.host_time - origin / self.tick_hz
        new = (time, block.value, block.before, block.spacing, block.noise)
        had = len(self.time)
        columns = [
            np.concatenate((getattr(self, n), c)) if had else c
            for n, c in zip(_COLUMNS, new, strict=False)
        ]
        tail = columns[0][max(0, had - 1) :]
        if (tail[1:] < tail[:-1]).any():
            order = np.argsort(columns[0], kind="stable")
            columns = [c[order] for c in columns]
        self.time, self.value, self.ready, self.spacing, self.noise = columns
        moved = np.ones(len(self.time), bool)
        moved[1:] = self.value[1:] != self.value[:-1]
        first = self.changed[0] if had else self.time[0]
        moved[0] = False
        self.changed = np.maximum.accumulate(np.where(moved, self.time, first))

    def drop_before(self, tick: float) -> None:
        """Forget samples before a tick (and part), but for the two newest of them."""
        if self.origin is None:
            return
        k = int(np.searchsorted(self.time, (tick - self.origin) / self.tick_hz)) - 2
        if k > len(self.time) // 2 or k > 4096:
            for n in _COLUMNS:
                setattr(self, n, getattr(self, n)[k:].copy())

    def since(self, tick: I64, lag_s: float | F64 = 0.0) -> F64:
        """Return ticks as `time`, a lag later."""
        return (tick - (self.origin or 0)) / self.tick_hz + lag_s

    def newest(self, at: F64, due: F64) -> I64:
        """Return the index of the newest sample at or before each time; -1: none was known."""
        return newest(self.time, self.ready, at, due)

    def read(self, tick: I64, lag_s: float, due: F64) -> tuple[F64, F64, F64]:
        """Return value, coverage and noise variance at each tick.

        Parameters
        ----------
        tick : int64 (k,)
            Consecutive ticks.
        lag_s : float
            How much later than the tick to read.
        due : float64 (k,)
            Samples ready before this, and their successors, may be used; inf: all there are.
        """
        k, n = len(tick), len(self.time)
        nothing = np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        if self.held:
            i = self.newest(self.since(tick, lag_s), due)
            ok = i >= 0
            value = np.where(ok, self.value[np.maximum(i, 0)], np.nan) if n else nothing[0]
            return value, ok.astype(float), nothing[2]
        if n < 2 or not k:
            return nothing
        if (self.ready[1:] >= self.ready[:-1]).all():
            return self._read(tick, lag_s, due)
        prefix = np.searchsorted(np.maximum.accumulate(self.ready), due, "left")
        odd = prefix < np.searchsorted(np.sort(self.ready), due, "left")
        # A straggler not yet known stands among known samples: they are read without it.
        out = np.stack(nothing)
        for run in np.split(np.arange(k), np.flatnonzero(odd[1:] != odd[:-1]) + 1):
            if not odd[run[0]]:
                out[:, run] = self._read(tick[run], lag_s, due[run])
        for j in np.flatnonzero(odd).tolist():
            known = self.ready < due[j]
            if known.sum() > 1:
                columns = {c: getattr(self, c)[known] for c in _COLUMNS}
                one = slice(j, j + 1)
                out[:, one] = replace(self, **columns)._read(tick[one], lag_s, due[one])
        return out[0], out[1], out[2]

    def _read(self, tick: I64, lag_s: float, due: F64) -> tuple[F64, F64, F64]:
        """Return the same of a sampled channel, whose known samples come before all others."""
        n = len(self.time)
        whole = np.append(np.maximum(self.ready[:-1], self.ready[1:]), np.inf)
        whole = np.maximum.accumulate(whole)
        known = np.searchsorted(whole, due, "left")
        known[np.isinf(due)] = n
        newest = np.maximum(known - 1, 0)
        spacing, noise = self.spacing[newest], self.noise[newest]
        level = self._level(spacing)
        level[known == 0] = 0
        slow = SLOW * spacing > self.half_width_s
        value, coverage, gain = np.empty((3, len(tick)))
        cell = self._cells()
        turn = np.flatnonzero((level[1:] != level[:-1]) | (slow[1:] != slow[:-1])) + 1
        for a, b in zip([0, *turn.tolist()], [*turn.tolist(), len(tick)], strict=True):
            if slow[a]:
                at = self.since(tick[a:b], lag_s)
                value[a:b], coverage[a:b] = self._lerp(at, due[a:b], spacing[a:b])
                gain[a:b] = 1.0
                continue
            cutoff = CUTOFF * self.tick_hz * 2.0 ** (-float(level[a]) / LEVELS)
            k_of = kernel(cutoff, self.half_width_s, self.tick_hz)
            node = np.rint((self.time - lag_s) * (self.tick_hz * PHASES)).astype(np.int64)
            node -= int(tick[a] - (self.origin or 0)) * PHASES
            if b - a < SHORT:
                value[a:b] = self._few(k_of, cell, node, known[a:b])
            else:
                value[a:b] = self._many(k_of, cell, node, whole, due[a:b], known[a:b])
            lobe = 0.5 / cutoff
            at = self.since(tick[a:b], lag_s)
            coverage[a:b] = self._coverage(cell, at, lobe, known[a:b])
            gain[a:b] = k_of.energy * spacing[a:b]
        value[coverage < LEAST_COVERAGE] = np.nan
        return value, np.minimum(coverage, 1.0), noise * gain

    def _level(self, spacing: F64) -> I64:
        """Return how many steps below the grid's own the cut-off must lie."""
        ratio = spacing * self.tick_hz
        if not (ratio > 1).any():
            return np.zeros(len(ratio), np.int64)
        ratio = np.maximum(np.nan_to_num(ratio, nan=1.0), 1.0)
        return np.ceil(np.maximum(LEVELS * np.log2(ratio) - SLACK, 0.0)).astype(np.int64)

    def _few(self, k_of: Kernel, cell: F64, node: I64, known: I64) -> F64:
        """Return the filtered value at a few ticks, one by one."""
        half = len(k_of.table) - 1
        tick = np.arange(len(known)) * PHASES
        lo = np.searchsorted(node, tick - half, "right")
        hi = np.minimum(np.searchsorted(node, tick + half, "left"), known)
        sums = np.zeros((2, len(known)))
        for n, (a, b) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True)):
            if b > a:
                w = k_of.table[np.abs(node[a:b] - n * PHASES)] * cell[a:b]
                sums[:, n] = w.sum(), w @ self.value[a:b]
        return np.asarray(sums[1] / np.where(sums[0] > 0, sums[0], np.nan))

    def _many(self, k_of: Kernel, cell: F64, node: I64, whole: F64, due: F64, known: I64) -> F64:
        """Return the same at many ticks: each sample is weighed once, for all in its reach."""
        width, k = len(k_of.bank), len(due)
        lo = int(np.searchsorted(node, -(width // 2) * PHASES, "right"))
        hi = int(np.searchsorted(node, (k + width // 2) * PHASES, "left"))
        span = slice(lo, min(hi, int(known.max())))
        sums = np.zeros((2, width, k + width - 1))
        if span.stop > lo:
            base, row = node[span] >> BITS, node[span] & (PHASES - 1)
            taps = np.empty((2, width, len(base)))
            np.take(k_of.bank, row, axis=1, out=taps[0])
            taps[0] *= cell[span]
            # What a tick may not know yet gives it nothing.
            first = np.searchsorted(due, whole[span], "right")
            first[np.isinf(whole[span])] = np.searchsorted(due, np.inf, "left")
            first += width // 2 - 1 - base
            if first.max() > 0:
                taps[0] *= np.arange(width)[:, None] >= first
            np.multiply(taps[0], self.value[span], out=taps[1])
            start = np.flatnonzero(np.append(True, base[1:] != base[:-1]))
            if len(start) < len(base):
                taps = np.add.reduceat(taps, start, axis=2)
            mine = base[start] + width // 2
            inside = (mine >= 0) & (mine < sums.shape[2])
            sums[:, :, mine[inside]] = taps if inside.all() else taps[:, :, inside]
        # Row q of the bank speaks for the tick q - width / 2 + 1 after a sample's own.
        below, top = sum(
            (sums[:, q, width - 1 - q : width - 1 - q + k] for q in range(width)),
            start=np.zeros((2, k)),
        )
        return np.asarray(top / np.where(below > 0, below, np.nan))

    def _coverage(self, cell: F64, at: F64, lobe_s: float, known: I64) -> F64:
        """Return the part of at - lobe to at + lobe (s) that the cells of known samples fill."""
        left, right = at - lobe_s, at + lobe_s
        a, after = int(np.searchsorted(self.time, left[0])), np.searchsorted(self.time, right)
        if a and (after < known).all():
            b = int(after[-1])
            widest = float((self.time[a : b + 1] - self.time[a - 1 : b]).max())
            if widest <= self.half_width_s / 4:
                # Nothing is missing from before the first tick's lobe to after the last one's.
                return np.ones(len(at))
        filled = np.concatenate(([0.0], np.cumsum(cell)))
        edge = np.empty(len(cell) + 1)
        np.add(self.time[1:], self.time[:-1], out=edge[1:-1])
        edge[1:-1] *= 0.5
        edge[0], edge[-1] = self.time[0] - cell[0] / 2, self.time[-1] + cell[-1] / 2
        left = np.interp(left, edge, filled)
        right = np.minimum(np.interp(right, edge, filled), filled[known])
        return np.asarray(np.maximum(right - left, 0.0) / (2 * lobe_s))

    def _cells(self) -> F64:
        """Return the Voronoi cells (s) of samples taken as neighbours, capped at holes."""
        apart = self.time[1:] - self.time[:-1]
        cell = np.empty(len(self.time))
        np.add(apart[1:], apart[:-1], out=cell[1:-1])
        cell[1:-1] *= 0.5
        cell[0], cell[-1] = apart[0], apart[-1]
        cap = np.maximum(self.half_width_s / 4, GAP_SPACINGS * self.spacing)
        return np.fmin(cell, cap)

    def _lerp(self, at: F64, due: F64, spacing: F64) -> tuple[F64, F64]:
        """Return the value between neighbours, or the newest held, and 1 where it may count."""
        known = np.searchsorted(np.maximum.accumulate(self.ready), due, "left")
        right = np.searchsorted(self.time, at, "right")
        left = np.minimum(right, known) - 1
        between = (right < known) & (left >= 0)
        old, new = np.maximum(left, 0), np.clip(right, 0, len(self.time) - 1)
        width = np.where(between, self.time[new] - self.time[old], 1.0)
        part = np.where(between, (at - self.time[old]) / np.where(width > 0, width, 1.0), 0.0)
        value = self.value[old] + part * (self.value[new] - self.value[old])
        reach = np.where(between, width, at - self.time[old])
        ok = (left >= 0) & (reach <= HOLD_SPACINGS * spacing)
        return np.where(ok, value, np.nan), ok.astype(float)


_COLUMNS = ("time", "value", "ready", "spacing", "noise", "changed")
