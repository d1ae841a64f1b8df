"""Recordings with known time errors: moving lags, coarse stamps, scraping.

A reading at host time h shows the movement at h - lag(h). A channel without a clock is stamped at
h, like a logger without arrival stamps; the skew of such a logger is a ramp of its lag.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from configs.schema import Config
from operators.events import Batch
from operators.types import F64
from ops.simulate.movement import Movement
from ops.simulate.recording import START

Course = Callable[[F64], F64]
"""The lag (s) at times in s after the start."""
JITTER = 0.2
"""Jitter of the reading times, as a share of their interval."""


@dataclass(frozen=True)
class Instrument:
    """One channel.

    Attributes
    ----------
    lag : callable
        True lag of the channel.
    given : (lag, sd) or None
        Configured lag (s); None: the lag is searched.
    stamped, skew_ppm, offset_s, queue_s
        Presence of a clock of its own, its skew and offset, and its mean network delay (s).
    grain_s : float
        Grain to which its stamps are rounded down; 0: no rounding.
    """

    name: str
    rate_hz: float
    lag: Course
    given: tuple[float, float | None] | None = None
    stamped: bool = False
    skew_ppm: float = 0.0
    offset_s: float = 0.0
    queue_s: float = 0.005
    grain_s: float = 0.0
    noise: float = 0.1

    @property
    def channel(self) -> str:
        """Name of the channel."""
        return f"{self.name}:/x"

    def clock(self, host: F64) -> F64:
        """Return the channel's own time at host times (n,), both in s after the start."""
        own = host * (1 + self.skew_ppm * 1e-6) - self.offset_s
        return np.asarray(np.where(self.stamped, own, host), dtype=float)

    def early(self, host: F64) -> F64:
        """Return the rounding error of its stamps (s) at host times (n,)."""
        if not self.grain_s:
            return np.zeros(len(host))
        own = START + self.clock(host)
        return np.asarray(own - np.floor(own / self.grain_s) * self.grain_s)


def constant(lag_s: float) -> Course:
    """Return a constant lag."""
    return lambda t: np.full(len(t), lag_s)


def ramp(lag_s: float, ppm: float) -> Course:
    """Return a lag that grows by `ppm` microseconds a second."""
    return lambda t: lag_s + ppm * 1e-6 * t


def step(lag_s: float, at: float, by: float) -> Course:
    """Return a lag that jumps."""
    return lambda t: np.where(t >= at, lag_s + by, lag_s)


def walk(lag_s: float, q: float, seconds: float, rng: np.random.Generator) -> Course:
    """Return a lag that walks with a variance of q (s^2/s)."""
    course = lag_s + np.cumsum(np.sqrt(q) * rng.standard_normal(int(seconds) + 2))

    def at(t: F64) -> F64:
        found: F64 = np.interp(t, np.arange(len(course)), course).astype(np.float64)
        return found

    return at


def scraped(period_s: float, phase_s: float, drift_ppm: float) -> Course:
    """Return the age of readings that are renewed as often as they are scraped."""
    return lambda t: np.mod(phase_s + drift_ppm * 1e-6 * t, period_s)


def record(instruments: Sequence[Instrument], seconds: float, seed: int) -> Batch:
    """Return the rows of instruments of one movement, in order of arrival."""
    movement = Movement(np.random.default_rng([seed, 0]), flat=True)
    columns = []
    for k, one in enumerate(instruments):
        rng = np.random.default_rng([seed, 1, k])
        n = int(seconds * one.rate_hz)
        uneven = rng.uniform(-JITTER / 2, JITTER / 2, n)
        host = np.sort(np.maximum((np.arange(n) + 0.5 + uneven) / one.rate_hz, 0.0))
        value = movement.at(host - one.lag(host)) + one.noise * rng.standard_normal(n)
        stamp = one.clock(host) - one.early(host)
        rx = host + rng.exponential(one.queue_s, n) if one.stamped else stamp
        columns.append((np.full(n, k), stamp, rx, np.full(n, one.stamped), value))
    name, ts, rx, stamped, value = map(np.concatenate, zip(*columns, strict=True))
    order = np.argsort(rx, kind="stable")
    n = len(order)
    return Batch(
        "bench",
        tuple((i.name, "/x") for i in instruments),
        name[order].astype(np.int32),
        START + ts[order],
        START + rx[order],
        stamped[order],
        np.zeros(n, bool),
        value[order],
        np.full(n, -1),
        np.arange(n),
        end=True,
    )


def config(instruments: Sequence[Instrument], streams: Sequence[dict[str, Any]] = ()) -> Config:
    """Return the configuration of instruments; the first is the reference.

    `streams` are further streams beside the recording.
    """
    members: dict[str, dict[str, Any]] = {}
    for one in instruments:
        given = dict(zip(("lag_s", "lag_sd_s"), one.given, strict=True)) if one.given else {}
        members[one.channel] = given
    return msgspec.convert(
        {
            "version": 2,
            "rig": "bench",
            "streams": [{"name": "rows", "type": "file", "path": "rows", "speed": 0}, *streams],
            "signals": {"x": {"reference": instruments[0].channel, "members": members}},
            "align": {"max_lag_s": 2.5},
            "collect": {"block_s": 1.0},
            "output": {"sync_every_s": 1.0},
        },
        Config,
    )
