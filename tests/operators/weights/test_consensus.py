"""Detail, level and slope of members that disagree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from operators.settings.plan import Member, Signal
from operators.types import F64, Bool
from operators.weights.consensus import INFLATION, WEIGHT_NOISE, Consensus, Force

HZ = 4
VARIANCE = (0.1, 0.2, 0.4)
WALSH = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])


def signal(*sources: str, scale: str = "consensus", **given: Any) -> Signal:
    """Return a signal with a member of each source; `given` by name, a value a member."""
    members = [
        Member("s", f"{source}:{i}", "sensors", **{k: v[i] for k, v in given.items()})
        for i, source in enumerate(sources)
    ]
    return Signal("s", tuple(members), members[0].channel, scale)


def detail(seconds: int, variance: tuple[float, ...] = VARIANCE) -> F64:
    """Return ticks (3, k) that rest, whose mean squared differences are v_i + v_j."""
    return np.tile(np.sqrt(variance)[:, None] * WALSH, seconds)


def there(seconds: int, *members: int, of: int = 3) -> Bool:
    return np.repeat(np.isin(np.arange(of), members)[:, None], HZ * seconds, axis=1)


def read(
    c: Consensus,
    second: int,
    value: F64,
    present: Bool,
    noise: Any = 0.0,
    learnt: Bool | None = None,
    sparse: Bool | None = None,
) -> Force:
    """Return what is in force at each tick."""
    noise = np.broadcast_to(np.reshape(noise, (-1, 1)), value.shape)
    learnt = np.zeros(value.shape, bool) if learnt is None else learnt
    force, _, size = c.read(HZ * second, value, noise, present, learnt, sparse)
    return Force(*np.repeat(np.array(force), size, axis=2))


def of(m: int, **given: Any) -> Consensus:
    return Consensus(signal(*"abcdef"[:m], **given), HZ)


def filled(seconds: int, *members: int) -> Consensus:
    out = of(3)
    read(out, 0, detail(seconds), there(seconds, *members))
    return out


def known(c: Consensus, second: int) -> F64:
    """Return the variances as known at the beginning of a second."""
    return read(c, second, detail(1), there(1)).variance[:, 0]


def movement(k: int, gain: Any, level: Any, sd: Any, seed: int = 0) -> tuple[F64, F64]:
    """Return members (m, k) of a moving signal and the signal (k,), RMS 1 about 5."""
    rng = np.random.default_rng(seed)
    x = 5 + np.sqrt(2) * np.sin(np.arange(k) * 0.37)
    gain, level, sd = (np.reshape(v, (-1, 1)) for v in (gain, level, sd))
    return 5 + level + gain * (x - 5) + sd * rng.standard_normal((len(gain), k)), x


def systematic(c: Consensus, weights: F64, value: F64, force: Force) -> F64:
    """Return the systematic variance of values (k,)."""
    level, slope = c.systematic(weights, force)
    return level + slope * (value - force.pivot[0]) ** 2


def fused(
    c: Consensus, value: F64, noise: Any, weights: Any, **given: Any
) -> tuple[F64, F64, Force]:
    """Return the mean of corrected members, its systematic sd, and what was in force."""
    force = read(c, 0, value, np.ones(value.shape, bool), noise, **given)
    w = np.broadcast_to(np.reshape(weights, (-1, 1)), value.shape)
    mean = (w * (force.ratio * value + force.shift)).sum(axis=0)
    return mean, np.sqrt(systematic(c, w, mean, force)), force


# -- noise --------------------------------------------------------------------------------------


def test_a_hat_measures_three_from_the_first_second_on() -> None:
    for seconds, samples, rel in ((10, 37.0, 0.1), (600, 242.0, 0.02)):
        # Weights from few samples are worse than their nominal variance.
        caution = 1 + WEIGHT_NOISE / samples
        found = known(filled(seconds, 0, 1, 2), seconds)
        assert found == pytest.approx(caution * np.array(VARIANCE), rel=rel)


def test_each_of_two_has_its_own_noise_and_half_of_the_excess() -> None:
    out = of(3)
    read(out, 0, detail(600), there(600, 0, 1), [0.05, 0.1, 0.0])
    found = known(out, 600)
    assert found[:2] == pytest.approx([0.05 + 0.075, 0.1 + 0.075], rel=0.1)
    assert np.isnan(found[2])


def test_a_second_counts_from_its_end_on() -> None:
    c = of(3)
    zero = np.zeros((3, 12))
    force, samples, size = c.read(2, detail(3), zero, there(3, 0, 1, 2), zero > 0)
    assert size.tolist() == [2, 4, 4, 2]
    assert np.isfinite(force.variance).all(axis=0).tolist() == [False, True, True, True]
    assert samples[0, :2].tolist() == [0.0, 2.0]


def test_an_unmeasurable_variance_grows_ten_percent_a_minute() -> None:
    out, measured = filled(10, 0, 1, 2), known(filled(10, 0, 1, 2), 10)
    assert known(out, 70) == pytest.approx(INFLATION * measured)
    read(out, 71, detail(59), there(59, 0, 1))
    assert known(out, 130) == pytest.approx(INFLATION**2 * measured)


def test_present_members_are_measured_while_another_is_absent() -> None:
    y = np.vstack((detail(120), np.sqrt(0.1) * np.tile([[1, 1, 1, 1, -1, -1, -1, -1]], 60)))
    out, present = of(4), np.ones((4, 480), bool)
    present[2, HZ * 60 :] = False
    read(out, 0, y, present)
    found = read(out, 120, y[:, :HZ], present[:, -HZ:]).variance[:, 0]
    assert found == pytest.approx([0.1, 0.2, INFLATION * 0.4, 0.1], rel=0.1)


def test_noise_is_forgotten_over_a_minute() -> None:
    out = filled(600, 0, 1, 2)
    read(out, 600, detail(60, (0.1, 0.2, 0.1)), there(60, 0, 1, 2))
    assert known(out, 660)[2] == pytest.approx(0.1 + 0.3 / np.e, rel=0.15)


# -- level and slope ----------------------------------------------------------------------------


def test_two_that_disagree_are_as_far_from_the_truth_as_half_their_difference() -> None:
    value, _ = movement(1200, [1, 1], [-0.3, 0.5], 0.05)
    mean, sd, _ = fused(of(2), value, 0.0025, [0.5, 0.5])
    late = slice(HZ * 60, None)
    assert sd[late] == pytest.approx(np.full(1200 - HZ * 60, 0.4), rel=0.05)
    assert (mean - value.mean(axis=0))[late] == pytest.approx(0, abs=0.2)


def test_a_slope_that_differs_makes_the_sd_grow_away_from_the_mean() -> None:
    value, x = movement(2400, [0.95, 1.05], 0, 0.02)
    _, sd, _ = fused(of(2), value, 0.0004, [0.5, 0.5])
    late = np.arange(2400) > HZ * 120
    far, near = late & (np.abs(x - 5) > 1.3), late & (np.abs(x - 5) < 0.1)
    assert np.median(sd[far]) == pytest.approx(0.05 * np.median(np.abs(x - 5)[far]), rel=0.3)
    assert np.median(sd[near]) < 0.02


def test_agreeing_members_are_hardly_corrected() -> None:
    shift = []
    for seed in range(20):
        value, _ = movement(1200, [1, 1, 1], 0, 0.1, seed)
        mean, sd, _ = fused(of(3), value, 0.01, [1 / 3] * 3)
        shift.append(np.abs(mean - value.mean(axis=0))[HZ * 60 :].max())
        assert sd[-1] < 0.03
    assert np.median(shift) < 0.005


def test_the_fused_level_stays_when_a_member_leaves() -> None:
    value, _ = movement(1600, [1, 1], [-0.5, 0.5], 0.02)
    c, present = of(2), np.ones(value.shape, bool)
    present[1, 1200:] = False
    force = read(c, 0, value, present, 0.0004)
    weights = present / present.sum(axis=0)
    mean = (weights * (force.ratio * value + force.shift)).sum(axis=0)
    true = value.mean(axis=0)
    assert np.abs(mean - true)[1200:].max() < 0.15
    sd = np.sqrt(systematic(c, weights, mean, force))
    assert sd[1200] == pytest.approx(0.5, rel=0.1)
    assert sd[-1] > sd[1200]


def test_members_of_one_origin_have_one_vote() -> None:
    value, _ = movement(1200, [1] * 4, [1.0, -1.0, -1.0, -1.0], 0.05)
    each = of(4)
    one = Consensus(signal("a", "b", "b", "b"), HZ)
    typed = Consensus(signal(*"abcd", given_origin=["", "car", "car", "car"]), HZ)
    weights = [0.25] * 4
    alone, shared, named = (fused(c, value, 0.0025, weights)[0][-200:] for c in (each, one, typed))
    assert (alone - shared).mean() == pytest.approx(-0.5, abs=0.05)
    assert named == pytest.approx(shared)


def test_a_single_member_has_no_systematic_sd_unless_configured() -> None:
    value, _ = movement(400, [1], [0], 0.1)
    _, unknown, _ = fused(of(1), value, 0.01, [1.0])
    assert np.isnan(unknown).all()
    _, typed, _ = fused(of(1, sd=[0.3]), value, 0.01, [1.0])
    assert typed == pytest.approx(np.full(400, 0.3))


def test_a_configured_sd_is_a_floor_and_weighs_the_level() -> None:
    value, _ = movement(1200, [1, 1], [0.0, 1.0], 0.05)
    mean, sd, _ = fused(of(2, sd=[0.01, 5.0]), value, 0.0025, [0.5, 0.5])
    assert (mean - value[0])[-200:].mean() == pytest.approx(0.02, abs=0.05)
    agree, _ = movement(1200, [1, 1], [0.0, 0.0], 0.05)
    _, sd, _ = fused(of(2, sd=[0.2, 0.2]), agree, 0.0025, [0.5, 0.5])
    assert sd[-1] == pytest.approx(0.2 / np.sqrt(2), rel=0.05)
    assert sd[0] == pytest.approx(0.2 / np.sqrt(2), rel=0.05)


def test_the_scale_may_be_a_channel() -> None:
    value, _ = movement(1200, [1, 1.1], [0.0, 1.0], 0.05)
    mean, sd, _ = fused(of(2, scale="a:0"), value, 0.0025, [0.5, 0.5])
    assert (mean - value[0])[-200:].mean() == pytest.approx(0.0, abs=0.05)
    assert sd[-200:].min() > 0.6


def test_a_learnt_member_has_no_vote() -> None:
    value, _ = movement(1200, [1, 1, 1], [-0.3, 0.5, 0.1], 0.05)
    learnt = np.repeat([[False], [False], [True]], 1200, axis=1)
    c, weights = of(3), np.full((3, 1200), 1 / 3)
    force = read(c, 0, value, np.ones(value.shape, bool), 0.0025, learnt)
    sd = np.sqrt(systematic(c, weights, value.mean(axis=0), force))
    assert sd[-1] == pytest.approx(0.4, rel=0.05)
    assert force.shift[2, -1] == pytest.approx(0.0, abs=1e-9)
    two, learnt = value[:2], np.repeat([[False], [True]], 1200, axis=1)
    _, alone, _ = fused(of(2), two, 0.0025, [0.5, 0.5], learnt=learnt)
    assert np.isnan(alone).all()


@pytest.mark.parametrize("piece", [1, 3, 7, 50])
def test_the_consensus_does_not_depend_on_the_packets(piece: int) -> None:
    rng = np.random.default_rng(0)
    y, present = rng.standard_normal((4, 700)), rng.random((4, 700)) < 0.97
    present[1, 200:400] = present[2, 300:340] = False
    noise, learnt = np.full((4, 700), 0.1), np.zeros((4, 700), bool)
    learnt[3, 350:] = True

    def run(width: int) -> F64:
        out, parts = Consensus(signal("a", "b", "b", "c"), 10.0), []
        for a in range(0, 700, width):
            cut = slice(a, a + width)
            force, samples, size = out.read(
                3 + a, y[:, cut], noise[:, cut], present[:, cut], learnt[:, cut]
            )
            parts.append(np.repeat(np.array([*force, samples]), size, axis=2))
            out = Consensus.from_snapshot(out.snapshot(), signal("a", "b", "b", "c"), 10.0)
        return np.concatenate(parts, axis=2)

    assert run(piece) == pytest.approx(run(1000), rel=1e-9, abs=1e-12, nan_ok=True)


def test_a_member_that_does_not_show_the_size_of_the_movement_has_no_slope() -> None:
    value, _ = movement(HZ * 200, (1.0, 0.4), (0.0, 2.0), 0.1)
    sparse = np.zeros(value.shape, bool)
    sparse[1] = True
    found = read(of(2), 0, value, np.ones(value.shape, bool), 0.01, sparse=sparse)
    plain = read(of(2), 0, value, np.ones(value.shape, bool), 0.01)
    assert plain.ratio[0, -1] < 0.9
    assert found.ratio[0, -1] == pytest.approx(1.0)
    assert np.isnan(found.slope[:, -1]).all()
    apart = found.level[1, -1] - found.level[0, -1]
    assert apart == pytest.approx(2.0, abs=0.1), "its level it does show"
