"""The shape of the dashboards, and that the files are those of the tables."""

import itertools

import pytest
import yaml

from configs.thresholds import THRESHOLDS, Threshold
from ops.monitoring.grafana.dashboard import COLUMNS
from ops.monitoring.grafana.generate import FOLDER, shipped
from ops.monitoring.grafana.panel import steps
from tests.dashboards.looked import DASHBOARDS, panels

PROVISIONED = FOLDER.with_name("provisioning")
each = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda d: d["uid"])


def test_the_files_are_those_of_the_tables():
    assert {path: path.read_text("utf-8") for path in FOLDER.iterdir()} == shipped(), (
        "run `python -m ops.monitoring.grafana.generate`"
    )


@each
def test_no_panel_lies_on_another_or_beside_the_page(dashboard):
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(p["x"] >= 0 and p["x"] + p["w"] <= COLUMNS for p in places)
    for a, b in itertools.combinations(places, 2):
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        above = a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"]
        assert beside or above, (a, b)


@each
def test_every_line_of_panels_is_full(dashboard):
    area = sum(p["gridPos"]["w"] * p["gridPos"]["h"] for p in dashboard["panels"])
    depth = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in dashboard["panels"])
    assert area == COLUMNS * depth


@each
def test_every_panel_has_a_description_and_a_unit(dashboard):
    for panel in panels(dashboard):
        assert panel["description"].endswith("."), panel["title"]
        assert len(panel["description"]) > 30, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
    titles = [panel["title"] for panel in dashboard["panels"]]
    assert len(set(titles)) == len(titles)
    assert [panel["id"] for panel in dashboard["panels"]] == list(range(1, len(titles) + 1))


@each
def test_what_is_drawn_in_a_way_of_its_own_is_there(dashboard):
    for panel in panels(dashboard):
        curves = {target["legendFormat"] for target in panel["targets"]}
        for override in panel["fieldConfig"]["overrides"]:
            assert override["matcher"]["options"] in curves
            drawn = {given["id"]: given["value"] for given in override["properties"]}
            assert drawn.get("custom.fillBelowTo") in {None, *curves}


@each
def test_nothing_is_chosen_before_what_it_depends_on(dashboard):
    known = set()
    for variable in dashboard["templating"]["list"]:
        query = variable["query"]
        text = query if isinstance(query, str) else query["query"]
        needed = {name for name in ("instance", "rig", "signal", "channel") if f"${name}" in text}
        assert needed <= known, variable["name"]
        known.add(variable["name"])
    everything = str(dashboard["panels"])
    assert all(f"${name}" in everything or f"${{{name}}}" in everything for name in known)


def test_each_dashboard_has_a_name_of_its_own_that_stays():
    assert [d["uid"] for d in DASHBOARDS] == ["lumen-clocks", "lumen-losses", "lumen-overview"]
    assert all(d["graphTooltip"] == 2 for d in DASHBOARDS)


def test_colours_change_at_the_thresholds_of_the_budgets():
    assert steps(THRESHOLDS["coherence"]) == (
        ("dark-red", None), ("red", 0.72), ("yellow", 0.86), ("green", 0.9),
    )  # fmt: skip
    assert steps(THRESHOLDS["residual"]) == (("green", None), ("orange", 0.03), ("red", 0.04))
    assert steps(Threshold(0.5, 0.5, 0.5, least=True)) == (("red", None), ("green", 0.5))


def test_the_indicators_stand_under_their_budgets():
    shown = {
        panel["title"]: [step["value"] for step in defaults["thresholds"]["steps"]]
        for panel in panels(DASHBOARDS[-1])
        for defaults in [panel["fieldConfig"]["defaults"]]
    }
    assert shown["phase_diff_mean"] == [None, 0.02, 0.025, 0.03]
    assert shown["sync_quality"] == [None, 0.85]


def test_what_is_provisioned_fits_together():
    source = yaml.safe_load((PROVISIONED / "datasources" / "lumen.yaml").read_text())
    (prometheus,) = source["datasources"]
    assert prometheus["type"] == "prometheus"
    provider = yaml.safe_load((PROVISIONED / "dashboards" / "lumen.yaml").read_text())
    (files,) = provider["providers"]
    assert files["type"] == "file"
    assert files["options"]["path"].endswith(FOLDER.relative_to(FOLDER.parents[2]).as_posix())
