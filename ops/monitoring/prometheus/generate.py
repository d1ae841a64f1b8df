"""Write the shipped rule files from tables: `python -m ops.monitoring.prometheus.generate`."""

from __future__ import annotations

from pathlib import Path

from ops.monitoring.prometheus import alerts, bridge_alerts, energy_alerts, gate_rules, slo
from ops.monitoring.prometheus.rule import text

FOLDER = Path(__file__).with_name("rules")
COMMAND = "python -m ops.monitoring.prometheus.generate"
FILES = {
    "fusion": alerts.GROUPS,
    "bridge": bridge_alerts.GROUPS,
    "energy": energy_alerts.GROUPS,
    "slo": slo.GROUPS,
    "gate": gate_rules.GROUPS,
}


def shipped() -> dict[Path, str]:
    """Return the text of each rule file."""
    return {FOLDER / f"{name}.yml": text(groups, COMMAND) for name, groups in FILES.items()}


if __name__ == "__main__":
    for path, made in shipped().items():
        path.write_text(made, "utf-8")
