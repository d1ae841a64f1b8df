"""Kinds of panels of the dashboards, in the format of Grafana.

In an expression `{@` stands for the selected instance and rig.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from configs.thresholds import Threshold

Json: TypeAlias = dict[str, Any]
Queries: TypeAlias = Mapping[str, str]
"""Expressions by legend."""
Steps: TypeAlias = Sequence[tuple[str, float | None]]
"""Colours, each with its lower limit; None of the first stands for minus infinity."""

HERE = 'instance="$instance", rig="$rig"'
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
CALM: Steps = (("green", None),)
_COLOURS = {1: ("red",), 2: ("orange", "red"), 3: ("yellow", "red", "dark-red")}
"""Colours above the distinct thresholds of a budget, by their number."""
_UPPER, _LOWER = "+2 sd", "-2 sd"
_NO_LINE: Json = {"id": "custom.lineWidth", "value": 0}
_GRAY: Json = {"id": "color", "value": {"mode": "fixed", "fixedColor": "gray"}}
_BAND: Sequence[Json] = [
    {"matcher": {"id": "byName", "options": _LOWER}, "properties": [_NO_LINE, _GRAY]},
    {
        "matcher": {"id": "byName", "options": _UPPER},
        "properties": [
            _NO_LINE,
            _GRAY,
            {"id": "custom.fillBelowTo", "value": _LOWER},
            {"id": "custom.fillOpacity", "value": 25},
        ],
    },
]
"""Overrides that make two curves the edges of a band."""


def steps(budget: Threshold) -> Steps:
    """Return the colours of a budget."""
    edges = sorted({budget.good, budget.warn, budget.crit})
    colours = _COLOURS[len(edges)]
    ordered = (*colours[::-1], "green") if budget.least else ("green", *colours)
    return tuple(zip(ordered, (None, *edges), strict=True))


def which(opened: str, label: str, names: Sequence[str], by: str) -> str:
    """Return the expression of the index (from 0) of the name whose series is 1.

    Parameters
    ----------
    opened : str
        The metric and its other matchers, up to the position of `label`.
    label, names : str, sequence of str
        One series exists for each name.
    by : str
        Labels of the result.
    """
    numbered = (f'{i} * {opened}{label}="{name}"}}' for i, name in enumerate(names) if i)
    return f"sum by ({by}) ({' or '.join(numbered)})"


def lines(
    title: str,
    description: str,
    queries: Queries,
    *,
    unit: str = "none",
    width: int = 12,
    shown: Steps = CALM,
    span: tuple[float | None, float | None] = (None, None),
    stacked: bool = False,
    log: bool = False,
    sd: str = "",
    side: bool = False,
    empty: str = "",
) -> Json:
    """Return curves over time.

    Parameters
    ----------
    title, description : str
        Heading; meaning of a reading, and of a bad one.
    queries : mapping
    unit : str
        Grafana's name of the unit.
    width : int
        Width in columns, of 24.
    shown : sequence
        Thresholds, drawn as lines.
    span : tuple
        Minimum and maximum of the axis.
    stacked, log : bool
        Stacked curves; a logarithmic axis.
    sd : str
        Expression of the standard deviation of the single curve; the band is +-2 sd.
    side : bool
        The legend is a table at the right, sorted by falling maximum.
    empty : str
        Text of a panel without data.
    """
    if sd:
        (middle,) = queries.values()
        queries = {**queries, _UPPER: f"{middle} + 2 * {sd}", _LOWER: f"{middle} - 2 * {sd}"}
    custom: Json = {
        "lineWidth": 1,
        "fillOpacity": 40 if stacked else 0,
        "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
        "thresholdsStyle": {"mode": "off" if shown is CALM else "dashed"},
    }
    ends = zip(("min", "max"), span, strict=True)
    defaults = {
        "custom": custom,
        "color": {"mode": "palette-classic"},
        **{key: value for key, value in ends if value is not None},
    }
    legend = {
        "displayMode": "table" if side else "list",
        "placement": "right" if side else "bottom",
        "showLegend": True,
        "calcs": ["max", "lastNotNull"] if side else [],
        **({"sortBy": "Max", "sortDesc": True} if side else {}),
    }
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel(
        "timeseries",
        title,
        description,
        queries,
        (width, 8),
        unit,
        shown,
        options,
        defaults,
        overrides=_BAND if sd else (),
        empty=empty,
    )


def tile(
    title: str,
    description: str,
    queries: Queries,
    *,
    unit: str = "none",
    width: int = 4,
    height: int = 4,
    shown: Steps = CALM,
    decimals: int | None = None,
) -> Json:
    """Return a tile with the newest value of each query and its course; see `lines`."""
    many = len(queries) > 1 or any("{{" in legend for legend in queries)
    options = {
        "colorMode": "none" if shown is CALM else "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value_and_name" if many else "value",
        "wideLayout": True,
    }
    defaults: Json = {"color": {"mode": "thresholds"}}
    if decimals is not None:
        defaults["decimals"] = decimals
    size = (width, height)
    return _panel("stat", title, description, queries, size, unit, shown, options, defaults)


def lanes(
    title: str,
    description: str,
    queries: Queries,
    states: Sequence[tuple[str, str]],
    *,
    width: int = 12,
    height: int = 8,
    empty: str = "",
) -> Json:
    """Return one lane for each series, coloured by state.

    Parameters
    ----------
    states : sequence of tuple
        Name and colour of the values 0, 1, ...
    """
    options = {
        "alignValue": "left",
        "mergeValues": True,
        "rowHeight": 0.9,
        "showValue": "auto",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }
    named = {
        str(i): {"text": name, "color": colour, "index": i}
        for i, (name, colour) in enumerate(states)
    }
    defaults = {
        "custom": {"fillOpacity": 70, "lineWidth": 0},
        "color": {"mode": "thresholds"},
        "mappings": [{"type": "value", "options": named}],
    }
    return _panel(
        "state-timeline",
        title,
        description,
        queries,
        (width, height),
        "none",
        CALM,
        options,
        defaults,
        empty=empty,
    )


def heat(title: str, description: str, queries: Queries, *, unit: str, width: int = 12) -> Json:
    """Return a histogram over time; see `lines` for the parameters."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "showValue": "never",
        "color": {
            "mode": "scheme",
            "scheme": "Oranges",
            "fill": "dark-orange",
            "exponent": 0.5,
            "scale": "exponential",
            "steps": 64,
            "reverse": False,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": unit},
    }
    made = _panel(
        "heatmap",
        title,
        description,
        queries,
        (width, 8),
        unit,
        CALM,
        options,
        {"custom": {"scaleDistribution": {"type": "linear"}}},
    )
    for target in made["targets"]:
        target["format"] = "heatmap"
    return made


def _panel(
    kind: str,
    title: str,
    description: str,
    queries: Queries,
    size: tuple[int, int],
    unit: str,
    shown: Steps,
    options: Json,
    defaults: Json,
    overrides: Sequence[Json] = (),
    empty: str = "",
) -> Json:
    thresholds = [{"color": colour, "value": value} for colour, value in shown]
    return {
        "type": kind,
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "targets": [
            {
                "refId": chr(ord("A") + i),
                "datasource": SOURCE,
                "editorMode": "code",
                "expr": expression.replace("{@", "{" + HERE),
                "legendFormat": legend,
                "range": True,
                "instant": False,
                "format": "time_series",
            }
            for i, (legend, expression) in enumerate(queries.items())
        ],
        "options": options,
        "fieldConfig": {
            "defaults": {
                **defaults,
                "unit": unit,
                **({"noValue": empty} if empty else {}),
                "thresholds": {"mode": "absolute", "steps": thresholds},
            },
            "overrides": list(overrides),
        },
    }
