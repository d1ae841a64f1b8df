import pytest

from configs.thresholds import BURNS, FREEZE, OBJECTIVES, PERIOD_D, THRESHOLDS, Threshold
from sinks.exporter.rig_state import LATENESS_S


def test_a_value_within_its_threshold_is_ok():
    phase, sync = THRESHOLDS["phase_diff"], THRESHOLDS["sync_quality"]
    assert phase.ok(0.02) and not phase.ok(0.021)
    assert sync.ok(0.85) and not sync.ok(0.849)


def test_an_unknown_value_is_neither_ok_nor_bad():
    assert Threshold(1.0, 2.0, 3.0).ok(float("nan")) is None


@pytest.mark.parametrize("name", THRESHOLDS)
def test_limits_get_worse_in_order(name):
    budget = THRESHOLDS[name]
    limits = [budget.good, budget.warn, budget.crit]
    assert limits == sorted(limits, reverse=budget.least)
    if budget.spike is not None:
        assert budget.warn < budget.spike < budget.crit


def test_lateness_is_judged_at_edges_that_it_is_counted_between():
    assert {*THRESHOLDS["lateness"][:3]} <= {*LATENESS_S}


def test_no_objective_is_kept_or_lost_by_itself():
    assert all(0.9 < objective < 1 for objective in OBJECTIVES.values())
    assert 0 < FREEZE < sum(1 - objective for objective in OBJECTIVES.values())


@pytest.mark.parametrize(
    ("severity", "spent"), [("critical", (0.02, 0.05)), ("warning", (0.1, 0.1))]
)
def test_a_burn_alerts_at_this_share_of_the_budget(severity, spent):
    hours = {"1h": 1, "6h": 6, "1d": 24, "3d": 72}
    burnt = [burn.factor * hours[burn.window] / (PERIOD_D * 24) for burn in BURNS[severity]]
    assert burnt == pytest.approx(spent)
