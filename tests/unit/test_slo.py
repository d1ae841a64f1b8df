import numpy as np
import pytest

from sinks.budgets import BUDGETS, OBJECTIVES
from sinks.slo import SLOS, WINDOW, Judge
from tests.shown import NAN, ticks


def judged(*parts):
    judge = Judge()
    for part in parts:
        judge.add(part)
    return {slo: (judge.ticks[slo], judge.bad[slo]) for slo in SLOS}


def entropy(k, sd, seed=0):
    return 0.1 + sd * np.random.default_rng(seed).standard_normal(k)


def test_ticks_beyond_the_budget_are_bad():
    found = judged(ticks(0, 4, phase_diff=[0.0, 0.02, 0.021, 0.4], sync_quality=[1, 0.85, 0.84, 0]))
    assert found["phase"] == found["sync"] == (4, 2)


def test_nothing_is_judged_before_the_first_value_and_the_unknown_is_bad_after_it():
    parts = ticks(0, 5, phase_diff=NAN), ticks(5, 3, phase_diff=[NAN, 0.01, NAN])
    assert judged(*parts, ticks(8, 2, phase_diff=NAN))["phase"] == (4, 3)


def test_a_steady_entropy_is_good():
    ticked, bad = judged(ticks(0, 700, entropy_ratio=entropy(700, 0.02)))["residual"]
    assert (ticked, bad) == (641, 0)


def test_a_restless_entropy_is_bad():
    ticked, bad = judged(ticks(0, 700, entropy_ratio=entropy(700, 0.05)))["residual"]
    assert bad == ticked == 641


def test_a_frozen_entropy_is_bad():
    ticked, bad = judged(ticks(0, 100, entropy_ratio=0.1))["residual"]
    assert bad == ticked == 41


def test_what_the_engine_reports_goes_before_what_is_measured():
    facts = entropy(700, 0.05)[:, None]
    ticked, bad = judged(ticks(0, 700, facts=facts, entropy_ratio=entropy(700, 0.02)))["residual"]
    assert bad == ticked


def test_an_entropy_that_is_gone_is_bad():
    gone = entropy(200, 0.02)
    gone[150:] = NAN
    assert judged(ticks(0, 200, entropy_ratio=gone))["residual"] == (141, 50)


def test_the_window_is_ten_minutes():
    calm = np.concatenate([entropy(100, 0.2), entropy(WINDOW, 0.01)])
    judge = Judge()
    judge.add(ticks(0, len(calm) - 1, entropy_ratio=calm[:-1]))
    before = judge.bad["residual"]
    judge.add(ticks(len(calm) - 1, 1, entropy_ratio=calm[-1]))
    assert judge.bad["residual"] == before, "what was restless is out of the window"
    assert before > 0


@pytest.mark.parametrize("rows", [1, 7, 3000])
@pytest.mark.parametrize("hz", [0.5, 5.0])
def test_it_does_not_matter_how_ticks_come_in_packets(rows, hz):
    rng = np.random.default_rng(1)
    value = np.repeat(0.1 + 0.03 * rng.standard_normal(1500), 2)
    value[rng.random(3000) < 0.05] = NAN
    phase = np.where(rng.random(3000) < 0.3, NAN, 0.03 * rng.random(3000))
    whole = judged(ticks(7, 3000, hz=hz, entropy_ratio=value, phase_diff=phase))
    parts = [
        ticks(7 + i, len(value[i : i + rows]), hz=hz, entropy_ratio=value[i : i + rows],
              phase_diff=phase[i : i + rows])
        for i in range(0, 3000, rows)
    ]  # fmt: skip
    assert judged(*parts) == whole
    assert 0 < whole["residual"][1] < whole["residual"][0]


def test_each_objective_has_a_target_and_thresholds_are_in_order():
    assert set(OBJECTIVES) == set(SLOS)
    for budget in BUDGETS.values():
        order = [budget.good, budget.warn, budget.crit]
        assert order == sorted(order, reverse=budget.least)
