"""Numbers worked out from a channel's last samples, renewed every so many samples.

Renewal goes by the count of samples, so that the numbers in force at a sample do not depend on
how samples come in blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np

from operators.records import F64, State

Measure = Callable[[F64], F64]
"""Windows (h, c, w) of c columns and w samples each -> q numbers for each window (h, q)."""


@dataclass
class Renewal:
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

    def push(self, samples: F64, measure: Measure) -> F64:
        """Take in samples (c, n); return the numbers (q, n) in force at each.

        The sample that completes a count is the first to have the new numbers.
        """
        n = samples.shape[1]
        every = np.concatenate((self.last, samples), axis=1) if self.seen else samples
        start, stop = self.seen, self.seen + n
        due = np.arange(start - start % self.every + self.every, stop + 1, self.every)
        if start < self.every:
            early = self.first << np.arange((self.every // self.first).bit_length())
            due = np.append(early[(early > start) & (early <= stop) & (early < self.every)], due)
        table = self.numbers[:, None]
        if len(due):
            end = due - stop + every.shape[1]
            short = end < self.memory
            found = [measure(every[None, :, :e]) for e in end[short].tolist()]
            if not short.all():
                span = end[~short, None] + np.arange(-self.memory, 0)
                found.append(measure(every[:, span].transpose(1, 0, 2)))
            table = np.concatenate((table, *(f.T for f in found)), axis=1)
        self.seen, self.last, self.numbers = stop, every[:, -self.memory :].copy(), table[:, -1]
        force = np.zeros(n, np.intp)
        force[due - start - 1] = 1
        return np.asarray(table[:, np.cumsum(force)])
