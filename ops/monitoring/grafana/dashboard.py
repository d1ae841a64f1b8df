"""A dashboard: sections of panels, laid out from left to right, and its variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ops.monitoring.grafana.panel import HERE, SOURCE, Json

SCHEMA_VERSION = 42
"""Schema of the dashboards of Grafana 13."""
COLUMNS = 24
TAG = "lumen"


def dashboard(
    uid: str,
    title: str,
    description: str,
    sections: Mapping[str, Sequence[Json]],
    variables: Sequence[Json] = (),
    *,
    each: str = "",
    past: str = "now-15m",
) -> Json:
    """Return a dashboard.

    Parameters
    ----------
    uid, title, description : str
        `uid` must not change: links contain it.
    sections : mapping
        Panels by heading; an empty heading has no row.
    variables : sequence
        Further variables beside the data source, the instance and the rig.
    each : str
        Heading whose section repeats for each value of the last variable.
    past : str
        Start of the initial time range.
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
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "panels": panels,
        "templating": {"list": [*_ALWAYS, *variables]},
        "links": [
            {
                "type": "dashboards",
                "tags": [TAG],
                "title": "",
                "tooltip": "",
                "icon": "dashboard",
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
            }
        ],
        "time": {"from": past, "to": "now"},
        "refresh": "5s",
        "timezone": "browser",
        # 2: the cursor is shared by all panels.
        "graphTooltip": 2,
        "editable": True,
        "schemaVersion": SCHEMA_VERSION,
    }


def choice(name: str, label: str, query: str, *, several: bool = False) -> Json:
    """Return a query variable; with `several`, all values are selected by default."""
    made: Json = {
        "type": "query",
        "name": name,
        "label": label,
        "datasource": SOURCE,
        "query": {"qryType": 1, "query": query.replace("{@", "{" + HERE), "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
    }
    if several:
        made["current"] = {"text": ["All"], "value": ["$__all"]}
    return made


_ALWAYS: tuple[Json, ...] = (
    {
        "type": "datasource",
        "name": "datasource",
        "label": "Data source",
        "query": "prometheus",
        "multi": False,
        "includeAll": False,
    },
    choice("instance", "Instance", "label_values(fusion_build_info, instance)"),
    choice("rig", "Rig", 'label_values(fusion_build_info{instance="$instance"}, rig)'),
)


def _row(heading: str, y: int, each: str) -> Json:
    made: Json = {
        "type": "row",
        "title": heading,
        "collapsed": False,
        "panels": [],
        "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
    }
    return {**made, "repeat": each} if each else made


def _lay(panels: list[Json], more: Sequence[Json], y: int) -> int:
    """Add panels in lines of `COLUMNS`; return the y position below them."""
    x, bottom = 0, y
    for panel in more:
        place = panel["gridPos"]
        if x + place["w"] > COLUMNS:
            x, y = 0, bottom
        panels.append({**panel, "gridPos": {"x": x, "y": y, **place}})
        x, bottom = x + place["w"], max(bottom, y + place["h"])
    return bottom
