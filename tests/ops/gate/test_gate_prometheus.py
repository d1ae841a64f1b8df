"""Gates and triggers on a real Prometheus with the shipped rules and a month of history."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ops.fakes.gate_history import RIG, watched_month
from ops.gate.gates import ACTIONS
from ops.gate.judgement import NAMES, judge
from tests.support.programs import needs_peers
from tests.support.waiting import until

pytestmark = needs_peers("prometheus", "promtool")
ROOT = Path(__file__).parents[3]
CROSSED = {
    "promotion_stop": "lyapunov_v",
    "canary_freeze": "canary_failure_ratio",
    "experiments_stop": "error_budget_burn_7d",
    "drill_throttle": "restore_p95_s",
}


@pytest.fixture(scope="module")
def month(tmp_path_factory):
    with watched_month(tmp_path_factory.mktemp("month")) as found:
        yield found


def verdicts(url):
    return {gate.name: (gate.verdict, gate.reason) for gate in judge(url, time.time).gates}


def cross(page, action):
    if action == "promotion_stop":
        page.values[f"fusion_lyapunov_v{{{RIG}}}"] = 300.0  # the mean of five minutes is beyond
    elif action == "canary_freeze":
        page.counts[f'fusion_shadow_ticks_total{{{RIG},verdict="value"}}'] += 2_000
    elif action == "experiments_stop":
        page.counts[f'fusion_slo_bad_ticks_total{{{RIG},slo="sync"}}'] += 100_000
    else:
        page.values["fusion_drill_p95_seconds{}"] = 800.0


def test_a_month_in_order_is_go_and_each_trigger_runs_its_command_once(month, tmp_path):
    url, page = month
    found = {}

    def all_go():
        found.update(verdicts(url))
        return {verdict for verdict, _ in found.values()} == {"GO"}

    until(all_go, lambda: found, every_s=0.5)
    assert found.keys() == set(NAMES)
    program = tmp_path / "program.py"
    program.write_text(
        "import os, pathlib, sys\n"
        "with (pathlib.Path(sys.argv[1]) / os.environ['LUMEN_ACTION']).open('a') as file:\n"
        "    file.write(os.environ['LUMEN_ALERT'] + ' ' + os.environ['LUMEN_RIG'] + '\\n')\n"
    )
    (tmp_path / "ran").mkdir()
    command = f"{sys.executable} {program} {tmp_path / 'ran'}"
    log = (tmp_path / "out").open("wb")
    watch = subprocess.Popen(
        [sys.executable, "-c",
         "import ops.cli.gate as g, ops.__main__ as m, sys; g.EVERY_S = 0.5;"
         "sys.exit(m.main(sys.argv[1:]))",
         "gate", "--watch", "--prometheus", url, "--shadow", str(tmp_path),
         *(part for action in ACTIONS for part in ("--on", f"{action}={command}"))],
        cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        for action in ACTIONS:
            assert not (tmp_path / "ran" / action).exists()
            cross(page, action)
            until((tmp_path / "ran" / action).exists, lambda a=action: (a, verdicts(url)), watch)
        until(lambda: all(verdicts(url)[CROSSED[a]][0] == "NO-GO" for a in ACTIONS),
              lambda: verdicts(url), every_s=0.5)  # fmt: skip
    finally:
        watch.terminate()
        watch.wait(60)
        log.close()
    ran = {a: (tmp_path / "ran" / a).read_text().splitlines() for a in ACTIONS}
    assert {action: len(lines) for action, lines in ran.items()} == dict.fromkeys(ACTIONS, 1)
    assert ran["promotion_stop"] == ["LyapunovHigh studio"]
    assert ran["canary_freeze"] == ["CanaryFailing studio"]
    assert ran["experiments_stop"][0] in ("ErrorBudgetBurn7d studio", "ErrorBudgetBurn30d studio")
    assert ran["drill_throttle"] == ["RestoreSlow "]
    assert (tmp_path / "share").read_text() == "0.2\n"
    lines = (tmp_path / "out").read_text().splitlines()
    assert watch.returncode == 1 and "NO-GO" in lines
