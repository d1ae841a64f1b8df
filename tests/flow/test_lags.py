"""Lags that move and lags of whole recordings, through all stations."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.lag import followed
from ops.bench.ramps import SETTLED_S, Course, Figures, ramp, run, step, walk

SEEDS = (3, 4)


def pooled(course: Course) -> Figures:
    runs = [run(course, seed) for seed in SEEDS]
    return Figures(*(np.concatenate(x) for x in zip(*runs, strict=True)))


@pytest.mark.parametrize("ppm", [0.0, 5.0, 20.0, 80.0, 150.0])
def test_the_lag_of_two_loggers_is_inside_the_bound_while_it_rises(ppm: float) -> None:
    x = pooled(ramp(ppm))
    assert x.at.min() < 25
    assert np.mean(x.error <= x.bound) >= 0.93
    assert np.median(x.bound) <= 2e-3
    assert np.sqrt(np.mean(x.error[x.at > SETTLED_S] ** 2)) <= 0.6e-3


def test_a_part_of_a_sample_is_no_part_of_the_error() -> None:
    # At 40 ppm the lag moves away from a whole sample for ten minutes.
    x = [run(ramp(40.0), seed) for seed in (0, 1)]
    assert all(np.mean(f.error <= f.bound) > 0.9 for f in x)


def test_the_bound_covers_a_lag_that_walks() -> None:
    x = pooled(walk(1e-6, 2))
    assert np.mean(x.error <= x.bound) >= 0.85
    assert np.median(x.bound) > 3e-3


def test_a_step_breaks_the_bound_for_some_hops_only() -> None:
    x = run(step, SEEDS[0])
    broken = x.at[x.error > 5e-3]
    assert broken.min() > 299 and broken.max() < 345
    assert (x.error[x.at > 345] <= x.bound[x.at > 345]).mean() > 0.9


def test_the_sd_of_a_lag_is_that_of_its_error() -> None:
    x = followed(0.316, range(20, 24))
    # Four recordings, whose lags share the reference's noise, know the mean to a half.
    assert 0.3 < np.mean((x.error / x.sd) ** 2) < 1.7
    assert np.sqrt(np.mean(x.error[x.last] ** 2)) < 1.5e-3
