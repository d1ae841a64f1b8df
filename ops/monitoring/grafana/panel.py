"""The kinds of panel that dashboards are made of, as Grafana reads them.

In an expression `{@` stands for the instance and the rig that are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from configs.thresholds import Threshold

Json: TypeAlias = dict[str, Any]
Queries: TypeAlias = Mapping[str, str]
"""Expressions by legend."""
Steps: TypeAlias = Sequence[tuple[str, float | None]]
"""Colours, each from its value on; the first from minus infinity, which is None."""

HERE = 'instance="$instance", rig="$rig"'
SOURCE: Json = {"type": "prometheus", "uid": "${datasource}"}
CALM: Steps = (("green", None),)
_COLOURS = {1: ("red",), 2: ("orange", "red"), 3: ("yellow", "red", "dark-red")}
"""Beyond each of a budget's distinct thresholds."""
_UPPER, _LOWER = "+2 sd", "-2 sd"
_NO_LINE: Json = {"id": "custom.lineWidth", "value": 0}
_GRAY: Json = {"id": "color", "value": {"mode": "fixed", "fixedColor": "gray"}}
_BAND: Sequence[Json] = [
    {"matcher": {"id": "byName", "options": _LOWER}, "properties": [_NO_LINE, _GRAY]},
    {"matcher": {"id": "byName", "options": _UPPER}, "properties": [
        _NO_LINE, _GRAY, {"id": "custom.fillBelowTo", "value": _LOWER},
        {"id": "custom.fillOpacity", "value": 25},
    ]},
]  # fmt: skip
"""What makes two curves the edges of a band."""


def steps(budget: Threshold) -> Steps:
    """Return the colours of a budget."""
    edges = sorted({budget.good, budget.warn, budget.crit})
    colours = _COLOURS[len(edges)]
    ordered = (*colours[::-1], "green") if budget.least else ("green", *colours)
    return tuple(zip(ordered, (None, *edges), strict=True))


def which(opened: str, label: str, names: Sequence[str], by: str) -> str:
    """Return the expression of the number of that name, from 0 on, whose series is 1.

    Parameters
    ----------
    opened : str
        The metric and its other matchers, up to where `label` comes.
    label, names : str, sequence of str
        There is a series for each name.
    by : str
        Labels that tell one number from another.
    """
    numbered = (f'{i} * {opened}{label}="{name}"}}' for i, name in enumerate(names) if i)
    return f"sum by ({by}) ({' or '.join(numbered)})"


def lines(
    title: str, said: str, queries: Queries, *, unit: str = "none", width: int = 12,
    shown: Steps = CALM, span: tuple[float | None, float | None] = (None, None),
    stacked: bool = False, log: bool = False, sd: str = "", side: bool = False, empty: str = "",
) -> Json:  # fmt: skip
    """Return curves over time.

    Parameters
    ----------
    title, said : str
        What it is; what a reading means, and when to worry.
    queries : mapping
    unit : str
        Grafana's name of it.
    width : int
        Of 24.
    shown : sequence
        Thresholds, drawn as lines.
    span : tuple
        Least and most of the axis.
    stacked, log : bool
        Curves on top of one another; a logarithmic axis.
    sd : str
        Expression of the one curve's standard deviation: two of them either side make a band.
    side : bool
        The legend is a table at the right, the largest first.
    empty : str
        What is said where there is nothing.
    """
    if sd:
        (middle,) = queries.values()
        queries = {**queries, _UPPER: f"{middle} + 2 * {sd}", _LOWER: f"{middle} - 2 * {sd}"}
    custom: Json = {
        "lineWidth": 1, "fillOpacity": 40 if stacked else 0, "showPoints": "never",
        "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
        "scaleDistribution": {"type": "log", "log": 10} if log else {"type": "linear"},
        "thresholdsStyle": {"mode": "off" if shown is CALM else "dashed"},
    }  # fmt: skip
    ends = zip(("min", "max"), span, strict=True)
    defaults = {
        "custom": custom, "color": {"mode": "palette-classic"},
        **{key: value for key, value in ends if value is not None},
    }  # fmt: skip
    legend = {
        "displayMode": "table" if side else "list", "placement": "right" if side else "bottom",
        "showLegend": True, "calcs": ["max", "lastNotNull"] if side else [],
        **({"sortBy": "Max", "sortDesc": True} if side else {}),
    }  # fmt: skip
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    return _panel("timeseries", title, said, queries, (width, 8), unit, shown, options, defaults,
                  overrides=_BAND if sd else (), empty=empty)  # fmt: skip


def tile(
    title: str, said: str, queries: Queries, *, unit: str = "none", width: int = 4,
    height: int = 4, shown: Steps = CALM, decimals: int | None = None,
) -> Json:  # fmt: skip
    """Return the newest value of each query, over its course; parameters as of `lines`."""
    many = len(queries) > 1 or any("{{" in legend for legend in queries)
    options = {
        "colorMode": "none" if shown is CALM else "value", "graphMode": "area",
        "justifyMode": "auto", "orientation": "auto", "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False, "textMode": "value_and_name" if many else "value",
        "wideLayout": True,
    }  # fmt: skip
    defaults: Json = {"color": {"mode": "thresholds"}}
    if decimals is not None:
        defaults["decimals"] = decimals
    size = (width, height)
    return _panel("stat", title, said, queries, size, unit, shown, options, defaults)


def lanes(
    title: str, said: str, queries: Queries, states: Sequence[tuple[str, str]], *,
    width: int = 12, height: int = 8, empty: str = "",
) -> Json:  # fmt: skip
    """Return a lane a series, coloured by state.

    Parameters
    ----------
    states : sequence of tuple
        Name and colour of the values 0, 1, ...
    """
    options = {
        "alignValue": "left", "mergeValues": True, "rowHeight": 0.9, "showValue": "auto",
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
        "tooltip": {"mode": "multi", "sort": "none"},
    }  # fmt: skip
    named = {
        str(i): {"text": name, "color": colour, "index": i}
        for i, (name, colour) in enumerate(states)
    }
    defaults = {
        "custom": {"fillOpacity": 70, "lineWidth": 0}, "color": {"mode": "thresholds"},
        "mappings": [{"type": "value", "options": named}],
    }  # fmt: skip
    return _panel("state-timeline", title, said, queries, (width, height), "none", CALM, options,
                  defaults, empty=empty)  # fmt: skip


def heat(title: str, said: str, queries: Queries, *, unit: str, width: int = 12) -> Json:
    """Return a histogram over time; parameters as of `lines`."""
    options = {
        "calculate": False, "cellGap": 1, "showValue": "never",
        "color": {"mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "exponent": 0.5,
                  "scale": "exponential", "steps": 64, "reverse": False},
        "exemplars": {"color": "rgba(255,0,255,0.7)"}, "filterValues": {"le": 1e-9},
        "legend": {"show": True}, "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "showColorScale": True, "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": unit},
    }  # fmt: skip
    made = _panel("heatmap", title, said, queries, (width, 8), unit, CALM, options,
                  {"custom": {"scaleDistribution": {"type": "linear"}}})  # fmt: skip
    for target in made["targets"]:
        target["format"] = "heatmap"
    return made


def _panel(
    kind: str, title: str, said: str, queries: Queries, size: tuple[int, int], unit: str,
    shown: Steps, options: Json, defaults: Json, overrides: Sequence[Json] = (), empty: str = "",
) -> Json:  # fmt: skip
    thresholds = [{"color": colour, "value": value} for colour, value in shown]
    return {
        "type": kind, "title": title, "description": said, "datasource": SOURCE,
        "gridPos": {"w": size[0], "h": size[1]},
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "editorMode": "code",
             "expr": expression.replace("{@", "{" + HERE), "legendFormat": legend,
             "range": True, "instant": False, "format": "time_series"}
            for i, (legend, expression) in enumerate(queries.items())
        ],
        "options": options,
        "fieldConfig": {
            "defaults": {**defaults, "unit": unit, **({"noValue": empty} if empty else {}),
                         "thresholds": {"mode": "absolute", "steps": thresholds}},
            "overrides": list(overrides),
        },
    }  # fmt: skip
