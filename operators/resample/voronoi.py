"""Voronoi cells of uneven samples, and their coverage.

Cells are capped so that a hole reduces the coverage: the part of the kernel's main lobe filled by
cells. (The sum K D is no measure of it: it varies with the jitter of samples hardly faster than the
grid, without missing samples.) In a channel with two or more samples a tick, a hole of up to five
samples is first filled by a cubic through the two samples on each side. The error of cells alone is
-42 dB, filled below -65 dB. In slower channels the neighbours do not determine the missing values.

Source: Voronoi weights, Feichtinger & Groechenig, in Wavelets: Mathematics and Applications (1994);
Lagrange's interpolation, Laakso et al., IEEE Signal Processing Magazine 13 (1996).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.types import F64, I64, Bool

GAP_SPACINGS = 2.5
HOLE, MAX_FILLED = 1.5, 5
"""Interval, in spacings, of a hole; largest number of filled samples."""
_NEAR = np.arange(-1, 3)[:, None]
_NONE = np.empty(0, np.int64)


class Cells(NamedTuple):
    """Samples in reach with filled holes: time (s), value, cell (s).

    `closed`: there is no hole; `led`: a cell is known with its sample. `ready` (m,) is that of the
    received samples, `wide` their indexes before an interval that may be filled, `place` (m,) their
    new indexes; None: unchanged.
    """

    time: F64
    value: F64
    cell: F64
    closed: bool
    ready: F64
    wide: I64
    place: I64 | None
    led: bool = False

    def whole(self) -> F64:
        """Return when each sample and all neighbours of its cell are known; rising."""
        if self.led:
            return np.maximum.accumulate(self.ready)
        whole = np.empty(len(self.ready))
        np.maximum(self.ready[:-1], self.ready[1:], out=whole[:-1])
        whole[-1] = np.inf
        if len(self.wide):
            next_but_one = np.append(self.ready, np.inf)[self.wide + 2]
            whole[self.wide] = np.maximum(whole[self.wide], next_but_one)
        if self.place is not None:
            whole = np.repeat(whole, np.diff(self.place, append=len(self.time)))
        return np.maximum.accumulate(whole, out=whole)

    def whole_at(self, due: float, known: int) -> int:
        """Return the number of samples that are whole before `due`; `known` of them are ready."""
        if len(self.wide) or self.place is not None:
            return int(self.whole().searchsorted(due))
        return known if self.led else max(known - 1, 0)


def cells_of(rows: F64, half_width_s: float, dense_s: float) -> Cells:
    """Return samples with Voronoi cells, capped at holes; small holes are filled first.

    Holes are filled between samples whose spacing (s) is below `dense_s`.
    """
    time, value, ready, spacing = rows[:4]
    apart = time[1:] - time[:-1]
    widest, least = float(np.maximum.reduce(apart)), float(np.fmin.reduce(spacing))
    wide, place = _NONE, None
    if least < dense_s and not widest <= HOLE * least:
        ratio = apart / spacing[1:]
        even = (ratio > 0.25) & (ratio < MAX_FILLED + 1.5)
        wide = np.flatnonzero(even & (ratio > HOLE) & (spacing[1:] < dense_s))
        hole = wide[(wide > 0) & (wide < len(time) - 2)]
        hole = hole[even[hole - 1] & even[hole + 1]]
        if len(hole):
            missing = np.rint(ratio[hole]).astype(np.int64) - 1
            time, value, spacing, place = _filled(time, value, spacing, hole, missing)
            apart = time[1:] - time[:-1]
            widest = float(np.maximum.reduce(apart))
    cell = np.empty(len(time))
    np.add(apart[1:], apart[:-1], out=cell[1:-1])
    cell[1:-1] *= 0.5
    cell[0], cell[-1] = apart[0], apart[-1]
    closed = widest <= half_width_s / 4
    if not closed:
        np.fmin(cell, np.maximum(half_width_s / 4, GAP_SPACINGS * spacing), out=cell)
    return Cells(time, value, cell, closed, ready, wide, place)


def led_by(rows: F64, half_width_s: float) -> Cells:
    """Return samples with causal cells: each is as wide as the interval before the sample.

    Their sum is that of Voronoi cells; they reduce jitter less.
    """
    time, value, ready, spacing = rows[:4]
    apart = time[1:] - time[:-1]
    cell = np.concatenate((apart[:1], apart))
    closed = float(np.maximum.reduce(apart)) <= half_width_s / 4
    if not closed:
        np.fmin(cell, np.maximum(half_width_s / 4, GAP_SPACINGS * spacing), out=cell)
    return Cells(time, value, cell, closed, ready, _NONE, None, led=True)


def _filled(
    time: F64, value: F64, spacing: F64, hole: I64, missing: I64
) -> tuple[F64, F64, F64, I64]:
    """Return time, value and spacing with `missing` samples inserted after each `hole`, and the
    new indexes of the received samples.
    """
    which = np.repeat(hole, missing)
    behind = np.cumsum(missing) - missing
    nth = np.arange(1, len(which) + 1) - np.repeat(behind, missing)
    part = nth / np.repeat(missing + 1, missing)
    at = time[which] + part * (time[which + 1] - time[which])
    near = which + _NEAR
    # Lagrange: y = prod_j (t - t_j) sum_i y_i / ((t - t_i) prod_{j != i} (t_i - t_j)).
    between = time[near][:, None] - time[near]
    between[range(4), range(4)] = 1.0
    away = at - time[near]
    filled = away.prod(axis=0) * (value[near] / (between.prod(axis=1) * away)).sum(axis=0)
    shift = np.zeros(len(time), np.int64)
    shift[hole + 1] = missing
    place = np.arange(len(time)) + np.cumsum(shift)
    out = np.empty((3, len(time) + len(which)))
    out[:, place] = time, value, spacing
    out[:, place[which] + nth] = at, filled, spacing[which]
    return out[0], out[1], out[2], place


def covered(cells: Cells, at: F64, lobe_s: F64, begin: I64, known: I64 | None) -> F64:
    """Return the part of at - lobe to at + lobe (s) that the cells of known samples fill.

    Runs of ticks `begin` (r,) in known samples without a hole are filled, whatever the rounding.
    """
    time, cell = cells.time, cells.cell
    left, right = at - lobe_s, at + lobe_s
    part = np.ones(len(at))
    rest: slice | Bool = slice(None)
    if cells.closed:
        newest = time[-1] if known is None else np.where(known, time[known - 1], -np.inf)
        within = np.logical_and.reduceat((left >= time[0]) & (right <= newest), begin)
        if within.all():
            return part
        rest = np.repeat(~within, np.diff(begin, append=len(at)))
    edge = np.empty(len(cell) + 1)
    np.add(time[1:], time[:-1], out=edge[1:-1])
    edge[1:-1] *= 0.5
    edge[0], edge[-1] = time[0] - cell[0] / 2, time[-1] + cell[-1] / 2
    filled = np.concatenate(([0.0], np.cumsum(cell)))
    left, right = np.interp(left[rest], edge, filled), np.interp(right[rest], edge, filled)
    if known is not None:
        right = np.minimum(right, filled[known[rest]])
    part[rest] = np.maximum(right - left, 0.0) / (2 * lobe_s[rest])
    return part


def covered_at(cells: Cells, at: float, lobe_s: float, known: int) -> float:
    """Return `covered` at one time, by the first `known` samples."""
    time = cells.time
    within = cells.closed and at - lobe_s >= time[0]
    if within and known and at + lobe_s <= time[known - 1]:
        return 1.0
    one = (np.array([at]), np.array([lobe_s]), np.array([0]), np.array([known]))
    return float(covered(cells, *one)[0])
