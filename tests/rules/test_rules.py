"""The rules that are shipped: made from their tables, sound, tested, over metrics that exist."""

import re
import subprocess
from pathlib import Path

import promql_parser as promql
import pytest
import yaml

from configs.thresholds import BURNS, FREEZE, OBJECTIVES, SILENT_S, STORE_LAG_S, THRESHOLDS
from ops.gate.gates import TRIGGERS
from ops.monitoring.programs import peer
from ops.monitoring.prometheus import generate
from ops.monitoring.prometheus.rule import Alert, Record
from tests.support import scraped
from tests.support.programs import needs_peers

ROOT = Path(__file__).parents[2]
RUNBOOK = (ROOT / "ops" / "monitoring" / "RUNBOOK.md").read_text("utf-8")
FILES = sorted((ROOT / "ops" / "monitoring" / "prometheus" / "rules").glob("*.yml"))
RULES = [rule for groups in generate.FILES.values() for group in groups for rule in group.rules]
RECORDS = [rule for rule in RULES if isinstance(rule, Record)]
ALERTS = [rule for rule in RULES if isinstance(rule, Alert)]
NAMES = (
    "presence", "quality", "ure", "bridge", "energy", "slo_page", "slo_ticket", "store", "gate",
    "gate_budget",
)  # fmt: skip
TESTS = [
    yaml.safe_load(Path(__file__).with_name(f"{name}.yml").read_text("utf-8")) for name in NAMES
]
ELSEWHERE = {
    "up": "Prometheus makes it of each scrape",
    "ALERTS": "Prometheus makes it of each alert",
    "ure_residual_entropy_last": "a URE exports it",
    "node_hwmon_temp_celsius": "a node exporter exports it",
    "fusion_shadow_ticks_total": "`lumen shadow` exports it",
    "fusion_drill_p95_seconds": "a run exports it once there was a drill",
}
"""What no scrape of ours can show."""

needs_promtool = needs_peers("promtool")


def promtool(*arguments):
    done = subprocess.run(
        (peer("promtool"), *map(str, arguments)), cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def selectors(expression):
    """Return each series that an expression reads, with its matchers."""
    found = []
    promql.walk(
        promql.parse(expression),
        lambda node: found.append(node) if isinstance(node, promql.VectorSelector) else None,
    )
    return found


def shown_in(kind):
    return [test for file in TESTS for part in file["tests"] for test in part.get(kind, ())]


# -- made and sound ------------------------------------------------------------------------------


def test_the_files_match_the_tables():
    for path, text in generate.shipped().items():
        assert path.read_text("utf-8") == text, "run `python -m ops.monitoring.prometheus.generate`"


@needs_promtool
def test_prometheus_takes_every_rule_without_a_remark():
    promtool("check", "rules", "--lint=all", "--lint-fatal", *FILES)


@needs_promtool
def test_prometheus_takes_the_configuration():
    assert "SUCCESS" in promtool("check", "config", "ops/monitoring/prometheus/prometheus.yml")


def test_the_heartbeat_rules_are_optional():
    text = Path("ops/monitoring/prometheus/prometheus.yml").read_text("utf-8")
    config = yaml.safe_load(text)
    assert not any("heartbeat" in name for name in config["rule_files"])
    assert {job["job_name"] for job in config["scrape_configs"]} == {"fusion", "ure"}
    asked = yaml.safe_load(text.replace("# - ", "- ").replace("  #   ", "    "))
    assert "rules/heartbeat.yml" in asked["rule_files"]
    assert asked["scrape_configs"][-1]["static_configs"] == [{"targets": ["127.0.0.1:9100"]}]


@needs_promtool
@pytest.mark.parametrize("name", NAMES)
def test_rules_fire_when_they_should_and_only_then(name):
    promtool("test", "rules", f"tests/rules/{name}.yml")


# -- tested --------------------------------------------------------------------------------------


def test_each_alert_is_shown_silent_firing_and_silent_again():
    for alert in ALERTS:
        fires = [
            any(fired["exp_labels"]["severity"] == alert.severity for fired in test["exp_alerts"])
            for test in shown_in("alert_rule_test")
            if test["alertname"] == alert.name
        ]
        first = fires.index(True)
        assert False in fires[:first] and False in fires[first:], alert.name


def test_each_record_is_shown_with_its_value_and_without():
    for record in RECORDS:
        name = re.compile(rf"(?<![\w:]){record.name}(?![\w:])")
        shown = {
            bool(test["exp_samples"])
            for test in shown_in("promql_expr_test")
            if name.search(test["expr"])
        }
        constant = not selectors(record.expr)
        assert shown == ({True} if constant else {True, False}), record.name


# -- over what there is --------------------------------------------------------------------------


def test_what_rules_read_exists():
    records = {record.name for record in RECORDS}
    for selector in (s for rule in RULES for s in selectors(rule.expr)):
        if selector.name in records or selector.name in ELSEWHERE:
            continue
        there = [dict(labels) for labels in scraped.series()[selector.name]]
        for matcher in selector.matchers.matchers:
            values = {labels[matcher.name] for labels in there}
            assert matcher.op != promql.MatchOp.Equal or matcher.value in values, matcher


def test_what_is_recorded_is_there_before_it_is_read():
    seen = set()
    for rule in RULES:
        read = {selector.name for selector in selectors(rule.expr)} & {r.name for r in RECORDS}
        assert read <= seen, rule.name
        seen.add(rule.name)


def test_no_limit_is_written_twice():
    limits = {SILENT_S, STORE_LAG_S, FREEZE, 0.0, 1.0}
    limits |= {trigger.bound for trigger in TRIGGERS}
    limits |= {x for budget in THRESHOLDS.values() for x in (*budget[:3], budget.spike)}
    burning = {burn.factor for burns in BURNS.values() for burn in burns}
    burning |= {round(1 - objective, 6) for objective in OBJECTIVES.values()}
    for alert in ALERTS:
        compared = re.findall(r"[<>=]=? (-?[\d.]+)(?: \* ([\d.]+))?", alert.expr)
        for limit, factor in compared:
            if factor:
                assert {float(limit), float(factor)} <= burning, alert.name
            else:
                assert float(limit) in limits, alert.name


# -- for people ----------------------------------------------------------------------------------


def test_every_alert_has_a_summary_and_a_runbook_section():
    headings = {line[4:].lower() for line in RUNBOOK.splitlines() if line.startswith("### ")}
    for path in FILES:
        for group in yaml.safe_load(path.read_text("utf-8"))["groups"]:
            for rule in group["rules"]:
                if "alert" not in rule:
                    continue
                assert rule["labels"].keys() >= {"severity", "family"}, rule["alert"]
                annotations = rule["annotations"]
                assert annotations["summary"] and annotations["description"].endswith(".")
                page, _, anchor = annotations["runbook_url"].partition("#")
                assert page == "ops/monitoring/RUNBOOK.md"
                assert anchor == rule["alert"].lower() and anchor in headings


def test_the_runbook_names_existing_series():
    names = {rule.name for rule in RULES}
    rows = re.findall(r"^\| (`.+?) \| (.+?) \| .+ \|$", RUNBOOK, re.MULTILINE)
    assert len(rows) > 10
    for old, new in rows:
        named = re.findall(r"`([\w:]+)`", old if new == "the same names" else new)
        assert named and set(named) <= names


def test_numbers_are_readable():
    readable = re.compile(r'\{\{ (?:printf "%\.\df" \$value|if lt \$value 0\.0) \}\}')
    for alert in ALERTS:
        assert "humanize" not in alert.description
        assert "$value" not in readable.sub("", alert.description)
