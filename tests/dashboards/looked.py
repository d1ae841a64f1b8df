"""The shipped dashboards as somebody looks at them: their panels, and what these ask."""

from __future__ import annotations

import json
import re
from string import Template
from typing import Any, NamedTuple

from ops.monitoring.grafana.generate import FOLDER

Json = dict[str, Any]
DASHBOARDS: tuple[Json, ...] = tuple(json.loads(p.read_text()) for p in sorted(FOLDER.iterdir()))
CHOSEN = {
    "instance": "127.0.0.1:9310", "rig": "studio", "signal": "pulse", "channel": "osc_1:/pulse",
    "__rate_interval": "20s",
}  # fmt: skip
"""What stands for the variables in an expression."""


class Asked(NamedTuple):
    """One query of one panel; `labels` are those that its legend shows."""

    where: str
    expression: str
    labels: frozenset[str]


def panels(dashboard: Json) -> list[Json]:
    """Return what shows something: all but the rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def asked() -> list[Asked]:
    """Return all queries, with their variables filled in."""
    return [
        Asked(
            f"{dashboard['uid']}, {panel['title']!r}, {target['legendFormat']!r}",
            Template(target["expr"]).substitute(CHOSEN),
            frozenset(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])),
        )
        for dashboard in DASHBOARDS
        for panel in panels(dashboard)
        for target in panel["targets"]
    ]
