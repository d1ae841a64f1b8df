"""Mean, slope, minimum and maximum over sliding windows of ticks, independent of the packets.

Sums use the two halves of van Herk (1992) and Gil & Werman (1993). Ticks are divided into rows of
the length of the window, by absolute tick index. A window is the end of one row and the beginning
of the next; both are read from running sums that start at the edge of the row. The rounding of a
value therefore depends on its tick only, not on packets. A tick costs O(1) in long blocks
(O(length) a call).

A window of more than `MAX_TICKS` ticks is thinned: it uses the first of each `stride` ticks (with
an absolute index divisible by `stride`), and its result is held between them. This bounds state
and cost at any rate. Changes within a stride are ignored.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from operators.types import F64

WindowName = Literal["slope", "mean", "min", "max"]
WINDOWS: tuple[WindowName, ...] = ("slope", "mean", "min", "max")
MAX_TICKS = 600
"""10 minutes of indicators at 1 Hz, 2 minutes of a grid of 5 Hz in full."""


def look_back(
    name: WindowName, values: F64, ticks: range, span: float, carried: F64 | None, following: int
) -> tuple[F64, F64]:
    """Return the function of the window that ends at each tick, and the tail for the next call.

    Parameters
    ----------
    name : which function; `slope` is the least-squares slope per tick
    values : float64 (k,)
        NaN is unknown.
    ticks : range (k,)
        Absolute tick indices.
    span : float
        Ticks in the window, its own the last of them; at least two are taken.
    carried : float64 or None
        The tail returned by the previous call; None at the beginning.
    following : int
        The tick after the last one of that call. Ticks missed since then are unknown; after a
        jump back the window restarts.

    Returns
    -------
    float64 (k,), float64 (at most `MAX_TICKS`,)
    """
    stride = max(1, -(-round(span) // MAX_TICKS))
    length = max(2, round(span / stride))
    first = -(-ticks.start // stride)  # the first seen tick among `ticks`, in strides
    tail = np.full(length, np.nan)
    missed = first + -following // stride
    if carried is not None and following <= ticks.start and missed < length:
        tail[: length - missed] = carried[missed:]
    seen = np.concatenate([tail, values[first * stride - ticks.start :: stride]])
    result = _slide(name, seen, first - length, length)
    if name == "slope":
        result = result / stride
    held = np.arange(ticks.start % stride, ticks.start % stride + len(ticks)) // stride
    held += ticks.start // stride - (first - 1)
    return result[held], seen[-length:].copy()


def _slide(name: WindowName, values: F64, first: int, length: int) -> F64:
    """Return one value for each tick with its window in `values`.

    Parameters
    ----------
    name : which function; `slope` is the least-squares slope per tick
    values : float64 (length - 1 + k,)
        Consecutive ticks; NaN is unknown.
    first : int
        Absolute index of the first of them.
    length : int
        Ticks in a window, its own tick the last of them.

    Returns
    -------
    float64 (k,)
        From the known ticks of each window; NaN if fewer than half of its ticks are known.
        Mean and slope are relative to one of the window's values: the mean of a constant is
        exactly this constant, its slope exactly 0.
    """
    front = first % length
    rows = -(-(front + len(values)) // length)
    table = np.full((rows, length), np.nan)
    table.reshape(-1)[front : front + len(values)] = values
    known = ~np.isnan(table)
    row, column = np.divmod(np.arange(front + length - 1, front + len(values)), length)

    def left(cells: F64, join: np.ufunc = np.add, empty: float = 0.0) -> F64:
        """Join each window's cells of the earlier row."""
        ends = np.full((rows, length + 1), empty)
        ends[:, :-1] = join.accumulate(cells[:, ::-1], axis=1)[:, ::-1]
        return np.asarray(ends[row - 1, column + 1])

    def right(cells: F64, join: np.ufunc = np.add) -> F64:
        """Join each window's cells of its tick's own row."""
        return np.asarray(join.accumulate(cells, axis=1)[row, column])

    one = known.astype(np.float64)
    earlier, later = left(one), right(one)
    count = earlier + later
    if name in ("min", "max"):
        join, empty = (np.minimum, np.inf) if name == "min" else (np.maximum, -np.inf)
        cells = np.where(known, table + 0.0, empty)  # + 0.0: one zero, not two
        result = join(left(cells, join, empty), right(cells, join))
        return np.where(2 * count >= length, result, np.nan)

    # The earlier row is relative to its last known value, the later row to its first. Both lie in
    # the window if their row has a known tick in it.
    each = np.arange(rows)
    last = table[each, length - 1 - np.argmax(known[:, ::-1], axis=1)]
    begin = table[each, np.argmax(known, axis=1)]
    base = np.where(later > 0, begin[row], last[row - 1])
    shift = np.where(earlier > 0, last[row - 1] - base, 0.0)
    before = np.where(known, table - last[:, None], 0.0)
    after = np.where(known, table - begin[:, None], 0.0)
    sum_x = left(before) + right(after) + earlier * shift
    if name == "mean":
        return np.where(2 * count >= length, base + sum_x / count, np.nan)

    t = np.arange(length, dtype=np.float64)  # ticks since the later row's edge
    t_before = t - length
    earlier_t = left(one * t_before)
    sum_t = earlier_t + right(one * t)
    sum_tt = left(one * t_before**2) + right(one * t**2)
    sum_tx = left(before * t_before) + right(after * t) + earlier_t * shift
    # slope = (n sum(tx) - sum(t) sum(x)) / (n sum(tt) - sum(t)^2)
    slope = (count * sum_tx - sum_t * sum_x) / (count * sum_tt - sum_t**2)
    return np.where(2 * count >= length, slope, np.nan)
