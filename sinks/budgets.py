"""How good is good enough: every threshold that is judged by, and the objectives over them."""

from __future__ import annotations

from typing import Literal, NamedTuple

Slo = Literal["phase", "sync", "residual"]


class Budget(NamedTuple):
    """A quantity's thresholds: within `good` it is well; beyond `warn` or `crit`, it is said so.

    `least`: the quantity has to stay above them, not below.
    """

    good: float
    warn: float
    crit: float
    least: bool = False

    def keeps(self, value: float) -> bool | None:
        """Whether a value is good; None where it is unknown."""
        if value != value:
            return None
        return value >= self.good if self.least else value <= self.good


BUDGETS: dict[str, Budget] = {
    "phase_diff": Budget(0.02, 0.025, 0.03),
    "coherence": Budget(0.9, 0.86, 0.72, least=True),
    "sync_quality": Budget(0.85, 0.85, 0.85, least=True),
    "entropy_ratio": Budget(0.15, 0.18, 0.22),
    "residual": Budget(0.03, 0.03, 0.04),
}
"""Phase in cycles; `residual` is the standard deviation of the entropy over ten minutes."""

OBJECTIVES: dict[Slo, float] = {"phase": 0.99, "sync": 0.99, "residual": 0.985}
"""The share of ticks that has to be good."""
