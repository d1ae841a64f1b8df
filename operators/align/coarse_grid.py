"""Channels on one coarse even grid, read a stretch at a time, for the search of lags.

Rows are first gathered into cells of 1/5 tick. A cell holds their mean time and mean value; for a
held channel, which sends only changes, it holds the newest row. Then, with t_i and x_i a channel's
cells, D_i the distance from the previous cell to the next and K a Kaiser-windowed sinc (cut-off
0.4 of the grid, half-width 5 ticks, beta 6),

    y(g) = sum K(t_i - g) D_i x_i / sum K(t_i - g) D_i

K is tabulated at 1/4096 tick. A hole is wider than 1.25 ticks and 2.5 usual intervals; the ticks
in it and within 0.6 of it have no value. A channel of less than 0.8 cells a tick is interpolated
linearly instead, and held for three intervals past its newest cell. A held channel has its newest
value.

A row counts if its watermark is at most `patience_s` past the end of its cell: readings do not
depend on how rows are cut into blocks. A stretch may be read when the watermark is `patience_s`
past the 5 ticks that follow it.

State: the rows of at most one stretch, as cells beyond 8192 of them. Cost: about 40 numpy calls
a stretch for all channels, 20 with the extension, and 10 values of K a cell. Losses: none.

Source: Kaiser & Schafer, IEEE Trans. ASSP 28 (1980); Voronoi weights, Feichtinger & Groechenig,
in Wavelets: Mathematics and Applications (1994).
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators import native
from operators.numeric.medians import median
from operators.types import F64, Bool, State

HALF_WIDTH = 5
FINE = 5
CUTOFF, BETA = 0.4, 6.0
BITS = 12
PHASES = 1 << BITS
MAX_SPACING = 1.25
WIDE_INTERVALS, HOLD_INTERVALS = 2.5, 3.0
HOLE_EDGE = 0.6
MIN_COUNT = 4
"""Cells of a slow channel that are kept for the next stretch."""
MAX_ROWS = 8192
THIRD_DIFF_GAIN = 20.0
"""1 + 9 + 9 + 1: the gain of a third difference for white noise."""


@lru_cache(maxsize=1)
def _bank() -> F64:
    """Return K as (PHASES, 2 HALF_WIDTH).

    Row r, column q: the weight of a cell r / PHASES past tick m at tick m + q - HALF_WIDTH + 1.
    """
    u = np.arange(PHASES)[:, None] / PHASES - (np.arange(2 * HALF_WIDTH) - HALF_WIDTH + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (u / HALF_WIDTH) ** 2, 0, 1)))
    return np.asarray(np.sinc(2 * CUTOFF * u) * window)


class _Cells(NamedTuple):
    """Cells in order of lane, then time (`at`, in ticks): lane i has edge[i] to edge[i + 1]."""

    at: F64
    value: F64
    edge: list[int]


def _no_cells(lanes: int) -> _Cells:
    return _Cells(np.empty(0), np.empty(0), [0] * (lanes + 1))


class Coarse:
    """Some channels on one grid; `held`: whether each channel sends only changes."""

    def __init__(self, hz: float, held: list[bool], patience_s: float) -> None:
        self.hz, self.held, self.patience_s = hz, held, patience_s
        self._rests = np.array(held, np.int64)
        self._rows: list[tuple[int, F64, F64, F64]] = []
        self._count = 0
        self._parts: list[F64] = []
        self._past: list[F64] = [np.empty((2, 0)) for _ in held]
        self._width = 2 * HALF_WIDTH
        self._cells = _no_cells(len(held))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        lane, *columns = zip(*self._rows, strict=True) if self._rows else ((), (), (), ())
        names = ("time", "value", "watermark")
        return {
            "lane": list(lane),
            "size": [len(x) for x in columns[0]],
            **{n: np.concatenate((np.empty(0), *c)) for n, c in zip(names, columns, strict=True)},
            "parts": [part.copy() for part in self._parts],
            "past": list(self._past),
        }

    @classmethod
    def from_snapshot(cls, state: State, hz: float, held: list[bool], patience_s: float) -> Coarse:
        """Return the reader of a snapshot."""
        core = cls(hz, held, patience_s)
        edge = np.cumsum(state["size"])[:-1]
        columns = (np.split(state[c], edge) for c in ("time", "value", "watermark"))
        core._rows = list(zip(state["lane"], *columns, strict=False))
        core._count = sum(state["size"])
        core._parts, core._past = [x.copy() for x in state["parts"]], list(state["past"])
        return core

    def push(self, lane: int, time: F64, value: F64, watermark: F64) -> None:
        """Append rows (n,) of one channel: host time (s), value, watermark (s)."""
        self._rows.append((lane, time, value, watermark))
        self._count += len(time)
        if self._count > MAX_ROWS:
            self._placed()
            self._parts[-1] = _joined(self._parts[-1], np.array(self.held))

    def _placed(self) -> None:
        """Turn the rows into a part: lane, cell from the epoch, 1, place in the cell, value."""
        if not self._rows:
            return
        lanes, times, values, known = zip(*self._rows, strict=True)
        part = np.empty((5, self._count))
        part[0] = np.repeat(np.array(lanes), [len(x) for x in times])
        cell, place = part[1], part[3]
        np.concatenate(values, out=part[4])
        np.concatenate(times, out=place)
        behind = np.concatenate(known)
        behind -= place
        place *= self.hz * FINE
        np.floor(place, out=cell)
        place -= cell
        part[2] = 1.0
        if behind.max() >= self.patience_s:
            # The wait counts from the end of the row's cell, not from its own time.
            in_time = behind < self.patience_s + (1 - place) / (self.hz * FINE)
            part = part.compress(in_time, axis=1)
        self._parts.append(part)
        self._rows, self._count = [], 0

    def read(self, first: int, ticks: int) -> F64:
        """Return every channel at `ticks` ticks from `first` (lanes, ticks), NaN where unknown.

        Stretches are consecutive: cells that no later stretch needs are dropped.
        """
        self._placed()
        out = np.full((len(self.held), ticks), np.nan)
        self._width = ticks - 1 + 2 * HALF_WIDTH
        self._cells = _no_cells(len(out))
        if not self._parts:
            return out
        part = np.concatenate(self._parts, axis=1) if len(self._parts) > 1 else self._parts[0]
        gathered = self._gathered if native.kernels is None else self._gathered_compiled
        self._cells, rest = gathered(part, first, ticks)
        self._parts = [rest]
        self._fill(self._cells, first, out)
        return out

    def _gathered(self, part: F64, first: int, ticks: int) -> tuple[_Cells, F64]:
        """Return the cells of a stretch from rows (5, n), and the rows that a later one needs."""
        width = self._width * FINE
        number = part[1] - (first - HALF_WIDTH) * FINE
        rest = part.take(np.flatnonzero(number >= ticks * FINE), axis=1)
        size = len(self.held) * width
        place = part[0] * width + number
        # Rows of another stretch get a place beyond the end.
        place[(number < 0) | (number >= width)] = size
        index = place.astype(np.int64)
        rows, past, total = [np.bincount(index, x, size + 1)[:size] for x in part[2:]]
        if any(self.held):
            # A cell of a held channel has the newest row instead of the mean.
            mine = np.flatnonzero(np.array(self.held)[part[0].astype(np.int64)] & (place < size))
            mine = mine[np.argsort(part[3, mine], kind="stable")]
            rows[index[mine]], past[index[mine]], total[index[mine]] = part[2:, mine]
        full = np.flatnonzero(rows)
        rows = rows[full]
        at = (full % width + past[full] / rows) / FINE - HALF_WIDTH
        edge = np.searchsorted(full, np.arange(len(self.held) + 1) * width).tolist()
        return _Cells(at, total[full] / rows, edge), rest

    def _gathered_compiled(self, part: F64, first: int, ticks: int) -> tuple[_Cells, F64]:
        """Return the result of `_gathered`; the rows that remain are moved within `part`."""
        kernels = native.kernels
        assert kernels is not None
        start, width = (first - HALF_WIDTH) * FINE, self._width * FINE
        room = min(part.shape[1], len(self.held) * width)
        at, value = np.empty(room), np.empty(room)
        edge = np.empty(len(self.held) + 1, np.int64)
        stretch = start, start + ticks * FINE, width, FINE, HALF_WIDTH
        kept = kernels.cells(part, *stretch, self._rests, edge, at, value)
        rest = part.ravel()[: len(part) * kept].reshape(len(part), kept)
        if 2 * kept < part.shape[1]:
            rest = rest.copy()
        edges = edge.tolist()
        return _Cells(at[: edges[-1]], value[: edges[-1]], edges), rest

    def _fill(self, c: _Cells, first: int, out: F64) -> None:
        """Write the values of cells into `out`: by the kernel, or by linear interpolation."""
        widest = np.full(len(out), MAX_SPACING)
        slow: list[tuple[int, F64, float]] = []
        for lane, (a, b) in enumerate(pairwise(c.edge)):
            few = (
                b - a < 2
                or c.at.item(b - 1) - c.at.item(a) > (b - a - 1) * MAX_SPACING / WIDE_INTERVALS
            )
            if not (few or self.held[lane]):
                self._past[lane] = self._past[lane][:, :0]
                continue
            cells = self._followed(lane, first, np.stack((c.at[a:b], c.value[a:b])))
            interval = median(cells[0, 1:] - cells[0, :-1]) if cells.shape[1] > 1 else 0.0
            if self.held[lane] or interval > MAX_SPACING:
                slow.append((lane, cells, interval))
            else:
                widest[lane] = max(interval * WIDE_INTERVALS, MAX_SPACING)
        if native.kernels is None:
            _filter(c, widest, out)
        else:
            edge = np.array(c.edge)
            native.kernels.fill(_bank(), BITS, c.at, c.value, edge, widest, HOLE_EDGE, out)
        for lane, cells, interval in slow:
            out[lane] = _interpolated(cells, out.shape[1], None if self.held[lane] else interval)

    def _followed(self, lane: int, first: int, cells: F64) -> F64:
        """Return a slow lane's cells (time in ticks, value), preceded by its last few cells."""
        past = self._past[lane] - np.array([[first], [0]])
        if cells.shape[1]:
            past = past[:, past[0] < cells[0, 0] - 1e-6]
        cells = np.concatenate((past, cells), axis=1)
        self._past[lane] = cells[:, -MIN_COUNT:] + np.array([[first], [0]])
        return cells

    def interval(self, lane: int) -> float:
        """Return the usual interval (s) in the stretch just read, NaN for an empty one."""
        a, b = self._cells.edge[lane : lane + 2]
        if b - a < 4:
            return self._width / self.hz / (b - a) if b > a else float("nan")
        at = self._cells.at
        return median(at[a + 1 : b] - at[a : b - 1]) / self.hz

    def noise(self, lane: int) -> tuple[float, float]:
        """Return the usual interval (s) and the noise density (per Hz) of the stretch just read.

        Noise density: interval * mean((third difference)^2) / 20; third differences cancel a slow
        signal.
        """
        a, b = self._cells.edge[lane : lane + 2]
        if b - a < 4:
            return float("inf"), float("inf")
        interval = self.interval(lane)
        third = np.diff(self._cells.value[a:b], 3)
        return interval, interval * float(np.mean(third * third)) / THIRD_DIFF_GAIN


def _joined(part: F64, held: Bool) -> F64:
    """Return a part with consecutive rows of one cell joined, or the last of them if held."""
    new = np.append(True, (part[:2, 1:] != part[:2, :-1]).any(axis=0))
    start = np.flatnonzero(new)
    joined = np.concatenate((part[:2, start], np.add.reduceat(part[2:], start, axis=1)))
    last = np.append(start[1:], part.shape[1]) - 1
    rests = held[part[0, start].astype(np.int64)]
    joined[:, rests] = part[:, last[rests]]
    return joined


def _filter(c: _Cells, widest: F64, out: F64) -> None:
    """Write into `out` (lanes, ticks) the kernel average of cells, NaN in holes and beyond.

    y(g) = sum K D x / sum K D; a gap wider than `widest` (lanes,), in ticks, is a hole.
    """
    gap = np.zeros(len(c.at) + 1)
    np.subtract(c.at[1:], c.at[:-1], out=gap[1:-1])
    gap[c.edge] = 0.0
    lanes = np.repeat(np.arange(len(out)), np.diff(c.edge))
    hole = np.flatnonzero(gap[:-1] > widest[lanes])
    gap[hole] = 0.0
    reach = gap[1:] + gap[:-1]
    ticks = out.shape[1]
    node = np.rint(c.at * PHASES).astype(np.int64)
    taps = _bank()[node & (PHASES - 1)]
    taps *= reach[:, None]
    # Cells lie up to the half-width and half a tick beyond both ends.
    width = ticks + 4 * HALF_WIDTH
    base = lanes * width + (node >> BITS) + (HALF_WIDTH + 1)
    place = (base[:, None] + np.arange(2 * HALF_WIDTH)).ravel()
    size = len(out) * width + 1
    below = np.bincount(place, taps.ravel(), size)
    taps *= c.value[:, None]
    top = np.bincount(place, taps.ravel(), size)
    below, top = (
        x[:-1].reshape(-1, width)[:, 2 * HALF_WIDTH : 2 * HALF_WIDTH + ticks] for x in (below, top)
    )
    np.divide(top, below, out=out, where=below > 0)
    for i in hole.tolist():
        _empty(out[lanes[i]], float(c.at[i - 1]), float(c.at[i]))
    for lane, (a, b) in enumerate(pairwise(c.edge)):
        if b > a:
            _empty(out[lane], -np.inf, float(c.at[a]))
            _empty(out[lane], float(c.at[b - 1]), np.inf)


def _empty(row: F64, left: float, right: float) -> None:
    """Remove the values in a hole and at its edges (ticks)."""
    a, b = left - HOLE_EDGE, right + HOLE_EDGE
    if a < len(row) - 1 and b > 0:
        row[max(math.floor(max(a, -1.0)) + 1, 0) : math.ceil(min(b, len(row)))] = np.nan


def _interpolated(cells: F64, ticks: int, interval: float | None) -> F64:
    """Return values interpolated between neighbours, held for three intervals past the newest.

    Without an interval: the newest value, of any age.
    """
    at, value = cells
    tick = np.arange(float(ticks))
    i = np.searchsorted(at, tick, "right") - 1
    left = np.maximum(i, 0)
    if interval is None:
        return np.where(i >= 0, value[left], np.nan) if len(at) else tick * np.nan
    right = np.minimum(i + 1, len(at) - 1)
    age = np.where(right > left, at[right] - at[left], tick - at[left])
    good = (i >= 0) & (age <= HOLD_INTERVALS * interval)
    return np.where(good, np.interp(tick, at, value), np.nan)
