"""Jitter of arrival: stamps far above the line of a clock, and the line from before them.

Jitter only delays. While some stamps still arrive near the line, the line holds. Where none does,
delayed stamps in a row are summed up in halves of a window, e being the delay less the predicted:

    spread = (mean e - least e) n / (n - 1),   the mean of exponential delays above their least

If two halves have the same least within their spread, the delays persist: the clock moves to
their least. The line from before the jitter is kept, and its variance grows:

    v(dt) = v00 + 2 dt v01 + dt^2 (v11 + dt q / 3)

Delays that agree with it again prove it, because no delay is negative.

Cost: 1 us a delayed stamp. State: two halves, and a bank of filters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from operators.drift.offset_filter import OffsetFilterBank
from operators.types import F64, State

_Time = TypeVar("_Time", float, F64)

PERSIST_S, MIN_HALF = 3.0, 5
"""Time for which delays persist before the clock follows (s), and the stamps of each half."""
MIN_BURST = 3
"""Delayed stamps in a row that show the spread of a burst."""
MIN_TRIAL = 12
"""Stamps after a step up that show whether it is one."""
AGREE_SDS, MAX_EARLIER_SD_S = 6.0, 10e-3
"""Distance of delays that agree with the earlier line; its largest standard deviation (s)."""


@dataclass
class DelayedHalf:
    """Delayed stamps, summed up: `least` and `high` are distances above the line (s)."""

    at: float
    arrival: float
    number: int = 0
    total: float = 0.0
    least: float = math.inf
    high: float = 0.0
    low_at: float = math.nan
    low_delay: float = math.nan

    @property
    def spread(self) -> float:
        """Return the mean above the least (s), as of exponential delays."""
        return (self.total / self.number - self.least) * self.number / max(self.number - 1, 1)

    @property
    def apart(self) -> float:
        """Return the distance above the line (s) that is beyond the burst by its whole width."""
        return 2 * self.high - self.least

    def joined(self, other: DelayedHalf) -> DelayedHalf:
        """Return both halves as one."""
        low = self if self.least <= other.least else other
        return DelayedHalf(
            self.at,
            self.arrival,
            self.number + other.number,
            self.total + other.total,
            low.least,
            max(self.high, other.high),
            low.low_at,
            low.low_delay,
        )


@dataclass
class DelayBurst:
    """Delayed stamps in a row since the last one near the line."""

    halves: list[DelayedHalf] = field(default_factory=list)
    last: float = math.nan
    gathered: int = 0
    """Stamps of the open bin at the last delayed one: more mean that one came near the line."""

    @classmethod
    def from_snapshot(cls, state: State) -> DelayBurst:
        """Return the burst of a clock's snapshot."""
        return cls(**{**state, "halves": [DelayedHalf(**half) for half in state["halves"]]})

    @property
    def whole(self) -> DelayedHalf | None:
        """Return all stamps of the window as one, None without any."""
        if not self.halves:
            return None
        return self.halves[0].joined(self.halves[1]) if len(self.halves) > 1 else self.halves[0]

    def add(self, at: float, delay: float, above: float) -> int:
        """Add a stamp: source time, delay, and distance above the line (s).

        Returns the number of stamps in the window, 0 for one that repeats its predecessor's source
        time: it does not count.
        """
        if at == self.last:
            return 0
        self.last = at
        if not self.halves or self._full(at, at + delay):
            self.halves = [*self.halves[-1:], DelayedHalf(at, at + delay)]
        half = self.halves[-1]
        half.number += 1
        half.total += above
        half.high = max(half.high, above)
        if above < half.least:
            half.least, half.low_at, half.low_delay = above, at, delay
        return sum(half.number for half in self.halves)

    def persists(self, at: float, arrival: float, near_s: float) -> bool:
        """Return whether both halves are full and have one least, up to their spread."""
        if len(self.halves) < 2 or not self._full(at, arrival):
            return False
        a, b = self.halves
        return abs(a.least - b.least) <= max(near_s, min(a.spread, b.spread))

    def _full(self, at: float, arrival: float) -> bool:
        """Return whether the last half is complete; stamps that queued have one arrival."""
        half = self.halves[-1]
        spent = min(at - half.at, arrival - half.arrival)
        return half.number >= MIN_HALF and spent >= PERSIST_S / 2


@dataclass
class StepTrial:
    """The first stamps after a step up: source times and delays (s)."""

    source: list[float]
    delay: list[float]
    gathered: int = 0
    """Stamps of the open bin that are among them."""

    def add(
        self, source: Sequence[float], delay: Sequence[float], stamp: tuple[float, float] | None
    ) -> None:
        """Add the new stamps of the open bin, then one outside of it."""
        self.source += source[self.gathered :]
        self.delay += delay[self.gathered :]
        self.gathered = len(source)
        if stamp and stamp[0] != self.source[-1]:
            self.source.append(stamp[0])
            self.delay.append(stamp[1])

    def above(self, line: EarlierLine) -> list[float]:
        """Return the distances above a line (s)."""
        pairs = zip(self.source, self.delay, strict=True)
        return [delay - line.delay(at) for at, delay in pairs]


@dataclass
class EarlierLine:
    """The line and the jitter from before a move up."""

    bank: OffsetFilterBank
    jitter: float
    jitter_p95: float
    counted: bool
    """Whether the move up counts as a clock reset."""
    total: float = 0.0
    """Sum of all clock resets before the move (s)."""

    @classmethod
    def from_snapshot(cls, state: State) -> EarlierLine:
        """Return the line of a clock's snapshot."""
        return cls(**{**state, "bank": OffsetFilterBank.from_snapshot(state["bank"])})

    def delay(self, at: _Time) -> _Time:
        """Return the predicted delay (s) at source times."""
        return self.bank.offset + self.bank.slope * (at - self.bank.at)

    def known(self, at: float) -> bool:
        """Return whether the line is still good enough at a source time."""
        return self._var(at) <= MAX_EARLIER_SD_S**2

    def agrees(self, at: float, least: float, now: OffsetFilterBank) -> bool:
        """Return whether the least delay of a bin (s) lies here, not on the line in force."""
        earlier, sd = self.delay(at), math.sqrt(self._var(at) + self.bank.edge**2)
        half = (now.offset + now.slope * (at - now.at) - earlier) / 2
        return self.known(at) and abs(least - earlier) <= min(AGREE_SDS * sd, half)

    def _var(self, at: float) -> float:
        """Return the variance of the line (s^2) at a source time."""
        bank, dt, q = self.bank, max(at - self.bank.at, 0.0), 0.0
        for f in bank.filters:
            q += f.weight * f.q_slope
        grown = dt * (2 * bank.cross_var + dt * (bank.slope_var + dt * q / 3))
        return max(bank.offset_var + grown, 0.0) + bank.hidden
