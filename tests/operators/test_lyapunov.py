"""V of the sync error: the formula, its unit, and unknown values."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.thresholds import THRESHOLDS
from operators.lyapunov import lyapunov_v

PHI, B = THRESHOLDS["phase_diff"].crit, THRESHOLDS["sync_bound"].crit
phases, bounds = st.floats(0, 0.5), st.floats(0, 10)


def test_the_critical_budgets_give_one() -> None:
    assert lyapunov_v(PHI, B) == pytest.approx(1.0)
    assert lyapunov_v(PHI, 0.0) == pytest.approx(0.5) == lyapunov_v(0.0, B)
    assert lyapunov_v(0.0, 0.0) == 0.0


def test_an_unknown_value_gives_no_energy() -> None:
    assert lyapunov_v(None, 0.1) is None is lyapunov_v(0.01, None)
    assert math.isnan(lyapunov_v(math.nan, 0.1)) and math.isnan(lyapunov_v(0.01, math.nan))


@given(phases, bounds, phases, bounds)
def test_it_rises_with_either_error(a: float, b: float, more: float, wider: float) -> None:
    assert lyapunov_v(a + more, b + wider) >= lyapunov_v(a, b) >= 0


@given(phases, bounds, st.floats(0, 4))
def test_it_is_quadratic(phase: float, bound: float, factor: float) -> None:
    scaled = lyapunov_v(factor * phase, factor * bound)
    assert scaled == pytest.approx(factor**2 * lyapunov_v(phase, bound), rel=1e-9, abs=1e-12)
