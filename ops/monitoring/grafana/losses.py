"""Losses and SLOs: what became of every event, how late ticks are, how much budget is left."""

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
        f"How many times too fast the error budget is used up, over several windows; at 1 it lasts "
        f"{PERIOD_D} days. Dashed: where an alert fires, if the short and the long window agree.",
        {
            window: f'slo:sli_error:ratio_rate{window}{{rig="$rig", sloth_slo="{slo}"}}'
            f" / {budget:g}"
            for window in (*SHORT, *LONG)
        },
        width=8, shown=SPEED, span=(0.0, None),
    )  # fmt: skip


LOSSES = dashboard(
    "lumen-losses", "Lumen Fusion · Losses and SLOs",
    "What became of every event, how late ticks are, and how much of each error budget is left.",
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
                "Where events came to nothing, and why. guard outlier: the measurement; drift "
                "late: the network; receive dropped: this machine; the rest are dead letters, each "
                "with a sample in dead.jsonl.",
                {"{{stage}} {{reason}}": "sum by (stage, reason) "
                 "(rate(fusion_events_discarded_total{@}[$__rate_interval]))"},
                unit="eps", width=16, span=(0.0, None), side=True,
            ),
            tile(
                "Share lost",
                "What is lost of the events of a minute, for the reason that costs the most; "
                "duplicates and outliers are no loss. Red: an alert fires.",
                {"lost": "max(fusion:lost_ratio_1m{@})"},
                unit="percentunit", height=8, shown=steps(THRESHOLDS["lost"]), decimals=2,
            ),
            tile(
                "On the way",
                "Received, and without an end yet: what the buffers hold. It stays flat; if it "
                "grows, the flow does not keep up.",
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
                "What could not be decoded, or was refused. One bad sender shows as one line; all "
                "at once, and the configuration or the network has changed.",
                {"{{stream}}": 'sum by (stream) '
                 '(rate(fusion_events_total{@, end="rejected"}[$__rate_interval]))'},
                unit="eps", width=12, span=(0.0, None),
            ),
        ),
        "Lateness of ticks": (
            lines(
                "Lateness",
                "From the arrival that released a tick until it was written: what blocks and "
                "machine add; a replay has none. Dashed: the budget of the 95th percentile.",
                {f"p{n}": f"histogram_quantile(0.{n}, {LATENESS})" for n in (50, 95, 99)},
                unit="s", shown=steps(THRESHOLDS["lateness"]),
                span=(LATENESS_S[0], LATENESS_S[-1]), log=True,
            ),
            heat(
                "Lateness of all ticks",
                "How many ticks a second were how late. Two bands: something runs beside it "
                "now and then.",
                {"{{le}}": LATENESS}, unit="s",
            ),
            lines(
                "Ticks by mode",
                "Ticks a second; together they are the rate of the grid. Less says that the flow "
                "does not keep up.",
                {"{{mode}}": "sum by (mode) (rate(fusion_ticks_total{@}[$__rate_interval]))"},
                unit="hertz", width=24, stacked=True, span=(0.0, None),
            ),
        ),
        "Objectives": (
            tile(
                "Error budget left",
                f"Of the bad ticks that {PERIOD_D} days may have, the share that is left. Below 0 "
                "the objective is missed.",
                {"{{sloth_slo}}": 'slo:period_error_budget_remaining:ratio{rig="$rig"}'},
                unit="percentunit", width=8, shown=(("red", None), ("green", 0.0)), decimals=1,
            ),
            tile(
                f"Good ticks of {PERIOD_D} days",
                "The share of ticks that kept their budget; the objectives are "
                + ", ".join(f"{share:g} ({slo})" for slo, share in OBJECTIVES.items()) + ".",
                {slo: f'slo:{slo}_{PERIOD_D}d{{rig="$rig"}}' for slo in OBJECTIVES},
                unit="percentunit", width=8, decimals=2,
            ),
            tile(
                "Overrun of all budgets",
                f"What the error budgets are overrun by, together. From {FREEZE:g} on there is a "
                "feature freeze: only what mends it is released.",
                {"overrun": 'sum(slo:period_excess:ratio{rig="$rig"})'},
                unit="percentunit", width=8, decimals=2,
                shown=(("green", None), ("red", FREEZE)),
            ),
            *(_burning(slo) for slo in OBJECTIVES),
        ),
    },
    past="now-1h",
)  # fmt: skip
