"""Heartbeat rules in promtool, for every realm, and their lint."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from ops.fakes.monitoring import node_exporter
from ops.fakes.ports import free_port
from ops.monitoring.heartbeat import SEQ, TS, beat
from ops.monitoring.prometheus import unit
from ops.monitoring.prometheus.heartbeat_lint import RULES, faults
from tests.support.programs import needs_peers

ROOT = Path(__file__).parents[2]
TESTS = sorted(Path(__file__).parent.glob("heartbeat*.yml"))


@needs_peers("promtool")
@pytest.mark.parametrize("realm", ["prod", "stage-2"])
def test_records_and_alerts_pass_their_tests_in_any_realm(realm: str) -> None:
    assert unit.run([*TESTS, *TESTS], realm) == 0


@needs_peers("promtool")
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("== bool 0", "== 0"),
        ("> bool 0) *", "> 0) *"),
        ("* (duri_heartbeat_age_seconds >= bool -5)", ""),
        ("changes(duri_textfile_heartbeat_seq[6m])", "sgn(duri_textfile_heartbeat_seq)"),
        ("absent_over_time(duri_textfile_heartbeat_seq[2m])", "duri_heartbeat_ok == 0"),
        ("unless on (job, instance, metric_realm) ", "unless on (job) "),
        (
            "duri_heartbeat_stall == 1\n        for: 90s",
            "duri_heartbeat_stall == 1\n        for: 0s",
        ),
        ("node_textfile_scrape_error == 1", "node_textfile_scrape_error == 2"),
    ],
)
def test_a_rule_that_is_wrong_is_noticed(tmp_path: Path, right: str, wrong: str) -> None:
    rules, tests = (
        tmp_path / "ops" / "monitoring" / "prometheus" / "rules",
        tmp_path / "tests" / "rules",
    )
    rules.mkdir(parents=True)
    text = (RULES / "heartbeat.yml").read_text()
    assert right in text
    (rules / "heartbeat.yml").write_text(text.replace(right, wrong))
    shutil.copytree(TESTS[0].parent, tests)
    assert unit.run([tests / path.name for path in TESTS]) == 1


@needs_peers("prometheus-node-exporter")
def test_what_the_rules_read_is_what_a_node_exporter_shows(tmp_path: Path) -> None:
    folder, port = tmp_path / "textfile", free_port()
    folder.mkdir()
    beat(folder, "prod")

    def shown() -> dict[str, list[Sample]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as page:
            families = list(text_string_to_metric_families(page.read().decode()))
        return {family.name: family.samples for family in families}

    with node_exporter(folder, port):
        found = shown()
        (folder / "torn.prom").write_text("half_a_li")
        torn = shown()
    for name, value in ((SEQ, 1.0), (TS, pytest.approx(time.time(), abs=60))):
        (sample,) = found[name]
        assert (sample.labels, sample.value) == ({"metric_realm": "prod"}, value)
    series = "node_textfile_scrape_error"
    assert (found[series][0].value, torn[series][0].value) == (0, 1)


def lint(*files: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ops.monitoring.prometheus.heartbeat_lint", *map(str, files)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip


def test_our_own_rules_keep_to_what_is_allowed() -> None:
    done = lint()
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "expression", "fault"),
    [
        ("alert: A", "sign(duri_textfile_heartbeat_seq) == 0", "sign()"),
        ("alert: A", "time() - abs ( duri_textfile_heartbeat_ts ) > 9", "abs()"),
        ("record: r", "increase((max(duri_textfile_heartbeat_seq))[5m:]) > bool 0", "increase()"),
        ("record: r", 'increase({__name__="duri_textfile_heartbeat_seq"}[5m])', "increase()"),
        ("record: duri_heartbeat_stall", "duri_heartbeat_ok == 0", "without bool"),
        ("record: duri_heartbeat_ok", 'x{a="b"} > bool 0 and y <= 120', "without bool"),
    ],
)
def test_what_is_forbidden_is_refused_with_its_place(
    tmp_path: Path, name: str, expression: str, fault: str
) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(f"groups:\n  - name: g\n    rules:\n    - {name}\n      expr: '{expression}'\n")
    done = lint(path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{path}:5:13: {name.partition(' ')[2]}: ")
    assert fault in done.stderr


@pytest.mark.parametrize(
    "rule",
    [
        "alert: A, expr: 'absent_over_time(duri_textfile_heartbeat_seq[2m])'",
        "alert: A, expr: abs(x) > 1 and duri_textfile_heartbeat_seq",
        "alert: A, expr: duri_heartbeat_stall == 1",
        "record: duri_heartbeat_ok, expr: 'x{a!=\"b\"} > bool 0'",
    ],
)
def test_what_only_looks_like_it_is_allowed(tmp_path: Path, rule: str) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(f"groups:\n  - name: g\n    rules:\n    - {{{rule}}}\n")
    assert list(faults(path)) == []
