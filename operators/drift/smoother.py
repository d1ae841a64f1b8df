"""One source's clock, estimated from the whole recording.

The stamps are cut at the clock resets (operators/drift/reset_times.py). Resets are detected by
the forward clock. At the start, where that clock is still uncertain, a clock over the mirrored
stamps detects them: source' = -source with the same delay, so that both have the same lower edge.
Each bin of a part gives a reading (operators/drift/delay_minima.py); the readings give a line
(operators/drift/two_sided.py).

Cost: that of the clock, and 0.2 ms a second of a source at the end. State: the clock and 17 bytes
per distinct stamp.
"""

from __future__ import annotations

import math

import numpy as np

from operators.drift.clock import GATE_EDGES, GATE_JITTERS, GATE_S, Clock, ClockLine, StampVerdicts
from operators.drift.clock_path import ClockPath, distinct
from operators.drift.delay_minima import lowest
from operators.drift.offset_filter import MIN_READINGS
from operators.drift.reset_times import cuts
from operators.drift.two_sided import smoothed
from operators.types import F64, Bool

_BLOCK = 4096
START_READINGS = 4 * MIN_READINGS
"""Readings at the start that are also searched backwards for resets."""


class ClockLog:
    """A clock that stores its stamps, for `path` at the end; the methods are those of `Clock`."""

    def __init__(self, max_delay_s: float) -> None:
        self.clock = Clock(max_delay_s)
        self._source: list[F64] = []
        self._arrival: list[F64] = []
        self._ok: list[Bool] = []
        self._near: list[int] = []
        self._bins: list[int] = []
        self._count = 0
        self._last = (math.nan, math.nan)

    def feed(self, source: F64, arrival: F64, end: bool) -> StampVerdicts:
        """Process distinct stamps, as `Clock.feed`."""
        verdicts = self.clock.feed(source, arrival, end)
        k = verdicts.decided
        fresh = distinct(source[:k], arrival[:k], self._last)
        number = self._count + np.cumsum(fresh) - 1
        if k:
            self._last = (float(source[k - 1]), float(arrival[k - 1]))
            self._count = int(number[-1]) + 1
            self._near += [
                int(number[min(i, k - 1)] if i >= 0 else max(number[0] + i, 0))
                for i in verdicts.steps
            ]
            if len(self._bins) < START_READINGS:
                self._bins += [int(number[min(by, k - 1)]) for by, *_ in verdicts.turns]
        self._source.append(source[:k][fresh])
        self._arrival.append(arrival[:k][fresh])
        self._ok.append(verdicts.ok[:k][fresh])
        return verdicts

    @property
    def count(self) -> int:
        """The number of distinct stamps."""
        return self._count

    def restart(self, clock: Clock) -> None:
        """Follow later stamps with a new clock: the source was restarted."""
        self.clock = clock
        self._near.append(self._count)

    def finish(self) -> ClockLine | None:
        """Close the last bin at the end of the data, as `Clock.finish`."""
        return self.clock.finish()

    def path(self) -> ClockPath:
        """Return the clock over the whole recording."""
        none = np.empty(0)
        source = np.concatenate([none, *self._source])
        arrival = np.concatenate([none, *self._arrival])
        ok = np.concatenate([np.empty(0, bool), *self._ok])
        bank = self.clock.bank
        near = set(self._near)
        if self._bins:
            first = (
                self._bins[START_READINGS - 1] if len(self._bins) >= START_READINGS else len(source)
            )
            unsure = self._bins[min(MIN_READINGS, len(self._bins) - 1)]
            found = _seen_backwards(source[:first], arrival[:first], self.clock.max_delay_s)
            near |= {i for i in found if i <= unsure}
        slope = bank.slope if bank else 0.0
        return smooth(source, arrival, ok, sorted(near), slope, self.clock.max_delay_s)


def smooth(
    source: F64, arrival: F64, ok: Bool, near: list[int], slope: float, max_delay_s: float
) -> ClockPath:
    """Return a source's clock over the whole recording.

    Parameters
    ----------
    source, arrival : float64 (n,)
        Distinct stamps in order of arrival (s).
    ok : bool (n,)
        False for stamps that are wild.
    near : list of int
        Stamps near which the clock was reset, rising.
    slope : float
        Growth of arrival - source with source time (s/s), approximate.
    max_delay_s : float
        As in `Clock`.
    """
    cut = cuts(source, arrival, ok, near, slope)
    readings = lowest(source, arrival - source, ok, cut, slope)
    unknown = np.full(len(cut.edges) - 1, np.nan)
    line, covariance, gate = np.empty((2, 0)), np.empty((3, 0)), np.empty(0)
    if len(readings):
        line, covariance, edge = smoothed(readings)
        gate = np.full(len(readings), max_delay_s)
        if len(readings) >= MIN_READINGS or (readings.jitter > 0).any():
            gate = np.fmax(np.maximum(GATE_EDGES * edge, GATE_S), GATE_JITTERS * readings.jitter)
    path = ClockPath(
        at=readings.at,
        line=line,
        covariance=covariance,
        gate=gate,
        jitter_p95=readings.jitter_p95,
        node_edges=readings.edges,
        stamp_edges=cut.edges,
        odd=cut.odd,
        odd_part=cut.odd_part,
        reset_at=unknown,
        max_delay_s=max_delay_s,
    )
    if not len(readings):
        return path
    heads = cut.edges[1:-1]
    path.reset_at[1:] = source[heads] + path.offset(np.arange(1, len(heads) + 1), source[heads])
    return path


def _seen_backwards(source: F64, arrival: F64, max_delay_s: float) -> list[int]:
    """Return the stamps near which the mirrored recording has a reset."""
    clock, n = Clock(max_delay_s), len(source)
    mirrored = -source[::-1]
    delay = (arrival - source)[::-1]
    found: list[int] = []
    start = 0
    for stop in range(_BLOCK, n + _BLOCK, _BLOCK):
        rows = slice(start, min(stop, n))
        verdicts = clock.feed(mirrored[rows], (mirrored + delay)[rows], stop >= n)
        found += [start + i for i in verdicts.steps]
        start += verdicts.decided
    return [n - 1 - i for i in found]
