"""Sample interval and white noise of each channel.

The interval is the median of the last 64 intervals, or their mean where most are 0 (packets of
several samples); it is unknown before 8 intervals. The variance of white noise is mean((x3 - 3 x2
+ 3 x1 - x0)^2) / 20, without differences over a gap. Third differences cancel a signal well below
the rate. Both are updated at 9, 18 and 36 samples and at each multiple of 64. The numbers in force
at a sample therefore do not depend on the cut into blocks. The windows of all channels are
computed together.

Source: von Neumann et al., Ann. Math. Stat. 12 (1941), on differences in place of deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from operators.types import F64, State

EVERY, MEMORY, MIDDLE = 64, 65, 32
EARLY = (9, 18, 36)
THIRD_DIFF_GAIN = 20.0
"""1 + 9 + 9 + 1: the gain of a third difference for white noise."""
GAP = 2.5
"""Median intervals from which an interval is a gap."""
MIN_S = 1e-9
NAN = float("nan")


@dataclass
class _Pace:
    """One channel: its numbers (spacing, noise), and its samples back to 65 before them."""

    numbers: tuple[float, float] = (NAN, NAN)
    seen: int = 0
    time: list[F64] = field(default_factory=list)
    value: list[F64] = field(default_factory=list)

    def due(self, n: int) -> list[int]:
        """Return which of the next n samples, counted from 1, complete an update."""
        seen = self.seen
        early = [e - seen for e in EARLY if seen < e <= seen + n] if seen < EARLY[-1] else []
        return [*early, *range(EVERY - seen % EVERY, n + 1, EVERY)]


class RateNoise:
    """The pace of every channel. State: at most 128 samples of each."""

    def __init__(self) -> None:
        self._of: dict[str, _Pace] = {}

    @classmethod
    def from_snapshot(cls, state: State) -> RateNoise:
        """Return the paces of a snapshot."""
        core = cls()
        for channel, x in state.items():
            numbers = (x["spacing"], x["noise"])
            core._of[channel] = _Pace(numbers, x["seen"], [x["time"]], [x["value"]])
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            channel: {
                "spacing": p.numbers[0],
                "noise": p.numbers[1],
                "seen": p.seen,
                "time": np.concatenate(p.time),
                "value": np.concatenate(p.value),
            }
            for channel, p in self._of.items()
        }

    def of(self, channel: str) -> tuple[float, float]:
        """Return a channel's current spacing (s) and noise variance."""
        return self._of[channel].numbers if channel in self._of else (NAN, NAN)

    def push(self, samples: Sequence[tuple[str, F64, F64]]) -> F64:
        """Process samples in order; return the numbers in force at each.

        Parameters
        ----------
        samples : sequence of (channel, time (n,) in s, value (n,))
            Each channel at most once.

        Returns
        -------
        float64 (2, sum of n)
            Spacing (s) and noise variance, NaN while unknown, channel after channel. The sample
            that completes a count is the first that has the new numbers.
        """
        if not samples:
            return np.empty((2, 0))
        ripe: list[tuple[_Pace, list[int]]] = []
        table: list[tuple[float, float]] = []
        old: list[int] = []
        count: list[int] = []
        for channel, time, value in samples:
            p = self._of.get(channel)
            if p is None:
                p = self._of[channel] = _Pace()
            n = len(time)
            old.append(len(count))
            table.append(p.numbers)
            due = p.due(n)
            if due:
                past = sum(map(len, p.time))
                ripe.append((p, [past + d for d in due]))
                p.time.append(time)
                p.value.append(value)
                count += [b - a for a, b in pairwise((1, *due, n + 1))]
            else:
                # Kept samples are copied, so that they do not keep a packet's arrays alive.
                p.time.append(time.copy())
                p.value.append(value.copy())
                count.append(n)
            p.seen += n
        if not ripe:
            return np.array(table).T.repeat(count, axis=1)
        force = np.empty((2, len(count)))
        new = np.ones(len(count), bool)
        new[old] = False
        force[:, old] = np.array(table).T
        force[:, new] = _renewed(ripe)
        return force.repeat(count, axis=1)


def _renewed(ripe: list[tuple[_Pace, list[int]]]) -> F64:
    """Return the numbers (2, w) at the given counts of each channel's samples.

    Older samples are dropped. With d3 the third differences: noise = mean(d3^2) / 20.
    """
    time = np.concatenate([x for p, _ in ripe for x in p.time])
    value = np.concatenate([x for p, _ in ripe for x in p.value])
    apart = time[1:] - time[:-1]
    third = value[3:] - 3 * (value[2:-1] - value[1:-2]) - value[:-3]
    third *= third
    first = 0
    end: list[int] = []
    short: list[tuple[int, int, int]] = []
    edge = []
    for p, counts in ripe:
        if counts[0] < MEMORY:
            short += [(len(end) + i, first, first + c) for i, c in enumerate(counts) if c < MEMORY]
        end += [first + c for c in counts]
        edge.append(len(end) - 1)
        stop = first + sum(map(len, p.time))
        keep = slice(max(first, end[-1] - MEMORY), stop)
        p.time, p.value = [time[keep].copy()], [value[keep].copy()]
        first = stop
    out = np.empty((2, len(end)))
    if len(time) >= MEMORY:
        # Windows that are too short get some other window here and their values below.
        start = np.maximum(np.array(end) - MEMORY, 0)[:, None] + np.arange(MEMORY - 1)
        near = apart.take(start)
        out[0] = np.partition(near, MIDDLE, axis=1)[:, MIDDLE]
        out[1] = _mean(third.take(start[:, :-2]), near, out[0])
    for i, a, b in short:
        out[0, i] = np.sort(apart[a : b - 1])[(b - 1 - a) // 2]
        out[1, i] = _mean(third[None, a : b - 3], apart[None, a : b - 1], out[0, i : i + 1])[0]
    for i in np.flatnonzero(out[0] < MIN_S).tolist():
        # Most samples coincide: the mean interval replaces the median.
        a = next((a for k, a, _ in short if k == i), end[i] - MEMORY)
        out[0, i] = (time[end[i] - 1] - time[a]) / (end[i] - 1 - a)
    np.maximum(out[0], MIN_S, out=out[0])
    out[1] /= THIRD_DIFF_GAIN
    for (p, _), i in zip(ripe, edge, strict=True):
        p.numbers = (float(out[0, i]), float(out[1, i]))
    return out


def _mean(third: F64, apart: F64, spacing: F64) -> F64:
    """Return the mean of squared third differences (w, n - 2), without those over a gap.

    `apart` (w, n) are the intervals between the samples, `spacing` (w,) their median. If every
    difference has a gap, all count.
    """
    wide = apart > GAP * spacing[:, None]
    if not wide.any():
        return np.asarray(third.mean(axis=1))
    good = ~(wide[:, 2:] | wide[:, 1:-1] | wide[:, :-2])
    good |= ~good.any(axis=1, keepdims=True)
    return np.asarray(np.where(good, third, 0.0).sum(axis=1) / good.sum(axis=1))
