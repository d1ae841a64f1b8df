"""Overview dashboard: presence of the signal, its timing, and the missing parts."""

from __future__ import annotations

from configs.thresholds import SILENT_S, THRESHOLDS
from operators.types import BRIDGE_STATES, MODES
from ops.monitoring.grafana.dashboard import choice, dashboard
from ops.monitoring.grafana.panel import Json, lanes, lines, steps, tile, which

NONE_ALLOWED = (("green", None), ("red", 1.0))
SILENCE = (("green", None), ("red", SILENT_S))
MODE = tuple(zip(MODES, ("green", "yellow", "purple", "orange", "red"), strict=True))


def _indicator(title: str, metric: str, name: str, description: str, unit: str = "none") -> Json:
    budget = THRESHOLDS[name]
    return lines(
        title,
        f"{description} Dashed: the budget. The exported value combines the value measured here "
        "and the value reported by the engine; where the two differ, one of them is wrong.",
        {
            "exported": f"{metric}{{@}}",
            "measured": f'fusion_indicator_measured{{@, indicator="{name}"}}',
            "reported": f'fusion_indicator_reported{{@, indicator="{name}"}}',
        },
        unit=unit,
        shown=steps(budget),
        span=(None, 1.0) if budget.least else (0.0, None),
    )


def _judged(title: str, name: str, expression: str, description: str) -> Json:
    return tile(title, description, {title: expression}, shown=steps(THRESHOLDS[name]), decimals=3)


OVERVIEW = dashboard(
    "lumen-overview", "Lumen Fusion · Overview",
    "Presence of the signal, its timing, and the missing parts.",
    {
        "": (
            lanes(
                "Mode",
                "Mode of the fusion, the worst over a rig's signals; every rig is shown. ure_only "
                "and sensors_only: a whole group is missing, see the streams below. none: there "
                "is no signal.",
                {"{{rig}} at {{instance}}": which("fusion_mode{", "mode", MODES, "instance, rig")},
                MODE, width=24, height=5,
            ),
            tile(
                "Live channels",
                "Channels with known time and fresh data. For the reason of a fall see the state "
                "of each channel, on the dashboard of clocks and lags.",
                {"live": "fusion_live_channels{@}"},
            ),
            tile(
                "Sync estimate bound",
                "Bound of the time error of all compared channels in 95 of 100 ticks, without "
                "scraping and coarse stamps; a constant network delay is not in "
                "it. Yellow: above the good level; red: alerts fire. Empty: not compared, fewer "
                "than two channels with a known lag are live.",
                {"bound": "fusion_sync_estimate_bound_seconds{@}"},
                unit="s", shown=steps(THRESHOLDS["sync_bound"]),
            ),
            tile(
                "Streams down",
                "Configured streams that are absent. Each is named below.",
                {"down": "sum(fusion_stream_expected{@}) - sum(fusion_stream_up{@})"},
                shown=NONE_ALLOWED,
            ),
            tile(
                "Longest silence",
                "Time since the last event of the stream with the longest silence. It also grows "
                "while the flow hangs.",
                {"age": "max(fusion_stream_age_seconds{@})"},
                unit="s", shown=SILENCE,
            ),
            tile(
                "Ingest",
                "Events received from all streams. Their fate is on the dashboard of losses.",
                {"received": "sum(rate(fusion_stream_ingest_total{@}[$__rate_interval]))"},
                unit="eps",
            ),
            tile(
                "Alerts firing",
                "All firing alerts of this Prometheus, of any rig.",
                {"firing": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
                shown=NONE_ALLOWED,
            ),
        ),
        "The signal": (
            lines(
                "Fused value ±2 sd",
                "The fused value; 95 of 100 true values lie in the band. A widening band means "
                "that the channels disagree, or that there are fewer of them.",
                {"fused": 'fusion_signal_value{@, signal="$signal"}'},
                width=16, sd='fusion_signal_sd{@, signal="$signal"}',
            ),
            lines(
                "Sync error bound over time",
                "It jumps when a channel appears or a clock steps, and falls as the lags settle. "
                "The whole bound includes the period of scraping and the grain of coarse stamps; "
                "the bound of the estimates, which has the budget, does not.",
                {"whole": "fusion_sync_error_bound_seconds{@}",
                 "estimate": "fusion_sync_estimate_bound_seconds{@}"},
                unit="s", width=8, shown=steps(THRESHOLDS["sync_bound"]), span=(0.0, None),
            ),
        ),
        "Indicators against their budgets": (
            _judged(
                "phase_diff_mean_5m", "phase_diff", "fusion:phase_diff_mean_5m{@}",
                "Mean phase difference over five minutes, cycles. Yellow: the objective is "
                "missed; red: lags have moved, see their curves.",
            ),
            _judged(
                "coherence_p05_10m", "coherence", "fusion:coherence_p05_10m{@}",
                "The coherence that 95 of 100 samples of ten minutes stay above. Red: the "
                "channels no longer show the same movement.",
            ),
            _judged(
                "sync_quality_p05_10m", "sync_quality", "fusion:sync_quality_p05_10m{@}",
                "The synchrony that 95 of 100 samples of ten minutes stay above. Red: below the "
                "objective.",
            ),
            _judged(
                "entropy_ratio", "entropy_ratio", "fusion_entropy_ratio{@}",
                "Residual entropy now, 0 to 1. Yellow: above budget; red: noise has taken over in "
                "at least one channel.",
            ),
            tile(
                "residual_stddev_10m",
                "Standard deviation of the entropy over ten minutes: of the scraped engine, "
                "and of the value exported here. Orange: restless. 0 is a fault as well: a "
                "constant entropy is frozen.",
                {
                    "engine": "max(ure:residual_stddev_10m)",
                    "here": "stddev_over_time(fusion_entropy_ratio{@}[10m])",
                },
                shown=steps(THRESHOLDS["residual"]), decimals=3,
            ),
            tile(
                "harmony_index", "Harmony of the channels, 0 to 1; it has no budget.",
                {"harmony_index": "fusion_harmony_index{@}"}, decimals=3,
            ),
            _indicator(
                "phase_diff_mean", "fusion_phase_diff_mean", "phase_diff",
                "Phase difference of the channels to the reference, 0 to 0.5 cycles.",
                "suffix: cycles",
            ),
            _indicator(
                "coherence_level", "fusion_coherence_level", "coherence",
                "Coherence with the reference, 0 to 1: low if channels measure different "
                "quantities, or one is noise.",
            ),
            lines(
                "sync_quality",
                "Synchrony of the channels, 0 to 1. It falls at once when a channel drifts away. "
                "Dashed: the budget.",
                {"sync_quality": "fusion_sync_quality{@}"},
                shown=steps(THRESHOLDS["sync_quality"]), span=(None, 1.0),
            ),
            _indicator(
                "entropy_ratio over time", "fusion_entropy_ratio", "entropy_ratio",
                "Residual entropy, 0 to 1: the share of noise in the spectrum.",
            ),
        ),
        "Beat clock": (
            lanes(
                "Clock state",
                "State of the bridge: it plays in E2 and, with a reduced safety gain, in E3. E4 "
                "ends by a release alone. Empty: no bridge is configured.",
                {"{{rig}} at {{instance}}":
                 which("bridge_state{@, ", "state", BRIDGE_STATES, "instance, rig")},
                tuple(zip(BRIDGE_STATES, ("gray", "yellow", "green", "orange", "red"),
                          strict=True)),
                empty="No bridge.",
            ),
            lines(
                "Phase error ±2 sd",
                "Reference minus output in cycles of a tick; above 0 the output is late. The band "
                "widens while the reference is silent.",
                {"phase error": "bridge_phase_error_cycles{@}"},
                unit="suffix: cycles", sd="bridge_phase_error_sd_cycles{@}", empty="No bridge.",
            ),
            lines(
                "Rate",
                "Ticks a second of the output and of the reference. A gap between them closes "
                "within seconds; one that stays is a limit of the tick.",
                {"output": "1 / bridge_tick_seconds{@}",
                 "reference": "bridge_reference_rate_hertz{@}"},
                unit="hertz", empty="No bridge.",
            ),
            lines(
                "Gains",
                "Gains in force: kp (1/s), ki (1/s²), kd (1). They fall as the entropy rises, and "
                "change with actions of rules.",
                {"{{term}}": "bridge_gain{@}"}, span=(0.0, None), empty="No bridge.",
            ),
        ),
        "Streams": (
            lanes(
                "Streams up",
                "Presence of each configured stream. A stream without a first event is down from "
                "the start.",
                {"{{stream}}": "fusion_stream_up{@}"}, (("down", "red"), ("up", "green")),
            ),
            lines(
                "Silence of each stream",
                "Time since its last event. A saw-tooth is an active stream; an endless slope "
                "is a lost one.",
                {"{{stream}}": "fusion_stream_age_seconds{@}"},
                unit="s", shown=SILENCE, span=(0.0, None),
            ),
            lines(
                "Ingest of each stream",
                "Events received a second; * are unexpected sources, ? those without a name. "
                "A stream at half its usual rate loses datagrams on the network.",
                {"{{stream}}": "sum by (stream) "
                 "(rate(fusion_stream_ingest_total{@}[$__rate_interval]))"},
                unit="eps", stacked=True, span=(0.0, None),
            ),
            lanes(
                "Alerts",
                "Firing alerts of any rig; ops/monitoring/RUNBOOK.md names the action for each.",
                {"{{alertname}} {{severity}}": "max by (alertname, severity) "
                 '(ALERTS{alertstate="firing"})'},
                (("", "green"), ("firing", "red")), empty="No alert fires.",
            ),
        ),
    },
    (choice("signal", "Signal", "label_values(fusion_channel_weight{@}, signal)"),),
)  # fmt: skip
