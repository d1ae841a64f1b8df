"""Each gate GO, NO-GO and UNKNOWN; no fault of a Prometheus gives GO."""

from __future__ import annotations

import time

import pytest

from ops.fakes.ports import free_port
from ops.fakes.prometheus_server import FAULTS, FakePrometheus, burn_rules
from ops.gate import queries
from ops.gate.gates import GATES, HEARTBEAT, chosen, v_known
from ops.gate.judgement import EXIT_CODES, NAMES, judge


@pytest.fixture(scope="module")
def server():
    with FakePrometheus() as fake:
        yield fake


@pytest.fixture
def prometheus(server):
    server.reset()
    return server


def judged(fake, **settings):
    return judge(fake.url, time.time, **settings)


def of(judgement, name):
    return next(gate for gate in judgement.gates if gate.name == name)


def test_with_all_in_order_all_nine_are_go(prometheus):
    found = judged(prometheus)
    assert {gate.name: gate.verdict for gate in found.gates} == dict.fromkeys(NAMES, "GO")
    assert found.verdict == "GO" and EXIT_CODES[found.verdict] == 0
    assert len(found.gates) == 9
    assert of(found, "canary_failure_ratio").reason == "identical 1"
    assert of(found, "restore_p95_s").reason == "drills 1"


BEATS = f"{HEARTBEAT}[30s]"
V, RISE = "max(fusion:lyapunov_v_mean_5m)", "max(fusion:lyapunov_v_rise_5m)"
CANARY = "clamp_max(min(canary:ticks:increase15m) / 500, 1)"
FAILING, UNIQUE = "max(canary:failure_ratio:15m)", "min(canary:unique_ratio:15m)"


def burn(window):
    gate = next(gate for gate in GATES if gate.name == f"error_budget_burn_{window}")
    return gate.conditions[0].expr, gate.covered[0]


CASES = [
    ("heartbeat", {BEATS: [0, 1, 1]}, "GO"),
    ("heartbeat", {BEATS: [1, 0, 1]}, "NO-GO"),
    ("heartbeat", {BEATS: [1, 1, 0]}, "NO-GO"),
    ("heartbeat", {BEATS: [[1, 1], [0, 1]]}, "NO-GO"),
    ("heartbeat", {BEATS: [1]}, "UNKNOWN"),
    ("heartbeat", {BEATS: [[1, 1], [1]]}, "UNKNOWN"),
    ("heartbeat", {BEATS: []}, "UNKNOWN"),
    ("canary_failure_ratio", {FAILING: 0.08}, "GO"),
    ("canary_failure_ratio", {FAILING: 0.081}, "NO-GO"),
    ("canary_failure_ratio", {FAILING: None, CANARY: 0.5}, "UNKNOWN"),
    ("canary_failure_ratio", {FAILING: None, CANARY: None}, "UNKNOWN"),
    ("canary_failure_ratio", {FAILING: 0.5, CANARY: 0.99}, "UNKNOWN"),
    ("canary_unique_ratio", {UNIQUE: 0.92}, "GO"),
    ("canary_unique_ratio", {UNIQUE: 0.91}, "NO-GO"),
    ("canary_unique_ratio", {UNIQUE: None, CANARY: 0.1}, "UNKNOWN"),
    ("lyapunov_v", {V: 0.3, RISE: 0.02}, "GO"),
    ("lyapunov_v", {V: 0.31, RISE: 0.0}, "NO-GO"),
    ("lyapunov_v", {V: 0.1, RISE: 0.03}, "NO-GO"),
    ("lyapunov_v", {V: 0.31, RISE: None}, "NO-GO"),
    ("lyapunov_v", {V: 0.1, RISE: None}, "UNKNOWN"),
    ("lyapunov_v", {v_known(): 0.49}, "UNKNOWN"),
    ("lyapunov_v", {v_known("5m"): 0.49}, "UNKNOWN"),
    ("lyapunov_v", {v_known(): 0.5, v_known("5m"): 0.5}, "GO"),
    ("lyapunov_v", {V: None, v_known(): None}, "UNKNOWN"),
    ("restore_p95_s", {"max(fusion_drill_p95_seconds)": 720}, "GO"),
    ("restore_p95_s", {"max(fusion_drill_p95_seconds)": 721}, "NO-GO"),
    ("restore_p95_s", {"min(fusion_drill_sound)": 0}, "NO-GO"),
    ("restore_p95_s", {"max(fusion_drill_p95_seconds)": None}, "UNKNOWN"),
    ("store", {"max(fusion_store_lag_seconds)": 60}, "GO"),
    ("store", {"max(fusion_store_lag_seconds)": 61}, "NO-GO"),
    ("store", {"min(fusion_store_up)": 0}, "NO-GO"),
    ("store", {"min(fusion_store_up)": None}, "UNKNOWN"),
    *(
        (f"error_budget_burn_{window}", {burn(window)[i]: value}, verdict)
        for window, bound in (("7d", 0.6), ("30d", 0.4))
        for i, value, verdict in (
            (0, bound, "GO"), (0, bound + 0.01, "NO-GO"), (0, None, "UNKNOWN"),
            (1, 0.9, "GO"), (1, 0.89, "UNKNOWN"), (1, None, "UNKNOWN"),
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "answers", "verdict"), CASES)
def test_a_gate_is_judged_by_its_numbers(prometheus, name, answers, verdict):
    assert answers.keys() <= prometheus.answers.keys()
    prometheus.answers |= answers
    found = judged(prometheus)
    assert (of(found, name).verdict, found.verdict) == (verdict, verdict)
    assert of(found, name).reason or verdict == "GO"
    alone = {gate.name for gate in found.gates if gate.verdict != "GO"}
    assert alone <= {name, "canary_unique_ratio", "canary_failure_ratio"}


@pytest.mark.parametrize(
    ("rules", "verdict", "reason"),
    [
        (burn_rules(), "GO", ""),
        (burn_rules(("sync_slo",)), "NO-GO", "sync_slo_critical, sync_slo_warning fires"),
        (burn_rules(("sync_slo",), missing=1), "NO-GO", "fires"),
        (burn_rules(missing=1), "UNKNOWN", "not loaded"),
        ([], "UNKNOWN", "not loaded"),
        (burn_rules(health="unknown"), "UNKNOWN", "is not evaluated"),
        (burn_rules(health="err"), "UNKNOWN", "is not evaluated"),
    ],
)
def test_the_objectives_are_judged_by_their_alerts(prometheus, rules, verdict, reason):
    prometheus.rules = rules
    found = judged(prometheus)
    assert (of(found, "slo").verdict, found.verdict) == (verdict, verdict)
    assert reason in of(found, "slo").reason


def test_each_gate_is_shown_in_all_three_verdicts():
    shown = {(name, verdict) for name, _, verdict in CASES}
    shown |= {("slo", verdict) for verdict in EXIT_CODES}
    assert shown == {(name, verdict) for name in NAMES for verdict in EXIT_CODES}


# -- required gates ------------------------------------------------------------------------------


def test_what_is_not_required_may_be_unknown_but_not_no_go(prometheus):
    prometheus.answers["min(fusion_store_up)"] = None
    assert judged(prometheus, required=("slo", "heartbeat")).verdict == "GO"
    assert judged(prometheus, required=("store",)).verdict == "UNKNOWN"
    prometheus.answers["min(fusion_store_up)"] = 0
    assert judged(prometheus, required=("slo",)).verdict == "NO-GO"


def test_no_go_comes_before_unknown(prometheus):
    prometheus.answers["min(fusion_store_up)"] = 0
    prometheus.rules = []
    assert judged(prometheus).verdict == "NO-GO"


def test_nothing_known_is_unknown_even_if_nothing_is_required(prometheus):
    prometheus.fault = FAULTS["empty"]
    assert judged(prometheus, required=()).verdict == "UNKNOWN"


def test_names_mean_gates_by_their_beginning():
    assert [g.name for g in chosen("slo,canary")] == [
        "slo", "canary_failure_ratio", "canary_unique_ratio",
    ]  # fmt: skip
    assert [g.name for g in chosen("error_budget_burn")] == [
        "error_budget_burn_7d", "error_budget_burn_30d",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no gate 'canar'"):
        chosen("slo,canar")


def test_the_coverage_can_be_lowered_for_budgets_only(prometheus):
    prometheus.answers[burn("7d")[1]] = 0.5
    prometheus.answers[v_known()] = 0.4
    found = judged(prometheus, covered=0.5)
    assert of(found, "error_budget_burn_7d").verdict == "GO"
    assert of(found, "error_budget_burn_7d").needed == 0.5
    assert of(found, "lyapunov_v").verdict == "UNKNOWN"


# -- faults --------------------------------------------------------------------------------------

TARGETS = {
    "all": lambda question: True,
    "the store": lambda question: question == "min(fusion_store_up)",
    "the alerts": lambda question: question == "rules",
    "what is covered": lambda question: "count_over_time" in question,
}


def test_there_are_100_faults():
    assert len(FAULTS) * len(TARGETS) >= 100


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_a_prometheus_gives_go(prometheus, monkeypatch, fault, target):
    # A late answer is late sooner.
    monkeypatch.setattr(queries, "DEADLINE_S", 0.3)
    monkeypatch.setattr(queries.together, "__defaults__", (0.3 if fault == "no answer" else 30.0,))
    prometheus.faulty, prometheus.fault = TARGETS[target], FAULTS[fault]
    found = judged(prometheus)
    assert found.verdict in ("UNKNOWN", "NO-GO")
    assert any(gate.verdict == "UNKNOWN" for gate in found.gates)
    assert EXIT_CODES[found.verdict] != 0


def test_a_port_without_a_server_is_unknown():
    found = judge(f"http://127.0.0.1:{free_port()}", time.time)
    assert found.verdict == "UNKNOWN"
    assert {gate.reason for gate in found.gates} == {"Connection refused"}


@pytest.mark.parametrize("skew_s", [-400.0, 400.0])
def test_an_answer_of_another_time_is_none(prometheus, skew_s):
    prometheus.skew_s = skew_s
    found = judged(prometheus)
    assert found.verdict == "UNKNOWN"
    assert of(found, "store").reason == "an answer of another time"


def test_the_environment_has_no_proxy_for_it(prometheus, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    assert judged(prometheus).verdict == "GO"
