"""The tests of one sample give the verdicts of the array form."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.guard import hampel
from operators.guard.hampel import SIDE
from operators.guard.hampel_single import is_outlier

VALUES = st.one_of(
    st.integers(-3, 3).map(float),
    st.floats(-4, 4),
    st.sampled_from([0.0, 0.1, 8.0, -30.0, 1e100, 1e-300]),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(VALUES, min_size=2 * SIDE + 1, max_size=2 * SIDE + 12),
    st.sampled_from([0.0, 1e-3, 0.1, 1.0]),
    st.data(),
)
def test_single_samples_are_judged_as_arrays_are(
    value: list[float], least: float, data: st.DataObject
) -> None:
    """`value` holds five samples before the tested ones and any number after them."""
    n = len(value) - SIDE
    after = [data.draw(st.integers(0, min(SIDE, n - 1 - k))) for k in range(n)]
    line = np.array([*value, *[np.nan] * SIDE])
    usable = np.array(after, np.int8)
    count = usable + np.int8(SIDE + 1)
    expected = hampel.outliers(line, usable, count, np.full(n, least))
    found = [is_outlier(value, SIDE + k, after[k], least) for k in range(n)]
    assert found == expected.tolist()


def test_an_outlier_in_noise_and_none_in_a_step() -> None:
    noise = (0.1 * np.random.default_rng(4).standard_normal(11)).tolist()
    noise[SIDE] = 5.0
    assert is_outlier(noise, SIDE, SIDE, 0.1)
    assert not is_outlier([0.0] * SIDE + [1.0] * (SIDE + 1), SIDE, SIDE, 0.1)
