"""Rules over the metrics of the bridge.

Without a bridge there are no series, and no alert. An unknown value has no sample.
"""

from __future__ import annotations

from configs.thresholds import THRESHOLDS
from ops.monitoring.prometheus.alerts import HOLD, RIG, beyond
from ops.monitoring.prometheus.rule import Alert, Group, Record

RECORDS: tuple[Record, ...] = (
    Record("bridge:phase_diff_mean_5m", "avg_over_time(bridge_phase_diff_mean[5m])"),
    Record("bridge:phase_diff_mean_1h", "avg_over_time(bridge_phase_diff_mean[1h])"),
    Record("bridge:sync_quality_p05_10m", "quantile_over_time(0.05, bridge_sync_quality[10m])"),
    Record("bridge:entropy_ratio_mean_10m", "avg_over_time(bridge_entropy_ratio[10m])"),
    # Without a tick the quantile is NaN; `>= 0` removes it.
    Record(
        "bridge:tick_jitter_p95_10m",
        "histogram_quantile(0.95, sum by (job, instance, rig, destination, le)"
        " (rate(bridge_tick_jitter_seconds_bucket[10m]))) >= 0",
    ),
)
_PHASE, _SYNC, _JITTER = (THRESHOLDS[f"bridge_{name}"] for name in ("phase", "sync", "jitter"))
_VALUE = '{{ printf "%.3f" $value }}'
_RIG = "of rig {{ $labels.rig }}"
ALERTS: tuple[Alert, ...] = (
    # -- states
    Alert(
        "BridgeRollback", 'bridge_state{state="E4"} == 1', "critical", "bridge_state",
        "The beat clock is silent until it is released",
        f"The beat clock {_RIG} is in rollback (E4): only a release by hand ends it.",
    ),
    Alert(
        "BridgeGuarded", 'bridge_state{state="E3"} == 1', "warning", "bridge_state",
        "The beat clock is guarded",
        f"The beat clock {_RIG} plays with a reduced safety gain (E3): the entropy is high.",
    ),
    Alert(
        "BridgeNotBridged", f'max by {RIG} (bridge_state{{state=~"E0|E1"}}) == 1',
        "warning", "bridge_state",
        "The beat clock does not play",
        f"The beat clock {_RIG} has been idle or syncing (E0, E1) for 5 minutes.", "5m",
    ),
    # -- phase, sync and entropy
    Alert(
        "BridgePhaseDriftHigh", f"bridge:phase_diff_mean_5m > {_PHASE.good:g}",
        "warning", "bridge_phase",
        "The beat clock is off its reference",
        f"The phase difference (cycles of a tick, mean of 5 m) {_RIG} is {_VALUE}, above"
        f" {_PHASE.good:g}.", HOLD,
    ),
    Alert(
        "BridgePhaseBurnFast", f"bridge:phase_diff_mean_5m > {_PHASE.crit:g}",
        "critical", "bridge_phase",
        "The phase of the beat clock burns fast",
        f"The phase difference (cycles of a tick, mean of 5 m) {_RIG} is {_VALUE}, above"
        f" {_PHASE.crit:g}.", HOLD,
    ),
    Alert(
        "BridgePhaseBurnSlow", f"bridge:phase_diff_mean_1h > {_PHASE.warn:g}",
        "warning", "bridge_phase",
        "The phase of the beat clock burns slowly",
        f"The phase difference (cycles of a tick, mean of 1 h) {_RIG} is {_VALUE}, above"
        f" {_PHASE.warn:g}.", HOLD,
    ),
    Alert(
        "BridgeSyncQualityLow", f"bridge:sync_quality_p05_10m < {_SYNC.good:g}",
        "warning", "bridge_sync",
        "The beat clock follows its reference loosely",
        f"The sync quality of the beat clock (5th percentile of 10 m) {_RIG} is {_VALUE}, below"
        f" {_SYNC.good:g}.", HOLD,
    ),
    *beyond("BridgeEntropyHigh", "bridge_entropy", "bridge:entropy_ratio_mean_10m",
            "bridge_entropy", "The entropy at the beat clock is high",
            f"The entropy ratio (mean of 10 m) {_RIG}"),
    # -- sending
    Alert(
        "BridgeTickJitterHigh", f"bridge:tick_jitter_p95_10m > {_JITTER.good:g}",
        "warning", "bridge_jitter",
        "Ticks are sent off their time",
        "The jitter of ticks (s, 95th percentile of 10 m) to {{ $labels.destination }}"
        f" {_RIG} is {_VALUE}, above {_JITTER.good:g}.", HOLD,
    ),
)  # fmt: skip
GROUPS = (Group("bridge", "5s", (*RECORDS, *ALERTS)),)
