"""A dashboard: sections of panels, laid out from left to right, and what is chosen above them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ops.monitoring.grafana.panel import HERE, SOURCE, Json

SCHEMA_VERSION = 42
"""Of the dashboards of Grafana 13."""
COLUMNS = 24
TAG = "lumen"


def dashboard(
    uid: str, title: str, said: str, sections: Mapping[str, Sequence[Json]],
    variables: Sequence[Json] = (), *, each: str = "", past: str = "now-15m",
) -> Json:  # fmt: skip
    """Return a dashboard.

    Parameters
    ----------
    uid, title, said : str
        `uid` never changes: links hold it.
    sections : mapping
        Panels by heading; no row stands above those whose heading is empty.
    variables : sequence
        What can be chosen besides the data source, the instance and the rig.
    each : str
        A heading whose section is there once for each choice of the last variable.
    past : str
        What is shown at first.
    """
    panels: list[Json] = []
    y = 0
    for heading, inside in sections.items():
        if heading:
            panels.append(_row(heading, y, variables[-1]["name"] if heading == each else ""))
            y += 1
        y = _lay(panels, inside, y)
    for i, panel in enumerate(panels):
        panel["id"] = i + 1
    return {
        "uid": uid, "title": title, "description": said, "tags": [TAG], "panels": panels,
        "templating": {"list": [*_ALWAYS, *variables]},
        "links": [{
            "type": "dashboards", "tags": [TAG], "title": "", "tooltip": "", "icon": "dashboard",
            "asDropdown": False, "includeVars": True, "keepTime": True, "targetBlank": False,
        }],
        "time": {"from": past, "to": "now"}, "refresh": "5s", "timezone": "browser",
        # Pointing at one panel points at all.
        "graphTooltip": 2, "editable": True, "schemaVersion": SCHEMA_VERSION,
    }  # fmt: skip


def choice(name: str, label: str, query: str, *, several: bool = False) -> Json:
    """Return a variable whose values a query finds; all of them, where several may be chosen."""
    made: Json = {
        "type": "query", "name": name, "label": label, "datasource": SOURCE,
        "query": {"qryType": 1, "query": query.replace("{@", "{" + HERE), "refId": name},
        "refresh": 2, "sort": 1, "multi": several, "includeAll": several,
    }  # fmt: skip
    if several:
        made["current"] = {"text": ["All"], "value": ["$__all"]}
    return made


_ALWAYS: tuple[Json, ...] = (
    {"type": "datasource", "name": "datasource", "label": "Data source", "query": "prometheus",
     "multi": False, "includeAll": False},
    choice("instance", "Instance", "label_values(fusion_build_info, instance)"),
    choice("rig", "Rig", 'label_values(fusion_build_info{instance="$instance"}, rig)'),
)  # fmt: skip


def _row(heading: str, y: int, each: str) -> Json:
    made: Json = {
        "type": "row", "title": heading, "collapsed": False, "panels": [],
        "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
    }  # fmt: skip
    return {**made, "repeat": each} if each else made


def _lay(panels: list[Json], more: Sequence[Json], y: int) -> int:
    """Add panels, a line below the other where the columns are used up; return where they end."""
    x, bottom = 0, y
    for panel in more:
        place = panel["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y = 0, bottom
        panels.append({**panel, "gridPos": {"x": x, "y": y, **place}})
        x, bottom = x + place["w"], max(bottom, y + place["h"])
    return bottom
