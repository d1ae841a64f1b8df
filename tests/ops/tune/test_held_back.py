"""A change is proposed only where it holds on the half that did not choose it."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.tune.held_back import MIN_GAIN, NOTHING, Candidate, decide

ERRORS = st.floats(0.0, 4.0)
CURRENT = Candidate("in force", {}, (1.0, 2.0))


def candidate(title: str, first: float, second: float) -> Candidate:
    return Candidate(title, {"x": title}, (first, second))


def test_a_candidate_that_gains_on_both_halves_is_proposed() -> None:
    decision = decide(CURRENT, [candidate("a", 0.9, 1.8), candidate("b", 0.5, 1.0)])
    assert decision.patch == {"x": "b"}
    assert decision.held == (0.5, 0.5)
    assert decision.lines()[-1] == "holds: b"


@pytest.mark.parametrize(
    "found",
    [
        [("a", 0.5, 2.5), ("b", 1.5, 1.0)],  # each half chooses one that the other refutes
        [("a", 0.98, 1.96)],  # 2 % on both
        [("a", 0.5, 1.99)],
        [("a", math.nan, math.nan)],
    ],
)
def test_nothing_is_proposed_where_a_half_does_not_gain(found) -> None:
    decision = decide(CURRENT, [candidate(*each) for each in found])
    assert decision.patch == {}
    assert decision.lines()[-1] == NOTHING


def test_the_proposed_one_has_the_largest_gain_on_its_worse_half() -> None:
    found = [candidate("a", 0.5, 1.9), candidate("b", 0.9, 1.0), candidate("c", 0.7, 1.4)]
    decision = decide(CURRENT, found)
    assert [c.title for c in decision.chosen] == ["a", "b"]
    assert decision.held == pytest.approx((0.1, 0.05))
    assert decision.patch == {"x": "c"}


@given(st.lists(st.tuples(ERRORS, ERRORS), min_size=1, max_size=12))
def test_no_proposal_loses_on_a_half(found) -> None:
    decision = decide(CURRENT, [candidate(str(k), *each) for k, each in enumerate(found)])
    if decision.patch:
        assert min(decision.ordered[0].gains(CURRENT)) >= MIN_GAIN


def test_an_objective_of_zero_is_not_bettered() -> None:
    assert decide(Candidate("in force", {}, (0.0, 0.0)), [candidate("a", 0.0, 0.0)]).patch == {}


def test_the_answer_shows_the_runner_up_and_the_spread() -> None:
    text = "\n".join(decide(CURRENT, [candidate("a", 0.9, 1.8), candidate("b", 0.5, 1.0)]).lines())
    assert "runner-up" in text
    assert "spread of 2 candidates: 0.5000 to 0.9000, 1.0000 to 1.8000" in text
