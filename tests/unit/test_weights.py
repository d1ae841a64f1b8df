"""Weights: variances behind differences, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from operators.records import F64
from operators.weights import INFLATION, Hat, hat, weigh


def differences(variance: F64) -> F64:
    return variance[:, None] + variance


@pytest.mark.parametrize("variance", [[1.0, 1.0, 1.0], [0.1, 0.4, 2.0], [1.0, 2.0, 3.0, 0.5, 0.8]])
def test_a_hat_recovers_variances_from_their_sums(variance: list[float]) -> None:
    true = np.array(variance)
    pairs = differences(true)
    np.fill_diagonal(pairs, 0.0)
    assert hat(pairs) == pytest.approx(true, rel=1e-6)


def test_it_recovers_them_from_data() -> None:
    rng = np.random.default_rng(0)
    sd = np.array([0.1, 0.2, 0.4, 0.3])
    moves = np.cumsum(rng.standard_normal(20_000))
    y = moves[:, None] + sd * rng.standard_normal((20_000, 4))
    pairs = np.mean((y[:, :, None] - y[:, None, :]) ** 2, axis=0)
    assert np.sqrt(hat(pairs)) == pytest.approx(sd, rel=0.05)


def test_no_variance_is_taken_for_nothing() -> None:
    pairs = differences(np.array([0.0, 1.0, 1.0]))
    np.fill_diagonal(pairs, 0.0)
    assert hat(pairs).min() >= 0.02 * pairs.max() - 1e-12
    assert hat(np.zeros((3, 3))).tolist() == [0.0, 0.0, 0.0]


def filled(seconds: int, active: list[int], variance: F64 | None = None) -> Hat:
    """Return a running hat after so many seconds of 5 ticks, only `active` members there."""
    true = np.array([0.1, 0.2, 0.4]) if variance is None else variance
    out = Hat(3)
    there = np.isin(np.arange(3), active)
    both = 5.0 * np.outer(there, there)
    for k in range(seconds):
        out.add(differences(true) * both * ~np.eye(3, dtype=bool), both, float(k), 1.0)
    return out


def test_a_running_hat_says_nothing_before_three_are_there() -> None:
    assert np.isnan(filled(100, [0, 1]).at(100.0)).all()
    assert filled(10, [0, 1, 2]).at(9.0) == pytest.approx([0.1, 0.2, 0.4])


def test_what_can_no_longer_be_measured_grows_ten_percent_a_minute() -> None:
    out = filled(10, [0, 1, 2])
    assert out.at(9.0 + 60.0) == pytest.approx(INFLATION * np.array([0.1, 0.2, 0.4]))
    both = np.zeros((3, 3))
    both[:2, :2] = 5.0
    out.add(both, both, 69.0, 1.0)
    assert out.at(9.0 + 120.0) == pytest.approx(INFLATION**2 * np.array([0.1, 0.2, 0.4]))


def test_it_forgets_over_a_minute() -> None:
    out = filled(600, [0, 1, 2])
    quiet = np.array([0.1, 0.2, 0.1])
    both = np.full((3, 3), 5.0)
    for k in range(60):
        out.add(differences(quiet) * both * ~np.eye(3, dtype=bool), both, 600.0 + k, 1.0)
    assert out.at(660.0)[2] == pytest.approx(0.1 + 0.3 / np.e, rel=0.15)


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
        np.array([prior]).T, np.array([variance]).T, np.array([samples]),
        np.array([share or [1.0] * m]).T, np.array([kept or [True] * m]).T,
    )[:, 0]  # fmt: skip


def test_with_plenty_of_evidence_weights_are_inverse_variances() -> None:
    expected = np.array([1.0, 0.5, 0.25]) / 1.75
    assert weights([1.0, 2.0, 4.0]) == pytest.approx(expected, abs=1e-6)


def test_without_evidence_they_are_the_prior() -> None:
    assert weights([1.0, 2.0, 4.0], samples=0.0) == pytest.approx([0.7, 0.15, 0.15])
    assert weights([1.0, np.nan, 4.0]) == pytest.approx([0.7, 0.15, 0.15])


def test_who_may_not_speak_has_none_and_the_others_all() -> None:
    w = weights([1.0, np.nan, 1.0], kept=[True, False, True])
    assert w == pytest.approx([0.5, 0.0, 0.5], abs=1e-6)
    assert w[1] == 0.0
    assert weights([1.0] * 3, kept=[False] * 3).tolist() == [0.0] * 3


def test_a_share_takes_from_a_weight_and_the_rest_adds_up_to_one() -> None:
    w = weights([1.0, 1.0, 1.0], share=[1.0, 0.5, 0.0])
    assert w == pytest.approx([2 / 3, 1 / 3, 0.0])
