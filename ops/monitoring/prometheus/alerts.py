"""Rules over the metrics of a fusion, and over those of its URE.

Alerts are on symptoms: each fires within a minute of its cause. An unknown value has no sample, so
alerts on missing data test for absence rather than for a value.
"""

from __future__ import annotations

import re

from configs.thresholds import SILENT_S, STORE_LAG_S, THRESHOLDS
from operators.types import ENDED
from ops.monitoring.prometheus.rule import Alert, Group, Record, Severity
from sinks.exporter.rig_state import DISCARDED

HOLD = "15s"
"""Hold time of alerts on means: a single evaluation must not fire."""
RIG, STREAM = "(job, instance, rig)", "(job, instance, rig, stream)"
_STREAM_FAULTS = ("http", "timeout")
"""Reasons of a URE that does not answer; FusionStreamLoss reports it."""
_NO_LOSS = (
    *(DISCARDED[end][1] for end in ("duplicate", "outliers")),
    *(reason for reason, end in ENDED.items() if end in ("ignored", "duplicate")),
    *_STREAM_FAULTS,
)
_REPORTED = "ure_residual_entropy_last"

RECORDS: tuple[Record, ...] = (
    Record("fusion:phase_diff_abs", "abs(fusion_phase_diff_mean)"),
    Record("fusion:phase_diff_mean_30s", "avg_over_time(fusion:phase_diff_abs[30s])"),
    Record("fusion:phase_diff_mean_5m", "avg_over_time(fusion:phase_diff_abs[5m])"),
    Record("fusion:coherence_mean_30s", "avg_over_time(fusion_coherence_level[30s])"),
    Record("fusion:coherence_p05_10m", "quantile_over_time(0.05, fusion_coherence_level[10m])"),
    Record("fusion:sync_quality_mean_30s", "avg_over_time(fusion_sync_quality[30s])"),
    Record("fusion:sync_quality_p05_10m", "quantile_over_time(0.05, fusion_sync_quality[10m])"),
    Record("fusion:entropy_ratio_mean_30s", "avg_over_time(fusion_entropy_ratio[30s])"),
    Record("fusion:entropy_ratio_mean_10m", "avg_over_time(fusion_entropy_ratio[10m])"),
    # Without a tick the quantile is NaN; `>= 0` removes it.
    Record(
        "fusion:tick_lateness_p95_10m",
        "histogram_quantile(0.95, sum by (job, instance, rig, le)"
        " (rate(fusion_tick_lateness_seconds_bucket[10m]))) >= 0",
    ),
    Record(
        "fusion:lost_ratio_1m",
        "sum by (job, instance, rig, stage, reason)"
        f' (rate(fusion_events_discarded_total{{reason!~"{"|".join(map(re.escape, _NO_LOSS))}"}}'
        "[1m]))\n"
        f"/ on {RIG} group_left ()\n"
        f"(sum by {RIG} (rate(fusion_stream_ingest_total[1m])) > 0)",
    ),
)
RESIDUAL = Record(
    "ure:residual_stddev_10m",
    # A constant value is frozen, not steady.
    f"stddev_over_time({_REPORTED}[10m]) and changes({_REPORTED}[10m]) > 0",
)


def beyond(
    name: str, budget: str, series: str, family: str, summary: str, quantity: str, hold: str = HOLD
) -> tuple[Alert, ...]:
    """Return the alerts on a budget: a warning, and a critical alert if it has two limits."""
    b = THRESHOLDS[budget]
    sign, word = ("<", "below") if b.least else (">", "above")
    value = '{{ printf "%.3f" $value }}'
    limits: tuple[tuple[float, Severity], ...] = ((b.crit, "critical"), (b.warn, "warning"))
    return tuple(
        Alert(
            name,
            f"{series} {sign} {limit:g}",
            severity,
            family,
            summary,
            f"{quantity} is {value}, {word} {limit:g}.",
            hold,
        )
        for limit, severity in limits[: 1 if b.warn == b.crit else 2]
    )


_FAILOVERS: tuple[tuple[str, Severity], ...] = (
    ('="none"', "critical"),
    ('!~"fused|none"', "warning"),
)
_RIG = "of rig {{ $labels.rig }}"
_AT = "at {{ $labels.instance }}"
ALERTS: tuple[Alert, ...] = (
    # -- presence of processes and streams
    Alert(
        "FusionDown", 'up{job="fusion"} == 0 or absent(up{job="fusion"})', "critical", "stream",
        "The fusion does not answer",
        "Prometheus gets no metrics from {{ $labels.instance }} (job {{ $labels.job }}).", "10s",
    ),
    Alert(
        "FusionStalled",
        f"sum by {RIG} (rate(fusion_ticks_total[30s])) == 0\n"
        f"and sum by {RIG} (fusion_ticks_total) > 0",
        "critical", "stream",
        "The fusion has stopped ticking",
        f"Rig {{{{ $labels.rig }}}} {_AT} answers, but no tick has come out for 30 s.",
    ),
    # Series end with their process, so the last sample is used. A controller that was never present
    # is no loss, and neither is a recording that has ended.
    Alert(
        "FusionStreamLoss",
        f"(fusion_stream_age_seconds > {SILENT_S:g} and on {STREAM} fusion_stream_expected == 1)\n"
        f"or (fusion_stream_age_seconds and on {STREAM} fusion_stream_up == 0\n"
        f"  and on {STREAM} (max_over_time(fusion_stream_up[1h]) == 1"
        " or fusion_stream_last_event_timestamp_seconds)\n"
        f"  unless on {STREAM} fusion_stream_ended == 1)\n"
        "or ((-max_over_time(fusion_stream_up[1h]) < 0"
        " or -max_over_time(fusion_stream_expected[1h]) < 0)\n"
        '  and on (job, instance) up{job="fusion"} == 0\n'
        f"  unless on {STREAM} last_over_time(fusion_stream_ended[1h]) == 1)",
        "warning", "stream",
        "Stream {{ $labels.stream }} is lost",
        f"Stream {{{{ $labels.stream }}}} {_RIG} {_AT} "
        '{{ if lt $value 0.0 }}went with its process'
        '{{ else }}is down or silent: nothing for {{ printf "%.0f" $value }} s{{ end }}.',
    ),
    # -- mode of the fusion: the time before the first fused tick is no failover
    *(
        Alert(
            "FusionFailover",
            f'fusion_mode{{mode{modes}}} == 1\n'
            f'and on {RIG} fusion_ticks_total{{mode="fused"}} > 0',
            severity, "mode",
            "Failover: the mode is {{ $labels.mode }}",
            f"The mode {_RIG} {_AT} is {{{{ $labels.mode }}}}: members are missing.",
        )
        for modes, severity in _FAILOVERS
    ),
    Alert(
        "FusionNeverFused", f'sum by {RIG} (fusion_ticks_total{{mode="fused"}}) == 0',
        "warning", "mode",
        "Nothing has been fused since the start",
        f"No tick {_RIG} {_AT} has been fused for 5 minutes, nor any before.", "5m",
    ),
    # -- quality of the fusion
    *beyond("FusionPhaseDrift", "phase_diff", "fusion:phase_diff_mean_30s", "phase",
             "The phases drift apart", f"The phase difference (cycles, mean of 30 s) {_RIG}"),
    *beyond("FusionCoherenceLow", "coherence", "fusion:coherence_mean_30s", "coherence",
             "The coherence is low", f"The coherence (mean of 30 s) {_RIG}"),
    *beyond("FusionSyncQualityLow", "sync_quality", "fusion:sync_quality_mean_30s", "sync",
             "The sync quality is low", f"The sync quality (mean of 30 s) {_RIG}"),
    *beyond("FusionEntropyHigh", "entropy_ratio", "fusion:entropy_ratio_mean_30s", "entropy",
             "The entropy is high", f"The entropy ratio (mean of 30 s) {_RIG}"),
    Alert(
        "EntropySpike", f"fusion_entropy_ratio > {THRESHOLDS['entropy_ratio'].spike:g}",
        "warning", "entropy", "Entropy spike",
        f'The entropy ratio {_RIG} is {{{{ printf "%.3f" $value }}}}, above'
        f" {THRESHOLDS['entropy_ratio'].spike:g} for 30 s.", "30s",
    ),
    *beyond("FusionSyncBoundHigh", "sync_bound", "fusion_sync_estimate_bound_seconds", "bound",
             "Times are uncertain", f"The bound of the sync estimates (s) {_RIG}", "30s"),
    Alert(
        "FusionClockReset",
        f"max by {STREAM} (label_replace(increase(fusion_clock_resets_total[5m]),"
        ' "stream", "$1", "channel", "([^:]*):.*")) > 0',
        "warning", "clock", "The clock of {{ $labels.stream }} was reset",
        f"The clock of {{{{ $labels.stream }}}} {_RIG} has stepped within 5 minutes"
        ' ({{ printf "%.0f" $value }} times); it was followed.',
    ),
    # -- losses and lateness
    *beyond("FusionDeadLettersRising", "lost", "fusion:lost_ratio_1m", "lost",
             "Events are lost: {{ $labels.reason }}",
             "The share of events that {{ $labels.stage }} loses ({{ $labels.reason }})"
             f" {_RIG}"),
    *beyond("FusionTicksLate", "lateness", "fusion:tick_lateness_p95_10m", "late",
             "Ticks come late", f"The lateness of ticks (s, 95th percentile of 10 m) {_RIG}"),
    # -- the history: without a store there are no series
    Alert(
        "StoreAway", "fusion_store_up == 0", "warning", "store",
        "The history is not written",
        f"The database of the history {_AT} gives no answer for a minute.", "1m",
    ),
    Alert(
        "StoreBehind", f"fusion_store_lag_seconds > {STORE_LAG_S:g}", "warning", "store",
        "The history is behind",
        f'The history {_AT} is {{{{ printf "%.0f" $value }}}} s behind the results.', "1m",
    ),
    Alert(
        "StoreLosesLines", "increase(fusion_store_rows_lost_total[5m]) > 0", "warning", "lost",
        "Lines are lost to the history",
        f'{{{{ printf "%.0f" $value }}}} lines {_AT} were not taken in within 5 minutes.',
    ),
)  # fmt: skip
URE: tuple[Record | Alert, ...] = (
    RESIDUAL,
    *beyond("UreResidualHigh", "residual", RESIDUAL.name, "residual",
             "The entropy of the URE is restless",
             "The standard deviation (10 m) of the entropy that {{ $labels.instance }} reports"),
    # Without an earlier answer of a URE there is no alert; a firing alert stays until it answers.
    Alert(
        "UreScrapeStale",
        'up{job="ure"} == 0\n'
        "and on (job, instance) (\n"
        '  max_over_time(up{job="ure"}[10m]) == 1\n'
        '  or on (job, instance) ALERTS{alertname="UreScrapeStale", alertstate="firing"}\n'
        ")",
        "warning", "ure", "The URE does not answer",
        "Prometheus gets no metrics from the URE at {{ $labels.instance }} any more.", HOLD,
    ),
    Alert(
        "UreFrozen", f"changes({_REPORTED}[10m]) == 0", "warning", "ure",
        "The URE is frozen",
        "The residual entropy that {{ $labels.instance }} reports has not changed for 15 minutes.",
        "5m",
    ),
)  # fmt: skip
GROUPS = (
    Group("fusion", "5s", (*RECORDS, *ALERTS)),
    Group("ure", "5s", URE),
)
