"""How members differ: slopes of pairs, spread between origins, what fits differences."""

from __future__ import annotations

import numpy as np
import pytest

from operators.types import F64
from operators.weights.effects import deming, noise_of, of_two, paule_mandel, together
from operators.weights.moments import Moments, MomentWindow, PairMoments


def pairs_of(value: F64, noise: F64) -> PairMoments:
    m, k = value.shape
    table = Moments(m, 5.0, (MomentWindow(1e12, shared=False),), one_anchor=False)
    rows = table.read(0, value, np.tile(noise[:, None], k), np.ones((m, k), bool)).rows
    return table.pairs(rows[-1:, 0])


def members(gain: list[float], sd: list[float], k: int = 50_000, seed: int = 0) -> F64:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(k)
    return np.array(gain)[:, None] * x + np.array(sd)[:, None] * rng.standard_normal((len(gain), k))


def test_a_slope_is_found_at_any_noise_of_both() -> None:
    sd = [1.0, 0.5]
    pairs = pairs_of(members([1.0, 3.0], sd), np.square(sd))
    log, var, signal = deming(pairs, pairs.ticks, np.square([sd]))
    assert np.exp(log[0, 1, 0]) == pytest.approx(3.0, rel=0.02)
    assert log[0, 0, 1] == pytest.approx(-log[0, 1, 0])
    assert signal[0, 1, 0] == pytest.approx(1.0, rel=0.05)
    assert 0 < var[0, 1, 0] < 1e-3


def test_the_stated_error_of_a_slope_is_its_scatter() -> None:
    z = []
    for seed in range(300):
        sd = [0.7, 0.7]
        pairs = pairs_of(members([1.0, 1.0], sd, 500, seed), np.square(sd))
        log, var, _ = deming(pairs, pairs.ticks, np.square([sd]))
        z.append(log[0, 1, 0] / np.sqrt(var[0, 1, 0]))
    assert np.mean(np.square(z)) == pytest.approx(1.0, rel=0.5)


def test_independent_members_have_no_slope() -> None:
    x = members([1.0, -1.0], [0.1, 0.1])
    log, _, _ = deming(
        pairs_of(x, np.full(2, 0.01)), np.full((1, 2, 2), 1e4), np.full((1, 2), 0.01)
    )
    assert log[0, 0, 1] == 0.0


def test_the_spread_of_two_is_half_their_squared_difference_less_their_noise() -> None:
    tau = paule_mandel(np.array([[1.0, 3.0]]), np.array([[0.5, 0.25]]), np.ones((1, 2), bool))
    assert tau[0] == pytest.approx((4.0 - 0.75) / 2)


def test_the_spread_of_several_is_a_root_of_its_equation() -> None:
    rng = np.random.default_rng(0)
    z, var = 3 * rng.standard_normal((50, 5)), rng.random((50, 5)) + 0.1
    valid = rng.random((50, 5)) < 0.8
    tau = paule_mandel(z, var, valid)
    assert (tau > 0).sum() > 30
    for i in np.flatnonzero(tau > 0):
        w = valid[i] / (var[i] + tau[i])
        mean = (w @ z[i]) / w.sum()
        assert w @ (z[i] - mean) ** 2 == pytest.approx(valid[i].sum() - 1, rel=1e-6)


def test_noise_alone_gives_no_spread() -> None:
    one = np.ones((1, 3), bool)
    assert paule_mandel(np.array([[1.0, 1.1, 0.9]]), np.ones((1, 3)), one)[0] == 0
    assert (
        paule_mandel(np.array([[1.0, 5.0, 9.0]]), np.ones((1, 3)), one & [True, False, False])[0]
        == 0
    )


def test_levels_fit_the_differences_of_those_that_have_met() -> None:
    z = np.array([1.0, -2.0, 0.5, 7.0])
    apart = (z[:, None] - z)[None]
    met = ~np.eye(4, dtype=bool)[None]
    met[0, 3, :] = met[0, :, 3] = met[0, 0, 2] = met[0, 2, 0] = False
    found = together(np.where(met, apart, 0.0), met)[0]
    assert found[:3] - found[0] == pytest.approx(z[:3] - z[0], abs=1e-6)
    assert found[3] == 0


def test_two_members_share_the_excess_of_their_difference() -> None:
    own = np.array([[0.1, 0.3]])
    assert of_two(np.array([2.4]), own, np.array([1e12]))[0] == pytest.approx([1.1, 1.3])
    assert of_two(np.array([0.2]), own, np.array([1e12]))[0] == pytest.approx([0.1, 0.3])


def test_noise_is_that_against_the_nearest_member() -> None:
    pairs = pairs_of(members([1.0, 7.0, 1.0], [0.1, 0.7, 1.0]), np.zeros(3))
    found = noise_of(pairs, ~np.eye(3, dtype=bool)[None])[0]
    # The third has nearly all of its difference, the two others half of theirs, in their units.
    assert found == pytest.approx([0.01, 0.49, 2 * (1 - 2.02**-0.5)], rel=0.05)
