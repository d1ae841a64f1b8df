"""Clock and lag of each channel from `sync.jsonl`, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ops.report.decimate import Decimator, Points
from ops.results.lines import SyncLine

MAX_RESETS = 200
OFFSET, OFFSET_SD, LAG, LAG_SD, CONFIDENCE, RATE = range(6)
"""Columns of a timeline's points; clock steps are removed from the offset."""
_AT_ONCE = 256
_NAN = math.nan


@dataclass
class Reset:
    """A step of a source clock.

    Attributes
    ----------
    at : float
        Host time of the first event after it.
    step_s, sd_s : float
        Size of the step: the line before minus the best line after, both carried to its time.
    first_step_s : float
        Size of the step in its first report, at host time `ts`.
    """

    at: float
    ts: float
    first_step_s: float
    before_s: float
    before_sd_s: float
    step_s: float = _NAN
    sd_s: float = math.inf

    def refine(self, line: SyncLine) -> None:
        """Refine the step with a later line if that line has the smallest sd so far."""
        carried_sd_s = 1e-6 * (line.skew_sd_ppm or 0.0) * (line.ts - self.ts)
        sd_s = math.hypot(self.before_sd_s, line.offset_sd_s or 0.0, carried_sd_s)
        if line.offset_s is not None and sd_s <= self.sd_s:
            self.step_s, self.sd_s = self.before_s - _carried(line, self.ts), sd_s


def _carried(line: SyncLine, time: float) -> float:
    """Return the offset (s) carried to another host time with the line's skew."""
    return (line.offset_s or 0.0) - 1e-6 * (line.skew_ppm or 0.0) * (time - line.ts)


class ChannelTimeline:
    """Clock and lag of one channel over the run.

    Attributes
    ----------
    channel, source : str
    last : SyncLine
        The newest line.
    clock, lag : SyncLine or None
        The newest line with an offset; the newest line with a lag.
    resets : list of Reset
        The first `MAX_RESETS`.
    lags : int
        Number of reported lag values; a repeated value counts once.
    lag_mean_s, lag_spread_s : float
        Their mean and standard deviation (s).
    live_since : float or None
        When the channel was first live.
    """

    def __init__(self, first: SyncLine) -> None:
        self.channel = first.channel
        self.source = first.channel.partition(":")[0]
        self.last = first
        self.clock: SyncLine | None = None
        self.lag: SyncLine | None = None
        self.resets: list[Reset] = []
        self.lags = 0
        self.lag_mean_s = 0.0
        self._squares = 0.0
        self.live_since: float | None = None
        self._steps_s = 0.0
        self._rows: list[tuple[float | None, ...]] = []
        self._envelope = Decimator(RATE + 1)

    @property
    def lag_spread_s(self) -> float:
        """Standard deviation of the reported lags (s), NaN with fewer than two."""
        return math.sqrt(self._squares / (self.lags - 1)) if self.lags > 1 else _NAN

    @property
    def fused(self) -> bool:
        """Whether the lines show the channel to be a member of a signal."""
        return self.lag is not None or self.last.confidence is not None

    def add(self, line: SyncLine) -> None:
        """Add a line."""
        if line.offset_s is not None:
            if line.why == "reset" and self.clock is not None:
                self._step(line, self.clock)
            elif self.resets:
                self.resets[-1].refine(line)
            self.clock = line
        if line.lag_s is not None:
            if self.lag is None or line.lag_s != self.lag.lag_s:
                self.lags += 1
                away = line.lag_s - self.lag_mean_s
                self.lag_mean_s += away / self.lags
                self._squares += away * (line.lag_s - self.lag_mean_s)
            self.lag = line
        if line.state == "live" and self.live_since is None:
            self.live_since = line.ts
        self.last = line
        straight = None if line.offset_s is None else line.offset_s + self._steps_s
        self._rows.append(
            (
                line.ts,
                straight,
                line.offset_sd_s,
                line.lag_s,
                line.lag_sd_s,
                line.confidence,
                line.rate_hz,
            )
        )
        if len(self._rows) == _AT_ONCE:
            self._flush()

    def points(self) -> Points:
        """Return the points of the pictures."""
        self._flush()
        points = self._envelope.points()
        for reset in self.resets:
            points.mean[points.time >= reset.ts, OFFSET] += reset.step_s - reset.first_step_s
        return points

    def _step(self, line: SyncLine, before: SyncLine) -> None:
        before_s = _carried(before, line.ts)
        first_step_s = before_s - (line.offset_s or 0.0)
        self._steps_s += first_step_s
        if len(self.resets) < MAX_RESETS:
            sd_s = before.offset_sd_s or 0.0
            reset = Reset(line.reset_at or line.ts, line.ts, first_step_s, before_s, sd_s)
            reset.refine(line)
            self.resets.append(reset)

    def _flush(self) -> None:
        if self._rows:
            self._envelope.add(np.array(self._rows, dtype=float))
            self._rows.clear()


def tracks(lines: Iterable[SyncLine]) -> dict[str, ChannelTimeline]:
    """Return the timeline of each channel, in order of their first lines."""
    found: dict[str, ChannelTimeline] = {}
    for line in lines:
        if line.channel not in found:
            found[line.channel] = ChannelTimeline(line)
        found[line.channel].add(line)
    return found


def clocks(found: dict[str, ChannelTimeline]) -> dict[str, ChannelTimeline]:
    """Return one timeline for each source with a clock: that of its busiest channel."""
    best: dict[str, ChannelTimeline] = {}
    for track in found.values():
        if track.clock is None:
            continue
        other = best.get(track.source)
        if other is None or (track.last.used or 0) > (other.last.used or 0):
            best[track.source] = track
    return best
