"""Records of the gates, and the alerts whose label `action` names what has to stop.

Without a shadow, a drill or a store there are no series, and no alert. An unknown value has no
sample, so a ratio has none without ticks.
"""

from __future__ import annotations

from configs.thresholds import OBJECTIVES
from ops.gate.bounds import MAX_BURN
from ops.gate.gates import MIN_TICKS, SAMPLE_S, TRIGGERS, Trigger
from ops.monitoring.prometheus.rule import Alert, Group, Record

_BY = "by (job, instance, rig)"
_DAY_S = 86_400


def _ticks(verdicts: str = "") -> str:
    """Return the compared ticks of 15 minutes, of some verdicts or all."""
    chosen = f'{{verdict=~"{verdicts}"}}' if verdicts else ""
    return f"sum {_BY} (increase(fusion_shadow_ticks_total{chosen}[15m]))"


def _ratio(verdicts: str) -> str:
    return f"{_ticks(verdicts)} / (canary:ticks:increase15m >= {MIN_TICKS})"


CANARY = (
    Record("canary:ticks:increase15m", _ticks()),
    Record("canary:failure_ratio:15m", _ratio("missing|extra|twice|mode|presence|value")),
    Record("canary:unique_ratio:15m", f"1 - {_ratio('missing|extra|twice')}"),
    Record("canary:identical_ratio:15m", _ratio("identical")),
)
LYAPUNOV = (
    Record("fusion:lyapunov_v_mean_5m", "avg_over_time(fusion_lyapunov_v[5m])"),
    Record(
        "fusion:lyapunov_v_rise_5m",
        "fusion:lyapunov_v_mean_5m - fusion:lyapunov_v_mean_5m offset 5m",
    ),
)


def _burn(window: str) -> tuple[Record, ...]:
    """Return the spent part of each budget over a window, and the covered part of the window."""
    samples = int(window.removesuffix("d")) * _DAY_S // SAMPLE_S
    ratios = (
        f'sum_over_time(slo:bad_ticks:increase5m{{slo="{slo}"}}[{window}])\n'
        f'/ (sum_over_time(slo:ticks:increase5m{{slo="{slo}"}}[{window}]) > 0) / {1 - objective:g}'
        for slo, objective in OBJECTIVES.items()
    )
    covered = f"count_over_time(slo:ticks:increase5m[{window}]) / {samples}"
    return (
        Record(f"slo:burn:ratio{window}", "\nor\n".join(ratios)),
        Record(f"slo:burn:covered{window}", f"clamp_max({covered}, 1)"),
    )


BUDGET = (
    *(
        Record(f"slo:{bad}ticks:increase5m", f"sum by (rig, slo) (increase({series}[5m]))")
        for bad, series in (
            ("", "fusion_slo_ticks_total"),
            ("bad_", "fusion_slo_bad_ticks_total"),
        )
    ),
    *(record for window in MAX_BURN for record in _burn(window)),
)


def _alert(trigger: Trigger) -> Alert:
    return Alert(
        trigger.alert,
        f"{trigger.expr} > {trigger.bound:g}",
        "warning",
        trigger.family,
        trigger.summary,
        trigger.description,
        trigger.hold,
        trigger.action,
    )


def _alerts(*families: str) -> tuple[Alert, ...]:
    return tuple(_alert(trigger) for trigger in TRIGGERS if trigger.family in families)


GROUPS = (
    Group("gate", "15s", (*CANARY, *LYAPUNOV, *_alerts("lyapunov", "canary", "restore"))),
    Group("gate_budget", f"{SAMPLE_S // 60}m", (*BUDGET, *_alerts("budget"))),
)
