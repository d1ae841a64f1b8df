"""A source behind a path with delays both ways, and the readings of its clock, with known truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from operators.events import Batch
from operators.types import F64
from tests.support.signals import START


@dataclass(frozen=True, kw_only=True)
class TwoWayPath:
    """A source, its clock, its path and its readings; times in s, since START.

    `out_s`, `back_s`: constant delay of each way; `queue_s`: mean of an exponential delay more.
    `resets`: (when, step of the source clock). `read`: spans with readings, one each `every_s`.
    `spoiled`: (number of the reading, change of its offset, its error or None).
    """

    source: str = "phone"
    key: str = "/pulse"
    rate_hz: float = 50.0
    out_s: float = 0.040
    back_s: float = 0.040
    queue_s: float = 0.002
    offset_s: float = -3.2
    skew_ppm: float = 60.0
    resets: tuple[tuple[float, float], ...] = ()
    every_s: float = 5.0
    read: tuple[tuple[float, float], ...] = ((0.0, 1e9),)
    spoiled: tuple[tuple[int, float, float | None], ...] = ()
    value: Callable[[F64], F64] = field(default=np.sin)

    @property
    def channel(self) -> str:
        return f"{self.source}:{self.key}"

    def clock(self, host: F64) -> F64:
        """Return the source's time at host times since START."""
        out = host * (1 + self.skew_ppm * 1e-6) - self.offset_s
        for at, step in self.resets:
            out = out + step * (host >= at)
        return out

    def columns(self, seconds: float, seed: int = 0) -> dict[str, tuple[F64, F64, F64]]:
        """Return (ts, rx, value) by channel; times since START."""
        rng = np.random.default_rng([seed, 7])

        def queue(n: int) -> F64:
            return rng.exponential(self.queue_s, n) if self.queue_s else np.zeros(n)

        n = int(seconds * self.rate_hz)
        sent = (np.arange(n) + rng.random()) / self.rate_hz
        rows = {self.channel: (self.clock(sent), sent + self.out_s + queue(n), self.value(sent))}
        asked = np.arange(0.3, seconds, self.every_s)
        asked = asked[[any(a <= t < b for a, b in self.read) for t in asked]]
        m = len(asked)
        if not m:
            return rows
        received = asked + self.out_s + queue(m)
        got = received + self.back_s + queue(m)
        t, r = self.clock(asked), self.clock(got)
        offset, error = ((received - t) + (received - r)) / 2, (r - t) / 2
        for number, change, stated in self.spoiled:
            offset[number] += change
            error[number] = error[number] if stated is None else stated
        rx = got + self.out_s + queue(m)
        rows[f"{self.source}:clock_offset[0]"] = (r, rx, offset)
        rows[f"{self.source}:clock_offset[1]"] = (r, rx, error)
        return rows


def batch(*paths: TwoWayPath, seconds: float, seed: int = 0, end: bool = True) -> Batch:
    """Return the rows of all sources; offsets become those of the epoch."""
    channels = {}
    for k, path in enumerate(paths):
        for name, (ts, rx, value) in path.columns(seconds, seed + 100 * k).items():
            channels[name] = (START + ts, START + rx, value)
    return Batch.of(channels, end=end)
