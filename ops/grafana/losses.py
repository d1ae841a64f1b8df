"""Losses and SLOs: what became of every event, how late ticks are, how much budget is left."""

from __future__ import annotations

from ops.grafana.dashboard import dashboard
from ops.grafana.panel import heat, lines, tile
from sinks.board import LATENESS_S

LATENESS = "sum by (le) (rate(fusion_tick_lateness_seconds_bucket{@}[$__rate_interval]))"
LOST = 'fusion_events_total{@, end!~"used|ignored"}'

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
                "Of what was received in the last five minutes, what is neither used nor ignored.",
                {"lost": f"sum(rate({LOST}[5m])) / sum(rate(fusion_stream_ingest_total{{@}}[5m]))"},
                unit="percentunit", height=8, decimals=2,
            ),
            tile(
                "On the way",
                "Received, and without an end yet: what the buffers hold. It stays flat; if it "
                "grows, the flow does not keep up.",
                {"events": "sum(fusion_stream_ingest_total{@}) - sum(fusion_events_total{@})"},
                unit="short", height=8,
            ),
            lines(
                "Lost by each stream",
                "Late, duplicate, outlying, rejected and dropped events together.",
                {"{{stream}}": f"sum by (stream) (rate({LOST}[$__rate_interval]))"},
                unit="eps", width=12, span=(0.0, None),
            ),
            lines(
                "Dead letters of each stream",
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
                "machine add. A replay has none. Worry when the 99th percentile nears a tick.",
                {f"p{n}": f"histogram_quantile(0.{n}, {LATENESS})" for n in (50, 95, 99)},
                unit="s", span=(LATENESS_S[0], LATENESS_S[-1]), log=True,
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
    },
    past="now-1h",
)  # fmt: skip
