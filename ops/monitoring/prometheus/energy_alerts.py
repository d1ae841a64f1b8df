"""Rules over energy, cost and heat of a run with `energy`.

Where a node exporter shows the sensors of a host, its series are judged; else those of the run.
Alerts on heat are of the host: `instance` has no port.
"""

from __future__ import annotations

from configs.thresholds import THRESHOLDS
from ops.monitoring.prometheus.rule import Alert, Group, Record

HEAT = "host:temperature_celsius:mean1m"
KEEP = "5m"
"""Time for which an alert on heat stays after its end: fans make a temperature swing."""


def _hottest(series: str) -> str:
    return (
        f"max by (instance) (label_replace(avg_over_time({series}[1m]),"
        ' "instance", "$1", "instance", "(.*):[0-9]+"))'
    )


RECORDS: tuple[Record, ...] = (
    Record("fusion:energy_kwh:increase24h", "increase(fusion_energy_joules_total[24h]) / 3.6e6"),
    Record("fusion:energy_watts:rate5m", "rate(fusion_energy_joules_total[5m])"),
    Record("fusion:cost:increase24h", "increase(fusion_cost_total[24h])"),
    Record(
        HEAT,
        f"{_hottest('node_hwmon_temp_celsius')}\nor\n{_hottest('fusion_temperature_celsius')}",
    ),
)
_WARN, _CRIT = THRESHOLDS["heat"].warn, THRESHOLDS["heat"].crit
_IS = 'The hottest sensor of {{ $labels.instance }} is at {{ printf "%.0f" $value }} °C'
ALERTS: tuple[Alert, ...] = (
    Alert(
        "HostTemperatureHigh", f"{HEAT} > {_CRIT:g}", "critical", "heat",
        "The machine is too hot", f"{_IS} (mean of 1 m), above {_CRIT:g}.", "1m", keep=KEEP,
    ),
    Alert(
        "HostTemperatureHigh", f"{HEAT} > {_WARN:g}", "warning", "heat",
        "The machine is hot", f"{_IS} (mean of 1 m), above {_WARN:g}.", "2m", keep=KEEP,
    ),
)  # fmt: skip
GROUPS = (Group("energy", "5s", (*RECORDS, *ALERTS)),)
