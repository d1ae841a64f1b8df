"""Uneven samples to an even grid: a Kaiser-windowed sinc read at the samples' own times.

    y(g) = sum K(t_i - g) D_i x_i / sum K(t_i - g) D_i

K has unit area, cut-off 0.4 of the slower of grid and channel, half-width 10 ticks and beta 6;
D_i is the sample's Voronoi cell, capped so that a hole shows as missing coverage sum K D < 1.
One kernel is anti-alias filter, interpolator and (through the times) drift and lag correction.
A channel with fewer than four samples a half-width is interpolated linearly instead and held past
its newest sample.

A sample takes part in tick g only if it was known, its successor too, when the tick was due:
results do not depend on how rows came in blocks.

Source: Kaiser & Schafer, IEEE Trans. ASSP 28 (1980); Voronoi weights, Feichtinger & Groechenig,
in Wavelets: Mathematics and Applications (1994).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators.records import F64, I64, Block, State

BETA = 6.0
CUTOFF = 0.4
ENTRIES = 4096
SLOW = 4.0
LEAST_COVERAGE = 0.9
GAP_SPACINGS = 2.5
HOLD_SPACINGS = 3.0
MOST_CELLS = 1 << 18


class Kernel(NamedTuple):
    """A tabulated kernel: `table` over distances 0 to the half-width, `energy` = integral K^2."""

    table: F64
    scale: float
    energy: float

    def __call__(self, distance: F64) -> F64:
        """Return K (1/s) at distances (s), by linear interpolation."""
        place = np.abs(distance)
        place *= self.scale
        np.minimum(place, len(self.table) - 1.001, out=place)
        i = place.astype(np.intp)
        place -= i
        low = self.table[i]
        i += 1
        place *= self.table[i] - low
        place += low
        return place


@lru_cache(maxsize=64)
def kernel(cutoff_hz: float, half_width_s: float) -> Kernel:
    """Return the kernel of unit area for a cut-off (Hz) and half-width (s)."""
    u = np.linspace(0.0, half_width_s, ENTRIES + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (u / half_width_s) ** 2, 0, 1)))
    table = np.sinc(2 * cutoff_hz * u) * window
    table[-1] = 0.0
    du = half_width_s / ENTRIES
    table /= 2 * du * (table.sum() - table[0] / 2)
    energy = 2 * du * ((table**2).sum() - table[0] ** 2 / 2)
    return Kernel(np.append(table, 0.0), ENTRIES / half_width_s, float(energy))


@dataclass
class Sampler:
    """One channel's samples and their reading on a grid.

    `time` rises; `ready` is the moment from which a sample may be used (strictly before a
    tick's due time). State: the samples of about `keep_s`.
    """

    tick_hz: float
    half_width_s: float
    held: bool
    time: F64 = field(default_factory=lambda: np.empty(0))
    value: F64 = field(default_factory=lambda: np.empty(0))
    ready: F64 = field(default_factory=lambda: np.empty(0))
    spacing: F64 = field(default_factory=lambda: np.empty(0))
    noise: F64 = field(default_factory=lambda: np.empty(0))
    changed: F64 = field(default_factory=lambda: np.empty(0))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {n: getattr(self, n) for n in _COLUMNS}

    def restore(self, state: State) -> Sampler:
        """Take the state of `snapshot` on."""
        for n in _COLUMNS:
            setattr(self, n, state[n])
        return self

    def push(self, block: Block) -> None:
        """Take rows in, each in its place."""
        new = (block.host_time, block.value, block.before, block.spacing, block.noise)
        columns = [
            np.concatenate((getattr(self, n), c)) for n, c in zip(_COLUMNS, new, strict=False)
        ]
        if (np.diff(columns[0][max(0, len(self.time) - 1) :]) < 0).any():
            order = np.argsort(columns[0], kind="stable")
            columns = [c[order] for c in columns]
        self.time, self.value, self.ready, self.spacing, self.noise = columns
        moved = np.ones(len(self.time), bool)
        moved[1:] = np.diff(self.value) != 0
        if len(self.changed):
            moved[0] = False
        first = self.changed[0] if len(self.changed) else self.time[0]
        self.changed = np.maximum.accumulate(np.where(moved, self.time, first))

    def drop_before(self, time: float) -> None:
        """Forget samples before `time`, but for the two newest of them."""
        k = int(np.searchsorted(self.time, time)) - 2
        if k > len(self.time) // 2 or k > 4096:
            for n in _COLUMNS:
                setattr(self, n, getattr(self, n)[k:].copy())

    def newest(self, at: F64, due: F64) -> I64:
        """Return the index of the newest sample at or before each time; -1: none was known."""
        i = np.searchsorted(self.time, at, "right") - 1
        while len(self.time):
            unknown = (i >= 0) & (self.ready[np.maximum(i, 0)] >= due)
            if not unknown.any():
                break
            i = i - unknown
        return np.asarray(i, np.int64)

    def read(self, at: F64, due: F64) -> tuple[F64, F64, F64]:
        """Return value, coverage and noise variance at each time.

        Parameters
        ----------
        at : float64 (k,)
            Times to read at, rising: tick plus lag (s).
        due : float64 (k,)
            Samples ready before this, and their successors, may be used; inf: all there are.
        """
        k, n = len(at), len(self.time)
        nothing = np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        if self.held:
            i = self.newest(at, due)
            ok = i >= 0
            value = np.where(ok, self.value[np.maximum(i, 0)], np.nan) if n else nothing[0]
            return value, ok.astype(float), nothing[2]
        if n < 2:
            return nothing
        whole = np.maximum(self.ready, np.append(self.ready[1:], np.inf))
        known = np.searchsorted(np.maximum.accumulate(whole), due, "left")
        known[np.isinf(due)] = n
        newest = np.maximum(known - 1, 0)
        spacing, noise = self.spacing[newest], self.noise[newest]
        slow = SLOW * spacing > self.half_width_s
        value, coverage, gain = nothing
        if slow.any():
            value[slow], coverage[slow] = self._lerp(at[slow], due[slow], spacing[slow])
            gain[slow] = 1.0
        quick = ~slow & (known > 0)
        if quick.any():
            ratio = np.nan_to_num(self.tick_hz * spacing, nan=1.0)
            level = np.ceil(np.maximum(4 * np.log2(np.maximum(ratio, 1e-9)), 0)).astype(int)
            for v in np.unique(level[quick]).tolist():
                k_of = kernel(CUTOFF * self.tick_hz * 2 ** (-v / 4), self.half_width_s)
                mine = quick & (level == v)
                value[mine], coverage[mine] = self._filter(k_of, at[mine], due[mine], known[mine])
                gain[mine] = k_of.energy * spacing[mine]
        value = np.where(coverage >= LEAST_COVERAGE, value, np.nan)
        return value, np.clip(coverage, 0, 1), noise * gain

    def _filter(self, k_of: Kernel, at: F64, due: F64, known: I64) -> tuple[F64, F64]:
        """Return the filtered value and the coverage at each time."""
        time, ready = self.time, self.ready
        lo = np.searchsorted(time, at - self.half_width_s, "left")
        hi = np.searchsorted(time, at + self.half_width_s, "right")
        use = np.minimum(hi, known)
        odd = np.zeros(len(at), bool)
        last = np.minimum(hi, len(time) - 1)
        for o in range(1, int(np.max(last - known, initial=0)) + 1):
            i = known + o
            odd |= (i <= last) & (ready[np.minimum(i, len(time) - 1)] < due)
        base = float(time[lo[0]]) if lo[0] < len(time) else float(time[-1])
        cell = self._cells(slice(None))
        t, x, target = time - base, self.value, at - base
        weighted = cell * x
        value, coverage = np.full(len(at), np.nan), np.zeros(len(at))
        most = max(1, int(np.max(use - lo, initial=1)))
        rows = max(1, MOST_CELLS // most)
        column = np.arange(most)
        for a in range(0, len(at), rows):
            b = slice(a, a + rows)
            i = lo[b, None] + column
            inside = i < use[b, None]
            if not inside.all():
                np.minimum(i, len(t) - 1, out=i)
                w = k_of(t[i] - target[b, None])
                w *= inside
            else:
                w = k_of(t[i] - target[b, None])
            total = np.einsum("ij,ij->i", w, cell[i])
            coverage[b] = total
            value[b] = np.einsum("ij,ij->i", w, weighted[i]) / np.where(total > 0, total, np.nan)
        for j in np.flatnonzero(odd).tolist():
            value[j], coverage[j] = self._one(k_of, at[j], due[j], int(lo[j]), int(hi[j]))
        return value, coverage

    def _one(self, k_of: Kernel, at: float, due: float, lo: int, hi: int) -> tuple[float, float]:
        """Return one tick when a straggler is among its samples: by those then known."""
        span = np.arange(max(lo - 1, 0), min(hi + 2, len(self.time)))
        span = span[self.ready[span] < due]
        if len(span) < 3:
            return float("nan"), 0.0
        cell = self._cells(span)
        w = (k_of(self.time[span] - at) * cell)[:-1]
        total = float(w.sum())
        return (float(w @ self.value[span][:-1]) / total if total > 0 else float("nan")), total

    def _cells(self, index: I64 | slice) -> F64:
        """Return the Voronoi cells (s) of samples taken as neighbours, capped at holes."""
        time, spacing = self.time[index], self.spacing[index]
        apart = np.diff(time)
        cell = np.empty(len(time))
        cell[1:-1] = (apart[1:] + apart[:-1]) / 2
        cell[0], cell[-1] = apart[0], apart[-1]
        cap = np.maximum(self.half_width_s / 4, GAP_SPACINGS * spacing)
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
