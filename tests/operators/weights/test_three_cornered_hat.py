"""Weights: variances behind differences, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from operators.types import F64
from operators.weights.three_cornered_hat import hat, weigh

MANY = np.array([1e12])


def differences(variance: F64) -> F64:
    return variance[:, None] + variance


@pytest.mark.parametrize("variance", [[1.0, 1.0, 1.0], [0.1, 0.4, 2.0], [1.0, 2.0, 3.0, 0.5, 0.8]])
def test_a_hat_recovers_variances_from_their_sums(variance: list[float]) -> None:
    true = np.array(variance)
    pairs = differences(true)
    np.fill_diagonal(pairs, 0.0)
    assert hat(pairs[None], MANY)[0] == pytest.approx(true, rel=1e-6)


def test_a_hat_recovers_variances_from_data() -> None:
    rng = np.random.default_rng(0)
    sd = np.array([0.1, 0.2, 0.4, 0.3])
    moves = np.cumsum(rng.standard_normal(20_000))
    y = moves[:, None] + sd * rng.standard_normal((20_000, 4))
    pairs = np.mean((y[:, :, None] - y[:, None, :]) ** 2, axis=0)
    assert np.sqrt(hat(pairs[None], np.array([20_000.0]))[0]) == pytest.approx(sd, rel=0.05)


def test_no_variance_is_0() -> None:
    pairs = differences(np.array([0.0, 1.0, 1.0]))
    np.fill_diagonal(pairs, 0.0)
    assert hat(pairs[None], MANY).min() >= 0.02 - 1e-12
    assert hat(np.zeros((1, 3, 3)), MANY).tolist() == [[0.0, 0.0, 0.0]]


def test_a_distant_member_changes_neither_weight_nor_variance_of_the_others() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0.001, 0.002, 1.0])
    y = np.sqrt(true) * rng.standard_normal((200, 300, 3))
    pairs = np.mean((y[:, :, :, None] - y[:, :, None, :]) ** 2, axis=1)
    found = hat(pairs, np.full(200, 300.0))
    assert found[:, 2] == pytest.approx(np.ones(200), rel=0.4)
    # Three members do not separate the two: each gets half of their difference.
    assert found[:, :2].sum(axis=1).mean() == pytest.approx(0.003, rel=0.2)
    assert found[:, :2].min() >= 0.0003


# -- weights --------------------------------------------------------------------------------------


def weights(
    variance: list[float],
    samples: float = 1e9,
    share: list[float] | None = None,
    kept: list[bool] | None = None,
    prior: tuple[float, ...] = (0.7, 0.15, 0.15),
) -> F64:
    m = len(variance)
    return weigh(
        np.array([prior]).T,
        np.array([variance]).T,
        np.full((m, 1), samples),
        None if share is None else np.array([share]).T,
        np.array([kept or [True] * m]).T,
    )[:, 0]


def test_weights_from_many_samples_are_inverse_variances() -> None:
    expected = np.array([1.0, 0.5, 0.25]) / 1.75
    assert weights([1.0, 2.0, 4.0]) == pytest.approx(expected, abs=1e-6)


def test_weights_without_samples_are_the_prior() -> None:
    assert weights([1.0, 2.0, 4.0], samples=0.0) == pytest.approx([0.7, 0.15, 0.15])
    assert weights([1.0, np.nan, 4.0]) == pytest.approx([0.7, 0.15, 0.15])


def test_excluded_members_have_weight_0() -> None:
    w = weights([1.0, np.nan, 1.0], kept=[True, False, True])
    assert w == pytest.approx([0.5, 0.0, 0.5], abs=1e-6)
    assert w[1] == 0.0
    assert weights([1.0] * 3, kept=[False] * 3).tolist() == [0.0] * 3


def test_a_share_reduces_a_weight_and_the_sum_stays_one() -> None:
    w = weights([1.0, 1.0, 1.0], share=[1.0, 0.5, 0.0])
    assert w == pytest.approx([2 / 3, 1 / 3, 0.0])
