"""One source's clock from two-way readings: a constant delay of its path is no part of it.

A reading r of host - source comes from an exchange: sent, received, answered, received. Half the
round trip h is its largest error, which the queues and an unequal way out and back cause. With
h0, the least h of the last 16, the model is

    r = u(x) + a + q,   |a| <= h0 constant,   sd q = (h - h0) / sqrt(3) + h0 / 10 + 20 us

A filter of two states (offset, slope) follows u + a; the variance of a, h0^2 / 3, is added to what
it gives and no number of readings reduces it. x is the source time plus the sum of all clock resets
that the arrivals show (`Clock.total`), so that u has no step there: the stamps after a reset are
mapped at once, without a new reading.

A reading takes force only if it agrees with the one before it, within both errors; the first, and
one that does not agree with the line, wait for the next. Two that agree with one another move the
line: a clock reset which the arrivals did not show. A reading is wild if it lies

- outside of its own arrival: later than it by more than h + 20 ms, or earlier by `max_delay_s`,
- above the least one-way delay by more than h + 20 ms + 6 sd: no row arrives before it is sent, or
  below it by more than `max_delay_s`.

Two wild ones in a row that agree, without an accepted row between them, show that the source was
restarted: its arrivals are then followed anew.

Without a new reading for 60 s the arrivals are followed again, less the delay of the last reading.
Its variance grows to the square of that delay in ten minutes: the path may have changed.

State: forty numbers. Cost: 10 us a reading, ten numpy calls a block.

Sources: Mills, IEEE Trans. Commun. 39 (1991); Cristian, Distributed Computing 3 (1989).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from operators.drift.clock import GATE_EDGES, GATE_S, Clock, ClockLine, SureStamps
from operators.drift.clock_readings import ClockReading
from operators.drift.offset_filter import SD_SLOPE
from operators.types import F64, State

STALE_S = 60.0
"""Time without a new reading after which arrivals are followed (s)."""
FORGOTTEN_S = 600.0
"""Time in which the delay of a path is no longer known (s)."""
LEAST_S = 0.1
"""Least time from one reading to the next that is used (s)."""
MAX_ERRORS = 16
Q_SLOPE = 1e-14
"""Wander of a clock's rate: 1 ppm in 100 s (1/s)."""
FLOOR_S, SHARE, GRAIN_S = 20e-6, 0.1, 1e-3
"""Least noise of a reading, its share of the least error, and the grain of a browser's clock."""
HUBER, GATE_SDS = 3.0, 4.0
PRIOR_READINGS, MAX_COUNTED, MIN_EXCESS = 8.0, 50.0, 0.05


class Waiting(NamedTuple):
    """A reading that waits for one which agrees: x, u and its largest error (s)."""

    at: float
    offset: float
    error: float


class ReadingEffect(NamedTuple):
    """The result of a reading.

    `why`: why it is wild, empty where it is not. `moved`: the line has changed; `stepped`: by a
    clock reset. `begins`: readings have taken force. `restart`: the source was restarted.
    """

    why: str = ""
    moved: bool = False
    stepped: bool = False
    begins: bool = False
    restart: bool = False


@dataclass
class TwoWay:
    """The clock of one source from its readings.

    Attributes
    ----------
    at, offset, slope : float
        The line: host = x + offset + slope * (x - at), x = source time + `Clock.total` (s).
    p00, p01, p11 : float
        Its covariance in units of `excess`.
    delay : float
        Least one-way delay at the last reading (s), NaN where no arrival is known.
    """

    max_delay_s: float
    at: float = float("nan")
    offset: float = 0.0
    slope: float = 0.0
    p00: float = 0.0
    p01: float = 0.0
    p11: float = SD_SLOPE**2
    excess: float = 1.0
    counted: float = PRIOR_READINGS
    delay: float = float("nan")
    total: float = 0.0
    """`Clock.total` at the last reading in force."""
    errors: list[float] = field(default_factory=list)
    waiting: Waiting | None = None
    odd: Waiting | None = None
    """The last reading, if it was wild and no row was accepted since."""
    tried: float = float("-inf")
    """Arrival of the last processed reading (s)."""
    lines: int = 0
    """Number of times that readings have moved the line, or begun it."""
    resets: int = 0
    reset_at: float = float("nan")

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self) | {k: list(getattr(self, k) or ()) for k in ("waiting", "odd")}

    @classmethod
    def from_snapshot(cls, state: State) -> TwoWay:
        """Return the clock of a snapshot."""
        kept = {k: Waiting(*state[k]) if state[k] else None for k in ("waiting", "odd")}
        return cls(**{**state, **kept})

    @property
    def in_force(self) -> bool:
        """Whether two readings have agreed."""
        return not math.isnan(self.at)

    @property
    def sd(self) -> float:
        """The standard deviation of the offset at the last reading (s)."""
        return math.sqrt(self._variance())

    def due(self, reading: ClockReading) -> bool:
        """Return whether a reading is processed; at most ten a second are."""
        return not abs(reading.arrival - self.tried) < LEAST_S

    def read(self, r: ClockReading, clock: Clock | None) -> ReadingEffect:
        """Process a reading, with the clock of the arrivals at it."""
        self.tried = r.arrival
        late = r.ts + r.offset - r.arrival
        if not 0 <= r.error <= self.max_delay_s:
            return ReadingEffect("its error is none")
        if not -self.max_delay_s <= late <= r.error + GATE_S:
            return ReadingEffect(f"it is {late:.6g} s from its arrival")
        total = clock.total if clock else 0.0
        least, sd = _least(clock, r.ts)
        now = Waiting(r.ts + total, r.offset - total, r.error)
        above = least - r.offset
        lowest = -r.error - GATE_S - GATE_EDGES * sd
        if not (math.isnan(above) or lowest <= above <= self.max_delay_s):
            odd, self.odd = self.odd, now
            if odd is None or not self._alike(odd, now):
                return ReadingEffect(f"it is {-above:.6g} s above the least one-way delay")
            self._restarted(Waiting(r.ts, r.offset, r.error))
            return ReadingEffect(moved=True, stepped=True, restart=True)
        self.odd = None
        begins, resets = not self.in_force, self.resets
        if not self._take(now, total):
            return ReadingEffect()
        self.delay, self.total = above, total
        if not math.isnan(above):
            # Against the line, not against the single reading.
            self.delay = least - total - self.offset - self.slope * (now.at - self.at)
        return ReadingEffect(moved=True, stepped=self.resets > resets, begins=begins)

    def _restarted(self, now: Waiting) -> None:
        """Begin anew at a reading: the arrivals are followed anew, too."""
        self.resets += 1
        self.reset_at = now.at + now.offset
        self._begin(now)
        self.delay, self.total, self.odd = float("nan"), 0.0, None

    def _begin(self, now: Waiting) -> None:
        """Set the line to a reading; the slope stays."""
        self.at, self.offset, self.waiting = now.at, now.offset, None
        self.lines += 1
        self.errors = [now.error]
        self.p00, self.p01 = noise(now.error, now.error) / self.excess, 0.0

    def _take(self, now: Waiting, total: float) -> bool:
        """Process a reading that is not wild; return whether the line changed."""
        if self.in_force:
            dt = now.at - self.at
            if dt <= 0:
                return False  # older than the last
            p00, p01, p11 = self._predicted(dt)
            stray = now.offset - self.offset - self.slope * dt
            known = GATE_SDS * math.sqrt(max(p00, 0.0) * self.excess)
            if abs(stray) <= now.error + min(self.errors) + GRAIN_S + known:
                self.errors = [*self.errors[-MAX_ERRORS + 1 :], now.error]
                self.at, self.offset = now.at, self.offset + self.slope * dt
                self._update(stray, now.error, p00, p01, p11)
                self.waiting = None
                return True
        before, self.waiting = self.waiting, now
        if before is None or not self._alike(before, now):
            return False
        if self.in_force and total == self.total:
            self.resets += 1
            self.reset_at = now.at + now.offset
        errors = [before.error, now.error]
        self._begin(now)
        self.errors = errors
        return True

    def _alike(self, a: Waiting, b: Waiting) -> bool:
        """Return whether two readings agree within their errors and a plausible slope."""
        drift = SD_SLOPE * abs(b.at - a.at)
        return b.at - a.at > 0 and abs(b.offset - a.offset) <= a.error + b.error + GRAIN_S + drift

    def _predicted(self, dt: float) -> tuple[float, float, float]:
        """Return the covariance after dt (s): P = F P F' + Q."""
        wander = Q_SLOPE * dt
        return (
            self.p00 + dt * (2 * self.p01 + dt * (self.p11 + wander / 3)),
            self.p01 + dt * (self.p11 + wander / 2),
            self.p11 + wander,
        )

    def _update(self, stray: float, error: float, p00: float, p01: float, p11: float) -> None:
        """Update with a reading: k = P h / S, state += k e, P -= k k' S; Huber's weight."""
        own = noise(error, min(self.errors))
        s = p00 + own
        far = abs(stray) / math.sqrt(s * self.excess)
        self.counted = min(self.counted + 1, MAX_COUNTED)
        seen = min(far, HUBER) ** 2 * self.excess
        self.excess = max(self.excess + (seen - self.excess) / self.counted, MIN_EXCESS)
        if far > HUBER:
            s = p00 + own * (far / HUBER) ** 2
        k0, k1 = p00 / s, p01 / s
        self.offset += k0 * stray
        self.slope += k1 * stray
        self.p00, self.p01, self.p11 = p00 - k0 * p00, p01 - k0 * p01, p11 - k1 * p01

    def host(self, source: F64, host: F64, total: F64) -> F64:
        """Return the host time of stamps (n,).

        Parameters
        ----------
        source, host, total : float64 (n,)
            Source time, host time by the arrivals (s), and `StampVerdicts.total`.
        """
        if not self.in_force:
            return host
        x = source + total
        dt = x - self.at
        out = x + (self.offset + self.slope * dt)
        old = dt > STALE_S
        if old.any():
            out[old] = host[old] - (0.0 if math.isnan(self.delay) else self.delay)
        return out

    def host_of_few(self, source: list[float], run: SureStamps) -> list[float]:
        """Return the host time of few stamps, each as `host` does."""
        if not self.in_force:
            return run.host
        delay, out = 0.0 if math.isnan(self.delay) else self.delay, []
        for stamp, host, total in zip(source, run.host, run.total(), strict=True):
            x = stamp + total
            dt = x - self.at
            mapped = x + (self.offset + self.slope * dt)
            out.append(mapped if dt <= STALE_S else host - delay)
        return out

    def passed(self, line: ClockLine, known: float) -> tuple[float, ClockLine]:
        """Return the host time (s) of a change of the line of arrivals, and the line in force.

        `known` is that time by the arrivals.
        """
        if not self.in_force:
            return known, line
        delay = 0.0 if math.isnan(self.delay) else self.delay
        age = known - delay - (self.at + self.offset)
        if age <= STALE_S:
            return known - delay, self.line(line, line.stepped)
        unknown = min((age - STALE_S) / FORGOTTEN_S, 1.0) * delay**2
        line = line._replace(
            offset=line.offset - delay,
            offset_var=line.offset_var + self._variance() + unknown,
            resets=line.resets + self.resets,
            reset_at=self._reset_at(line.reset_at),
        )
        return known - delay, line

    def line(self, one: ClockLine, stepped: bool = False) -> ClockLine:
        """Return the line of the readings; jitter and resets are those of the arrivals, `one`."""
        return one._replace(
            at=self.at - one.total,
            offset=self.offset + one.total,
            slope=self.slope,
            offset_var=self._variance() + (one.offset_var if one.total != self.total else 0.0),
            cross_var=self.p01 * self.excess,
            slope_var=self.p11 * self.excess,
            resets=one.resets + self.resets,
            reset_at=self._reset_at(one.reset_at),
            stepped=stepped,
        )

    def _variance(self) -> float:
        """Return the variance of the offset (s^2): that of the filter, and of unequal ways."""
        return self.p00 * self.excess + min(self.errors, default=0.0) ** 2 / 3

    def _reset_at(self, by_arrivals: float) -> float:
        """Return the host time of the last reset (s)."""
        delay = 0.0 if math.isnan(self.delay) else self.delay
        times = [t for t in (by_arrivals - delay, self.reset_at) if not math.isnan(t)]
        return max(times, default=math.nan)


def noise(error: float, least: float) -> float:
    """Return the variance of a reading (s^2), given its largest error and the least of late (s)."""
    return (error - least) ** 2 / 3 + (SHARE * least) ** 2 + FLOOR_S**2


def _least(clock: Clock | None, at: float) -> tuple[float, float]:
    """Return the least one-way delay (s) at a source time, and its sd; NaN without one."""
    if clock is None:
        return math.nan, math.nan
    bank = clock.bank
    if bank is None:
        return clock.least, clock.max_delay_s
    return bank.offset + bank.slope * (at - bank.at), math.sqrt(bank.offset_var + bank.hidden)
