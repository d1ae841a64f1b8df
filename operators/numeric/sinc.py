"""Resampling of uneven samples to an even grid: a Kaiser-windowed sinc at the sample times.

    y(g) = sum K(t_i - g) D_i x_i / sum K(t_i - g) D_i

K has unit area, a half-width of 10 ticks (less for slow channels, operators/resample/sampler.py)
and beta 6. Its cut-off is 0.4 of the slower of grid and channel. D_i is the sample's Voronoi cell.
One kernel is anti-alias filter, interpolator and, by the sample times, drift and lag correction.
It is tabulated at 1/4096 of a tick: a polyphase filter bank, at most -84 dB off the kernel.

Source: Kaiser & Schafer, IEEE Trans. ASSP 28 (1980); Crochiere & Rabiner, Multirate Digital
Signal Processing (1983); Voronoi weights, Feichtinger & Groechenig, in Wavelets: Mathematics and
Applications (1994).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators import native
from operators.types import F64, I64, Bool

BETA = 6.0
CUTOFF = 0.4
BITS = 12
PHASES = 1 << BITS
MIN_SUM = 0.25
"""Least sum K D; in a hole of the main lobe the sum is near 0, and y would be of any size."""


class Kernel(NamedTuple):
    """K (1/s) at multiples of 1 / PHASES tick.

    `table` (n + 1,) from distance 0 to the half-width, where it is 0; `mirrored` (2 n + 1,) from
    minus to plus the half-width; `bank` (PHASES, 2 J), J ticks being the half-width rounded up.
    Its row r, column q is the weight in tick m + q - J + 1 of a sample r / PHASES past tick m.
    `energy` = integral K^2.
    """

    table: F64
    mirrored: F64
    bank: F64
    energy: float


@lru_cache(maxsize=32)
def kernel(cutoff_hz: float, half_width_s: float, tick_hz: float, beta: float = BETA) -> Kernel:
    """Return the kernel of unit area for a cut-off (Hz), half-width (s) and grid (Hz)."""
    n = round(half_width_s * tick_hz * PHASES)
    u = np.linspace(0.0, half_width_s, n + 1)
    window = np.i0(beta * np.sqrt(np.clip(1 - (u / half_width_s) ** 2, 0, 1)))
    table = np.sinc(2 * cutoff_hz * u) * window
    table[-1] = 0.0
    du = half_width_s / n
    table /= 2 * du * (table.sum() - table[0] / 2)
    energy = 2 * du * ((table**2).sum() - table[0] ** 2 / 2)
    ticks = math.ceil(half_width_s * tick_hz - 1e-9)
    away = np.arange(PHASES)[:, None] + PHASES * (ticks - 1 - np.arange(2 * ticks))
    mirrored = np.concatenate((table[:0:-1], table))
    return Kernel(table, mirrored, table[np.minimum(np.abs(away), n)], float(energy))


class TickRun(NamedTuple):
    """Ticks `begin` to `end` - 1, read with one kernel."""

    begin: int
    end: int
    kernel: Kernel


def weigh(
    runs: Sequence[TickRun], node: I64, cell: F64, value: F64, known: I64 | None, k: int
) -> F64:
    """Return y at ticks 0 to k - 1; NaN where sum K D is below MIN_SUM, and in no run.

    Parameters
    ----------
    runs : sequence of TickRun
        Disjoint.
    node : int64 (n,)
        Times of the samples in 1 / PHASES tick, rising.
    cell, value : float64 (n,)
        Their D and x.
    known : int64 (k,) or None
        Number of samples that each tick may use, rising in a run; None: all in its reach.
    """
    begin, end, reach = (
        np.array([(run.begin, run.end, len(run.kernel.table) - 1) for run in runs], np.int64)
        .reshape(-1, 3)
        .T
    )
    lo = node.searchsorted(begin * PHASES - reach, "right")
    hi = node.searchsorted((end - 1) * PHASES + reach, "left")
    by_tick = _costs_less_by_tick(end - begin, hi - lo, 2 * reach / PHASES)
    below, top = np.zeros((2, k))
    each = np.arange(len(runs))
    if native.kernels is not None:
        index: dict[int, int] = {}
        bank = [index.setdefault(id(run.kernel), len(index)) for run in runs]
        banks = {id(run.kernel): run.kernel.bank for run in runs}
        rows = np.array((begin, end, bank, lo, hi), np.int64).T[~by_tick].copy()
        each = np.flatnonzero(by_tick)
        native.kernels.spread_runs(
            tuple(banks.values()), BITS, rows, node, cell, value, known, below, top
        )
    for j in each.tolist():
        (a, b, k_of), near = runs[j], slice(lo[j], hi[j])
        first = None
        if known is not None:
            first = np.searchsorted(known[a:b], np.arange(lo[j], hi[j]), "right")
        sums = _by_tick if by_tick[j] else _by_sample
        below[a:b], top[a:b] = sums(
            k_of, node[near] - a * PHASES, cell[near], value[near], first, b - a
        )
    return np.asarray(top / np.where(below >= MIN_SUM, below, np.nan))


def _costs_less_by_tick(k: I64, n: I64, span: F64) -> Bool:
    """Return whether k ticks with n samples in reach, of a kernel of `span` ticks, go tick by tick.

    Cost by tick: 8 us a tick and 4 ns a kernel value; by sample: 15 us and 5 ns a kernel value.
    """
    by_tick = k * (8.0 + 0.004 * n * np.minimum(1.0, span / (k + span)))
    return np.asarray(by_tick < 15.0 + 0.005 * n * span)


def weigh_at(k_of: Kernel, node: I64, cell: F64, value: F64, known: int) -> float:
    """Return y at tick 0 from the first `known` samples: `weigh` of one tick."""
    reach = len(k_of.table) - 1
    a = int(node.searchsorted(-reach, "right"))
    b = min(int(node.searchsorted(reach, "left")), known)
    if b <= a:
        return float("nan")
    w = k_of.mirrored[node[a:b] + reach]
    cell = cell[a:b]
    below = float(w @ cell)
    return float(w @ (cell * value[a:b])) / below if below >= MIN_SUM else float("nan")


def _by_tick(
    k_of: Kernel, node: I64, cell: F64, value: F64, first: I64 | None, k: int
) -> tuple[F64, F64]:
    """Return sum K D and sum K D x, tick by tick."""
    reach = len(k_of.table) - 1
    tick = np.arange(k) * PHASES
    lo, hi = node.searchsorted(tick - reach), node.searchsorted(tick + reach)
    if first is not None:
        hi = np.minimum(hi, first.searchsorted(np.arange(k), "right"))
    weighted = cell * value
    below, top = np.zeros(k), np.zeros(k)
    for n, (a, b) in enumerate(zip(lo.tolist(), hi.tolist(), strict=True)):
        if b > a:
            w = k_of.mirrored[node[a:b] + (reach - n * PHASES)]
            below[n], top[n] = w @ cell[a:b], w @ weighted[a:b]
    return below, top


def _by_sample(
    k_of: Kernel, node: I64, cell: F64, value: F64, first: I64 | None, k: int
) -> tuple[F64, F64]:
    """Return the sums of `_by_tick`, each sample weighed once for all ticks in its reach."""
    width = k_of.bank.shape[1]
    base = node >> BITS
    taps = k_of.bank.take(node & (PHASES - 1), axis=0, mode="clip")
    if first is not None:
        # Weight 0 in ticks that may not use the sample yet.
        wait = first + (width // 2 - 1) - base
        if len(wait) and wait.max() > 0:
            taps *= np.arange(width) >= wait[:, None]
    # Column q belongs to the tick q - width / 2 + 1 after the sample's own tick.
    tick = ((base + width // 2)[:, None] + np.arange(width)).ravel()
    taps *= cell[:, None]
    below = np.bincount(tick, taps.ravel(), k + 2 * width)
    taps *= value[:, None]
    top = np.bincount(tick, taps.ravel(), k + 2 * width)
    mine = slice(width - 1, width - 1 + k)
    return np.asarray(below[mine], np.float64), np.asarray(top[mine], np.float64)
