"""`lumen gate`: exit codes, the table, JSON, the file, invalid calls, and the watch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ops.fakes.prometheus_server import FAULTS, FakePrometheus
from tests.support.waiting import until

ROOT = Path(__file__).parents[3]


@pytest.fixture
def prometheus():
    with FakePrometheus() as fake:
        yield fake


def gate(*argv, **environ):
    return subprocess.run(
        [sys.executable, "-m", "ops", "gate", *map(str, argv)], cwd=ROOT, capture_output=True,
        text=True, env={"PATH": "/usr/bin:/bin", **environ},
    )  # fmt: skip


def test_the_exit_code_is_that_of_the_verdict(prometheus):
    done = gate("--prometheus", prometheus.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "GO"
    prometheus.answers["min(fusion_store_up)"] = 0
    done = gate(LUMEN_PROMETHEUS=prometheus.url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "NO-GO")
    prometheus.fault = FAULTS["HTTP 500"]
    done = gate("--prometheus", prometheus.url)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (3, "UNKNOWN")


def test_each_gate_is_a_line_with_its_numbers_and_source(prometheus):
    prometheus.answers["max(canary:failure_ratio:15m)"] = 0.0278
    text = gate("--prometheus", prometheus.url, "--covered", "0.5", "--require", "slo").stdout
    line = next(x for x in text.splitlines() if x.startswith("canary_failure_ratio"))
    assert line.split()[:10] == [
        "canary_failure_ratio", "(not", "required)", "GO", "0.0278", "<=", "0.08", "15m", "100%",
        "of",
    ]  # fmt: skip
    assert "identical 1" in line
    assert "  canary_failure_ratio: max(canary:failure_ratio:15m)" in text
    budget = next(x for x in text.splitlines() if x.startswith("error_budget_burn_7d"))
    assert "100% of 50%" in budget


def test_json_and_the_file_hold_the_same(prometheus, tmp_path):
    done = gate("--prometheus", prometheus.url, "--json", "--out", tmp_path / "gate.json")
    found = json.loads(done.stdout)
    assert found == json.loads((tmp_path / "gate.json").read_text())
    assert found["verdict"] == "GO" and len(found["gates"]) == 9
    assert {"name", "verdict", "value", "bound", "window", "covered", "expression"} <= found[
        "gates"
    ][0].keys()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("--prometheus", "ftp://x"), "'ftp://x' is no address"),
        (("--prometheus", "127.0.0.1:99999"), "is no address"),
        (("--require", "slo,nothing"), "no gate 'nothing'"),
        (("--covered", "0"), "between 0 and 1"),
        (("--watch", "--on", "reboot=now"), "expected ACTION=COMMAND"),
        (("--on", "canary_freeze=true"), "need --watch"),
    ],
)
def test_an_invalid_call_is_refused(argv, text):
    done = gate(*argv)
    assert done.returncode == 2 and text in done.stderr and not done.stdout


def test_the_watch_runs_a_command_and_ends_by_a_signal(prometheus, tmp_path):
    prometheus.firing = [{"alertname": "CanaryFailing", "action": "canary_freeze", "rig": "r"}]
    made = tmp_path / "made"
    watch = subprocess.Popen(
        [sys.executable, "-m", "ops", "gate", "--prometheus", prometheus.url, "--watch",
         "--on", f"canary_freeze=touch {made}"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until(made.exists, process=watch)
    watch.terminate()
    out, err = watch.communicate(timeout=60)
    assert watch.returncode == 3  # one round of GO is none
    assert out.splitlines()[-1] == "UNKNOWN"
    assert "canary_freeze: action=canary_freeze alertname=CanaryFailing rig=r; touch runs" in err
