"""Widths of blocks by density: about `AIM_ROWS` rows a block, on a dyadic lattice of arrival time.

A block spans 2^k cells of `CELL_S` and begins at a multiple of its span, wherever the rows begin.
The next block is twice as wide after fewer than `AIM_ROWS` rows, if it begins there, and half as
wide after `4 AIM_ROWS` rows. The width depends on the rig's own rows in their order alone.

State: three numbers. Cost: a few comparisons a block.
"""

from __future__ import annotations

from operators.settings.plan import Plan
from operators.types import State

CELL_S = 10.0
"""The narrowest block (s)."""
AIM_ROWS = 4_096
"""Rows of a block: more leave the cache of the processor, fewer leave it idle."""
MAX_SPAN = 32
"""Cells of the widest block."""
MAX_GRID = 65_536
"""Values on the grid, ticks times channels, to which a block may grow."""


class Spans:
    """The spans of successive blocks, in cells.

    Parameters
    ----------
    plan : Plan
        Of the rig: the density of its grid limits the span.
    """

    def __init__(self, plan: Plan) -> None:
        per_cell = CELL_S * plan.tick_hz * max(len(plan.lanes), 1)
        self._widest = 1
        while self._widest < MAX_SPAN and 2 * self._widest * per_cell <= MAX_GRID:
            self._widest *= 2
        self._span, self._stop, self._rows = 1, float("-inf"), 0

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Spans:
        """Return the spans of a snapshot."""
        core = cls(plan)
        core._span, core._stop, core._rows = state["span"], state["stop"], state["rows"]
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"span": self._span, "stop": self._stop, "rows": self._rows}

    def count(self, rows: int) -> None:
        """Count rows that left with the open block, or with a part of it."""
        self._rows += rows

    def last(self, cell: float) -> float:
        """Return the last cell of the block of a row, given the row's cell.

        Cells rise; a cell behind the open block ends it and begins the next one.
        """
        if cell >= self._stop:
            self._begin(cell)
        return self._stop - 1

    def _begin(self, cell: float) -> None:
        """Begin a block: [m span, (m + 1) span) is that of the cell, m an integer."""
        if self._stop > float("-inf"):
            if self._rows >= 4 * AIM_ROWS and self._span > 1:
                self._span //= 2
            elif self._rows < AIM_ROWS and self._span < self._widest:
                twice = 2 * self._span
                # A block never reaches back into the one before it.
                self._span = twice if cell // twice * twice >= self._stop else self._span
        self._stop = cell // self._span * self._span + self._span
        self._rows = 0
