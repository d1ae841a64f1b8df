"""Whether a series is a straight line of another."""

from __future__ import annotations

import numpy as np
import pytest

from operators.scale.nonlinearity import bends, products
from operators.types import F64

N = 1500


def t_of(bent: F64, x: F64) -> float:
    sums = products(x[None, None], bent[None, None], np.ones((1, 1, len(x))))
    return float(bends(sums, np.full((1, 1), float(len(x))))[0, 0])


def signal(seed: int = 0) -> tuple[F64, F64]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal(N), 0.1 * rng.standard_normal(N)


def test_a_straight_line_is_not_nonlinear() -> None:
    found = [t_of(3 * x + 2 + e, x) for x, e in map(signal, range(50))]
    assert max(found) < 4.5


@pytest.mark.parametrize("bend", [np.tanh, lambda x: x * np.abs(x), lambda x: x + 0.1 * x**2])
def test_even_and_odd_bends_are_detected(bend) -> None:
    x, e = signal()
    assert t_of(bend(x) + e, x) > 5


def test_a_large_level_does_not_change_the_result() -> None:
    x, e = signal()
    assert t_of(np.tanh(x) + e, x + 50) == pytest.approx(t_of(np.tanh(x) + e, x), rel=1e-3)


@pytest.mark.parametrize("x", [np.zeros(9), np.full(9, 7.0), np.array([0.0, 1.0] * 5)])
def test_too_little_data_is_not_nonlinear(x: F64) -> None:
    assert t_of(np.arange(float(len(x))), x) < 5
