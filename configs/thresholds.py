"""Thresholds of all judged quantities, and the objectives over them."""

from __future__ import annotations

from typing import Literal, NamedTuple

from operators.lyapunov import CRITICAL_BOUND_S, CRITICAL_CYCLES

Slo = Literal["phase", "sync", "residual"]


class Threshold(NamedTuple):
    """A quantity's thresholds: good within `good`; reported beyond `warn` and `crit`.

    `least`: the quantity has to stay above them, not below. `spike`: a value that it may exceed
    only briefly; None where short excesses do not matter.
    """

    good: float
    warn: float
    crit: float
    least: bool = False
    spike: float | None = None

    def ok(self, value: float) -> bool | None:
        """Whether a value is good; None where it is unknown."""
        if value != value:
            return None
        return value >= self.good if self.least else value <= self.good


THRESHOLDS: dict[str, Threshold] = {
    "phase_diff": Threshold(0.02, 0.025, CRITICAL_CYCLES),
    "coherence": Threshold(0.9, 0.86, 0.72, least=True),
    "sync_quality": Threshold(0.85, 0.85, 0.85, least=True),
    "entropy_ratio": Threshold(0.15, 0.18, 0.22, spike=0.2),
    "residual": Threshold(0.03, 0.03, 0.04),
    "sync_bound": Threshold(0.02, 0.05, CRITICAL_BOUND_S),
    "lateness": Threshold(0.1, 0.25, 1.0),
    "lost": Threshold(0.001, 0.01, 0.1),
    "bridge_phase": Threshold(0.02, 0.025, 0.03),
    "bridge_sync": Threshold(0.85, 0.85, 0.85, least=True),
    "bridge_entropy": Threshold(0.15, 0.18, 0.22),
    "bridge_jitter": Threshold(0.025, 0.025, 0.025),
    "heat": Threshold(85.0, 85.0, 90.0),
}
"""Phase in cycles; `residual` is the standard deviation of the entropy over ten minutes.

`sync_bound` and `lateness` in s, the latter one of the edges that ticks are counted between;
`lost` is a share of the events received. `bridge_phase` is in cycles of a tick, slow and fast burn
its last two; `bridge_jitter` in s; `heat` in degrees Celsius.
"""

SILENT_S = 10.0
"""Silence after which a steady stream is lost (s)."""

STORE_LAG_S = 60.0
"""Lag of the history behind the results from which on it is reported (s)."""

OBJECTIVES: dict[Slo, float] = {"phase": 0.99, "sync": 0.99, "residual": 0.985}
"""Required share of good ticks."""

PERIOD_D = 30
"""Period of the objectives (days)."""

FREEZE = 0.025
"""Total overrun of all error budgets beyond which only corrections are released."""


class Burn(NamedTuple):
    """An error budget is spent `factor` times too fast, over a long and a short window."""

    factor: float
    now: str
    window: str


BURNS: dict[Literal["critical", "warning"], tuple[Burn, Burn]] = {
    "critical": (Burn(14.4, "5m", "1h"), Burn(6, "30m", "6h")),
    "warning": (Burn(3, "2h", "1d"), Burn(1, "6h", "3d")),
}
"""By severity: 2 and 5 % of the budget spent; 10 % of it."""
