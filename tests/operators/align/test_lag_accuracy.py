"""Accuracy of a lag from one minute, beside the Cramer-Rao bound and other ways."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench.lag import BOUNDED, WAYS, bound, errors

TRIALS = 150


@pytest.mark.parametrize("snr_db", BOUNDED)
def test_one_window_comes_near_the_cramer_rao_bound_with_a_true_sd(snr_db: float) -> None:
    found, sd = errors(WAYS["this"], snr_db, TRIALS, seed=1)
    # The RMS of 150 trials is good to 6 %.
    assert np.sqrt(np.mean(found**2)) <= 1.3 * bound(snr_db)
    assert 0.6 < np.mean((found / sd) ** 2) < 1.5


@pytest.mark.parametrize("way", ["parabola", "phase transform", "whole sample"])
def test_other_ways_are_worse(way: str) -> None:
    this, _ = errors(WAYS["this"], 10.0, 60, seed=2)
    other, _ = errors(WAYS[way], 10.0, 60, seed=2)
    assert np.mean(other**2) > 2 * np.mean(this**2)
