"""Reports of a clock on the host axis, as ticks and sync lines use them.

In the second of two passes a clock is known as a whole. Its reports are then published by
watermark, independent of the stamps. Each is dated at its node, but the first of all at -inf, and
the first after a clock reset at that reset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from operators.drift.clock_path import ClockPath, report
from operators.records import ClockReport


class PathReports:
    """The reports of one source's path.

    Parameters
    ----------
    source : str
    path : ClockPath
    passed : int
        Number of published reports; the whole state.
    """

    def __init__(self, source: str, path: ClockPath, passed: int = 0) -> None:
        self.source, self.path, self.passed = source, path, passed
        known = path.at + path.line[0]
        heads = path.node_edges[1:-1]
        self._heads = set(heads.tolist())
        known[heads[heads < len(known)]] = path.reset_at[1:][heads < len(known)]
        known[:1] = -math.inf
        self._known = np.maximum.accumulate(known)

    def until(self, time: float) -> Iterator[ClockReport]:
        """Yield the reports dated up to a host time that are not published yet."""
        first, self.passed = (
            self.passed,
            max(self.passed, int(self._known.searchsorted(time, "right"))),
        )
        for i in range(first, self.passed):
            line = self.path.node(i, i in self._heads)
            yield report(self.source, -math.inf, float(self._known[i]), line)
