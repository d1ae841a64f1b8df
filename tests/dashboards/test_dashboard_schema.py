"""The dashboards against Grafana's own types.

Grafana itself is nowhere to be had here; its types are, as a package.
"""

import copy
import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from ops.monitoring.grafana.dashboard import SCHEMA_VERSION
from tests.dashboards.looked import DASHBOARDS
from tests.support import skips

GRAFANA = Path(__file__).parents[2] / ".grafana"
SCHEMA = GRAFANA / "shipped.schema.json"
TYPES = GRAFANA / "node_modules" / "@grafana" / "schema"

pytestmark = pytest.mark.skipif(
    not SCHEMA.exists(), reason=skips.reason(["schema of Grafana"], "grafana-schema")
)


@pytest.fixture(scope="module")
def schema():
    made = json.loads(SCHEMA.read_text())
    return made["definitions"]["Shipped"]


def faults(schema, dashboard):
    """Return what is wrong, a line a fault; each panel is held against those of its type."""
    kinds = schema["properties"]["panels"]["items"]["anyOf"]
    by_type = {kind["properties"]["type"]["const"]: kind for kind in kinds}
    without = {**schema, "properties": {**schema["properties"], "panels": {}}}
    checked = [
        ("", without, dashboard),
        *((p["title"], by_type.get(p["type"], False), _applied(p)) for p in dashboard["panels"]),
    ]
    return [
        f"{where}: {'.'.join(map(str, worst.absolute_path))}: {worst.message[:200]}"
        for where, by, given in checked
        for worst in [best_match(Draft7Validator(by).iter_errors(given))]
        if worst is not None
    ]


def _applied(panel):
    """Return a panel with its overrides as defaults: what holds for these holds for them."""
    panel = copy.deepcopy(panel)
    fields = panel.get("fieldConfig", {"overrides": []})
    for override in fields["overrides"]:
        for given in override["properties"]:
            *outer, name = given["id"].split(".")
            place = fields["defaults"][outer[0]] if outer else fields["defaults"]
            place[name] = given["value"]
    return panel


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d["uid"])
def test_grafana_has_every_key_and_every_value(schema, dashboard):
    assert faults(schema, dashboard) == []


def first(dashboard, kind):
    return next(panel for panel in dashboard["panels"] if panel["type"] == kind)


SPOILT = {
    "a key that is missing": lambda d: d.pop("schemaVersion"),
    "a key misspelt": lambda d: d.update(panles=[]),
    "a key misspelt inside": lambda d: d["time"].update(form="now-1h"),
    "a variable's key": lambda d: d["templating"]["list"][0].update(typ="query"),
    "a kind of panel that is gone": lambda d: first(d, "timeseries").update(type="graph"),
    "thresholds among the options": lambda d: first(d, "stat")["options"].update(thresholds={}),
    "an option's value": lambda d: first(d, "stat")["options"].update(colorMode="reddish"),
    "an option that is missing": lambda d: first(d, "state-timeline")["options"].pop("rowHeight"),
    "a style misspelt": lambda d: first(d, "timeseries")["fieldConfig"]["defaults"]["custom"]
    .update(fillOpactiy=1),
    "an override misspelt": lambda d: first(d, "timeseries")["fieldConfig"]["overrides"][0]
    ["properties"].append({"id": "custom.fillBelow", "value": "lower"}),
    "a query's key": lambda d: first(d, "timeseries")["targets"][0].update(legend="x"),
}  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT.keys())
def test_one_fault_is_found(schema, spoil):
    dashboard = copy.deepcopy(DASHBOARDS[-1])
    spoil(dashboard)
    assert len(faults(schema, dashboard)) == 1


def test_the_version_is_the_one_of_these_types():
    made = (TYPES / "dist" / "esm" / "raw" / "dashboard" / "x" / "types.gen.mjs").read_text()
    assert re.findall(r"schemaVersion: (\d+)", made) == [str(SCHEMA_VERSION)]
