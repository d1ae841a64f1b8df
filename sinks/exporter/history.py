"""History of a rig: the last half minute at the resolution of a screen, and earlier changes.

A point is the mean over as many ticks as give at most `MAX_POINTS` in the window. It is published
once it is complete. Each item carries the version of the live state in which it was received or
drawn, so that a client with `since` receives only newer items. Ticks are drawn at a request.

State, with 64 channels: 600 points, 64 tracks of 60 track points, 128 changes, and `MAX_WAITING`
ticks: 8 MB a rig at most. Cost: 5 us a packet with ticks; two requests a second take 0.3 ms each,
1 ms with 64 channels.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import ceil, isnan
from typing import Any, Literal, NamedTuple

import numpy as np

from operators.lines import EvidenceRecord, SyncReport
from operators.records import Fused, FusedSignal, Packet
from operators.types import F64, MODES
from sinks.advice.changes import ChangeEntry, Transition, fold

MAX_POINTS = 600
WINDOW_S, MIN_TICKS = 30.0, 300
"""The window shown: at least this many seconds, and this many ticks."""
MAX_WAITING = 4_096
"""Ticks held until they are drawn."""
MAX_TRACK_POINTS = 60
MAX_CHANGES = 128
MAX_ENTRIES = 16
"""Entries of changes and findings that are shown."""
DIGITS = 6


class StateChange(NamedTuple):
    """A change of state at `ts` (s, host time).

    By `what`: the mode becomes `now`; the channel or stream `name` becomes `now`; the clock of the
    source `name` steps by `step_s`, above 0 to a later time.
    """

    ts: float
    what: Literal["mode", "channel", "stream", "clock"]
    name: str
    now: str
    step_s: float | None = None


class TrackPoint(NamedTuple):
    """A channel's sync line at `ts`."""

    number: int
    ts: float
    offset_s: float | None
    lag_s: float | None
    rate_hz: float | None


class RigHistory:
    """One rig.

    Parameters
    ----------
    tick_hz : float

    Attributes
    ----------
    window_s : float
        The window shown (s).
    changes, rules : deque
        The newest changes and findings, in order.
    began : float
        Host time of the first tick, NaN before it.
    mode_since : float
        Host time of the first tick of the current mode.
    """

    def __init__(self, tick_hz: float) -> None:
        self._hz = tick_hz
        self.window_s = max(WINDOW_S, MIN_TICKS / tick_hz)
        self._ticks = ceil(tick_hz * self.window_s / MAX_POINTS)
        self._waiting: deque[Fused] = deque()
        self._held = 0
        self._number = 0
        self._names: list[tuple[str, tuple[str, ...]]] = []
        self._cell = -1
        self._sum = self._count = np.empty(0)
        self._points = np.empty((0, 0))
        self._numbers = np.zeros(MAX_POINTS, np.int64)
        self._written = 0
        self._mode = -1
        self._tracks: dict[str, deque[TrackPoint]] = {}
        self.changes: deque[StateChange] = deque(maxlen=MAX_CHANGES)
        self.rules: deque[Transition] = deque(maxlen=MAX_CHANGES)
        self.began = self.mode_since = float("nan")

    def turned(self, packet: Packet) -> None:
        """Keep the streams that came up or went down."""
        for source, ts, up in packet.turned:
            self.changes.append(StateChange(ts, "stream", source, "up" if up else "down"))

    def report(self, report: SyncReport, old: SyncReport | None, number: int) -> None:
        """Keep a channel's sync line; `old` is the one before it."""
        track = self._tracks.setdefault(report.channel, deque(maxlen=MAX_TRACK_POINTS))
        track.append(TrackPoint(number, report.ts, report.offset_s, report.lag_s, report.rate_hz))
        if old is None or report.state != old.state:
            self.changes.append(StateChange(report.ts, "channel", report.channel, report.state))
        if old is None or report.clock_resets <= old.clock_resets or report.reset_at is None:
            return
        step = None
        if report.offset_s is not None and old.offset_s is not None:
            step = old.offset_s - report.offset_s
        source = report.channel.partition(":")[0]
        change = StateChange(report.reset_at, "clock", source, "stepped", step)
        # All channels of a source share its clock.
        if not any(c[:3] == change[:3] for c in self.changes):
            self.changes.append(change)

    def found(self, record: EvidenceRecord) -> None:
        """Keep a finding: a rule fires, or is resolved."""
        detail = record.risk or record.quote or "" if record.state == "firing" else ""
        self.rules.append(Transition(record.ts, "rule", record.rule, record.state, detail))

    def happened(self) -> list[ChangeEntry]:
        """Return the newest changes and findings, newest first; a flapping subject is one entry."""
        return fold([*map(_transition, self.changes), *self.rules])[: -MAX_ENTRIES - 1 : -1]

    def ticks(self, fused: Fused, number: int) -> None:
        """Keep ticks until they are drawn, or older than the window."""
        self._waiting.append(fused)
        self._number = number
        self._held += len(fused)
        while self._held - (oldest := len(self._waiting[0])) >= (MAX_POINTS + 1) * self._ticks:
            self._waiting.popleft()
            self._held -= oldest
        if self._held >= MAX_WAITING:
            self._draw()

    def _draw(self) -> None:
        """Reduce the waiting ticks to points."""
        if not self._waiting:
            return
        parts, number = [*self._waiting], self._number
        self._waiting.clear()
        self._held = 0
        values = np.concatenate([np.array(list(_columns(part))).T for part in parts])
        if not self._names:
            self._names = [(s.name, s.channels) for s in parts[0].signals]
            self._points = np.empty((MAX_POINTS, values.shape[1]))
        cells = np.rint(values[:, 0] * self._hz).astype(np.int64) // self._ticks
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        known = np.isfinite(values)
        sums = np.add.reduceat(np.where(known, values, 0.0), starts)
        counts = np.add.reduceat(known, starts, dtype=np.float64)
        if cells[0] == self._cell:
            sums[0] += self._sum
            counts[0] += self._count
        elif self._cell >= 0:
            self._close(self._sum[None], self._count[None], number)
        self._close(sums[:-1], counts[:-1], number)
        self._cell, self._sum, self._count = int(cells[-1]), sums[-1], counts[-1]

    def since(self, number: int) -> dict[str, Any]:
        """Return the items after a version, `null` where there is no value."""
        self._draw()
        kept = min(self._written, MAX_POINTS)
        order = np.arange(self._written - kept, self._written) % MAX_POINTS
        order = order[self._numbers[order] > number]
        ts, *lines = _rounded(self._points[order].T) if self._names else [[]]
        rows = iter(lines)
        return {
            "window_s": self.window_s,
            "ts": ts,
            "bound_s": next(rows, []),
            "signals": {
                name: {
                    "value": next(rows),
                    "sd": next(rows),
                    "channels": {channel: next(rows) for channel in channels},
                }
                for name, channels in self._names
            },
            "tracks": {
                channel: [point[1:] for point in track if point.number > number]
                for channel, track in self._tracks.items()
            },
        }

    def mode(self, fused: Fused) -> None:
        """Keep the mode's changes."""
        mode, ts = fused.mode, fused.ts
        if isnan(self.began):
            self.began = float(ts[0])
        if mode[0] == self._mode and (len(mode) == 1 or (mode == mode[0]).all()):
            return
        for i in np.flatnonzero(np.diff(mode, prepend=self._mode)).tolist():
            self.mode_since = float(ts[i])
            self.changes.append(StateChange(self.mode_since, "mode", "", MODES[mode[i]]))
        self._mode = int(mode[-1])

    def _close(self, sums: F64, counts: F64, number: int) -> None:
        """Keep complete points: sums over counts, NaN where a count is 0."""
        if not len(sums):
            return
        sums, counts = sums[-MAX_POINTS:], counts[-MAX_POINTS:]
        at = np.arange(self._written, self._written + len(sums)) % MAX_POINTS
        self._points[at] = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
        self._numbers[at] = number
        self._written += len(sums)


def _transition(change: StateChange) -> Transition:
    step = f" by {change.step_s:+.3f} s" if change.step_s is not None else ""
    return Transition(change.ts, change.what, change.name, change.now + step)


def _columns(fused: Fused) -> Iterable[F64]:
    """Yield the columns kept of ticks: time, bound, and each signal's lines."""
    yield fused.ts
    yield fused.sync_bound_s
    for signal in fused.signals:
        yield signal.value
        yield signal.sd
        yield from _aligned(signal)


def _aligned(signal: FusedSignal) -> Iterable[F64]:
    if len(signal.aligned):
        return signal.aligned.T
    return [np.full(len(signal.value), np.nan)] * len(signal.channels)


def _rounded(lines: F64) -> list[list[float]]:
    """Return the first line (times) to the millisecond, the others to six significant digits."""
    found = [np.round(lines[0], 3).tolist()]
    for line in lines[1:]:
        largest = np.nanmax(np.abs(line), initial=0.0)
        places = DIGITS - ceil(np.log10(largest)) if largest > 0 else 0
        found.append(np.round(line, min(max(places, -300), 300)).tolist())
    return found
