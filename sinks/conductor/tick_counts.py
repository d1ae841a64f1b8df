"""Counts of the ticks of one destination: outcomes, and how far from its time each was sent.

The core uses the standard library alone. State: a count an outcome and a bucket.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from typing import Any

from sinks.conductor.tick_schedule import OUTCOMES, Outcome

JITTER_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1)
"""Upper edges of the histogram's buckets."""


class TickCounts:
    """Counts since the start.

    Attributes
    ----------
    outcomes : dict
        Ticks by outcome.
    jitter : list of int
        Sent ticks by bucket of `JITTER_S`; the last one is beyond.
    jitter_s : float
        Sum of the absolute differences of sent and planned time (s).
    """

    def __init__(self) -> None:
        self.outcomes: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
        self.jitter = [0] * (len(JITTER_S) + 1)
        self.jitter_s = 0.0

    def add(self, outcome: Outcome, off_s: float = 0.0) -> None:
        """Count a tick; `off_s` is the time of its sending less the planned one."""
        self.outcomes[outcome] += 1
        if outcome == "sent":
            self.jitter[bisect_left(JITTER_S, abs(off_s))] += 1
            self.jitter_s += abs(off_s)

    def line(self) -> bytes:
        """Return the counts as a line."""
        return json.dumps([self.outcomes, self.jitter, self.jitter_s]).encode() + b"\n"


class TickTotals:
    """Counts of a destination over all processes that have served it; each reports its own.

    A report replaces the one before it in one assignment, so that readers need no lock.
    """

    def __init__(self) -> None:
        self._ended = TickCounts()
        self._newest = TickCounts()

    def report(self, line: bytes) -> None:
        """Take a process's newest line of counts."""
        made = TickCounts()
        outcomes: dict[Any, int]
        outcomes, made.jitter, made.jitter_s = json.loads(line)
        made.outcomes.update(outcomes)
        self._newest = made

    def restarted(self) -> None:
        """Keep the counts of a process that has ended."""
        self._ended, self._newest = self.total(), TickCounts()

    def add(self, outcome: Outcome, count: int = 1) -> None:
        """Count ticks that reached no process."""
        self._ended.outcomes[outcome] += count

    def total(self) -> TickCounts:
        """Return the sum."""
        made, old, new = TickCounts(), self._ended, self._newest
        for outcome in OUTCOMES:
            made.outcomes[outcome] = old.outcomes[outcome] + new.outcomes[outcome]
        made.jitter = [a + b for a, b in zip(old.jitter, new.jitter, strict=True)]
        made.jitter_s = old.jitter_s + new.jitter_s
        return made


class PlayedTicks:
    """Counts of the destinations of a run, for metrics and pages.

    Attributes
    ----------
    rig : str
        Whose ticks are played.
    totals : dict
        By destination.
    """

    def __init__(self) -> None:
        self.rig = ""
        self.totals: dict[str, TickTotals] = {}

    def counts(self) -> dict[str, TickCounts]:
        """Return the counts by destination."""
        return {name: totals.total() for name, totals in self.totals.items()}
