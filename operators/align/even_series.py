"""The channels of one rig as evenly spaced series of one rate, for the search of lags.

A rung reads its channels (operators/align/coarse_grid.py) stretch by stretch and keeps the newest
ticks. Only channels that a pair still needs at this rate are read.

State: `max_ticks` ticks of each channel, and its rows since the last stretch. Losses: none.
"""

from __future__ import annotations

import numpy as np

from operators.align.coarse_grid import Coarse
from operators.numeric.correlation import SampledSeries
from operators.types import F64, State


class Rung:
    """Series of one rate: `series` (channels, ticks), the last tick before `stop`."""

    def __init__(self, hz: float, held: list[bool], patience_s: float, max_ticks: int) -> None:
        self.hz, self.max_ticks, self.patience_s = hz, max_ticks, patience_s
        self.held = held
        self.active = [True] * len(held)
        self.coarse = Coarse(hz, held, patience_s)
        self.series: F64 = np.empty((len(held), 0))
        self._views: dict[tuple[int, int], SampledSeries] = {}

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "coarse": self.coarse.snapshot(),
            "series": self.series.copy(),
            "active": list(self.active),
        }

    @classmethod
    def from_snapshot(
        cls, state: State, hz: float, held: list[bool], patience_s: float, max_ticks: int
    ) -> Rung:
        """Return the rung of a snapshot."""
        core = cls(hz, held, patience_s, max_ticks)
        core.coarse = Coarse.from_snapshot(state["coarse"], hz, held, patience_s)
        core.series, core.active = state["series"].copy(), list(state["active"])
        return core

    def push(self, lane: int, time: F64, value: F64, watermark: F64) -> None:
        """Append rows (n,) of a channel: host time (s), value, watermark (s)."""
        if self.active[lane]:
            self.coarse.push(lane, time, value, watermark)

    def read(self, first: int, stop: int) -> None:
        """Append the ticks from `first` to before `stop`."""
        self._views = {}
        if any(self.active):
            fresh = self.coarse.read(first, stop - first)
            self.series = np.concatenate((self.series, fresh), axis=1)[:, -self.max_ticks :]

    def blank(self) -> None:
        """Clear the series: a silence separates it from the next stretch."""
        self.series = np.full_like(self.series, np.nan)

    def need(self, lanes: set[int]) -> None:
        """Read these channels from now on, and no others."""
        if not lanes and any(self.active):
            self.coarse = Coarse(self.hz, self.held, self.patience_s)
            self.series = self.series[:, :0]
        self.active = [lane in lanes for lane in range(len(self.active))]

    def view(self, lane: int, ticks: int) -> SampledSeries:
        """Return the last ticks of a channel, computed once a stretch."""
        key = lane, ticks
        if key not in self._views:
            self._views[key] = SampledSeries(self.series[lane, -ticks:])
        return self._views[key]
