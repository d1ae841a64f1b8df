"""How fast channels speak and how much they hiss.

The interval is the median of the last 64; nothing is said before 8 of them. The variance of
white noise comes from third differences, which leave nothing of a signal well below the rate:
mean((x3 - 3 x2 + 3 x1 - x0)^2) / 20. Both are renewed at 9, 18 and 36 samples and at each
multiple of 64, so that what is in force at a sample does not depend on how samples come in
blocks; the windows of all channels are worked out together.

Source: von Neumann et al., Ann. Math. Stat. 12 (1941), on differences in place of deviations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from operators.records import F64, State

EVERY, MEMORY = 64, 65
EARLY = (9, 18, 36)
THIRD = 20.0
"""1 + 9 + 9 + 1: the gain of a third difference for white noise."""
LEAST_S = 1e-9
NAN = float("nan")


@dataclass
class _Pace:
    """One channel: its numbers (spacing, noise), and its samples back to 65 before them."""

    numbers: tuple[float, float] = (NAN, NAN)
    seen: int = 0
    time: list[F64] = field(default_factory=list)
    value: list[F64] = field(default_factory=list)

    def due(self, n: int) -> list[int]:
        """Return which of the next n samples, counted from 1, bring new numbers."""
        seen = self.seen
        early = [e - seen for e in EARLY if seen < e <= seen + n] if seen < EARLY[-1] else []
        return [*early, *range(EVERY - seen % EVERY, n + 1, EVERY)]


class Paces:
    """The pace of every channel. State: at most 128 samples of each."""

    def __init__(self, state: State | None = None) -> None:
        self._of: dict[str, _Pace] = {}
        for channel, x in (state or {}).items():
            numbers = (x["spacing"], x["noise"])
            self._of[channel] = _Pace(numbers, x["seen"], [x["time"]], [x["value"]])

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            channel: {
                "spacing": p.numbers[0], "noise": p.numbers[1], "seen": p.seen,
                "time": np.concatenate(p.time), "value": np.concatenate(p.value),
            }
            for channel, p in self._of.items()
        }  # fmt: skip

    def of(self, channel: str) -> tuple[float, float]:
        """Return a channel's spacing (s) and noise variance by now."""
        return self._of[channel].numbers if channel in self._of else (NAN, NAN)

    def push(self, samples: Sequence[tuple[str, F64, F64]]) -> F64:
        """Take in samples in order; return what is in force at each.

        Parameters
        ----------
        samples : sequence of (channel, time (n,) in s, value (n,))
            Each channel at most once.

        Returns
        -------
        float64 (2, sum of n)
            Spacing (s) and noise variance, NaN while unknown, channel after channel. The sample
            that completes a count is the first to have its numbers.
        """
        if not samples:
            return np.empty((2, 0))
        ripe: list[tuple[_Pace, list[int]]] = []
        dues: list[list[int]] = []
        for channel, time, value in samples:
            p = self._of.get(channel)
            if p is None:
                p = self._of[channel] = _Pace()
            due = p.due(len(time))
            dues.append(due)
            if due:
                past = sum(map(len, p.time))
                ripe.append((p, [past + d for d in due]))
            # What is kept must not hold on to the arrays of a whole packet.
            p.time.append(time if due else time.copy())
            p.value.append(value if due else value.copy())
        fresh = iter(_renewed(ripe) if ripe else ())
        table: list[tuple[float, float]] = []
        count: list[int] = []
        for (channel, time, _), due in zip(samples, dues, strict=True):
            p = self._of[channel]
            p.seen += len(time)
            table.append(p.numbers)
            last = 0
            for d in due:
                count.append(d - 1 - last)
                last = d - 1
                p.numbers = next(fresh)
                table.append(p.numbers)
            count.append(len(time) - last)
        return np.repeat(np.array(table).T, count, axis=1)


def _renewed(ripe: list[tuple[_Pace, list[int]]]) -> list[tuple[float, float]]:
    """Return the numbers at the given counts of each channel's samples; forget older samples."""
    time = np.concatenate([x for p, _ in ripe for x in p.time])
    value = np.concatenate([x for p, _ in ripe for x in p.value])
    apart = time[1:] - time[:-1]
    third = value[3:] - 3 * (value[2:-1] - value[1:-2]) - value[:-3]
    third *= third
    first, ends = 0, list[int]()
    short: dict[int, tuple[float, float]] = {}
    for p, counts in ripe:
        for c in counts:
            if c < MEMORY:
                mine = slice(first, first + c - 1), slice(first, first + c - 3)
                short[len(ends)] = _interval(apart[None, mine[0]])[0], float(third[mine[1]].mean())
            # A short one has any full window's place, until it is put right.
            ends.append(max(first + c, MEMORY))
        stop = first + sum(map(len, p.time))
        keep = slice(max(first, first + counts[-1] - MEMORY), stop)
        p.time, p.value = [time[keep].copy()], [value[keep].copy()]
        first = stop
    if len(time) < MEMORY:
        found = list(short.values())
    else:
        last = np.array(ends)
        spacing = _interval(apart[last[:, None] + np.arange(-MEMORY, -1)])
        noise = third[last[:, None] + np.arange(-MEMORY, -3)].sum(axis=1) / (MEMORY - 3)
        found = list(zip(spacing, noise.tolist(), strict=True))
        for i, numbers in short.items():
            found[i] = numbers
    return [(s, n / THIRD) for s, n in found]


def _interval(apart: F64) -> list[float]:
    """Return the median of each row's intervals; there always is one."""
    middle = apart.shape[1] // 2
    median = np.partition(apart, middle, axis=1)[:, middle]
    return [max(x, LEAST_S) for x in median.tolist()]
