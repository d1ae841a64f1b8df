"""What segments read of a lag: their variance, in a narrow band and in bursts; folded lines."""

from __future__ import annotations

import numpy as np
import pytest

from operators.align.lag_filter import INDEPENDENT, OMEGA, STEP, TOP, TRANSFORM, WINDOW
from operators.align.spectral_weights import SHARED, Nodes, weights
from operators.numeric.correlation import SEGMENT
from operators.types import F64

LAG, NOISE, COUNT = 0.3, 0.3, 400
"""Of a sample; of each series; segments."""


def nodes(size: F64, seed: int, segments_each: int = 4, band: float = 0.5) -> Nodes:
    """Return nodes of two noisy series, the second LAG late, the movement as large as `size`."""
    rng = np.random.default_rng(seed)
    n = STEP * (COUNT + 1)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n)
    spectrum[f > band] = 0
    swell = np.interp(np.arange(n), np.linspace(0, n, len(size)), size)
    late = np.fft.irfft(spectrum * np.exp(-2j * np.pi * f * LAG), n)
    both = np.stack((np.fft.irfft(spectrum, n), late)) * swell
    both += NOISE * rng.standard_normal((2, n))
    index = STEP * np.arange(COUNT)[:, None] + np.arange(SEGMENT)
    a, b = both[:, index] @ TRANSFORM
    groups = (COUNT // segments_each, segments_each, -1)
    power = np.stack((np.abs(a) ** 2, np.abs(b) ** 2), axis=1)
    return Nodes(
        np.full(groups[0], float(segments_each)),
        (a.conj() * b).reshape(groups).mean(axis=1),
        power.reshape(*groups[:2], 2, -1).mean(axis=1),
    ).turned(np.full(groups[0], LAG), OMEGA)


def readings(size: F64, seed: int, band: float = 0.5) -> tuple[F64, F64]:
    """Return errors (samples) and variances of the nodes."""
    found = nodes(size, seed, band=band)
    mine = weights(found, OMEGA, INDEPENDENT * COUNT, np.pi)
    assert mine is not None
    return mine.reading(found, OMEGA)


@pytest.mark.parametrize(
    ("size", "band"),
    [(np.ones(2), 0.5), (np.ones(2), 0.12), (np.repeat([0.02, 3.0, 0.02, 0.02, 0.02], 8), 0.5)],
    ids=["even", "narrow", "bursts"],
)
def test_the_variance_is_that_of_the_errors(size: F64, band: float) -> None:
    z = []
    for seed in range(60):
        off, var = readings(size, seed, band)
        mean = (off / var).sum() / (1 / var).sum()
        z.append(mean**2 * (1 / var).sum())
    assert 0.65 < np.mean(z) < 1.4


def test_constant_segments_have_no_weight() -> None:
    size = np.repeat([0.02, 3.0, 0.02, 0.02, 0.02], 8)
    _, var = readings(size, 1)
    precision = np.sort(1 / var)[::-1]
    assert precision[: len(precision) // 4].sum() > 0.95 * precision.sum()


def test_lines_that_fold_have_no_weight() -> None:
    found = nodes(np.ones(2), 2)
    mine = weights(found, OMEGA, INDEPENDENT * COUNT, TOP)
    assert mine is not None
    assert (mine.line[OMEGA > TOP] == 0).all() and (mine.line[OMEGA <= TOP] > 0).all()


def test_weights_are_zero_without_a_coherent_line() -> None:
    still = nodes(np.ones(2), 3)
    zero = still._replace(cross=0 * still.cross)
    assert weights(zero, OMEGA, INDEPENDENT * COUNT, TOP) is None


def test_lines_share_noise_as_the_window_has_it() -> None:
    square, energy = WINDOW**2, float((WINDOW**2).sum())
    half = WINDOW[STEP:] * WINDOW[:STEP]
    for d in range(3):
        own = abs(square @ np.exp(2j * np.pi * d * np.arange(SEGMENT) / SEGMENT)) / energy
        other = abs(half @ np.exp(2j * np.pi * d * np.arange(STEP) / SEGMENT)) / energy
        assert SHARED[2 + d] == pytest.approx((own**2 + 2 * other**2) / 2, abs=2e-3)
    assert SHARED.sum() == pytest.approx(1.0)
