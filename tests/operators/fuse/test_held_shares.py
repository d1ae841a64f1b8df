"""Fuse: results of a second that are kept are those computed anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators import accounting
from operators.weights.moments import over_members
from tests.contract.outcome import assert_same, outcome
from tests.contract.rich import BLOCKS, stations, traced


@pytest.mark.parametrize("block_s", BLOCKS[:2])
def test_kept_results_are_those_computed_anew(block_s: float) -> None:
    keeps, forgets = (stations()["fuse"](None) for _ in range(2))
    some, others, kept = [], [], 0
    for packet in traced(block_s)["quality"]:
        some.append(keeps.update(packet))
        kept += keeps._signals[0].shares is not None
        forgets._reporter.clocks._held = None
        for signal in forgets._signals:
            signal.shares = signal.consensus._now = None
        others.append(forgets.update(packet))
    assert kept
    assert_same(outcome(some), outcome(others))
    assert_same(keeps.snapshot(), forgets.snapshot())


@given(st.integers(1, 20), st.integers(0, 1000))
def test_a_sum_over_members_does_not_depend_on_the_number_of_ticks(m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((m, 3)) * 10.0 ** rng.integers(-8, 8, (m, 1))
    for k in range(3):
        assert over_members(x[:, k : k + 1])[0] == over_members(x)[k]


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, float("nan")]), max_size=20))
def test_plain_floats_and_arrays_count_the_same_watermarks(times: list[float]) -> None:
    expected = sum(t < 1.5 for t in times)
    for most in (0, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(accounting, "MAX_PLAIN", most)
            assert accounting._known(np.array(times), 1.5) == expected
