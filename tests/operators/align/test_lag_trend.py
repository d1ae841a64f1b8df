"""A trend through readings of a lag: constant, rising, walking, and how sure it is of each."""

from __future__ import annotations

import numpy as np
import pytest

from operators.align.lag_trend import CORRECTED, FREE, LEVEL_SD, Motions, Trend, fitted, motions
from operators.types import F64

EVERY_S, COUNT, SD = 25.0, 24, 4e-3
START = 1.7e9
AT = START + EVERY_S * np.arange(COUNT)
CALM, ANY = motions("auto", *CORRECTED), motions("auto", *FREE)


def trend(true: F64, seed: int = 0, kinds: Motions = ANY, ahead_s: float = 5.0) -> Trend:
    """Return the trend through noisy readings of a lag."""
    noisy = true + SD * np.random.default_rng(seed).standard_normal(len(true))
    return fitted(
        AT[: len(true)], noisy, np.full(len(true), SD**2), AT[len(true) - 1] + ahead_s, kinds
    )[0]


@pytest.mark.parametrize("ppm", [0.0, 2.0, 5.0, 10.0, 20.0, 80.0, 150.0])
def test_errors_of_lag_and_rate_are_as_large_as_stated(ppm: float) -> None:
    rate = 1e-6 * ppm
    lag, slope = [], []
    for seed in range(150):
        x = trend(0.3 + rate * (AT - START), seed)
        lag.append((x.lag - 0.3 - rate * (x.at - START)) ** 2 / x.var)
        slope.append((x.rate - rate) ** 2 / x.rate_var)
    assert 0.4 < np.mean(lag) < 1.6
    assert np.mean(np.array(lag) < 4) > 0.9
    assert np.mean(slope) < 1.8


def test_a_constant_lag_costs_little_where_rates_are_rare() -> None:
    off = [trend(np.full(COUNT, 0.3), seed, kinds=CALM).lag - 0.3 for seed in range(150)]
    assert np.sqrt(np.mean(np.square(off))) < 1.15 * SD / np.sqrt(COUNT)


@pytest.mark.parametrize(("q", "kinds"), [(1e-8, ANY), (1e-6, ANY), (1e-6, CALM)])
def test_a_walk_is_noticed(q: float, kinds: Motions) -> None:
    rng = np.random.default_rng(3)
    z = []
    for seed in range(100):
        true = 0.3 + np.cumsum(np.sqrt(q * EVERY_S) * rng.standard_normal(COUNT))
        x = trend(true, seed, kinds, ahead_s=0.0)
        z.append((x.lag - true[-1]) ** 2 / x.var)
    assert np.mean(np.array(z) < 4) > 0.85


def test_a_given_pace_of_the_walk_is_the_only_one() -> None:
    assert set(motions(3e-7, *FREE).walk) == {3e-7}
    assert np.exp(ANY.share).sum() == pytest.approx(1.0)


def test_one_reading_has_the_rate_of_none() -> None:
    x = trend(np.array([0.3]), ahead_s=60.0)
    assert x.rate == pytest.approx(0.0, abs=1e-9)
    assert np.sqrt(x.rate_var) > 50e-6
    assert x.var > SD**2 + (60 * 50e-6) ** 2


def test_the_path_is_smooth_where_the_lag_is() -> None:
    noisy = 0.3 + SD * np.random.default_rng(2).standard_normal(COUNT)
    _, path = fitted(AT, noisy, np.full(COUNT, SD**2), float(AT[-1]), CALM)
    assert path.std() < 0.1 * noisy.std()


def test_a_trend_at_another_time_has_its_covariance_there() -> None:
    x = trend(0.3 + 50e-6 * (AT - START))
    there = x.moved(x.at + 100.0)
    assert there.lag == pytest.approx(x.lag + 100 * x.rate)
    assert there.var == pytest.approx(x.var + 200 * x.cross_var + 1e4 * x.rate_var + 100 * x.growth)
    assert there.cross_var == pytest.approx(x.cross_var + 100 * x.rate_var)


def test_the_trend_is_that_of_the_gaussian_process() -> None:
    rng = np.random.default_rng(4)
    t = np.cumsum(rng.uniform(5, 60, COUNT))
    t -= t[0]
    lag, var = 0.3 + 3e-5 * t + 2e-4 * rng.standard_normal(COUNT), np.full(COUNT, 4e-8)
    end, base = float(t[-1]) + 7.0, lag[0]
    found, path = fitted(START + t, lag, var, START + end, ANY)
    logs, ends, paths = [], [], []
    for q, b, p, share in zip(*ANY[:4], strict=True):
        both = np.append(t, end)
        s, late = np.minimum.outer(both, both), np.maximum.outer(both, both)
        cov = LEVEL_SD**2 + b * s * late + q * s + p * s**2 * (3 * late - s) / 6
        own = cov[:-1, :-1] + np.diag(var)
        gain = np.linalg.solve(own, cov[:-1]).T
        miss = lag - base
        logs.append(share - (miss @ np.linalg.solve(own, miss) + np.linalg.slogdet(own)[1]) / 2)
        *smooth, last = gain @ miss
        paths.append(smooth)
        ends.append((last, cov[-1, -1] - gain[-1] @ cov[:-1, -1]))
    weight = np.exp(logs - np.max(logs))
    weight /= weight.sum()
    means, variances = np.array(ends).T
    mean = weight @ means
    assert found.lag == pytest.approx(base + mean, abs=1e-9)
    assert found.var == pytest.approx(weight @ (variances + (means - mean) ** 2), rel=1e-4)
    np.testing.assert_allclose(path, base + weight @ np.array(paths), atol=1e-9)
