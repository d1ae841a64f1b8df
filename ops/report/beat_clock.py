"""Statistics of a rig's beat clock from `bridge.jsonl`, in one pass and bounded memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from operators.types import BRIDGE_STATES, F64, LOCKS
from ops.report.decimate import Decimator, Points, Quantiles
from ops.results.lines import BridgeLine

MAX_STAYS = 500
MAX_FIGURE = 1e9
"""Largest rate or error that is drawn; a broken line can have any number."""
CYCLES, ERROR_MS, PLAYED_CYCLES, PLAYED_MS, RATE, PLAYED_RATE = range(6)
"""Columns of the points; those of played ticks are NaN where the tick was withheld."""
PLAYING = frozenset({"E2", "E3"})
"""States that withhold a tick in a hard stop only."""
_AT_ONCE = 4096
_NAN = math.nan


class BridgeStay(NamedTuple):
    """A time (host s) in one state, and the cause of its beginning."""

    begin: float
    end: float
    state: str
    why: str


class HeldSpan(NamedTuple):
    """A time (host s) in which something held."""

    begin: float
    end: float


class HeldSpans:
    """Spans in which a condition held: the first `MAX_STAYS`; `begun` counts all."""

    def __init__(self) -> None:
        self.spans: list[HeldSpan] = []
        self.begun = 0
        self._held = False

    def add(self, ts: float, holds: bool) -> None:
        """Add a tick; a span ends with the first tick at which the condition fails."""
        if holds and not self._held:
            self.begun += 1
            if len(self.spans) < MAX_STAYS:
                self.spans.append(HeldSpan(ts, ts))
        elif self._held and self.begun == len(self.spans):
            self.spans[-1] = self.spans[-1]._replace(end=ts)
        self._held = holds


class BeatClock:
    """Ticks and states of a beat clock.

    Attributes
    ----------
    ticks, played : int
        Number of ticks; number of ticks that were not withheld.
    states, locks : Counter
        Ticks by state and by lock.
    stays : list of BridgeStay
        The first `MAX_STAYS`; `changes` counts the changes of state.
    alone, stopped : HeldSpans
        Hold-over, and hard stops: ticks withheld in E2 or E3.
    cycles, error_ms : Quantiles
        Absolute phase error of the played ticks.
    slips, steps : int or None
        Counts of the newest line.
    points : Points
        The points of the pictures, by the times of the ticks.
    """

    def __init__(self, lines: Iterable[BridgeLine]) -> None:
        self.ticks = self.played = self.changes = 0
        self.states: Counter[str] = Counter()
        self.locks: Counter[str] = Counter()
        self.stays: list[BridgeStay] = []
        self.alone, self.stopped = HeldSpans(), HeldSpans()
        self.cycles, self.error_ms = Quantiles(), Quantiles()
        self.slips: int | None = None
        self.steps: int | None = None
        self._state = ""
        self._rows: list[tuple[float, ...]] = []
        self._envelope = Decimator(PLAYED_RATE + 1)
        for line in lines:
            self._add(line)
        self._flush()
        self.points: Points = self._envelope.points()

    def rates(self) -> tuple[float, float] | None:
        """Return the least and the largest rate of the played ticks (Hz), None without one."""
        low, high = self.points.low[:, PLAYED_RATE], self.points.high[:, PLAYED_RATE]
        known = np.isfinite(low) & np.isfinite(high)
        return (float(low[known].min()), float(high[known].max())) if known.any() else None

    def _add(self, line: BridgeLine) -> None:
        self._stay(line)
        if line.slips is not None:
            self.slips = line.slips
        if line.steps is not None:
            self.steps = line.steps
        if line.why is None:
            self._tick(line)

    def _stay(self, line: BridgeLine) -> None:
        if line.state not in BRIDGE_STATES:
            return
        if line.state != self._state:
            # A state is in force from the control step that settled it on.
            since = line.ts if line.known is None or not self._state else line.known
            self.changes += bool(self._state)
            self._state = line.state
            if len(self.stays) < MAX_STAYS:
                if self.stays:
                    self.stays[-1] = self.stays[-1]._replace(end=since)
                self.stays.append(BridgeStay(since, since, line.state, line.why or ""))
        if self.changes < len(self.stays):
            last = self.stays[-1]
            self.stays[-1] = last._replace(end=max(last.end, line.ts))

    def _tick(self, line: BridgeLine) -> None:
        played = line.withheld is False
        self.ticks += 1
        self.played += played
        if line.state in BRIDGE_STATES:
            self.states[line.state] += 1
        if line.lock in LOCKS:
            self.locks[line.lock] += 1
        self.alone.add(line.ts, line.lock == "holdover")
        self.stopped.add(line.ts, line.withheld is True and line.state in PLAYING)
        cycles, rate = _or_nan(line.phase_error), _or_nan(line.rate_hz)
        error_ms = cycles * _or_nan(line.tick_ms)
        own = (cycles, error_ms) if played else (_NAN, _NAN)
        self._rows.append((line.ts, cycles, error_ms, *own, rate, rate if played else _NAN))
        if len(self._rows) == _AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            rows: F64 = np.array(self._rows)
            rows[:, 1:][~(np.abs(rows[:, 1:]) <= MAX_FIGURE)] = _NAN
            self.cycles.add(np.abs(rows[:, 1 + PLAYED_CYCLES]))
            self.error_ms.add(np.abs(rows[:, 1 + PLAYED_MS]))
            self._envelope.add(rows)
            self._rows.clear()


def _or_nan(value: float | None) -> float:
    return _NAN if value is None else value
