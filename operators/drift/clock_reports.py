"""Reports of a clock on the host axis: the form of its lines that ticks and sync lines need.

In the second of two passes a clock is known as a whole. Its reports are then handed out by the
arrivals that they serve, whatever the stamps that come: each is dated at its node, the first of
all at the beginning of time, the first after a clock reset at that reset.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from operators.drift.clock import ClockLine
from operators.drift.clock_path import ClockPath
from operators.records import ClockReport


def report(source: str, before: float, known: float, line: ClockLine) -> ClockReport:
    """Return a line in source time as a report in host time."""
    return ClockReport(
        source, before, known, line.at + line.offset, line.offset, line.slope / (1 + line.slope),
        line.offset_var, line.cross_var, line.slope_var, line.jitter_p95, line.resets,
        line.reset_at, line.stepped,
    )  # fmt: skip


class PathReports:
    """The reports of one source's path.

    Parameters
    ----------
    source : str
    path : ClockPath
    passed : int
        How many have been handed out; all of the state.
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
        """Yield the reports dated up to a host time that have not been handed out."""
        first, self.passed = (
            self.passed,
            max(self.passed, int(self._known.searchsorted(time, "right"))),
        )
        for i in range(first, self.passed):
            line = self.path.node(i, i in self._heads)
            yield report(self.source, -math.inf, float(self._known[i]), line)
