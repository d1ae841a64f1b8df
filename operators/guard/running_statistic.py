"""Statistics of a channel's last samples, updated at fixed counts of samples.

Updates depend on the count alone, so that the numbers in force at a sample do not depend on how
samples are cut into blocks.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import pairwise

import numpy as np

from operators.types import F64, State

Measure = Callable[[F64], F64]
"""Windows (h, w) of w samples each -> q numbers for each window (h, q)."""


@dataclass
class RunningStatistic:
    """The last `memory` samples, and q statistics of them.

    Updates are at `first` samples, at twice, four, eight times as many, and so on up to `every`,
    then at each multiple of `every`.
    """

    memory: int
    first: int
    every: int
    numbers: F64
    last: array[float] = field(default_factory=lambda: array("d"))
    """At least the last `memory` samples, at most twice as many between two blocks."""
    seen: int = 0

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {**asdict(self), "last": np.array(self.last[-self.memory :])}

    @classmethod
    def from_snapshot(cls, state: State) -> RunningStatistic:
        """Return the statistic of a snapshot."""
        return cls(**{**state, "last": array("d", state["last"])})

    def passes(self, samples: list[float]) -> bool:
        """Process samples if no update is due at them; otherwise return False, nothing changed."""
        seen = self.seen + len(samples)
        if seen >= self._next():
            return False
        self.seen = seen
        self.last.extend(samples)
        self._trim()
        return True

    def push(self, samples: F64, measure: Measure) -> F64:
        """Process samples (n,); return the numbers (q, n) in force at each.

        The sample that completes a count is the first that has the new numbers.
        """
        n, start = len(samples), self.seen
        self.seen += n
        due = list(range(start - start % self.every + self.every, self.seen + 1, self.every))
        if start < self.every:
            doubled = (self.first << k for k in range((self.every // self.first).bit_length()))
            due = [e for e in doubled if start < e <= self.seen and e < self.every] + due
        self.last.frombytes(samples.tobytes())
        table = self._renewed(due, measure)
        self._trim()
        edges = (start + 1, *due, self.seen + 1)
        return np.repeat(table.T, [b - a for a, b in pairwise(edges)], axis=1)

    def _next(self) -> int:
        """Return the count of the next update."""
        if self.seen >= self.every:
            return (self.seen // self.every + 1) * self.every
        count = self.first
        while count <= self.seen:
            count *= 2
        return min(count, self.every)

    def _renewed(self, due: list[int], measure: Measure) -> F64:
        """Return the numbers in force and those after each count that is due."""
        if not due:
            return self.numbers[None]
        kept = np.frombuffer(self.last)
        gone = self.seen - len(kept)
        # The windows of multiples are `every` apart: one strided view holds them all.
        alone = [e for e in due if e < self.every or e - gone < self.memory]
        found = [measure(kept[None, max(e - gone - self.memory, 0) : e - gone]) for e in alone]
        if rest := due[len(alone) :]:
            found.append(
                measure(_windows(kept, rest[0] - gone, self.memory, self.every, len(rest)))
            )
        table = np.concatenate((self.numbers[None], *found))
        self.numbers = table[-1]
        return table

    def _trim(self) -> None:
        if len(self.last) > 2 * self.memory:
            self.last = self.last[-self.memory :]


def _windows(samples: F64, end: int, width: int, apart: int, number: int) -> F64:
    """Return a view (number, width) of samples (n,), `apart` apart, the first up to `end`."""
    step = samples.itemsize
    first = (end - width) * step
    return np.ndarray((number, width), float, samples, first, (apart * step, step))
