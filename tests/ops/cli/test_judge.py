"""`lumen watch --once --judge`: known values meet their thresholds or are not compared."""

from __future__ import annotations

import pytest

from ops.cli.judge import judge

GOOD = {"phase_diff": 0.01, "sync_quality": 0.9, "entropy_ratio": 0.1}
SLOW = "ure:p, read each 2 s, is too slow for this movement: indicators leave it out"


def test_values_within_their_budgets_are_good() -> None:
    assert judge(GOOD)[1]


@pytest.mark.parametrize("name", GOOD)
def test_an_unknown_value_is_bad(name: str) -> None:
    shown, well = judge({**GOOD, name: None})
    assert not well
    assert "BAD" in shown


def test_an_unknown_value_of_members_that_are_left_out_is_not_compared() -> None:
    shown, well = judge({**GOOD, "sync_quality": None}, SLOW)
    assert well
    assert "not compared" in shown
    assert shown.endswith(SLOW)


def test_a_value_beyond_its_threshold_is_bad_with_members_left_out() -> None:
    assert not judge({**GOOD, "sync_quality": None, "phase_diff": 0.1}, SLOW)[1]


def test_where_nothing_is_known_nothing_is_good() -> None:
    assert not judge(dict.fromkeys(GOOD), SLOW)[1]
