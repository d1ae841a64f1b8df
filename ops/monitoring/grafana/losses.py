"""Dashboard of losses and SLOs: fate of every event, lateness of ticks, error budgets."""

from __future__ import annotations

from configs.thresholds import BURNS, FREEZE, OBJECTIVES, PERIOD_D, THRESHOLDS, Slo
from ops.monitoring.grafana.dashboard import dashboard
from ops.monitoring.grafana.panel import Json, heat, lines, steps, tile
from ops.monitoring.prometheus.slo import LONG, SHORT
from sinks.exporter.rig_state import LATENESS_S

LATENESS = "sum by (le) (rate(fusion_tick_lateness_seconds_bucket{@}[$__rate_interval]))"
DISCARDED = 'fusion_events_total{@, end!~"used|ignored"}'
OBJECTIVE = {"phase": "phase difference", "sync": "synchrony", "residual": "residual entropy"}
_FACTORS = sorted(burn.factor for burns in BURNS.values() for burn in burns)
SPEED = (
    ("green", None),
    *zip(("yellow", "orange", "red", "dark-red"), _FACTORS, strict=True),
)


def _burning(slo: Slo) -> Json:
    budget = 1 - OBJECTIVES[slo]
    return lines(
        f"Burn rate, {OBJECTIVE[slo]}",
        f"Consumption rate of the error budget over several windows; at 1 it lasts "
        f"{PERIOD_D} days. Dashed: an alert fires if the short and the long window exceed it.",
        {
            window: f'slo:sli_error:ratio_rate{window}{{rig="$rig", sloth_slo="{slo}"}}'
            f" / {budget:g}"
            for window in (*SHORT, *LONG)
        },
        width=8,
        shown=SPEED,
        span=(0.0, None),
    )


LOSSES = dashboard(
    "lumen-losses", "Lumen Fusion · Losses and SLOs",
    "Fate of every event, lateness of ticks, and the rest of each error budget.",
    {
        "": (
            lines(
                "Events by their end",
                "Each event received has exactly one end. ignored: no part of the configuration "
                "uses its channel.",
                {"{{end}}": "sum by (end) (rate(fusion_events_total{@}[$__rate_interval]))"},
                unit="eps", width=16, stacked=True, span=(0.0, None), side=True,
            ),
            tile(
                "Account since the start",
                "Events by their end, counted since the process started.",
                {"{{end}}": "sum by (end) (fusion_events_total{@})"},
                unit="short", width=8, height=8,
            ),
            lines(
                "Discarded by stage and reason",
                "Events discarded, by stage and reason. guard outlier: the measurement; drift "
                "late: the network; receive dropped: this machine; the rest are dead letters, each "
                "with a sample in dead.jsonl.",
                {"{{stage}} {{reason}}": "sum by (stage, reason) "
                 "(rate(fusion_events_discarded_total{@}[$__rate_interval]))"},
                unit="eps", width=16, span=(0.0, None), side=True,
            ),
            tile(
                "Share lost",
                "Share of the events of a minute that is lost, for the most frequent reason; "
                "duplicates and outliers are no loss. Red: an alert fires.",
                {"lost": "max(fusion:lost_ratio_1m{@})"},
                unit="percentunit", height=8, shown=steps(THRESHOLDS["lost"]), decimals=2,
            ),
            tile(
                "On the way",
                "Events received and not yet ended: the contents of the buffers. A growing value "
                "means that the flow does not keep up.",
                {"events": "sum(fusion_stream_ingest_total{@}) - sum(fusion_events_total{@})"},
                unit="short", height=8,
            ),
            lines(
                "Discarded by stream",
                "Late, duplicate, outlying, rejected and dropped events together.",
                {"{{stream}}": f"sum by (stream) (rate({DISCARDED}[$__rate_interval]))"},
                unit="eps", width=12, span=(0.0, None),
            ),
            lines(
                "Dead letters by stream",
                "Events that could not be decoded, or were refused. One bad sender shows as one "
                "line; a rise of all means a change of the configuration or of the network.",
                {"{{stream}}": 'sum by (stream) '
                 '(rate(fusion_events_total{@, end="rejected"}[$__rate_interval]))'},
                unit="eps", width=12, span=(0.0, None),
            ),
        ),
        "Lateness of ticks": (
            lines(
                "Lateness",
                "From the arrival that released a tick until it was written: the delay of blocks "
                "and machine; a replay has none. Dashed: the budget of the 95th percentile.",
                {f"p{n}": f"histogram_quantile(0.{n}, {LATENESS})" for n in (50, 95, 99)},
                unit="s", shown=steps(THRESHOLDS["lateness"]),
                span=(LATENESS_S[0], LATENESS_S[-1]), log=True,
            ),
            heat(
                "Lateness of all ticks",
                "Ticks a second by lateness. Two bands: another program runs from time to time.",
                {"{{le}}": LATENESS}, unit="s",
            ),
            lines(
                "Ticks by mode",
                "Ticks a second; together they are the rate of the grid. Less means that the flow "
                "does not keep up.",
                {"{{mode}}": "sum by (mode) (rate(fusion_ticks_total{@}[$__rate_interval]))"},
                unit="hertz", width=24, stacked=True, span=(0.0, None),
            ),
        ),
        "Objectives": (
            tile(
                "Error budget left",
                f"Remaining share of the permitted bad ticks of {PERIOD_D} days. Below 0 the "
                "objective is missed.",
                {"{{sloth_slo}}": 'slo:period_error_budget_remaining:ratio{rig="$rig"}'},
                unit="percentunit", width=8, shown=(("red", None), ("green", 0.0)), decimals=1,
            ),
            tile(
                f"Good ticks of {PERIOD_D} days",
                "Share of ticks within their budget; the objectives are "
                + ", ".join(f"{share:g} ({slo})" for slo, share in OBJECTIVES.items()) + ".",
                {slo: f'slo:{slo}_{PERIOD_D}d{{rig="$rig"}}' for slo in OBJECTIVES},
                unit="percentunit", width=8, decimals=2,
            ),
            tile(
                "Overrun of all budgets",
                f"Total excess over the error budgets. From {FREEZE:g} on there is a "
                "feature freeze: only repairs are released.",
                {"overrun": 'sum(slo:period_excess:ratio{rig="$rig"})'},
                unit="percentunit", width=8, decimals=2,
                shown=(("green", None), ("red", FREEZE)),
            ),
            *(_burning(slo) for slo in OBJECTIVES),
        ),
    },
    past="now-1h",
)  # fmt: skip
