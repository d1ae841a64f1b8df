"""How well one minute tells a lag: white noise of 2.5 Hz, the later series with noise on it."""

from __future__ import annotations

import numpy as np
import pytest

from operators.correlate import Series, lag_of
from operators.records import F64

HZ = 5.0
T = np.arange(300) / HZ


def pair(lag_s: float, snr_db: float, seed: int) -> tuple[F64, F64]:
    rng = np.random.default_rng(seed)
    f, phase = rng.uniform(0.02, HZ / 2, 300), rng.uniform(0, 2 * np.pi, 300)

    def at(t: F64) -> F64:
        return np.asarray(np.sqrt(2 / 300) * np.sin(2 * np.pi * f * t[:, None] + phase).sum(axis=1))

    return at(T), at(T - lag_s) + 10 ** (-snr_db / 20) * rng.standard_normal(len(T))


@pytest.mark.parametrize(("snr_db", "rmse_s"), [(20.0, 0.0008), (10.0, 0.0024), (0.0, 0.0078)])
def test_it_does_as_well_as_measured_before(snr_db: float, rmse_s: float) -> None:
    errors, ratios = [], []
    for seed in range(150):
        lag = float(np.random.default_rng(1000 + seed).uniform(-2, 2))
        found = lag_of(*map(Series, pair(lag, snr_db, seed)), HZ, 5.0)
        assert found.ok
        errors.append(found.lag_s - lag)
        ratios.append(errors[-1] ** 2 / found.var)
    # 150 trials know their RMSE to 6 %.
    assert np.sqrt(np.mean(np.square(errors))) <= 1.2 * rmse_s
    # The tracker doubles the variance, since it is optimistic.
    assert np.mean(ratios) <= 2.5
