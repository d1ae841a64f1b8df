"""Weights: variances behind differences, and what is made of them."""

from __future__ import annotations

import numpy as np
import pytest

from operators.records import F64, Bool
from operators.weights import INFLATION, Hat, hat, weigh

MANY = np.array([1e12])


def differences(variance: F64) -> F64:
    return variance[:, None] + variance


@pytest.mark.parametrize("variance", [[1.0, 1.0, 1.0], [0.1, 0.4, 2.0], [1.0, 2.0, 3.0, 0.5, 0.8]])
def test_a_hat_recovers_variances_from_their_sums(variance: list[float]) -> None:
    true = np.array(variance)
    pairs = differences(true)
    np.fill_diagonal(pairs, 0.0)
    assert hat(pairs[None], MANY)[0] == pytest.approx(true, rel=1e-6)


def test_it_recovers_them_from_data() -> None:
    rng = np.random.default_rng(0)
    sd = np.array([0.1, 0.2, 0.4, 0.3])
    moves = np.cumsum(rng.standard_normal(20_000))
    y = moves[:, None] + sd * rng.standard_normal((20_000, 4))
    pairs = np.mean((y[:, :, None] - y[:, None, :]) ** 2, axis=0)
    assert np.sqrt(hat(pairs[None], np.array([20_000.0]))[0]) == pytest.approx(sd, rel=0.05)


def test_no_variance_is_taken_for_nothing() -> None:
    pairs = differences(np.array([0.0, 1.0, 1.0]))
    np.fill_diagonal(pairs, 0.0)
    assert hat(pairs[None], MANY).min() >= 0.02 - 1e-12
    assert hat(np.zeros((1, 3, 3)), MANY).tolist() == [[0.0, 0.0, 0.0]]


def test_one_that_is_far_off_costs_the_others_neither_weight_nor_honesty() -> None:
    rng = np.random.default_rng(0)
    true = np.array([0.001, 0.002, 1.0])
    y = np.sqrt(true) * rng.standard_normal((200, 300, 3))
    pairs = np.mean((y[:, :, :, None] - y[:, :, None, :]) ** 2, axis=1)
    found = hat(pairs, np.full(200, 300.0))
    assert found[:, 2] == pytest.approx(np.ones(200), rel=0.4)
    # What three cannot tell apart is shared; it stays what the two differ by.
    assert found[:, :2].sum(axis=1).mean() == pytest.approx(0.003, rel=0.2)
    assert found[:, :2].min() >= 0.0003


HZ = 4
VARIANCE = (0.1, 0.2, 0.4)
ORTHOGONAL = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]])


def said(seconds: int, variance: tuple[float, ...] = VARIANCE) -> F64:
    """Return ticks (3, k) whose mean squared differences each second are v_i + v_j."""
    return np.tile(np.sqrt(variance)[:, None] * ORTHOGONAL, seconds)


def there(seconds: int, *members: int) -> Bool:
    return np.repeat(np.isin(np.arange(3), members)[:, None], HZ * seconds, axis=1)


def filled(seconds: int, *members: int) -> Hat:
    """Return a running hat after so many seconds in which only these members were there."""
    out = Hat(3, HZ)
    out.read(0, said(seconds), there(seconds, *members))
    return out


def known(h: Hat, second: int) -> F64:
    """Return the variances as known at the beginning of a second."""
    return h.read(HZ * second, said(1), there(1))[0][:, 0]


def test_a_running_hat_says_nothing_before_three_are_there() -> None:
    assert np.isnan(known(filled(100, 0, 1), 100)).all()
    assert known(filled(10, 0, 1, 2), 10) == pytest.approx(VARIANCE, rel=0.15)
    assert known(filled(600, 0, 1, 2), 600) == pytest.approx(VARIANCE, rel=0.02)


def test_a_second_counts_from_its_end_on() -> None:
    variance, samples, size = Hat(3, HZ).read(2, said(3), there(3, 0, 1, 2))
    assert size.tolist() == [2, 4, 4, 2]
    assert np.isfinite(variance).all(axis=0).tolist() == [False, True, True, True]
    assert samples[0, :2].tolist() == [0.0, 2.0]


def test_what_can_no_longer_be_measured_grows_ten_percent_a_minute() -> None:
    out = filled(10, 0, 1, 2)
    measured = known(filled(10, 0, 1, 2), 10)
    assert known(out, 70) == pytest.approx(INFLATION * measured)
    out.read(HZ * 71, said(59), there(59, 0, 1))
    assert known(out, 130) == pytest.approx(INFLATION**2 * measured)


def test_who_is_there_is_measured_while_another_is_gone() -> None:
    y = np.vstack((said(120), said(120)[:1] * [[1, -1, -1, 1] * 120]))
    out = Hat(4, HZ)
    present = np.ones(y.shape, bool)
    present[2, HZ * 60 :] = False
    out.read(0, y, present)
    found = out.read(HZ * 120, y[:, :HZ], present[:, -HZ:])[0][:, 0]
    assert found == pytest.approx([0.1, 0.2, INFLATION * 0.4, 0.1], rel=0.05)


def test_it_forgets_over_a_minute() -> None:
    out = filled(600, 0, 1, 2)
    out.read(HZ * 600, said(60, (0.1, 0.2, 0.1)), there(60, 0, 1, 2))
    assert known(out, 660)[2] == pytest.approx(0.1 + 0.3 / np.e, rel=0.15)


@pytest.mark.parametrize("piece", [1, 3, 7, 50])
def test_a_hat_says_the_same_however_cut(piece: int) -> None:
    rng = np.random.default_rng(0)
    y, present = rng.standard_normal((4, 700)), rng.random((4, 700)) < 0.97
    present[1, 200:400] = present[2, 300:340] = False

    def told(width: int) -> tuple[F64, F64]:
        out, parts = Hat(4, 10.0), []
        for a in range(0, 700, width):
            rows = slice(a, a + width)
            variance, samples, size = out.read(3 + a, y[:, rows], present[:, rows])
            parts.append(np.repeat((variance, samples), size, axis=2))
            out = Hat(4, 10.0, out.snapshot())
        return tuple(np.concatenate(parts, axis=2))

    for whole, cut in zip(told(1000), told(piece), strict=True):
        assert cut == pytest.approx(whole, rel=1e-12, nan_ok=True)


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
        np.array([prior]).T, np.array([variance]).T, np.full((m, 1), samples),
        None if share is None else np.array([share]).T, np.array([kept or [True] * m]).T,
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
