"""Write the dashboards' JSON from the tables: `python -m ops.monitoring.grafana.generate`."""

from __future__ import annotations

import json
from pathlib import Path

from ops.monitoring.grafana.clocks import CLOCKS
from ops.monitoring.grafana.losses import LOSSES
from ops.monitoring.grafana.overview import OVERVIEW

FOLDER = Path(__file__).with_name("dashboards")


def shipped() -> dict[Path, str]:
    """Return the text of each dashboard's file."""
    return {
        FOLDER / f"{made['uid']}.json": json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        for made in (OVERVIEW, CLOCKS, LOSSES)
    }


if __name__ == "__main__":
    for path, text in shipped().items():
        path.write_text(text, "utf-8")
