"""The overview: is the signal there, is it in time, and if not, what is missing."""

from __future__ import annotations

from configs.thresholds import SILENT_S, THRESHOLDS
from operators.types import MODES
from ops.monitoring.grafana.dashboard import choice, dashboard
from ops.monitoring.grafana.panel import Json, lanes, lines, steps, tile, which

NONE_ALLOWED = (("green", None), ("red", 1.0))
SILENCE = (("green", None), ("red", SILENT_S))
MODE = tuple(zip(MODES, ("green", "yellow", "purple", "orange", "red"), strict=True))


def _indicator(title: str, metric: str, name: str, said: str, unit: str = "none") -> Json:
    budget = THRESHOLDS[name]
    return lines(
        title,
        f"{said} Dashed: the budget. What is exported is made of what is measured here and what "
        "the engine reports of itself; where the two part, one of them is wrong.",
        {
            "exported": f"{metric}{{@}}",
            "measured": f'fusion_indicator_measured{{@, indicator="{name}"}}',
            "reported": f'fusion_indicator_reported{{@, indicator="{name}"}}',
        },
        unit=unit, shown=steps(budget), span=(None, 1.0) if budget.least else (0.0, None),
    )  # fmt: skip


def _judged(title: str, name: str, expression: str, said: str) -> Json:
    return tile(title, said, {title: expression}, shown=steps(THRESHOLDS[name]), decimals=3)


OVERVIEW = dashboard(
    "lumen-overview", "Lumen Fusion · Overview",
    "Is the signal there, is it in time, and if not, what is missing?",
    {
        "": (
            lanes(
                "Mode",
                "Who takes part, the worst over a rig's signals; every rig is shown. ure_only and "
                "sensors_only: a whole group is missing, look at the streams below. none: there "
                "is no signal.",
                {"{{rig}} at {{instance}}": which("fusion_mode{", "mode", MODES, "instance, rig")},
                MODE, width=24, height=5,
            ),
            tile(
                "Live channels",
                "Channels whose time is known and whose data are fresh. A fall is explained by "
                "the state of each channel, on the dashboard of clocks and lags.",
                {"live": "fusion_live_channels{@}"},
            ),
            tile(
                "Sync estimate bound",
                "No compared channel's time is further off than this in 95 of 100 ticks, "
                "scraping and coarse stamps apart; a constant delay on the way to us is not in "
                "it. Yellow: above what is good; red: alerts fire. Empty: not compared, fewer "
                "than two channels with a known lag are live.",
                {"bound": "fusion_sync_estimate_bound_seconds{@}"},
                unit="s", shown=steps(THRESHOLDS["sync_bound"]),
            ),
            tile(
                "Streams down",
                "Configured streams that are not there. Each is named below.",
                {"down": "sum(fusion_stream_expected{@}) - sum(fusion_stream_up{@})"},
                shown=NONE_ALLOWED,
            ),
            tile(
                "Longest silence",
                "Since the stream that has been silent longest last spoke. It grows while the "
                "flow hangs, too.",
                {"age": "max(fusion_stream_age_seconds{@})"},
                unit="s", shown=SILENCE,
            ),
            tile(
                "Ingest",
                "Events received from all streams. What becomes of them is on the dashboard of "
                "losses.",
                {"received": "sum(rate(fusion_stream_ingest_total{@}[$__rate_interval]))"},
                unit="eps",
            ),
            tile(
                "Alerts firing",
                "All that fire at this Prometheus, of any rig.",
                {"firing": 'count(ALERTS{alertstate="firing"}) or vector(0)'},
                shown=NONE_ALLOWED,
            ),
        ),
        "The signal": (
            lines(
                "Fused value ±2 sd",
                "The fused value; 95 of 100 true values lie in the band. A band that widens says "
                "that the channels disagree, or that there are fewer of them.",
                {"fused": 'fusion_signal_value{@, signal="$signal"}'},
                width=16, sd='fusion_signal_sd{@, signal="$signal"}',
            ),
            lines(
                "Sync error bound over time",
                "It jumps when a channel comes or a clock steps, and falls as the lags settle. "
                "The whole bound has the period of scraping and the grain of coarse stamps in "
                "it; the estimate's, which the budget judges, has not.",
                {"whole": "fusion_sync_error_bound_seconds{@}",
                 "estimate": "fusion_sync_estimate_bound_seconds{@}"},
                unit="s", width=8, shown=steps(THRESHOLDS["sync_bound"]), span=(0.0, None),
            ),
        ),
        "Indicators against their budgets": (
            _judged(
                "phase_diff_mean_5m", "phase_diff", "fusion:phase_diff_mean_5m{@}",
                "Mean phase difference over five minutes, cycles. Yellow: the objective is "
                "missed; red: lags have moved, look at their tracks.",
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
                "Standard deviation of the entropy over ten minutes: as Prometheus scrapes it "
                "from the engine, and of what is exported here. Orange: restless. 0 is no good "
                "sign either: what does not move at all is frozen.",
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
                "Phase difference of the channels against the reference, 0 to 0.5 cycles.",
                "suffix: cycles",
            ),
            _indicator(
                "coherence_level", "fusion_coherence_level", "coherence",
                "Coherence with the reference, 0 to 1: low where channels measure different "
                "things, or one is noise.",
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
                "Residual entropy, 0 to 1: how much of the spectrum is noise.",
            ),
        ),
        "Streams": (
            lanes(
                "Streams up",
                "Whether each configured stream is there. A stream that never came is down from "
                "the start.",
                {"{{stream}}": "fusion_stream_up{@}"}, (("down", "red"), ("up", "green")),
            ),
            lines(
                "Silence of each stream",
                "Since its last event. A saw-tooth is a stream at work; a slope that does not "
                "end is one that is gone.",
                {"{{stream}}": "fusion_stream_age_seconds{@}"},
                unit="s", shown=SILENCE, span=(0.0, None),
            ),
            lines(
                "Ingest of each stream",
                "Events received a second; * are sources that nobody expects, ? those without "
                "a name. A stream at half its usual rate loses datagrams on the way.",
                {"{{stream}}": "sum by (stream) "
                 "(rate(fusion_stream_ingest_total{@}[$__rate_interval]))"},
                unit="eps", stacked=True, span=(0.0, None),
            ),
            lanes(
                "Alerts",
                "What fires, of any rig; ops/monitoring/RUNBOOK.md says what to do for each.",
                {"{{alertname}} {{severity}}": "max by (alertname, severity) "
                 '(ALERTS{alertstate="firing"})'},
                (("", "green"), ("firing", "red")), empty="No alert fires.",
            ),
        ),
    },
    (choice("signal", "Signal", "label_values(fusion_channel_weight{@}, signal)"),),
)  # fmt: skip
