"""Series of the indicators: decimation of the grid, short gaps, windows as views."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from operators.numeric.sinc import CUTOFF, PHASES, kernel
from operators.types import F64

T = TypeVar("T", bound=np.generic)


def lowpass_taps(step: int, hz: float) -> F64:
    """Return the taps that decimate a grid to every `step`-th tick, a series of `hz`."""
    if step == 1:
        return np.ones(1)
    half = 10 * step
    k_of = kernel(CUTOFF * hz, 10.0 / hz, hz)
    u = np.abs(np.arange(-half, half + 1)) / step * PHASES
    taps = np.interp(u, np.arange(len(k_of.table)), k_of.table)
    return np.asarray(taps / taps.sum())


def bridged(rows: F64, hole: int) -> F64:
    """Return rows (c, n) with linear interpolation over gaps of at most `hole` ticks."""
    if not np.isnan(rows).any():
        return rows
    out = rows.copy()
    for row in out:
        known = np.flatnonzero(~np.isnan(row))
        short = np.flatnonzero((np.diff(known) > 1) & (np.diff(known) <= hole + 1))
        for a, b in zip(known[short].tolist(), known[short + 1].tolist(), strict=True):
            row[a : b + 1] = np.linspace(row[a], row[b], b - a + 1)
    return out


def windows(rows: NDArray[T], width: int, first: int, step: int, count: int) -> NDArray[T]:
    """Return windows (count, c, width) of rows (c, n), `step` apart from `first` on, as a view."""
    down, right = rows.strides
    return np.ndarray(
        (count, len(rows), width), rows.dtype, rows, first * right, (step * right, down, right)
    )
