"""The rows of a reference, as beats of the observer.

- `beat`: each row is a beat, but for the end of a MIDI note. Before the first lock, earlier beats
  move with each new estimate of their clock's offset: its first ones hold the delay of a row.
- Of the pulses of a MIDI clock one in a group is used, the largest divisor of `per_tick` up to 6;
  it is numbered to the pulse, so that a lost pulse shifts nothing. At a transport of 1 (Start) the
  next pulse is a whole tick.
- `stamp` with `rate`: a new value is the time of a beat, by the clock of its source; the beats
  between two looks were not seen. Two rates running that are 5 % off begin anew.
- `rate`: a rate in Hz, or that of a counter by least squares over 30 s. The phase is counted.
- `signal`: the time at which the signal rises through the mean of its last 30 s, interpolated
  between grid ticks. It must have fallen by half a standard deviation below that mean before.

Cost: 1 us a row beside the observer's. State: 30 s of the counter, at most 64 rows, 24 pulses, or
30 sums of the signal. Losses: none; rows that cannot be used are outliers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from operators.bridge.beat_line import MAX_HZ, MAX_TIME_S, MIN_HZ
from operators.bridge.bridge_config import ReferenceConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import Observer, Use
from operators.bridge.pulse_train import PulseTrain
from operators.records import Block
from operators.types import State

MAX_AHEAD_S = 1.0
"""A beat further ahead of all arrivals is an outlier."""
MAX_AGE_S = 60.0
"""An older stamp is of another epoch."""
MAX_CARRY_S = 0.1
"""A larger change of a clock's offset is a reset, not a better estimate."""
MAX_GROUP = 6
WINDOW_S = 30.0
MAX_COUNTS = 64
COUNT_OFF = 2.5
"""A count further off the line begins a new window."""
ANCHOR_S = 10.0
"""Time after a Start in which a better line corrects the number of its pulse (s)."""
RATE_OFF = 0.05
LOOKS = 3.0
"""A gauge is silent after this many of its intervals."""
FALL = 0.5
"""Fall below the mean before a rise, in standard deviations."""
MAX_VALUE = 1e100
"""A larger value of a signal is unknown; its square is finite."""
TRANSPORT_START = 1.0


class BeatRow(NamedTuple):
    """One row of the reference, known at control step s if `moment < s`.

    `arrival` and `source_time` (s) are as received.
    """

    moment: float
    host_time: float
    row: int
    channel: str
    value: float
    arrival: float
    source_time: float


class Beat(NamedTuple):
    """One beat: host time (s), its number or phase (beats of the observer), and its use."""

    time: float
    number: float
    use: Use


def rows_of(blocks: Iterable[Block]) -> list[BeatRow]:
    """Return the rows of a packet, by moment."""
    rows: list[BeatRow] = []
    for b in blocks:
        columns = (b.watermark, b.host_time, b.row, b.value, b.arrival, b.source_time)
        listed = zip(*(column.tolist() for column in columns), strict=True)
        rows += [
            BeatRow(moment, at, row, b.channel, value, arrival, stamp)
            for moment, at, row, value, arrival, stamp in listed
        ]
    return sorted(rows)


@dataclass
class CountRate:
    """The rate of a counter: least squares over its last 30 s."""

    times: list[float] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)

    def hz(self, t: float, count: float) -> float:
        """Return the rate (Hz) with the next count, NaN before two or after a step."""
        times, counts = self.times, self.counts
        if times and not (t > times[-1] and counts[-1] <= count < counts[-1] + MAX_HZ):
            times.clear()
            counts.clear()
        if len(times) > 1:
            ahead = self._fit(t)[0]
            if abs(count - ahead) > COUNT_OFF:
                del times[:-1], counts[:-1]
        times.append(t)
        counts.append(count)
        while t - times[0] > WINDOW_S or len(times) > MAX_COUNTS:
            del times[0], counts[0]
        return self._fit(t)[1] if len(times) > 1 else math.nan

    def _fit(self, t: float) -> tuple[float, float]:
        """Return the line at t, and its rate."""
        n = len(self.times)
        x = [at - t for at in self.times]
        y = [count - self.counts[0] for count in self.counts]
        mx, my = sum(x) / n, sum(y) / n
        square = sum((a - mx) * (a - mx) for a in x)
        rate = sum((a - mx) * (b - my) for a, b in zip(x, y, strict=True)) / square
        return self.counts[0] + my - rate * mx, rate


@dataclass
class Rises:
    """Rises of a signal through the mean of its last 30 s."""

    sums: list[list[float]] = field(default_factory=list)
    """Second, count, sum, and sum of squares of each."""
    before: tuple[float, float] | None = None
    """Newest time and value; None after an unknown one."""
    fallen: bool = False

    def rise(self, t: float, value: float) -> float | None:
        """Return the time of a rise between the newest sample and the next, None without one."""
        if not (abs(t) < MAX_TIME_S and abs(value) < MAX_VALUE):
            self.before = None
            return None
        second, sums = math.floor(t), self.sums
        if not sums or second != sums[-1][0]:
            sums.append([second, 0.0, 0.0, 0.0])
            while not 0 <= second - sums[0][0] <= WINDOW_S:
                del sums[0]
        newest = sums[-1]
        newest[1] += 1
        newest[2] += value
        newest[3] += value * value
        n = sum(x[1] for x in sums)
        mean = sum(x[2] for x in sums) / n
        spread = math.sqrt(max(sum(x[3] for x in sums) / n - mean * mean, 0.0))
        before, self.before = self.before, (t, value)
        if value < mean - FALL * spread:
            self.fallen = True
        if before is None or not self.fallen or value < mean or before[0] >= t:
            return None
        self.fallen = False
        t0, low = before
        return t if low >= mean else t0 + (t - t0) * (mean - low) / (value - low)


class Reference:
    """The reference of a configuration.

    Attributes
    ----------
    group : int
        Pulses of one beat of the observer.
    per_tick : float
        Beats of the observer in a tick.
    """

    def __init__(self, config: ReferenceConfig | None) -> None:
        self._config = config = config or ReferenceConfig()
        self._transport = config.channels[1] if config.beat and len(config.channels) > 1 else ""
        self.group = _group(config.per_tick) if self._transport else 1
        self.per_tick = config.per_tick / self.group
        self._note = ":note/" in (config.beat or "")
        self._pulses, self._counted, self._start = -1, 0, False
        self._train = PulseTrain()
        self._anchor = self._offset = math.nan
        self._looked = math.nan
        self._stamp = self._hz = math.nan
        self._off = 0
        self._count = CountRate()
        self._rises = Rises()

    @classmethod
    def from_snapshot(cls, state: State, config: ReferenceConfig | None) -> Reference:
        """Return the reference of a snapshot."""
        core = cls(config)
        core._pulses, core._counted = state["pulses"], state["counted"]
        core._start = state["start"]
        core._train = PulseTrain(**state["train"])
        core._anchor, core._offset = state["anchor"], state["offset"]
        core._looked, core._stamp = state["looked"], state["stamp"]
        core._hz, core._off = state["hz"], state["off"]
        core._count = CountRate(**state["count"])
        before = state["rises"]["before"]
        core._rises = Rises(**{**state["rises"], "before": tuple(before) if before else None})
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "pulses": self._pulses,
            "counted": self._counted,
            "start": self._start,
            "train": asdict(self._train),
            "anchor": self._anchor,
            "offset": self._offset,
            "looked": self._looked,
            "stamp": self._stamp,
            "hz": self._hz,
            "off": self._off,
            "count": asdict(self._count),
            "rises": asdict(self._rises),
        }

    def observer(self) -> Observer:
        """Return a new observer of the reference."""
        return Observer(quantum=1 / self.group)

    def is_end(self, row: BeatRow) -> bool:
        """Whether a row is the end of a MIDI note: a key that is released is no beat."""
        return self._note and row.value == 0

    def row(self, row: BeatRow, observer: Observer, gains: Gains) -> list[Beat]:
        """Process a row; return its beats."""
        config, channel = self._config, row.channel
        if channel == config.beat:
            return self._pulse(row, observer, gains)
        if channel == config.stamp:
            self._look(row.host_time, observer)
            return self._stamped(row, observer, gains)
        if channel == config.rate:
            self._look(row.host_time, observer)
            return self._rated(row, observer)
        if channel == self._transport and row.value == TRANSPORT_START:
            self._start = True
        return []

    def tick(self, ts: float, value: float, observer: Observer, gains: Gains) -> list[Beat]:
        """Process the signal at a grid tick; return its beats."""
        at = self._rises.rise(ts, value)
        if at is None:
            return []
        return [Beat(at, observer.number, observer.beat(at, gains))]

    def _pulse(self, row: BeatRow, observer: Observer, gains: Gains) -> list[Beat]:
        """Process a beat, or a pulse of a group."""
        t = row.host_time
        if not t <= max(row.moment, row.arrival) + MAX_AHEAD_S:
            return [Beat(t, observer.number, "outlier")]
        offset, before = t - row.source_time, self._offset
        self._offset = offset
        if abs(offset - before) <= MAX_CARRY_S:
            observer.carry(offset - before)
        if self.group > 1:
            step = 1 + self._train.lost(t)
            self._pulses = (self._pulses + step) % self.group
            self._counted += step
            if self._start:
                self._pulses = 0
            if self._pulses:
                return []
        use = observer.beat(t, gains, self._counted / self.group)
        self._counted = 0
        if self._start and use != "outlier":
            self._start = False
            self._anchor = t
            observer.realign(t)
        elif t - self._anchor < ANCHOR_S:
            observer.anchor(self._anchor)
        return [Beat(t, observer.number, use)]

    def _look(self, t: float, observer: Observer) -> None:
        """Learn the interval of looks at a gauge."""
        since = t - self._looked
        if since > 0:
            observer.quiet_s = max(observer.quiet_s, min(LOOKS * since, MAX_AGE_S))
        if not since <= 0:
            self._looked = t

    def _rated(self, row: BeatRow, observer: Observer) -> list[Beat]:
        """Process a rate, or a counter."""
        t, hz = row.host_time, row.value
        if (self._config.rate or "").endswith("_total"):
            hz = self._count.hz(t, hz) if abs(t) < MAX_TIME_S and abs(hz) < MAX_VALUE else math.nan
        if not MIN_HZ < hz < MAX_HZ:
            return []
        self._hz = hz
        if self._config.stamp is not None:
            known = observer.rate_hz
            self._off = self._off + 1 if abs(hz - known) > RATE_OFF * known else 0
            return []
        observer.follow(t, hz)
        return [Beat(t, observer.phase_at(t), "used")]

    def _stamped(self, row: BeatRow, observer: Observer, gains: Gains) -> list[Beat]:
        """Process the stamp of the newest beat."""
        stamp = row.value
        if stamp == self._stamp:
            return []
        t = stamp + (row.host_time - row.source_time)
        if not -MAX_AHEAD_S <= row.host_time - t <= MAX_AGE_S:
            return [Beat(t, observer.number, "outlier")]
        self._stamp = stamp
        if not observer.locked or self._off > 1:
            if not MIN_HZ < self._hz < MAX_HZ:
                return []
            self._off = 0
            observer.place(t, self._hz)
            return [Beat(t, observer.number, "used")]
        return [Beat(t, observer.number, observer.look(t, gains))]


def _group(per_tick: float) -> int:
    """Return the pulses of one beat: the largest divisor of `per_tick` up to MAX_GROUP."""
    sizes = range(MAX_GROUP, 1, -1)
    return next((n for n in sizes if per_tick % n == 0), 1)
