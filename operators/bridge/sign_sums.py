"""Cumulative sums of residuals of either sign: a run that chance makes once in an hour.

Source: E. S. Page, Biometrika 41 (1954); D. Siegmund, Sequential Analysis (1985) for the limit.
"""

from __future__ import annotations

import math
from typing import NamedTuple

FALSE_S = 3_600.0
"""Mean time between two runs by chance (s)."""
SLACK = 0.5
"""Part of z / sigma that is not summed."""
MIN_SUM = 4.0
"""Below any limit; spares its computation."""


class SignSums(NamedTuple):
    """Sums of residuals of either sign, and the beats since each left 0."""

    up: float = 0.0
    down: float = 0.0
    ups: int = 0
    downs: int = 0

    def added(self, z: float) -> SignSums:
        """Return the sums with the next residual (sigmas)."""
        up, down = self.up + z - SLACK, self.down - z - SLACK
        return SignSums(
            max(up, 0.0), max(down, 0.0), self.ups + 1 if up > 0 else 0,
            self.downs + 1 if down > 0 else 0,
        )  # fmt: skip

    def length(self, rate: float) -> int:
        """Return the beats of a sum beyond its limit, 0 where neither is.

        Two sums pass the limit h once in (exp(x) - x - 1) / (4 k^2) beats, with the slack k and
        x = 2 k (h + 1.166).
        """
        if max(self.up, self.down) < MIN_SUM:
            return 0
        mean = 4 * SLACK * SLACK * FALSE_S * rate
        x = math.log(mean + math.log(mean + 1) + 1)
        if max(self.up, self.down) < x / (2 * SLACK) - 1.166:
            return 0
        return self.ups if self.up > self.down else self.downs
