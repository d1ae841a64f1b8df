"""Numbers worked out from a channel's last samples, renewed every so many samples.

Renewal goes by the count of samples, so that the numbers in force at a sample do not depend on
how samples come in blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import numpy as np

from operators.types import F64, State

Measure = Callable[[F64], F64]
"""Windows (h, c, w) of c columns and w samples each -> q numbers for each window (h, q)."""


@dataclass
class RunningStatistic:
    """The last `memory` samples of c columns, and q numbers that sum them up.

    They are worked out at `first` samples, at twice, four, eight times as many, and so on up to
    `every`, then at each multiple of `every`.
    """

    memory: int
    first: int
    every: int
    numbers: F64
    last: F64 = field(default_factory=lambda: np.empty((0, 0)))
    seen: int = 0

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> RunningStatistic:
        """Return the statistic of a snapshot."""
        return cls(**state)

    def push(self, samples: F64, measure: Measure) -> F64:
        """Take in samples (c, n); return the numbers (q, n) in force at each.

        The sample that completes a count is the first to have the new numbers.
        """
        n, start = samples.shape[1], self.seen
        self.seen += n
        due = list(range(start - start % self.every + self.every, self.seen + 1, self.every))
        if start < self.every:
            doubled = (self.first << k for k in range((self.every // self.first).bit_length()))
            due = [e for e in doubled if start < e <= self.seen and e < self.every] + due
        if not due:
            if n < self.memory and start:
                samples = np.concatenate((self.last, samples), axis=1)
            self.last = samples[:, -self.memory :].copy()
            return np.repeat(self.numbers[:, None], n, axis=1)
        kept = np.concatenate((self.last, samples), axis=1) if start else samples
        gone = self.seen - kept.shape[1]
        # What a multiple sums up is as far from the next as `every`: one view serves them all.
        alone = [e for e in due if e < self.every or e - gone < self.memory]
        found = [measure(kept[None, :, max(e - gone - self.memory, 0) : e - gone]) for e in alone]
        if rest := due[len(alone) :]:
            found.append(
                measure(_windows(kept, rest[0] - gone, self.memory, self.every, len(rest)))
            )
        table = np.concatenate((self.numbers[None], *found))
        self.numbers, self.last = table[-1], kept[:, -self.memory :].copy()
        edges = (start + 1, *due, self.seen + 1)
        return np.repeat(table.T, [b - a for a, b in pairwise(edges)], axis=1)


def _windows(samples: F64, end: int, width: int, apart: int, number: int) -> F64:
    """Return a view (number, c, width) of samples (c, n) so far apart, the first to `end`."""
    samples = np.ascontiguousarray(samples)
    row, column = samples.strides
    strides = (apart * column, row, column)
    shape = (number, len(samples), width)
    return np.ndarray(shape, float, samples, (end - width) * column, strides)
