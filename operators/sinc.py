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

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators.records import F64, I64, Block, State

BETA = 6.0
CUTOFF = 0.4
PHASES = 512
"""Entries of the table a tick; between them it is linear."""
SHORT = 16
"""Runs of fewer ticks are read tick by tick."""
SLOW = 4.0
LEAST_COVERAGE = 0.9
GAP_SPACINGS = 2.5
HOLD_SPACINGS = 3.0


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
def kernel(cutoff_hz: float, half_width_s: float, tick_hz: float) -> Kernel:
    """Return the kernel of unit area for a cut-off (Hz), half-width (s) and grid (Hz)."""
    entries = round(half_width_s * tick_hz * PHASES)
    u = np.linspace(0.0, half_width_s, entries + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (u / half_width_s) ** 2, 0, 1)))
    table = np.sinc(2 * cutoff_hz * u) * window
    table[-1] = 0.0
    du = half_width_s / entries
    table /= 2 * du * (table.sum() - table[0] / 2)
    energy = 2 * du * ((table**2).sum() - table[0] ** 2 / 2)
    return Kernel(np.append(table, 0.0), entries / half_width_s, float(energy))


@lru_cache(maxsize=64)
def bank(cutoff_hz: float, half_width_s: float, tick_hz: float) -> tuple[F64, F64]:
    """Return the kernel as a polyphase filter bank, and its differences from row to row.

    Row r (of PHASES + 1), column q: K at (r / PHASES + J - 1 - q) ticks, J ticks being the
    half-width rounded up: what a sample r / PHASES past tick m gives to tick m + q - J + 1.
    """
    ticks = math.ceil(half_width_s * tick_hz - 1e-9)
    phase = np.arange(PHASES + 2)[:, None] / PHASES
    rows = kernel(cutoff_hz, half_width_s, tick_hz)(
        (phase + ticks - 1 - np.arange(2 * ticks)) / tick_hz
    )
    return np.ascontiguousarray(rows[:-1]), np.diff(rows, axis=0)


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
            Times to read at, one tick apart: tick plus lag (s).
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
        if (self.ready[1:] >= self.ready[:-1]).all():
            return self._read(at, due)
        prefix = np.searchsorted(np.maximum.accumulate(self.ready), due, "left")
        odd = prefix < np.searchsorted(np.sort(self.ready), due, "left")
        # A straggler not yet known stands among known samples: they are read without it.
        out = np.stack(nothing)
        for run in np.split(np.arange(k), np.flatnonzero(np.diff(odd)) + 1):
            if not odd[run[0]]:
                out[:, run] = self._read(at[run], due[run])
        for j in np.flatnonzero(odd).tolist():
            known = self.ready < due[j]
            columns = {c: getattr(self, c)[known] for c in _COLUMNS}
            out[:, j : j + 1] = replace(self, **columns)._read(at[j : j + 1], due[j : j + 1])
        return out[0], out[1], out[2]

    def _read(self, at: F64, due: F64) -> tuple[F64, F64, F64]:
        """Return the same of a sampled channel, whose known samples come before all others."""
        k, n = len(at), len(self.time)
        nothing = np.full(k, np.nan), np.zeros(k), np.full(k, np.nan)
        if n < 2 or not k:
            return nothing
        whole = np.maximum(self.ready, np.append(self.ready[1:], np.inf))
        known = np.searchsorted(np.maximum.accumulate(whole), due, "left")
        known[np.isinf(due)] = n
        newest = np.maximum(known - 1, 0)
        spacing, noise = self.spacing[newest], self.noise[newest]
        widest = float(np.fmax.reduce(spacing))
        if widest * self.tick_hz <= 1 and known[0]:
            # The rule: a channel at least as quick as the grid.
            cutoff = CUTOFF * self.tick_hz
            value, coverage = self._filter(cutoff, at, known)
            gain: F64 = kernel(cutoff, self.half_width_s, self.tick_hz).energy * spacing
        else:
            value, coverage, gain = self._mixed(at, due, known, spacing)
        value[coverage < LEAST_COVERAGE] = np.nan
        return value, np.minimum(coverage, 1.0), noise * gain

    def _mixed(self, at: F64, due: F64, known: I64, spacing: F64) -> tuple[F64, F64, F64]:
        """Return value, coverage and noise gain where the pace is slow, unknown or changes."""
        value, coverage, gain = np.full(len(at), np.nan), np.zeros(len(at)), np.ones(len(at))
        slow = SLOW * spacing > self.half_width_s
        if slow.any():
            value[slow], coverage[slow] = self._lerp(at[slow], due[slow], spacing[slow])
        ratio = np.nan_to_num(self.tick_hz * spacing, nan=1.0)
        level = np.ceil(np.maximum(4 * np.log2(np.maximum(ratio, 1e-9)), 0)).astype(int)
        level[slow | (known == 0)] = -1
        for run in np.split(np.arange(len(at)), np.flatnonzero(np.diff(level)) + 1):
            if (v := int(level[run[0]])) >= 0:
                cutoff = CUTOFF * self.tick_hz * 2 ** (-v / 4)
                value[run], coverage[run] = self._filter(cutoff, at[run], known[run])
                gain[run] = kernel(cutoff, self.half_width_s, self.tick_hz).energy * spacing[run]
        return value, coverage, gain

    def _filter(self, cutoff_hz: float, at: F64, known: I64) -> tuple[F64, F64]:
        """Return the filtered value and the coverage at consecutive ticks.

        In a long run each sample is weighed once by the bank, for all the ticks within its reach;
        what a tick must not know yet is then taken off again.
        """
        hz, half = self.tick_hz, self.half_width_s
        k_of = kernel(cutoff_hz, half, hz)
        lo = np.searchsorted(self.time, at - half, "left")
        hi = np.searchsorted(self.time, at + half, "right")
        cell = self._cells()
        if len(at) < SHORT:
            sums = np.empty((2, len(at)))
            for n, (a, b) in enumerate(
                zip(lo.tolist(), np.minimum(hi, known).tolist(), strict=True)
            ):
                w = k_of(self.time[a:b] - at[n]) * cell[a:b]
                sums[:, n] = w.sum(), w @ self.value[a:b]
            return sums[1] / np.where(sums[0] > 0, sums[0], np.nan), sums[0]
        span = slice(int(lo[0]), max(int(np.max(np.minimum(hi, known))), int(lo[0])))
        rows, steps = bank(cutoff_hz, half, hz)
        width = rows.shape[1]
        sums = np.zeros((2, len(at) + width - 1, width))
        place = (self.time[span] - at[0]) * hz
        if len(place):
            base = np.floor(place)
            place -= base
            place *= PHASES
            row = place.astype(np.intp)
            place -= row
            taps = steps[row]
            taps *= place[:, None]
            taps += rows[row]
            taps *= cell[span, None]
            group = base.astype(np.intp) + width // 2
            start = np.flatnonzero(np.diff(group, prepend=group[0] - 1))
            mine = group[start]
            inside = (mine >= 0) & (mine < sums.shape[1])
            sums[0, mine[inside]] = np.add.reduceat(taps, start, axis=0)[inside]
            taps *= self.value[span, None]
            sums[1, mine[inside]] = np.add.reduceat(taps, start, axis=0)[inside]
        # Tick n is the sum along the diagonal that ends in row n, column width - 1.
        across, down, right = sums.strides
        diagonal = np.lib.stride_tricks.as_strided(
            sums[:, width - 1 :], (2, len(at), width), (across, down, right - down)
        )
        coverage, top = diagonal.sum(axis=2)
        early = np.minimum(hi, span.stop) - known
        if (early > 0).any():
            early = np.maximum(early, 0)
            tick = np.repeat(np.arange(len(at)), early)
            first = np.cumsum(early) - early
            i = known[tick] + np.arange(len(tick)) - first[tick]
            w = k_of(self.time[i] - at[tick]) * cell[i]
            coverage -= np.bincount(tick, w, len(at))
            top -= np.bincount(tick, w * self.value[i], len(at))
        return top / np.where(coverage > 0, coverage, np.nan), coverage

    def _cells(self) -> F64:
        """Return the Voronoi cells (s) of samples taken as neighbours, capped at holes."""
        apart = np.diff(self.time)
        cell = np.empty(len(self.time))
        cell[1:-1] = (apart[1:] + apart[:-1]) / 2
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
