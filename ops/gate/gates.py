"""The gates and the triggers: one table for the command, the records and the alerts.

A condition is an expression of PromQL that gives one number, and its bound. A gate is GO if each of
its conditions holds, NO-GO if one does not, and unknown where a number is missing or too little of
its window is covered. `covered` gives the covered parts of the window, 0 to 1.

The records that expressions read are in ops/monitoring/prometheus/gate_rules.py.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from configs.thresholds import BURNS, OBJECTIVES
from ops.gate.bounds import (
    MAX_BURN,
    MAX_FAILURE,
    MAX_RESTORE_S,
    MAX_RISE,
    MAX_STORE_LAG_S,
    MAX_V,
    MIN_UNIQUE,
    REDUCED_SHARE,
)

Kind = Literal["numbers", "last_two", "alerts"]
Action = Literal["promotion_stop", "canary_freeze", "experiments_stop", "drill_throttle"]
MIN_TICKS = 500
"""Compared ticks in 15 minutes below which a canary has no ratio."""
MIN_COVERED = 0.9
"""Part of the window of an error budget that has to be covered."""
MIN_KNOWN = 0.5
"""Part of five minutes in which V has to be known."""
MIN_DRILLS = 20
"""Fewer drills give their longest time in place of the percentile."""
DRILL_D = 90
SAMPLE_S = 300
"""Interval of the records of an error budget (s)."""
V_POINTS = 30
"""Points of five minutes at which V is looked for: each 10 s."""
HEARTBEAT = "duri_heartbeat_ok"
BURN_ALERTS = frozenset((f"{slo}_slo", severity) for slo in OBJECTIVES for severity in BURNS)
"""Family and severity of each alert on an error budget."""


class Condition(NamedTuple):
    """A number and its bound."""

    expr: str
    sign: Literal["<=", ">=", "=="]
    bound: float

    def holds(self, value: float) -> bool:
        """Whether a value is within the bound."""
        if self.sign == "<=":
            return value <= self.bound
        return value >= self.bound if self.sign == ">=" else value == self.bound

    def text(self) -> str:
        """Return sign and bound."""
        return f"{self.sign} {self.bound:g}"


class PromotionGate(NamedTuple):
    """One gate.

    `kind`: `numbers` for conditions, `last_two` where the condition is on the last two samples of
    each series, `alerts` for BURN_ALERTS, none of which may fire. `needed` is the least of each
    covered part; `adjustable` if the command may lower it.
    """

    name: str
    window: str
    conditions: tuple[Condition, ...]
    missing: str
    """Reason where a number is missing."""
    covered: tuple[str, ...] = ()
    needed: float = 0.0
    adjustable: bool = False
    kind: Kind = "numbers"
    note: str = ""
    """Expression of a number to be shown beside the value, and its name."""


def v_known(offset: str = "") -> str:
    """Return the part of five minutes in which V is known, the least over the rigs that tick."""
    points = "[5m:10s]" + (f" offset {offset}" if offset else "")
    return (
        f"min((count_over_time(fusion_lyapunov_v{points})"
        f" or 0 * count_over_time(fusion_last_tick_timestamp_seconds{points})) / {V_POINTS})"
    )


def _burn(window: str) -> PromotionGate:
    present = f"last_over_time(slo:ticks:increase5m[{2 * SAMPLE_S + 60}s])"
    return PromotionGate(
        f"error_budget_burn_{window}",
        window,
        (Condition(f"max(slo:burn:ratio{window})", "<=", MAX_BURN[window]),),
        "no judged tick in the window",
        (f"min(slo:burn:covered{window} and on (rig, slo) {present})",),
        MIN_COVERED,
        adjustable=True,
    )


_CANARY = (f"clamp_max(min(canary:ticks:increase15m) / {MIN_TICKS}, 1)",)
GATES: tuple[PromotionGate, ...] = (
    PromotionGate(
        "heartbeat", "30s", (Condition(f"{HEARTBEAT}[30s]", "==", 1),),
        "absent, or one evaluation only", kind="last_two",
    ),
    PromotionGate(
        "slo", "now", (Condition("firing burn alerts", "==", 0),),
        "the rules of the objectives are not loaded", kind="alerts",
    ),
    PromotionGate(
        "canary_failure_ratio", "15m",
        (Condition("max(canary:failure_ratio:15m)", "<=", MAX_FAILURE),),
        "no shadow", _CANARY, 1.0, note="identical = min(canary:identical_ratio:15m)",
    ),
    PromotionGate(
        "canary_unique_ratio", "15m",
        (Condition("min(canary:unique_ratio:15m)", ">=", MIN_UNIQUE),),
        "no shadow", _CANARY, 1.0,
    ),
    PromotionGate(
        "lyapunov_v", "5m",
        (
            Condition("max(fusion:lyapunov_v_mean_5m)", "<=", MAX_V),
            Condition("max(fusion:lyapunov_v_rise_5m)", "<=", MAX_RISE),
        ),
        "V is unknown", (v_known(), v_known("5m")), MIN_KNOWN,
    ),
    _burn("7d"),
    _burn("30d"),
    PromotionGate(
        "restore_p95_s", f"{DRILL_D}d",
        (
            Condition("max(fusion_drill_p95_seconds)", "<=", MAX_RESTORE_S),
            Condition("min(fusion_drill_sound)", "==", 1),
        ),
        f"no drill in {DRILL_D} days",
        note="drills = min(fusion_drills_recent)",
    ),
    PromotionGate(
        "store", "now",
        (
            Condition("min(fusion_store_up)", "==", 1),
            Condition("max(fusion_store_lag_seconds)", "<=", MAX_STORE_LAG_S),
        ),
        "no store",
    ),
)  # fmt: skip


class Trigger(NamedTuple):
    """An alert with an action, and the condition under which it fires after `hold`."""

    action: Action
    alert: str
    family: str
    expr: str
    bound: float
    hold: str
    summary: str
    description: str


def _burn_trigger(window: str) -> Trigger:
    bound = MAX_BURN[window]
    # The missing part of the window counts as good: one bad hour is not one bad week.
    return Trigger(
        "experiments_stop", f"ErrorBudgetBurn{window}", "budget",
        f"slo:burn:ratio{window} * on (rig, slo) slo:burn:covered{window}", bound, "0s",
        "The error budget of {{ $labels.slo }} is spent too fast",
        f'{{{{ printf "%.2f" $value }}}} of the budget of {window} of rig {{{{ $labels.rig }}}} is'
        f" spent, more than {bound:g}: experiments stop.",
    )  # fmt: skip


TRIGGERS: tuple[Trigger, ...] = (
    Trigger(
        "promotion_stop", "LyapunovHigh", "lyapunov", "fusion_lyapunov_v", MAX_V, "15s",
        "The energy of the sync error is high",
        'V of rig {{ $labels.rig }} is {{ printf "%.2f" $value }}, above'
        f" {MAX_V:g}: no promotion, and {REDUCED_SHARE:g} of the rigs are shadowed.",
    ),
    Trigger(
        "canary_freeze", "CanaryFailing", "canary", "canary:failure_ratio:15m", MAX_FAILURE, "5m",
        "The candidate differs from the running flow",
        '{{ printf "%.3f" $value }} of the ticks of rig {{ $labels.rig }} differ, more than'
        f" {MAX_FAILURE:g}: the candidate is frozen, its samples are in diff.jsonl.",
    ),
    _burn_trigger("7d"),
    _burn_trigger("30d"),
    Trigger(
        "drill_throttle", "RestoreSlow", "restore", "fusion_drill_p95_seconds", MAX_RESTORE_S,
        "10m",
        "Restores are slow",
        'The drills of {{ $labels.instance }} take {{ printf "%.0f" $value }} s (95th percentile),'
        f" more than {MAX_RESTORE_S:g}: one drill a day.",
    ),
)  # fmt: skip
ACTIONS: tuple[Action, ...] = tuple(dict.fromkeys(trigger.action for trigger in TRIGGERS))


def chosen(names: str) -> tuple[PromotionGate, ...]:
    """Return the gates that a list of names means; a name means all gates that begin with it.

    Raises
    ------
    ValueError
        A name means none.
    """
    found: dict[str, PromotionGate] = {}
    for name in filter(None, map(str.strip, names.split(","))):
        meant = [g for g in GATES if g.name == name or g.name.startswith(f"{name}_")]
        if not meant:
            raise ValueError(f"no gate '{name}', expected of {', '.join(g.name for g in GATES)}")
        found |= {gate.name: gate for gate in meant}
    return tuple(found.values())
