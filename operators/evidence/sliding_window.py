"""Mean, slope, minimum and maximum over sliding windows of ticks, the same however cut.

Sums are taken by the two halves of van Herk (1992) and Gil & Werman (1993): the ticks are cut
into rows as long as the window, on the absolute tick index; a window is then the end of one row
and the beginning of the next, and both are read off running sums that start at the row's edge.
So a value's rounding depends on its tick alone, never on where a packet ended, and a tick costs
O(1) in long blocks (O(length) a call).

A window of more than `MAX_TICKS` ticks is thinned: of each `stride` ticks it sees the first (that
whose absolute index `stride` divides), and between two of these it is held. That bounds state
and cost at any rate; what changes within a stride, a window so long does not see.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from operators.types import F64

WindowName = Literal["slope", "mean", "min", "max"]
WINDOWS: tuple[WindowName, ...] = ("slope", "mean", "min", "max")
MAX_TICKS = 600
"""10 minutes of indicators that change each second, 2 minutes of a grid of 5 Hz in full."""


def look_back(
    name: WindowName, values: F64, ticks: range, span: float, carried: F64 | None, following: int
) -> tuple[F64, F64]:
    """Return the function of the window that ends at each tick, and the tail to carry on.

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
        The tail that the call before returned; None at the beginning.
    following : int
        The tick after that call's last. What was missed since then is unknown; after a jump
        back the window begins anew.

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
    """Return one value for each tick whose window lies in `values`.

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
        From the known ticks of each window; NaN where fewer than half of its ticks are known.
        Mean and slope are taken about one of the window's own values, so that a constant has
        exactly itself as mean and exactly 0 as slope.
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

    # The earlier row is taken about its last known value, the later about its first: both are
    # in the window whenever their row has a known tick in it.
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
