"""Readings of one channel's samples on the grid: kernel, straight lines, coverage, noise.

The guard holds a sample until five more have arrived, at most `decide_s`, and a cell ends with the
next sample. A kernel of full width would lack the last samples, and a kernel truncated on one side
shifts its result in time. The half-width is therefore reduced by that delay.

A channel with fewer than four samples a half-width is interpolated linearly and held beyond its
newest sample.

Each formula has two forms: for arrays of ticks, and for one tick in plain floats. The second makes
a live packet cheap; both have the same bits.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators.limits import GUARD_SIDE, MIN_COVERAGE
from operators.numeric.search import places
from operators.numeric.sinc import BETA, CUTOFF, PHASES, Kernel, TickRun, kernel, weigh, weigh_at
from operators.resample.voronoi import Cells, cells_of, covered, covered_at, led_by
from operators.types import F64, I64

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
NAN = float("nan")


class Reader(NamedTuple):
    """Grid and kernel of a channel.

    `eager`: low latency, cells do not wait for the next sample. `decide_s`, `spare_s`: longest
    look-ahead of the guard, and the wait beyond the kernel that covers it (s).
    """

    tick_hz: float
    half_width_s: float
    eager: bool
    decide_s: float
    spare_s: float

    def of(
        self, rows: F64, first: int, lag_s: float, at: F64, due: F64 | None
    ) -> tuple[F64, F64, F64]:
        """Return value, coverage and noise variance at times `at` (k,), from tick `first` on.

        `rows` are columns of a sampler, `first` counts from its origin. `due` None: every tick
        knows all samples; else the known samples precede all others.
        """
        time, _, ready = rows[:3]
        i = places(time, at, "right")
        if due is not None:
            i = np.minimum(i, places(np.maximum.accumulate(ready), due))
        i = np.maximum(i - 1, 0)
        spacing = rows[3, i]
        cells = self._cells(rows)
        known = None
        if due is not None:
            known = places(cells.whole(), due)
            if np.isinf(due[-1]):
                known[np.isinf(due)] = len(cells.time)
        runs = self._runs(spacing, known)
        full = self.half_width_s * self.tick_hz
        sums, lobes, energies = [], [], []
        for a, b, level, width in runs:
            lobe, energy = 1.0, 1.0
            if level >= 0:
                k_of, lobe = _kernel(level, width / WIDTHS, full, self.tick_hz)
                energy = k_of.energy
                sums.append(TickRun(a, b, k_of))
            lobes.append(lobe)
            energies.append(energy)
        node = np.rint((cells.time - lag_s) * (self.tick_hz * PHASES)).astype(np.int64)
        value = weigh(sums, node - first * PHASES, cells.cell, cells.value, known, len(at))
        begin = np.array([a for a, _, _, _ in runs])
        length = np.diff(begin, append=len(at))
        coverage = covered(cells, at, np.repeat(lobes, length), begin, known)
        gain = np.repeat(energies, length) * spacing
        for a, b, level, _ in runs:
            if level < 0:
                mine = slice(a, b)
                limit = np.full(b - a, np.inf) if due is None else due[mine]
                value[mine], coverage[mine] = _lerp(rows, at[mine], limit, spacing[mine])
                gain[mine] = 1.0
        value[coverage < MIN_COVERAGE] = np.nan
        return value, np.minimum(coverage, 1.0), rows[4, i] * gain

    def at(
        self, rows: F64, first: int, lag_s: float, at: float, due: float, known: int
    ) -> tuple[float, float, float]:
        """Return the reading of `of` at one time; the first `known` samples precede all others."""
        hz, half = self.tick_hz, self.half_width_s
        time = rows[0]
        right = int(time.searchsorted(at, "right"))
        i = max(min(right, known) - 1, 0)
        spacing, noise = rows.item(3, i), rows.item(4, i)
        width = self._width(spacing)
        level = _level(spacing * hz, MIN_SAMPLES * (spacing * hz) > width / WIDTHS)
        if level < 0:
            value, coverage = _lerp_at(rows, at, right, known, spacing)
            return value, coverage, noise
        wide = width / WIDTHS
        k_of, lobe = _kernel(level, wide, half * hz, hz)
        cells = self._cells(rows)
        whole = len(cells.time) if due == math.inf else cells.whole_at(due, known)
        node = np.rint((cells.time - lag_s) * (hz * PHASES)).astype(np.int64)
        node -= first * PHASES
        coverage = covered_at(cells, at, lobe, whole)
        value = weigh_at(k_of, node, cells.cell, cells.value, whole)
        gain = k_of.energy * spacing
        return value if coverage >= MIN_COVERAGE else NAN, min(coverage, 1.0), noise * gain

    def _runs(self, spacing: F64, known: I64 | None) -> list[tuple[int, int, int, float]]:
        """Return runs (start, stop) of ticks with their cut-off level and `_widths`.

        The cut-off is CUTOFF 2^(-level / LEVELS), level = ceil(LEVELS log2(ratio) - tolerance), the
        ratio being the channel's spacing (k,) in ticks. Level -1: too slow for a kernel. In a run,
        `known` (k,) does not fall.
        """
        falls = np.zeros(len(spacing), bool)
        if known is not None:
            falls[1:] = known[1:] < known[:-1]
        turns = falls.copy()
        turns[1:] |= spacing[1:] != spacing[:-1]
        turns[0] = True
        start = np.flatnonzero(turns)
        spacing, turns = spacing[start], falls[start]
        ratio, width = spacing * self.tick_hz, self._widths(spacing)
        slow = MIN_SAMPLES * ratio > width / WIDTHS
        steps = LEVELS * np.log2(np.fmax(ratio, 1.0))  # 0 where the spacing is unknown
        level = np.ceil(np.maximum(steps - LEVEL_TOLERANCE, 0.0))
        level = np.where(slow & (level > 0), -1, level).astype(int)
        turns[1:] |= (level[1:] != level[:-1]) | (width[1:] != width[:-1])
        turns[0] = True
        begin = start[turns].tolist()
        end = [*begin[1:], len(falls)]
        return list(zip(begin, end, level[turns].tolist(), width[turns].tolist(), strict=True))

    def _cells(self, rows: F64) -> Cells:
        if self.eager:
            return led_by(rows, self.half_width_s)
        return cells_of(rows, self.half_width_s, 0.5 / self.tick_hz)

    def _widths(self, spacing: F64) -> F64:
        """Return the half-width in 1 / WIDTHS tick, by spacing (s).

        half-width - max(min(GUARD_SIDE spacing, decide_s) + spacing - spare_s, 0); full if eager.
        """
        late: F64 | float = 0.0
        if not self.eager:
            late = np.minimum(GUARD_SIDE * spacing, self.decide_s) + spacing - self.spare_s
            late = np.fmax(late, 0.0)  # 0 where the spacing is unknown
        wide = (self.half_width_s - late) * (self.tick_hz * WIDTHS) + TINY_S
        return np.full(len(spacing), np.floor(wide))

    def _width(self, spacing: float) -> float:
        """Return `_widths` of one spacing."""
        late = 0.0
        if not self.eager and spacing == spacing:
            late = max(min(GUARD_SIDE * spacing, self.decide_s) + spacing - self.spare_s, 0.0)
        wide = (self.half_width_s - late) * (self.tick_hz * WIDTHS) + TINY_S
        return float(math.floor(wide))


@lru_cache(maxsize=32)
def _kernel(level: int, wide: float, full: float, hz: float) -> tuple[Kernel, float]:
    """Return the kernel of a half-width (ticks, of a `full` one), and its main lobe (s)."""
    cutoff = CUTOFF * hz * 2.0 ** (-level / LEVELS)
    # beta = BETA wide / half: the slope of the widest kernel, with less attenuation.
    beta = max(BETA * wide / full, MIN_BETA)
    return kernel(cutoff, wide / hz, hz, beta), min(0.5 / cutoff, wide / hz)


def _level(ratio: float, slow: bool) -> int:
    """Return the level of `Reader._runs` for one ratio."""
    if not ratio > 1.0:
        return 0
    level = math.ceil(max(LEVELS * float(np.log2(ratio)) - LEVEL_TOLERANCE, 0.0))
    return -1 if slow and level > 0 else level


def _lerp(rows: F64, at: F64, due: F64, spacing: F64) -> tuple[F64, F64]:
    """Return the linearly interpolated or held value, and its coverage (0 or 1)."""
    time, value, ready = rows[:3]
    known = places(np.maximum.accumulate(ready), due)
    right = places(time, at, "right")
    left = np.minimum(right, known) - 1
    between = (right < known) & (left >= 0)
    old, new = np.maximum(left, 0), np.minimum(right, len(time) - 1)
    width = np.where(between, time[new] - time[old], 1.0)
    part = np.where(between, (at - time[old]) / np.where(width > 0, width, 1.0), 0.0)
    drawn = value[old] + part * (value[new] - value[old])
    reach = np.where(between, width, at - time[old])
    ok = (left >= 0) & (reach <= HOLD_SPACINGS * spacing)
    return np.where(ok, drawn, np.nan), ok.astype(float)


def _lerp_at(rows: F64, at: float, right: int, known: int, spacing: float) -> tuple[float, float]:
    """Return `_lerp` at one time; `right` samples lie at or before it, `known` are known."""
    left = min(right, known) - 1
    if left < 0:
        return NAN, 0.0
    old, value = rows.item(0, left), rows.item(1, left)
    new = min(right, rows.shape[1] - 1)
    part, reach = 0.0, at - old
    if right < known:
        reach = rows.item(0, new) - old
        part = (at - old) / (reach if reach > 0 else 1.0)
    drawn = value + part * (rows.item(1, new) - value)
    return (drawn, 1.0) if reach <= HOLD_SPACINGS * spacing else (NAN, 0.0)
