"""Rules of the objectives: burn rates over several windows, in the layout of Sloth.

error ratio = bad ticks / judged ticks, burn rate = error ratio / error budget, by rig.
"""

from __future__ import annotations

from configs.thresholds import BURNS, FREEZE, OBJECTIVES, PERIOD_D, Burn, Slo
from ops.monitoring.prometheus.rule import Alert, Group, Record

NAMES: dict[Slo, tuple[str, str]] = {
    "phase": ("PhaseDrift", "phase differences within their budget"),
    "sync": ("SyncQuality", "sync quality within its budget"),
    "residual": ("Residual", "a steady entropy that is not frozen"),
}
"""Prefix of the alert names, and the property of a good tick, by objective."""
PERIOD = f"{PERIOD_D}d"
NOW = "5m"
SHORT, LONG = (NOW, "30m", "1h", "2h", "6h"), ("1d", "3d")
"""Windows of the error ratio; long windows are evaluated less often."""
EXCESS = "slo:period_excess:ratio"
_SPEED = {"critical": "Fast", "warning": "Slow"}


def _labels(slo: Slo) -> dict[str, str]:
    return {"sloth_id": f"lumen-{slo}", "sloth_service": "lumen", "sloth_slo": slo}


def _allowed(slo: Slo) -> str:
    """Return the error budget: the permitted share of bad ticks."""
    return f"{1 - OBJECTIVES[slo]:g}"


def _of(series: str, slo: Slo) -> str:
    return f'{series}{{sloth_id="lumen-{slo}"}}'


def _error(window: str) -> str:
    return f"slo:sli_error:ratio_rate{window}"


def _ticks(slo: Slo, window: str, bad: str = "") -> str:
    """Return the rate of judged ticks, or with `bad_` of bad ticks."""
    return f'sum by (rig) (rate(fusion_slo_{bad}ticks_total{{slo="{slo}"}}[{window}]))'


def _ratio(slo: Slo, window: str) -> Record:
    labels = _labels(slo) | {"sloth_window": window}
    expr = f"{_ticks(slo, window, 'bad_')}\n/ ({_ticks(slo, window)} > 0)"
    return Record(_error(window), expr, labels)


def _period(slo: Slo) -> Record:
    labels = _labels(slo) | {"sloth_window": PERIOD}
    return Record(_error(PERIOD), f"avg_over_time({_of(_error(NOW), slo)}[{PERIOD}])", labels)


def _budget(slo: Slo) -> tuple[Record, ...]:
    """Return the records of an objective and of its burn rates."""
    labels, budget = _labels(slo), _allowed(slo)
    return (
        Record("slo:objective:ratio", f"vector({OBJECTIVES[slo]:g})", labels),
        Record("slo:error_budget:ratio", f"vector({budget})", labels),
        Record("slo:current_burn_rate:ratio", f"{_rate(slo, NOW)} / {budget}", labels),
        Record("slo:period_burn_rate:ratio", f"{_rate(slo, PERIOD)} / {budget}", labels),
        Record(
            "slo:period_error_budget_remaining:ratio",
            f"1 - {_rate(slo, PERIOD)} / {budget}",
            labels,
        ),
        Record(f"sli:{slo}_ok", f"1 - {_rate(slo, NOW)}"),
        Record(f"slo:{slo}_{PERIOD}", f"1 - {_rate(slo, PERIOD)}"),
        Record(EXCESS, f"clamp_min({_rate(slo, PERIOD)} - {budget}, 0)", labels),
    )


def _rate(slo: Slo, window: str) -> str:
    """Return the error ratio, summed by rig."""
    return f"sum by (rig) ({_of(_error(window), slo)})"


def _burns(slo: Slo, burn: Burn) -> str:
    """Return the condition that a budget burns both over the window and now.

    The missing part of a window longer than the run counts as good: one bad first minute is not
    one bad hour.
    """
    limit = f"{burn.factor:g} * {_allowed(slo)}"
    return (
        f"(\n  {_rate(slo, burn.now)} > {limit}\n"
        f"  and {_rate(slo, burn.window)} > {limit}\n"
        f"  and {_ticks(slo, burn.window, 'bad_')} > {limit} * {_ticks(slo, NOW)}\n)"
    )


def _alerts(slo: Slo) -> tuple[Alert, ...]:
    name, good = NAMES[slo]
    return tuple(
        Alert(
            f"{name}BurnRate{_SPEED[severity]}",
            "\nor\n".join(_burns(slo, burn) for burn in burns),
            severity,
            f"{slo}_slo",
            f"The error budget of {slo} burns {_SPEED[severity].lower()}",
            f'{{{{ printf "%.3f" $value }}}} of the latest ticks of rig {{{{ $labels.rig }}}} lack'
            f" {good}; {_allowed(slo)} may, over {PERIOD_D} days.",
        )
        for severity, burns in BURNS.items()
    )


FREEZE_ALERT = Alert(
    "FeatureFreeze",
    f"sum by (rig) ({EXCESS}) >= {FREEZE:g}",
    "warning",
    "freeze",
    "Feature freeze: the error budgets are overrun",
    'Rig {{ $labels.rig }} has overrun its error budgets by {{ printf "%.3f" $value }} together'
    f" over {PERIOD_D} days, {FREEZE:g} or more: only what mends it is released.",
    "6h",
)
GROUPS = (
    Group("slo_short", "30s", tuple(_ratio(slo, w) for slo in NAMES for w in SHORT)),
    Group(
        "slo_long",
        "1m",
        (*(_ratio(slo, w) for slo in NAMES for w in LONG), *(_period(slo) for slo in NAMES)),
    ),
    Group("slo_budget", "1m", tuple(r for slo in NAMES for r in _budget(slo))),
    Group("slo_alerts", "1m", (*(a for slo in NAMES for a in _alerts(slo)), FREEZE_ALERT)),
)
