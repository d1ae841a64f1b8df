"""W of the beat clock: it falls in the nominal loop, and after a disturbance of the real one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.linalg import solve_discrete_lyapunov

from operators.bridge.bridge_config import CONTROL_S, LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.bridge.loop_energy import (
    LoopDeviation,
    _transition,
    _weight,
    limits,
    loop_energy,
    stable,
)

GAINS = Gains(0.35, 0.08, 0.10)
LIMITS = limits(LoopConfig())
damped = st.builds(Gains, st.floats(0.05, 5), st.floats(0.001, 5), st.floats(0, 2)).filter(
    lambda gains: 0.002 <= gains.ki <= gains.kp**2
)


def test_a_tenth_of_a_cycle_alone_is_one() -> None:
    assert loop_energy(LoopDeviation(0.1, 0.0, 0.0), GAINS, LIMITS) == pytest.approx(1.0)
    assert loop_energy(LoopDeviation(-0.2, 0.0, 0.0), GAINS, LIMITS) == pytest.approx(4.0)


def test_the_limits_are_those_of_the_configuration() -> None:
    assert limits(LoopConfig()) == pytest.approx((0.5, 0.5, 1000 / 120 - 5))
    fixed = LoopConfig(tick_ms=200, min_tick_ms=200, max_tick_ms=200, slew=0.2)
    assert limits(fixed) == pytest.approx((0.5, 1.0, 1.0))


@given(damped, st.tuples(*[st.floats(-1, 1)] * 3))
def test_it_falls_at_each_step_of_the_nominal_loop(gains: Gains, start: tuple) -> None:
    assume(max(map(abs, start)) > 1e-3)
    error = np.array(start)
    for _ in range(20):
        after = _transition(gains) @ error
        before_w = loop_energy(LoopDeviation(*error), gains, LIMITS)
        assert loop_energy(LoopDeviation(*after), gains, LIMITS) < before_w
        error = after


@given(damped)
def test_the_matrix_is_that_of_scipy(gains: Gains) -> None:
    scale = np.array(LIMITS)
    a = _transition(gains) * scale / scale[:, None]
    p = solve_discrete_lyapunov(a.T, np.eye(3))
    assert _weight(gains, LIMITS) == pytest.approx(p / (p[0, 0] * (0.1 / 0.5) ** 2), rel=1e-6)
    assert np.linalg.eigvalsh(p).min() > 0


def test_the_transition_is_that_of_observer_and_steering() -> None:
    """The three errors of one step, from the equations of the two modules."""
    kp, ki, kd = GAINS
    r, d, e = 0.02, 0.1, -0.03  # reference less observer, their rates, observer less output
    k = kp / (1 + kd)
    r_, d_, e_ = (
        r + CONTROL_S * (d - kp * r),
        d - CONTROL_S * ki * r,
        e + CONTROL_S * (kp * r - k * e),
    )
    after = _transition(GAINS) @ (r + e, d - k * e, d)
    assert after == pytest.approx((r_ + e_, d_ - k * e_, d_))


@pytest.mark.parametrize(
    ("gains", "is_stable"),
    [
        (GAINS, True),
        (Gains(0.22, 0.03, 0.18), True),
        (Gains(0.35, 0.0, 0.1), False),
        (Gains(0.0, 0.0, 0.1), False),
        (Gains(50.0, 0.08, 0.1), False),
    ],
)
def test_a_loop_is_stable_or_not(gains: Gains, is_stable: bool) -> None:
    assert stable(gains) is is_stable


def test_an_unknown_error_has_no_energy() -> None:
    assert math.isnan(loop_energy(LoopDeviation(math.nan, 0.0, 0.0), GAINS, LIMITS))
