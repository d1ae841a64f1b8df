"""Phase and rate of a reference from its beats: least squares whose memory grows.

A beat is predicted at phase p + f dt (beats). r is the whole number next to it minus that. With m
remembered beats, T = 1/f, and a gap of n beats (1 without losses)

    a = min(1, n max(kp T, 2 (2m - 1) / (m (m + 1))))
    b = min(a, n^2 max(ki T^2, 6 / (m (m + 1))))
    p += a r,  f += b r f / n.

The second terms are those of least squares over m beats. The memory grows until they fall below kp
and ki, which then are the gains of a second-order loop. (r / dt in place of r f / n would add a
rate of sigma^2 f: a late beat has the longer dt.)

z = r sqrt(1 - a) has the variance of one beat. sigma = 1.4826 / sqrt 2 of the median |difference|
of the last 64 z: a reference that runs away does not widen it.

- Outlier, |z| > max(4 sigma, 0.03): not used, but for the fourth running of one sign, which begins
  a memory of 6 beats.
- Two beats closer than min(0.35 T, 60 ms): the one nearer to its prediction is used.
- Run: two cumulative sums, max(0, S + |z| / sigma - 1/2) for either sign. At a limit that chance
  passes once in an hour, the memory becomes half of the beats since the sum left 0.
- First lock: four intervals within 12 % of their median; within 0.36 of a pulse, so that a lost
  pulse between beats is no lock.
- New lock: five intervals within max(4.5 sqrt 2 sigma T, 3 %) whose mean is off by more than
  max(9 sqrt 2 sigma T / 5, 2 %), and whose median and inner mean are off by 0.6 of that to the same
  side. Near a multiple of T ten must agree, since lost beats look like that.

Silent for max(2 s, 4 T), the phase runs on with the rate of a second line of up to 400 beats.

Cost: about 6 us a beat. State: 64 residuals, 11 times. Losses: none; each beat is `used`,
`outlier` or `close`.

Source: T. R. Benedict and G. W. Bordner, IRE Trans. Autom. Control 7 (1962) for the filter;
E. S. Page, Biometrika 41 (1954) for the sums; D. Siegmund, Sequential Analysis (1985) for their
limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from itertools import pairwise
from typing import Literal

from operators.bridge.beat_line import MAX_HZ, MAX_TIME_S, MIN_HZ, Line, memory_limit
from operators.bridge.gains_in_force import Gains
from operators.bridge.sign_sums import SignSums
from operators.types import State

Use = Literal["used", "outlier", "close"]
MAX_LONG = 400
MIN_RUN = 6
"""Least memory (beats) after a run."""
MIN_RESIDUALS, MAX_RESIDUALS, MAX_TIMES = 3, 64, 11
MAX_BACK = 8
"""Beats running before the newest one, after which all begins anew."""
MAX_STRAYS = 4
"""Outliers running of one sign, of which the last is used."""
STEP_SIGMAS = 9.0
"""Standard deviations of a mean interval at which the tempo has stepped."""
_ROBUST = 1.4826 * math.sqrt(0.5)

_NOWHERE = Line(-MAX_TIME_S, 0.0, 0.0, 0)
_NO_GAINS = Gains(0.0, 0.0, 0.0)
_NO_SUMS = SignSums()


@dataclass(slots=True)
class Observer:
    """The observer of one reference.

    Attributes
    ----------
    quantum : float
        Part of a beat to which beats are numbered: 1/6 where pulses are dropped between beats of 6.
    quiet_s : float
        Least silence of hold-over (s).
    locked : bool
        Phase and rate are known.
    locks : int
        Locks since the start, tempo steps and new alignments included.
    line, long : Line
        Fit in force, and the fit of the rate in hold-over.
    full : bool
        The memory has reached the gains.
    number : float
        Whole number of the newest used beat.
    sigma : float
        Spread of beats about the fit (beats).
    """

    quantum: float = 1.0
    quiet_s: float = 2.0
    locked: bool = False
    locks: int = 0
    line: Line = _NOWHERE
    long: Line = _NOWHERE
    full: bool = False
    number: float = 0.0
    sigma: float = 0.0
    frozen: bool = False
    strays: int = 0
    """Outliers running of one sign, with that sign."""
    back: int = 0
    """Beats running before the newest one."""
    run: SignSums = _NO_SUMS
    newest: float = 0.0
    """Newest z."""
    changes: list[float] = field(default_factory=list)
    """Differences of z, absolute."""
    times: list[float] = field(default_factory=list)
    """Newest beats, used or not, without close ones."""
    numbers: list[tuple[float, float]] = field(default_factory=list)
    """Number of each of these by the line in force then, and beats counted since the one before."""
    undo: tuple[Line, Line, float, int, SignSums, float] | None = None
    """State before the newest beat; None where it was not used."""

    @property
    def memory(self) -> int:
        """Beats behind the fit in force."""
        return self.line.memory

    @property
    def rate_hz(self) -> float:
        """Rate in force (Hz), 0 before the first lock."""
        return self.line.rate

    @property
    def pull(self) -> float:
        """Gain in phase (1/s) while the memory grows; 0 once it is full, and before a lock."""
        line = self.line
        return line.gain(1.0, 0.0) * line.rate if self.locks and not self.full else 0.0

    @property
    def rate_sd(self) -> float:
        """Standard deviation of the rate, as a part of it."""
        m = max(self.line.memory, 2)
        return self.sigma * math.sqrt(12 / (m * (m * m - 1)))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        return {
            **state,
            "changes": self.changes[:],
            "times": self.times[:],
            "numbers": self.numbers[:],
        }

    @classmethod
    def from_snapshot(cls, state: State) -> Observer:
        """Return the observer of a snapshot."""
        kept: State = {key: Line(*state[key]) for key in ("line", "long")}
        kept["numbers"] = [tuple(each) for each in state["numbers"]]
        undo = state["undo"]
        if undo is not None:
            line, long, number, strays, run, newest = undo
            undo = (Line(*line), Line(*long), number, strays, SignSums(*run), newest)
        return cls(**{**state, **kept, "run": SignSums(*state["run"]), "undo": undo})

    def freeze(self, frozen: bool) -> None:
        """Keep the rate as it is until a new lock, or release it."""
        self.frozen = frozen

    def carry(self, shift_s: float) -> None:
        """Move the beats of a first lock to come, because their clock is known better (s)."""
        if not self.locked:
            self.times = [t + shift_s for t in self.times]

    def realign(self, t: float) -> None:
        """Number the beat nearest to t 0, so that it is a whole tick."""
        if not (self.locks and abs(t) < MAX_TIME_S):
            return
        shift = self._nearest(self.line.phase_at(t))
        self.line = self.line._replace(phase=self.line.phase - shift)
        self.long = self.long._replace(phase=self.long.phase - shift)
        self.number -= shift
        self.numbers = [(number - shift, counted) for number, counted in self.numbers]
        self.locks += 1
        self.undo = None

    def anchor(self, t: float) -> None:
        """Number the beat nearest to t 0, if it has another number by the line in force."""
        if self.locked and self._nearest(self.line.phase_at(t)):
            self.realign(t)

    def follow(self, t: float, hz: float) -> None:
        """Take a rate (Hz) as known from t on; the phase runs on from 0."""
        if self.line.at <= t < MAX_TIME_S and MIN_HZ < hz < MAX_HZ:
            phase = self.phase_at(t) if self.locks else 0.0
            self.locks += not self.locked
            self._begin(Line(t, phase, hz, MAX_LONG))

    def place(self, t: float, hz: float) -> None:
        """Lock to a beat at t and a known rate (Hz)."""
        if self.line.at < t < MAX_TIME_S and MIN_HZ < hz < MAX_HZ:
            number = self._nearest(self.phase_at(t)) if self.locks else 0.0
            self.locks += 1
            self._begin(Line(t, number, hz, MIN_RUN))

    def _begin(self, line: Line) -> None:
        """Begin anew at a line."""
        self.line = self.long = line
        self.number = line.phase
        self.locked, self.full, self.undo = True, False, None
        self.strays, self.run = 0, _NO_SUMS
        self.changes, self.newest, self.sigma = [], 0.0, 0.0

    def _nearest(self, phase: float) -> float:
        """Return the number next to a phase."""
        return round(phase / self.quantum) * self.quantum

    def look(self, t: float, gains: Gains) -> Use:
        """Process a beat after beats that were not seen; it is newer than the newest one."""
        if not (self.locked and self.line.at < t < MAX_TIME_S):
            return "outlier"
        return self._take(t, gains)

    def beat(self, t: float, gains: Gains, counted: float = 1.0) -> Use:
        """Process a beat at host time t (s), `counted` beats after the last one."""
        if not abs(t) < MAX_TIME_S:
            return "outlier"
        since = t - self.times[-1] if self.times else math.inf
        if self.locked and abs(since) < min(0.35 / self.line.rate, 0.06):
            return self._pair(t, gains)
        if since <= 0:
            return self._backwards(t)
        self.back = 0
        self.times.append(t)
        self.numbers.append((self._nearest(self.phase_at(t)), counted))
        if len(self.times) > MAX_TIMES:
            del self.times[0], self.numbers[0]
        if not self.locked:
            self._search()
            return "used"
        period = 1.0 / self.line.rate
        use = self._take(t, gains)
        return "used" if self._stepped(period) else use

    def _backwards(self, t: float) -> Use:
        """Refuse a beat before the newest one; begin anew after many."""
        self.back += 1
        if self.back >= MAX_BACK:
            self.back, self.locked, self.undo = 0, False, None
            self.times, self.numbers = [t], [(self._nearest(self.phase_at(t)), 0.0)]
        return "outlier"

    def _pair(self, t: float, gains: Gains) -> Use:
        """Use the likelier of two close beats."""
        if self.undo is None:
            if t <= self.times[-1] or t <= self.line.at:
                return "close"
            self.times[-1] = t
            return self._take(t, gains)
        line = self.undo[0]
        ahead, earlier = line.phase_at(t), line.phase_at(self.times[-1])
        if t > line.at and abs(self._nearest(ahead) - ahead) < abs(
            self._nearest(earlier) - earlier
        ):
            self.line, self.long, self.number, self.strays, self.run, self.newest = self.undo
            del self.changes[-1:]
            self.times[-1] = t
            self._take(t, gains)
        return "close"

    def _take(self, t: float, gains: Gains) -> Use:
        """Use a beat, unless it is an outlier."""
        line, long = self.line, self.long
        ahead = line.phase_at(t)
        number = self._nearest(ahead)
        gap = max(number - self.number, self.quantum)
        z = (number - ahead) * math.sqrt(1 - line.gain(gap, gains.kp))
        undo = (line, long, self.number, self.strays, self.run, self.newest)
        if abs(z) > max(4 * self.sigma, 0.03) and len(self.changes) >= MIN_RESIDUALS:
            sign = 1 if z > 0 else -1
            self.strays = self.strays + sign if self.strays * sign > 0 else sign
            if abs(self.strays) < MAX_STRAYS:
                self.undo = None
                return "outlier"
            line, long = line._replace(memory=MIN_RUN - 1), _NOWHERE
            self.run = _NO_SUMS
        elif self.sigma:
            self.run = self.run.added(min(max(z / self.sigma, -4.0), 4.0))
            length = self.run.length(line.rate)
            if length:
                memory = min(line.memory, max(MIN_RUN, length // 2))
                line, long = line._replace(memory=memory), _NOWHERE
                self.run = _NO_SUMS
        self.strays, self.undo = 0, undo
        most = memory_limit(line.rate, gains)
        self.line = line.moved(t, number, gap, gains, most, frozen=self.frozen)
        self.full = self.line.memory == most
        self.long = long.moved(t, number, gap, _NO_GAINS, MAX_LONG) if long.memory else self.line
        self.number = number
        self._spread(z)
        return "used"

    def _spread(self, z: float) -> None:
        """Add a residual to sigma."""
        changes = self.changes
        changes.append(abs(z - self.newest))
        if len(changes) > MAX_RESIDUALS:
            del changes[0]
        self.newest = z
        self.sigma = _ROBUST * sorted(changes)[len(changes) // 2]

    def _search(self) -> None:
        """Lock at four intervals that are near their median."""
        gaps = sorted(b - a for a, b in pairwise(self.times[-5:]))
        if len(gaps) < 4:
            return
        middle = 0.5 * (gaps[1] + gaps[2])
        most = min(0.12, 0.36 * self.quantum) * middle
        if max(gaps[3] - middle, middle - gaps[0]) <= most:
            self._lock(4)

    def _stepped(self, period: float) -> bool:
        """Lock anew if the tempo has stepped; return whether it has."""
        times = self.times
        if len(times) < 6:
            return False
        mean = (times[-1] - times[-6]) / 5
        sigma = self.sigma * period * math.sqrt(2)
        off = max(STEP_SIGMAS * sigma / 5, 0.02 * period)
        if abs(mean - period) <= off:
            return False
        gaps = sorted(b - a for a, b in pairwise(times[-6:]))
        agree = max(4.5 * sigma, 0.03 * mean)
        sign = math.copysign(1.0, mean - period)
        inner = (times[-2] - times[-5]) / 3
        least = min(sign * (gaps[2] - period), sign * (inner - period))
        if gaps[4] - gaps[0] > agree or least < 0.6 * off:
            return False
        multiple = round(mean / period)
        if multiple > 1 and abs(mean / period - multiple) < 0.1 * multiple:
            gaps = [b - a for a, b in pairwise(times)]
            if len(gaps) < MAX_TIMES - 1 or max(gaps) - min(gaps) > agree:
                return False
        self._lock(5)
        return True

    def _lock(self, n: int) -> None:
        """Lock to the n newest intervals, by least squares; the count of beats goes on."""
        times = self.times[-n - 1 :]
        last, middle = times[-1], n / 2
        late = [t - last for t in times]
        mean = sum(late) / (n + 1)
        weight = sum((k - middle) ** 2 for k in range(n + 1))
        period = sum((k - middle) * x for k, x in enumerate(late)) / weight
        first = self._nearest(self.line.phase_at(times[0])) if self.locks else 0.0
        self.number = self._counted() if self.locks and self.quantum < 1 else first + n
        phase = self.number - (mean + middle * period) / period
        self.line = self.long = Line(last, phase, 1 / period, n + 1)
        off = [(x - mean) / period - (k - middle) for k, x in enumerate(late)]
        self.changes = [abs(b - a) for a, b in pairwise(off)]
        self.sigma = _ROBUST * sorted(self.changes)[n // 2]
        self.newest = off[-1]
        self.locked, self.full, self.undo = True, False, None
        self.strays, self.run = 0, _NO_SUMS
        self.locks += 1

    def _counted(self) -> float:
        """Return the number of the newest beat by the count since the oldest one that is kept.

        The line in force then is older than a new tempo, by which beats are numbered wrongly.
        """
        return self.numbers[0][0] + sum(counted for _, counted in self.numbers[1:])

    def _silent_at(self) -> float:
        """Return the time at which hold-over begins."""
        line = self.line
        four = 4.0 / line.rate
        return line.at + (four if four > self.quiet_s else self.quiet_s)

    def _hold_rate(self) -> float:
        """Return the rate in hold-over (Hz)."""
        rate, long = self.line.rate, self.long.rate
        return long if abs(long - rate) <= 0.02 * rate else rate

    def hold_over(self, t: float) -> bool:
        """Whether the reference is silent at t."""
        return self.locks > 0 and t > self._silent_at()

    def ahead(self, t: float) -> tuple[float, float]:
        """Return phase (beats, on the real line) and rate (Hz) at t; before a lock both are 0."""
        line = self.line
        if not self.locks or t <= (silent := self._silent_at()):
            return line.phase + line.rate * (t - line.at), line.rate
        rate = self._hold_rate()
        return line.phase_at(silent) + rate * (t - silent), rate

    def effective_rate(self, t: float) -> float:
        """Return the rate (Hz) with which the phase runs at t."""
        return self.ahead(t)[1]

    def phase_at(self, t: float) -> float:
        """Return the phase (beats, on the real line) at t."""
        return self.ahead(t)[0]

    def phase_sd(self, t: float) -> float:
        """Return the standard deviation (beats) of the phase at t, NaN without beats."""
        if not self.changes:
            return math.nan
        line = self.line
        m = max(line.memory, 2)
        n = max(self.long.memory, 2) if self.hold_over(t) else m
        beats = (t - line.at) * line.rate
        return self.sigma * math.sqrt(
            2 * (2 * m - 1) / (m * (m + 1)) + 12 * beats * beats / (n * (n * n - 1))
        )
