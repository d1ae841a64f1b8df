"""The last half minute of a rig, as much of it as a screen can show, and what changed before.

A point is the mean over as many ticks as make at most `POINTS` of the window. It is told once it
is whole, so that who asks again is given only what is new: all that is kept carries the number
of the telling in which it came, or was drawn. Ticks are drawn when somebody asks.

State, of 64 channels: 600 points, 64 tracks of 60 moments, 128 changes, and `MAX_WAITING` ticks:
8 MB a rig at most. Cost: 5 us a packet with ticks; who asks twice a second takes 0.3 ms of it, 1 ms
with 64 channels.
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

POINTS = 600
WINDOW_S, MIN_TICKS = 30.0, 300
"""What is seen at once: so many seconds, and where ticks are slow, so many ticks."""
MAX_WAITING = 4_096
"""Ticks that wait to be drawn."""
MOMENTS = 60
CHANGES = 128
HAPPENED = 16
"""Entries of what happened that are shown."""
DIGITS = 6


class StateChange(NamedTuple):
    """Something became otherwise at `ts` (s, host time).

    `what`: the mode is `now`; the channel or stream `name` is `now`; the clock of the source
    `name` stepped by `step_s`: above 0, it shows a later time than before.
    """

    ts: float
    what: Literal["mode", "channel", "stream", "clock"]
    name: str
    now: str
    step_s: float | None = None


class Moment(NamedTuple):
    """What a channel's newest line said at `ts`."""

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
        What is seen at once.
    changes, rules : deque
        The newest changes and findings, in order.
    began : float
        Host time of the first tick, NaN before it.
    mode_since : float
        Host time of the first tick of the mode that is.
    """

    def __init__(self, tick_hz: float) -> None:
        self._hz = tick_hz
        self.window_s = max(WINDOW_S, MIN_TICKS / tick_hz)
        self._ticks = ceil(tick_hz * self.window_s / POINTS)
        self._waiting: deque[Fused] = deque()
        self._number = 0
        self._names: list[tuple[str, tuple[str, ...]]] = []
        self._cell = -1
        self._sum = self._count = np.empty(0)
        self._points = np.empty((0, 0))
        self._numbers = np.zeros(POINTS, np.int64)
        self._written = 0
        self._mode = -1
        self._tracks: dict[str, deque[Moment]] = {}
        self.changes: deque[StateChange] = deque(maxlen=CHANGES)
        self.rules: deque[Transition] = deque(maxlen=CHANGES)
        self.began = self.mode_since = float("nan")

    def turned(self, packet: Packet) -> None:
        """Keep which streams came up or went down."""
        for source, ts, up in packet.turned:
            self.changes.append(StateChange(ts, "stream", source, "up" if up else "down"))

    def report(self, report: SyncReport, old: SyncReport | None, number: int) -> None:
        """Keep what a channel's line says; `old` is the one before it."""
        track = self._tracks.setdefault(report.channel, deque(maxlen=MOMENTS))
        track.append(Moment(number, report.ts, report.offset_s, report.lag_s, report.rate_hz))
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
        """Keep that a rule holds, or no longer."""
        detail = record.risk or record.quote or "" if record.state == "firing" else ""
        self.rules.append(Transition(record.ts, "rule", record.rule, record.state, detail))

    def happened(self) -> list[ChangeEntry]:
        """Return the newest changes and findings, newest first, one that flaps as one."""
        return fold([*map(_transition, self.changes), *self.rules])[: -HAPPENED - 1 : -1]

    def ticks(self, fused: Fused, number: int) -> None:
        """Keep ticks until they are drawn, or out of sight."""
        self._waiting.append(fused)
        self._number = number
        n = sum(map(len, self._waiting))
        while n - len(self._waiting[0]) >= (POINTS + 1) * self._ticks:
            n -= len(self._waiting.popleft())
        if n >= MAX_WAITING:
            self._draw()

    def _draw(self) -> None:
        """Make points of the ticks that wait."""
        if not self._waiting:
            return
        parts, number = [*self._waiting], self._number
        self._waiting.clear()
        values = np.concatenate([np.array(list(_columns(part))).T for part in parts])
        if not self._names:
            self._names = [(s.name, s.channels) for s in parts[0].signals]
            self._points = np.empty((POINTS, values.shape[1]))
        cells = np.rint(values[:, 0] * self._hz).astype(np.int64) // self._ticks
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        there = np.isfinite(values)
        sums = np.add.reduceat(np.where(there, values, 0.0), starts)
        counts = np.add.reduceat(there, starts, dtype=np.float64)
        if cells[0] == self._cell:
            sums[0] += self._sum
            counts[0] += self._count
        elif self._cell >= 0:
            self._close(self._sum[None], self._count[None], number)
        self._close(sums[:-1], counts[:-1], number)
        self._cell, self._sum, self._count = int(cells[-1]), sums[-1], counts[-1]

    def since(self, number: int) -> dict[str, Any]:
        """Return what came after a telling, `null` where there is no value."""
        self._draw()
        kept = min(self._written, POINTS)
        order = np.arange(self._written - kept, self._written) % POINTS
        order = order[self._numbers[order] > number]
        ts, *lines = _rounded(self._points[order].T) if self._names else [[]]
        rows = iter(lines)
        return {
            "window_s": self.window_s,
            "ts": ts,
            "bound_s": next(rows, []),
            "signals": {
                name: {"value": next(rows), "sd": next(rows),
                       "channels": {channel: next(rows) for channel in channels}}
                for name, channels in self._names
            },
            "tracks": {
                channel: [moment[1:] for moment in track if moment.number > number]
                for channel, track in self._tracks.items()
            },
        }  # fmt: skip

    def mode(self, fused: Fused) -> None:
        """Keep the mode's changes."""
        mode, ts = fused.mode, fused.ts
        if isnan(self.began):
            self.began = float(ts[0])
        if mode[0] == self._mode and (mode == mode[0]).all():
            return
        for i in np.flatnonzero(np.diff(mode, prepend=self._mode)).tolist():
            self.mode_since = float(ts[i])
            self.changes.append(StateChange(self.mode_since, "mode", "", MODES[mode[i]]))
        self._mode = int(mode[-1])

    def _close(self, sums: F64, counts: F64, number: int) -> None:
        """Keep points that are whole."""
        if not len(sums):
            return
        sums, counts = sums[-POINTS:], counts[-POINTS:]
        at = np.arange(self._written, self._written + len(sums)) % POINTS
        self._points[at] = np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)
        self._numbers[at] = number
        self._written += len(sums)


def _transition(change: StateChange) -> Transition:
    step = f" by {change.step_s:+.3f} s" if change.step_s is not None else ""
    return Transition(change.ts, change.what, change.name, change.now + step)


def _columns(fused: Fused) -> Iterable[F64]:
    """Return what is kept of ticks: their time, the bound, and each signal's lines."""
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
    """Return the first, times, to the millisecond, and all others to the digits that are seen."""
    found = [np.round(lines[0], 3).tolist()]
    for line in lines[1:]:
        largest = np.nanmax(np.abs(line), initial=0.0)
        places = DIGITS - ceil(np.log10(largest)) if largest > 0 else 0
        found.append(np.round(line, min(max(places, -300), 300)).tolist())
    return found
