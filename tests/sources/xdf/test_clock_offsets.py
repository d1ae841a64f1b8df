import numpy as np
import pytest

from ops.fakes.xdf_files import readings
from sources.xdf.clock_offsets import fit_offset_curves
from sources.xdf.error_laws import Peaked, Student
from sources.xdf.offset_smoother import follow

SECONDS, SKEW = 600.0, 50e-6


def asked(rng, seconds=SECONDS):
    at = np.arange(1.0, seconds, 5.0)
    return at + rng.uniform(0, 0.2, len(at))


def error(kind, seed, wander_s=0.0):
    """Return error and sd (s) of the offset followed through two-way readings."""
    rng = np.random.default_rng(seed)
    at, x = asked(rng), np.linspace(0, SECONDS, 300)

    def true(t):
        return 7.0 + SKEW * t + wander_s * np.sin(2 * np.pi * t / 600)

    (course,), _ = fit_offset_curves(at, true(at) + readings(rng, len(at), kind))
    return course(x) - true(x), course.sd(x)


@pytest.mark.parametrize(
    ("kind", "wander_s", "bar_us"),
    [("gaussian", 0.0, 8), ("cable", 0.0, 8), ("radio", 0.0, 130), ("cable", 2e-3, 30)],
)
def test_the_offset_is_found_and_its_sd_is_honest(kind, wander_s, bar_us):
    errors, sds = zip(*(error(kind, seed, wander_s) for seed in range(12)), strict=True)
    assert np.sqrt(np.mean(np.square(errors))) < bar_us * 1e-6
    assert 0.5 < np.mean(np.square(np.array(errors) / np.array(sds))) < 2.0


@pytest.mark.parametrize(("kind", "most"), [("cable", 0.945), ("gaussian", 1.02)])
def test_no_line_of_least_squares_is_better(kind, most):
    ours, plain = [], []
    for seed in range(100):
        rng = np.random.default_rng([5, seed])
        at, x = asked(rng, 300.0), np.linspace(0, 300.0, 100)
        off = readings(rng, len(at), kind)
        ours.append(np.mean((follow(at, 7.0 + SKEW * at + off)(x) - 7.0 - SKEW * x) ** 2))
        plain.append(np.mean(np.polyval(np.polyfit(at, off, 1), x) ** 2))
    assert np.sqrt(np.mean(ours) / np.mean(plain)) <= most


@pytest.mark.parametrize("law", [Student(4.0), Student(100.0), Peaked()])
def test_a_law_is_a_density_whose_weights_raise_it(law):
    x = np.linspace(-4000, 4000, 4_000_001)
    density = np.exp(law.log(x**2))
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-3)
    # d log p / dx = -x w: the weights and the density have the same maximum.
    slope = np.gradient(law.log(x**2), x)
    near = (np.abs(x) < 8) & (np.abs(x) > 0.01)
    np.testing.assert_allclose(slope[near], -(x * law.weight(x**2))[near], rtol=1e-3)
    # The weights' own account of the variance, put right by Fisher's information.
    seen = np.trapezoid(law.weight(x**2) * density, x)
    fisher = np.trapezoid((x * law.weight(x**2)) ** 2 * density, x)
    assert seen / fisher == pytest.approx(law.less, rel=1e-3)


@pytest.mark.parametrize("step", [2e-3, 0.02, 0.5, -0.8, 50.0, -1e5])
def test_a_reset_is_found_where_it_is_and_nowhere_else(step):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        host = asked(rng)
        offset = 7.0 + SKEW * host + readings(rng, len(host), "gaussian")
        offset[60:] -= step
        parts, edges = fit_offset_curves(host - offset, offset)
        assert edges.tolist() == [0, 60, len(host)]
        truth = 7.0 + SKEW * host[60] - step
        assert abs(parts[1](host[60:61] - truth)[0] - truth) < 60e-6


@pytest.mark.parametrize("kind", ["cable", "gaussian", "radio"])
def test_nothing_is_taken_for_a_reset_that_is_none(kind):
    found = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        at = asked(rng, 1800.0)
        offset = 2e-3 * np.sin(2 * np.pi * at / 600) + readings(rng, len(at), kind)
        found += len(fit_offset_curves(at, offset)[1]) - 2
    assert found == 0


def test_a_wild_reading_moves_nothing():
    rng = np.random.default_rng(0)
    at = asked(rng)
    offset = SKEW * at + readings(rng, len(at), "gaussian")
    (calm,), _ = fit_offset_curves(at, offset)
    offset[40] += 3.0
    (course,), _ = fit_offset_curves(at, offset)
    assert np.max(np.abs(course(at) - calm(at))) < 15e-6


def test_after_a_reset_the_slope_goes_on_so_that_a_short_part_is_as_sure():
    rng = np.random.default_rng(1)
    host = asked(rng)
    offset = SKEW * host + readings(rng, len(host), "gaussian") - 0.5 * (host > 580)
    parts, _ = fit_offset_curves(host - offset, offset)
    assert abs(parts[1].line[1, 0] - SKEW) < 0.3e-6


def test_a_clock_that_was_exchanged_has_a_slope_of_its_own():
    rng = np.random.default_rng(1)
    host = asked(rng)
    offset = np.where(host < 300, SKEW, -SKEW) * host + readings(rng, len(host), "gaussian")
    offset[host >= 300] += 1e4
    parts, _ = fit_offset_curves(host - offset, offset)
    assert abs(parts[0].line[1, 0] - SKEW) < 0.5e-6
    assert abs(parts[1].line[1, 0] + SKEW) < 0.5e-6


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_few_readings_give_what_they_can(n):
    at = np.arange(n) * 5.0
    parts, edges = fit_offset_curves(at, np.full(n, 2.5))
    assert edges.tolist() == [0, n]
    assert parts[0](np.array([-10.0, 100.0])) == pytest.approx([2.5, 2.5], abs=1e-6)
    assert parts[0].sd(np.array([100.0]))[0] > 1e-6


def test_readings_at_one_time_are_all_used():
    at = np.repeat([0.0, 5.0, 10.0, 15.0, 20.0], 2)
    offset = np.tile([1.0, 1.1], 5)
    (course,), _ = fit_offset_curves(at, offset)
    assert course(np.array([10.0]))[0] == pytest.approx(1.05, abs=1e-3)
