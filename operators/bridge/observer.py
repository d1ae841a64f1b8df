"""Phase and rate of a reference from its beats: least squares whose memory grows.

A beat is predicted at phase p + f dt (beats). r is the whole number next to it minus that. With m
remembered beats, T = 1/f, and a gap of n beats (1 without losses)

    a = min(1, n max(kp T, 2 (2m - 1) / (m (m + 1))))
    b = min(a, n^2 max(ki T^2, 6 / (m (m + 1))))
    p += a r,  f += b r / dt.

The second terms are those of least squares over m beats. As the memory grows, they fall below kp
and ki, which then are the gains of a second-order loop. sigma = 1.4826 median |r| of 32 beats.

- Outlier, |r| > max(4 sigma, 0.03): not used, but for the third running of one sign, which begins
  a memory of 4 beats.
- Two beats closer than min(0.35 T, 60 ms): the one nearer to its prediction is used.
- First lock: four intervals within 12 % of their median.
- New lock: five intervals that agree, with another mean; ten, if that is near a multiple of T.

Silent for max(2 s, 4 T), the phase runs on with the rate of a second line of up to 400 beats.

Cost: some microseconds a beat. State: 32 residuals, 11 times. Losses: none; each beat is `used`,
`outlier` or `close`.

Source: T. R. Benedict and G. W. Bordner, IRE Trans. Autom. Control 7 (1962) for the filter;
E. S. Page, Biometrika 41 (1954) for the test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple

from operators.bridge.gains_in_force import Gains
from operators.types import State

Use = Literal["used", "outlier", "close"]
MIN_MEMORY, MAX_MEMORY, MAX_LONG = 4, 1_000, 400
MAX_RESIDUALS, MAX_TIMES = 32, 11
MAX_BACK = 8
"""Beats running before the newest one, after which all begins anew."""


class Line(NamedTuple):
    """A phase (beats) at a time (s), its rate (Hz), and the beats behind both."""

    at: float
    phase: float
    rate: float
    memory: int

    def phase_at(self, t: float) -> float:
        """Return the phase at time t."""
        return self.phase + self.rate * (t - self.at)

    def moved(self, t: float, number: float, gap: float, floor: Gains, frozen: bool) -> Line:
        """Return the line after a beat `number` at `t`, `gap` beats after its last."""
        dt = t - self.at
        period = 1.0 / self.rate
        m = self.memory + 1
        square = m * (m + 1)
        a = min(1.0, gap * max(floor.kp * period, 2 * (2 * m - 1) / square))
        b = min(a, gap * gap * max(floor.ki * period * period, 6 / square))
        ahead = self.phase + self.rate * dt
        r = number - ahead
        rate = self.rate if frozen else self.rate + b * r / dt
        return Line(t, ahead + a * r, rate if rate > 0 else self.rate, m)


def _most(gains: Gains) -> float:
    """Return the time (s) after which the gains have replaced least squares."""
    kp, ki = gains.kp, gains.ki
    if not kp > 0 or not ki > 0:
        return 200.0
    return max(4 / kp, math.sqrt(6 / ki))


_NOWHERE = Line(-math.inf, 0.0, 0.0, 0)
_NO_FLOOR = Gains(0.0, 0.0, 0.0)


@dataclass(slots=True)
class Observer:
    """The observer of one reference.

    Attributes
    ----------
    quiet_s : float
        Least silence of hold-over (s).
    locked : bool
        Phase and rate are known.
    locks : int
        Locks since the start, tempo steps included.
    line, long : Line
        Fit in force, and the fit of the rate in hold-over.
    number : float
        Whole number of the newest used beat.
    sigma : float
        Spread of residuals (beats).
    """

    quiet_s: float = 2.0
    locked: bool = False
    locks: int = 0
    line: Line = _NOWHERE
    long: Line = _NOWHERE
    number: float = 0.0
    sigma: float = 0.0
    frozen: bool = False
    strays: int = 0
    """Outliers running of one sign, with that sign."""
    back: int = 0
    run: int = 0
    """Residuals running of one sign, with that sign."""
    total: float = 0.0
    """Sum of the residuals of the run."""
    residuals: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    """Newest beats, used or not, without close ones."""
    undo: tuple[Line, Line, float, int, int, float] | None = None
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
        """Gain by which a residual moves the phase (1/s)."""
        m = self.line.memory
        return min(1.0, 2 * (2 * m - 1) / (m * (m + 1))) * self.line.rate if m else 0.0

    def snapshot(self) -> State:
        """Return the state as plain values."""
        state = {f.name: getattr(self, f.name) for f in fields(self)}
        return {**state, "residuals": self.residuals[:], "times": self.times[:]}

    @classmethod
    def from_snapshot(cls, state: State) -> Observer:
        """Return the observer of a snapshot."""
        line, long, undo = state["line"], state["long"], state["undo"]
        if undo is not None:
            undo = (Line(*undo[0]), Line(*undo[1]), *undo[2:])
        return cls(**{**state, "line": Line(*line), "long": Line(*long), "undo": undo})

    def freeze(self, frozen: bool) -> None:
        """Let the rate take in nothing, but for a new lock."""
        self.frozen = frozen

    def beat(self, t: float, gains: Gains) -> Use:
        """Process a beat at host time t (s)."""
        if not math.isfinite(t):
            return "outlier"
        times = self.times
        if not self.locked:
            if times and t <= times[-1]:
                return self._backwards(t)
            self.back = 0
            self._note(t)
            self._search()
            return "used"
        period = 1.0 / self.line.rate
        since = t - times[-1] if times else math.inf
        if abs(since) < min(0.35 * period, 0.06):
            return self._pair(t, gains)
        if since <= 0:
            return self._backwards(t)
        self.back = 0
        self._note(t)
        use = self._take(t, gains)
        if self._stepped(period):
            return "used"
        return use

    def _note(self, t: float) -> None:
        """Remember the time of a beat."""
        self.times.append(t)
        if len(self.times) > MAX_TIMES:
            del self.times[0]

    def _backwards(self, t: float) -> Use:
        """Refuse a beat before the newest one; begin anew after many."""
        self.back += 1
        if self.back >= MAX_BACK:
            self.back, self.locked, self.undo = 0, False, None
            self.times = [t]
        return "outlier"

    def _pair(self, t: float, gains: Gains) -> Use:
        """Use the likelier of two close beats."""
        if self.undo is None:
            self.times[-1] = max(t, self.times[-1])
            return self._take(t, gains) if t > self.line.at else "close"
        line = self.undo[0]
        ahead = line.phase_at(t)
        if t > line.at and abs(round(ahead) - ahead) < abs(
            self.number - line.phase_at(self.line.at)
        ):
            self.line, self.long, self.number, self.strays, self.run, self.total = self.undo
            del self.residuals[-1:]
            self.times[-1] = t
            self._take(t, gains)
        return "close"

    def _take(self, t: float, gains: Gains) -> Use:
        """Use a beat, unless it is an outlier."""
        line = self.line
        ahead = line.phase_at(t)
        number = float(round(ahead))
        r = number - ahead
        gap = max(number - self.number, 1.0)
        undo = (line, self.long, self.number, self.strays, self.run, self.total)
        if abs(r) > max(4 * self.sigma, 0.03):
            self.strays = (
                self.strays + 1
                if r > 0 and self.strays > 0
                else (self.strays - 1 if r < 0 and self.strays < 0 else (1 if r > 0 else -1))
            )
            if abs(self.strays) < 3:
                self.undo = None
                return "outlier"
            line = line._replace(memory=MIN_MEMORY - 1)
            self.run = 0
            self.long = self.long._replace(memory=0)
        else:
            line = self._tested(r, line)
        self.strays = 0
        self.undo = undo
        moved = line.moved(t, number, gap, gains, self.frozen)
        most = _most(gains) * line.rate
        self.line = (
            moved if moved.memory <= most else moved._replace(memory=max(MIN_MEMORY, int(most)))
        )
        self._extend(t, number, gap)
        self.number = number
        self._spread(r)
        return "used"

    def _extend(self, t: float, number: float, gap: float) -> None:
        """Add a beat to the long line; begin it anew at the line in force."""
        if self.long.memory == 0:
            self.long = self.line
            return
        long = self.long.moved(t, number, gap, _NO_FLOOR, False)
        self.long = (
            long._replace(memory=min(long.memory, MAX_LONG)) if long.memory > MAX_LONG else long
        )

    def _tested(self, r: float, line: Line) -> Line:
        """Return the line, with a shorter memory after a run of one sign."""
        if r * self.run > 0:
            self.run += 1 if r > 0 else -1
            self.total += r
        else:
            self.run, self.total = (1 if r > 0 else -1), r
        if abs(self.run) >= 4:
            mean = abs(self.total / self.run)
            if mean > 1.6 * self.sigma:
                self.long = self.long._replace(memory=0)
            if mean > 1.1 * self.sigma:
                self.run = 0
                return line._replace(memory=max(MIN_MEMORY, line.memory // 2))
        return line

    def _spread(self, r: float) -> None:
        """Add a residual to sigma."""
        self.residuals.append(abs(r))
        if len(self.residuals) > MAX_RESIDUALS:
            del self.residuals[0]
        ordered = sorted(self.residuals)
        self.sigma = 1.4826 * ordered[len(ordered) // 2]

    def _search(self) -> None:
        """Lock at four intervals within 12 % of their median."""
        times = self.times
        if len(times) < 5:
            return
        gaps = sorted(b - a for a, b in zip(times[-5:], times[-4:], strict=False))
        middle = 0.5 * (gaps[1] + gaps[2])
        if gaps[3] - middle > 0.12 * middle or middle - gaps[0] > 0.12 * middle:
            return
        self._lock(4)

    def _stepped(self, period: float) -> bool:
        """Lock anew if the tempo has stepped; return whether it has."""
        times = self.times
        if len(times) < 6:
            return False
        sigma = self.sigma * period
        mean = (times[-1] - times[-6]) / 5
        off = max(6 * math.sqrt(2) * sigma / 5, 0.02 * period)
        if abs(mean - period) <= off:
            return False
        gaps = sorted(b - a for a, b in zip(times[-6:], times[-5:], strict=False))
        agree = max(4.5 * math.sqrt(2) * sigma, 0.03 * mean)
        if gaps[4] - gaps[0] > agree:
            return False
        if (gaps[2] - period) * math.copysign(1.0, mean - period) < 0.6 * off:
            return False
        multiple = round(mean / period)
        if multiple >= 2 and abs(mean / period - multiple) < 0.1 * multiple:
            if len(times) < 11:
                return False
            all_gaps = [b - a for a, b in zip(times, times[1:], strict=False)]
            if max(all_gaps) - min(all_gaps) > agree:
                return False
        self._lock(5)
        return True

    def _lock(self, n: int) -> None:
        """Lock to the n newest intervals, by least squares."""
        times = self.times[-n - 1 :]
        origin, middle = times[-1], n / 2
        mean = sum(t - origin for t in times) / (n + 1)
        weight = sum((k - middle) ** 2 for k in range(n + 1))
        period = sum((k - middle) * (t - origin) for k, t in enumerate(times)) / weight
        first = self.line.phase_at(times[0]) if self.locks else 0.0
        self.number = float(round(first)) + n
        late = mean + period * middle
        self.line = self.long = Line(origin, self.number - late / period, 1 / period, n + 1)
        self.residuals = [
            abs(t - origin - mean - (k - middle) * period) / period for k, t in enumerate(times)
        ]
        self._spread(0.0)
        del self.residuals[-1]
        self.locked, self.undo, self.strays, self.run = True, None, 0, 0
        self.locks += 1

    def _silent_at(self) -> float:
        """Return the time at which hold-over begins."""
        return self.line.at + max(self.quiet_s, 4.0 / self.line.rate)

    def _hold_rate(self) -> float:
        """Return the rate in hold-over (Hz)."""
        rate, long = self.line.rate, self.long.rate
        return long if abs(long - rate) <= 0.02 * rate else rate

    def hold_over(self, t: float) -> bool:
        """Whether the reference is silent at t."""
        return self.locks > 0 and t > self._silent_at()

    def effective_rate(self, t: float) -> float:
        """Return the rate (Hz) with which the phase runs at t."""
        return self._hold_rate() if self.hold_over(t) else self.line.rate

    def phase_at(self, t: float) -> float:
        """Return the phase (beats, on the real line) at t."""
        if not self.hold_over(t):
            return self.line.phase_at(t)
        silent = self._silent_at()
        return self.line.phase_at(silent) + self._hold_rate() * (t - silent)

    def phase_sd(self, t: float) -> float:
        """Return the standard deviation (beats) of the phase at t, NaN before the first lock."""
        if not self.locks:
            return math.nan
        line, long = self.line, self.long if self.hold_over(t) else self.line
        m, n = max(line.memory, 2), max(long.memory, 2)
        dt = (t - line.at) * line.rate
        return self.sigma * math.sqrt(2 * (2 * m - 1) / (m * (m + 1)) + 12 * dt * dt / n**3)
