from dataclasses import replace

import numpy as np
import pytest

from configs.thresholds import OBJECTIVES, THRESHOLDS
from operators.bridge.trend import LONG_S
from sinks.exporter.slo import SLOS, Judge
from tests.support.shown import NAN, ticks


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


def alone(first, k, live, **indicators):
    """Return ticks at which so many members are present."""
    made = ticks(first, k, **indicators)
    signal = replace(made.signals[0], live=np.broadcast_to(live, (k,)))
    return replace(made, signals=(signal,))


def counted(*parts, signal=None):
    judge = Judge(signal)
    for part in parts:
        judge.add(part)
    return judge


def test_ticks_with_fewer_than_two_members_are_counted_apart():
    judge = counted(
        ticks(0, 4, phase_diff=0.01),
        alone(4, 3, 1, phase_diff=NAN),
        ticks(7, 2, phase_diff=0.3),
    )
    assert judge.ticks["phase"] == 6 and judge.bad["phase"] == 2
    assert judge.uncompared["phase"] == 3


def test_ticks_after_an_absence_stay_apart_until_the_next_value():
    judge = counted(
        ticks(0, 2, sync_quality=1.0), alone(2, 1, 0, sync_quality=NAN),
        ticks(3, 5, sync_quality=NAN), ticks(8, 1, sync_quality=1.0),
        ticks(9, 2, sync_quality=NAN),
    )  # fmt: skip
    assert judge.uncompared["sync"] == 6
    assert (judge.ticks["sync"], judge.bad["sync"]) == (5, 2), "unknown beside two is bad"


def test_a_member_alone_from_the_start_is_never_judged():
    judge = counted(alone(0, 9, 1, phase_diff=NAN, sync_quality=NAN, entropy_ratio=NAN))
    assert not any(judge.ticks.values())
    assert judge.uncompared["phase"] == judge.uncompared["sync"] == 9


def test_a_reported_value_is_judged_with_a_lone_member():
    judge = counted(alone(0, 4, 1, phase_diff=[0.01, 0.3, 0.01, 0.3]))
    assert (judge.ticks["phase"], judge.bad["phase"], judge.uncompared["phase"]) == (4, 2, 0)


def test_an_entropy_of_a_lone_member_is_apart_and_a_reported_one_is_judged():
    value = entropy(300, 0.02)
    value[200:] = NAN
    live = np.where(np.arange(300) < 200, 2, 1)
    judge = counted(alone(0, 300, live, entropy_ratio=value))
    assert (judge.bad["residual"], judge.uncompared["residual"]) == (0, 100)
    judge = counted(alone(0, 300, live, facts=value[:, None]))
    assert (judge.bad["residual"], judge.uncompared["residual"]) == (100, 0)


def test_the_judged_signal_decides_about_lone_members():
    made = ticks(0, 3, phase_diff=NAN)
    other = replace(made.signals[0], name="other", live=np.ones(3, np.int64))
    both = replace(made, signals=(made.signals[0], other))
    assert counted(both).uncompared["phase"] == 0
    assert counted(both, signal="other").uncompared["phase"] == 3


def test_members_that_are_left_out_are_not_judged():
    flags = np.tile([True, False], (3, 1))
    left_out = replace(ticks(0, 3, sync_quality=NAN), sparse=flags)
    judge = counted(ticks(0, 1, sync_quality=1.0), left_out)
    assert (judge.ticks["sync"], judge.bad["sync"], judge.uncompared["sync"]) == (1, 0, 3)
    other = replace(left_out.signals[0], name="other")
    both = replace(left_out, signals=(other, left_out.signals[0]))
    both = replace(both, sparse=np.tile([False, False, True, False], (3, 1)))
    judge = counted(ticks(0, 1, sync_quality=1.0), both, signal="pulse")
    assert judge.uncompared["sync"] == 3
    judge = counted(ticks(0, 1, sync_quality=1.0), both, signal="other")
    assert judge.bad["sync"] == 3


def test_a_steady_entropy_is_good():
    ticked, bad = judged(ticks(0, 700, entropy_ratio=entropy(700, 0.02)))["residual"]
    assert (ticked, bad) == (641, 0)


def test_a_restless_entropy_is_bad():
    ticked, bad = judged(ticks(0, 700, entropy_ratio=entropy(700, 0.05)))["residual"]
    assert bad == ticked == 641


def test_a_frozen_entropy_is_bad():
    ticked, bad = judged(ticks(0, 100, entropy_ratio=0.1))["residual"]
    assert bad == ticked == 41


def test_a_reported_entropy_goes_before_the_measured_one():
    facts = entropy(700, 0.05)[:, None]
    ticked, bad = judged(ticks(0, 700, facts=facts, entropy_ratio=entropy(700, 0.02)))["residual"]
    assert bad == ticked


def test_an_entropy_that_is_gone_is_bad():
    gone = entropy(200, 0.02)
    gone[150:] = NAN
    assert judged(ticks(0, 200, entropy_ratio=gone))["residual"] == (141, 50)


def test_the_window_is_ten_minutes():
    calm = np.concatenate([entropy(100, 0.2), entropy(LONG_S, 0.01)])
    judge = Judge()
    judge.add(ticks(0, len(calm) - 1, entropy_ratio=calm[:-1]))
    before = judge.bad["residual"]
    judge.add(ticks(len(calm) - 1, 1, entropy_ratio=calm[-1]))
    assert judge.bad["residual"] == before, "what was restless is out of the window"
    assert before > 0


@pytest.mark.parametrize("rows", [1, 7, 3000])
@pytest.mark.parametrize("hz", [0.5, 5.0])
def test_counts_do_not_depend_on_the_packets_of_ticks(rows, hz):
    rng = np.random.default_rng(1)
    value = np.repeat(0.1 + 0.03 * rng.standard_normal(1500), 2)
    value[rng.random(3000) < 0.05] = NAN
    phase = np.where(rng.random(3000) < 0.3, NAN, 0.03 * rng.random(3000))
    live = np.repeat(rng.integers(1, 3, 300), 10)

    def part(a, b):
        return replace(
            alone(7 + a, b - a, live[a:b], entropy_ratio=value[a:b], phase_diff=phase[a:b]),
            ts=(7 + np.arange(a, b)) / hz,
        )

    whole = counted(part(0, 3000))
    parts = counted(*(part(a, min(a + rows, 3000)) for a in range(0, 3000, rows)))
    for name in ("ticks", "bad", "uncompared"):
        assert getattr(parts, name) == getattr(whole, name)
    assert 0 < whole.bad["residual"] < whole.ticks["residual"]
    assert 0 < whole.uncompared["phase"] < 3000 and 0 < whole.uncompared["residual"] < 3000


def test_each_objective_has_a_target_and_thresholds_are_in_order():
    assert set(OBJECTIVES) == set(SLOS)
    for budget in THRESHOLDS.values():
        order = [budget.good, budget.warn, budget.crit]
        assert order == sorted(order, reverse=budget.least)
