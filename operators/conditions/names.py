"""Names that an expression may read, and the columns behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np

from operators.conditions.expression import KEYWORDS
from operators.records import BRIDGE_NAMES, INDICATORS, Fused
from operators.settings.plan import Plan
from operators.types import F64

SECOND_NAMES = {
    "coherence_level": "coherence",
    "harmony_index": "harmony",
    "phase_diff_mean": "phase_diff",
}
"""Further names of indicators."""


@dataclass(frozen=True, slots=True)
class RuleColumn:
    """Source of a name's values in a `Fused`."""

    kind: Literal["indicator", "bound", "estimate", "live", "signal", "sd", "fact", "bridge"]
    index: int = 0

    def of(self, fused: Fused) -> F64:
        """Return one value a tick; NaN is unknown."""
        match self.kind:
            case "indicator":
                return fused.indicators[:, self.index]
            case "bound":
                return fused.sync_bound_s
            case "estimate":
                return fused.sync_estimate_bound_s
            case "live":
                return fused.live.astype(np.float64)
            case "signal":
                return fused.signals[self.index].value
            case "sd":
                return fused.signals[self.index].sd
            case "fact":
                return fused.facts[:, self.index]
            case "bridge":
                return fused.bridge[:, self.index]


def _identifier(text: str) -> str:
    """Return the text as one identifier."""
    name = re.sub(r"\W", "_", text)
    return f"_{name}" if name[:1].isdecimal() or not name else name


def readable(plan: Plan) -> dict[str, RuleColumn]:
    """Return each name that an expression may read.

    The five indicators, `sync_bound_s`, `sync_estimate_bound_s`, `live` (present channels), the
    names of the bridge where there is one, `<signal>`, `<signal>_sd`, for each fact its key, and
    second names of indicators. Characters that are illegal in identifiers become `_`. If a name is
    taken, the later entry gets a longer one: `signal_<signal>`, or the whole channel name of a
    fact. If that is taken too, it cannot be read.
    """
    columns = {name: RuleColumn("indicator", i) for i, name in enumerate(INDICATORS)}
    columns |= {
        "sync_bound_s": RuleColumn("bound"),
        "sync_estimate_bound_s": RuleColumn("estimate"),
        "live": RuleColumn("live"),
    }
    if plan.bridge:
        columns |= {name: RuleColumn("bridge", i) for i, name in enumerate(BRIDGE_NAMES)}
    wanted: list[tuple[str, str, RuleColumn]] = []
    for i, signal in enumerate(plan.signals):
        name = _identifier(signal.name)
        wanted.append((name, f"signal_{name}", RuleColumn("signal", i)))
        wanted.append((f"{name}_sd", f"signal_{name}_sd", RuleColumn("sd", i)))
    for i, channel in enumerate(plan.facts):
        key = channel.partition(":")[2] or channel
        wanted.append((_identifier(key), _identifier(channel), RuleColumn("fact", i)))
    for short, long, column in wanted:
        columns.setdefault(long if short in columns or short in KEYWORDS else short, column)
    for second, name in SECOND_NAMES.items():
        columns.setdefault(second, columns[name])
    return columns


def names(plan: Plan) -> tuple[str, ...]:
    """Return the names that a rule may read, in the order of `readable`."""
    return tuple(readable(plan))
