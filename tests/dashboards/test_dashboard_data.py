"""No panel without data: what each asks for is in a real scrape, or made of it by a rule."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache

import promql_parser as promql
import pytest
import yaml

from ops.monitoring.heartbeat import SEQ, TS
from ops.monitoring.prometheus.generate import FOLDER
from tests.dashboards.looked import asked
from tests.support import scraped

Labels = dict[str, str | None]
"""Of a series; None: it has the label, with whatever value."""
PLACE: Labels = {"job": None, "instance": None}
"""What Prometheus itself adds to what it scrapes."""


@lru_cache(maxsize=1)
def series() -> dict[str, list[Labels]]:
    """Return all that there is: scraped, alerts, and the records in their order."""
    found: dict[str, list[Labels]] = defaultdict(list)
    for name, several in scraped.series().items():
        found[name] = [PLACE | dict(labels) for labels in several]
    for name in scraped.URE:
        found[name] = [PLACE]
    found["node_hwmon_temp_celsius"] = [PLACE | {"chip": None, "sensor": None}]
    for name in ("node_textfile_scrape_error", SEQ, TS):
        found[name] = [PLACE | {"metric_realm": None}]
    found["fusion_shadow_ticks_total"] = [PLACE | {"rig": None, "verdict": None}]
    found["fusion_drill_p95_seconds"] = [PLACE]
    files = [yaml.safe_load(path.read_text()) for path in sorted(FOLDER.iterdir())]
    for rule in (rule for file in files for group in file["groups"] for rule in group["rules"]):
        if "alert" in rule:
            labels = {"alertname": rule["alert"], "alertstate": "firing", **rule["labels"]}
            found["ALERTS"].append(labels)
        else:
            left = dict.fromkeys(labels_of(promql.parse(rule["expr"]), found))
            found[rule["record"]].append(left | rule.get("labels", {}))
    return found


def labels_of(asked: promql.Expr, found: dict[str, list[Labels]]) -> set[str]:
    """Return the labels that a result has; fail where it asks for what is not there."""
    match asked:
        case promql.VectorSelector():
            fitting = [
                labels for labels in found.get(asked.name, ())
                if all(_fits(m, labels) for m in asked.matchers.matchers)
            ]  # fmt: skip
            assert fitting, f"nothing fits {asked}"
            return {label for labels in fitting for label in labels}
        case promql.MatrixSelector():
            return labels_of(asked.vector_selector, found)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels_of(asked.expr, found)
        case promql.AggregateExpr():
            kept = set(asked.modifier.labels) if asked.modifier else set()
            assert kept <= labels_of(asked.expr, found), f"{asked} keeps what is not there"
            return kept
        case promql.BinaryExpr():
            left, right = labels_of(asked.lhs, found), labels_of(asked.rhs, found)
            return left or right
        case promql.Call():
            given = set().union(*(labels_of(argument, found) for argument in asked.args))
            return given - {"le"} if asked.func.name == "histogram_quantile" else given
    return set()


def _fits(matcher: promql.Matcher, labels: Labels) -> bool:
    value = labels.get(matcher.name, "")
    if value is None:
        return True
    exact = matcher.op in (promql.MatchOp.Equal, promql.MatchOp.NotEqual)
    same = value == matcher.value if exact else bool(re.fullmatch(matcher.value, value))
    return same == (matcher.op in (promql.MatchOp.Equal, promql.MatchOp.Re))


@pytest.mark.parametrize("query", asked(), ids=lambda query: query.where)
def test_what_a_panel_asks_for_is_there(query):
    left = labels_of(promql.parse(query.expression), series())
    assert query.labels <= left, "the legend shows a label that the result has not"


@pytest.mark.parametrize(
    "wrong",
    [
        "fusion_lag_second",
        'fusion_mode{mode="fusing"}',
        'fusion_lag_seconds{channel=~"osc_9.*"}',
        'fusion_events_total{end!~"received|used|ignored|late|duplicate|outliers|rejected|dropped"}',
        "sum by (stream) (fusion_mode)",
        "fusion:phase_diff_mean_6m",
        'slo:current_burn_rate:ratio{sloth_slo="harmony"}',
        "rate(fusion_ticks_total[1m]) / fusion_nothing",
    ],
)
def test_what_is_not_there_is_found_out(wrong):
    with pytest.raises(AssertionError):
        labels_of(promql.parse(wrong), series())
