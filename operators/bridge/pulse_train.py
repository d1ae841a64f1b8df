"""The pulses of a MIDI clock: how many were lost before each."""

from __future__ import annotations

from dataclasses import dataclass, field

MIN_PULSES, MAX_PULSES = 4, 24
"""Pulses behind the interval of a clock."""
VOTES = 3
"""Pulses that confirm a lost one."""
MAX_LONGER, MAX_LOST = 3, 12
"""Longer intervals running that are another tempo; lost pulses beyond which all begins anew."""


@dataclass
class PulseTrain:
    """The pulses of a clock: how many were lost before each.

    With T the mean interval of the last `MAX_PULSES`, round(dt / T) - 1 are lost where dt is longer
    than 1.6 T and the pulse is 0.6 T late by the four before it. The next three pulses vote: where
    their mean is half a pulse early by that count, the one pulse was late, and none is lost; where
    their intervals are longer than 1.25 T, the tempo is another, as after three long ones running.
    """

    times: list[float] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    longer: int = 0
    found: int = 0
    """Lost pulses of the newest long interval."""
    since: int = MAX_PULSES
    """Pulses since that interval."""

    def lost(self, t: float) -> int:
        """Return the pulses that were lost before that at t (s); -1 takes one back."""
        times, counts = self.times, self.counts
        interval = t - times[-1] if times else 0.0
        if interval < 0:
            self._begin()
        gap = self._gap(t, interval) if len(times) >= MIN_PULSES else 0
        self.longer = self.longer + 1 if gap else 0
        if self.longer >= MAX_LONGER or gap > MAX_LOST:
            self._begin()
            gap = 0
        counts.append((counts[-1] if counts else 0) + 1 + gap)
        times.append(t)
        if gap:
            self.found, self.since = gap, 0
        elif self.since < MAX_PULSES:
            self.since += 1
            if self.since == VOTES and self.found == 1 and self._outvoted():
                counts[-VOTES - 1 :] = [count - 1 for count in counts[-VOTES - 1 :]]
                gap = -1
        if len(times) > MAX_PULSES:
            del times[0], counts[0]
        return gap

    def _begin(self) -> None:
        self.times.clear()
        self.counts.clear()
        self.longer, self.since = 0, MAX_PULSES

    def _gap(self, t: float, since: float) -> int:
        interval = self._interval(len(self.times))
        if not since > 1.6 * interval or self._late(t, self.counts[-1] + 1, 0) < 0.6 * interval:
            return 0
        return max(round(since / interval) - 1, 1)

    def _outvoted(self) -> bool:
        """Whether the pulses after the newest long interval show no loss."""
        newest = zip(self.times[-VOTES:], self.counts[-VOTES:], strict=True)
        late = [self._late(t, count, VOTES + 1) for t, count in newest]
        interval = self._interval(len(self.times) - VOTES - 1)
        slower = self.times[-1] - self.times[-VOTES - 1] > 1.25 * VOTES * interval
        return slower or sum(late) / VOTES < -0.5 * interval

    def _interval(self, n: int) -> float:
        """Return the mean interval of the n oldest pulses (s)."""
        return (self.times[n - 1] - self.times[0]) / (self.counts[n - 1] - self.counts[0])

    def _late(self, t: float, count: int, after: int) -> float:
        """Return how late a pulse is by the mean of four, `after` which others came (s)."""
        end = len(self.times) - after
        interval = self._interval(end)
        each = range(end - MIN_PULSES, end)
        expected = sum(self.times[i] + (count - self.counts[i]) * interval for i in each)
        return t - expected / MIN_PULSES
