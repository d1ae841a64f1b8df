"""The lag of one series against another: its accuracy, and the cases without a lag."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from operators.numeric import correlation as correlate
from operators.numeric.correlation import Lag, SampledSeries
from operators.types import F64
from ops.bench.pairs import KINDS, noise, windows_with_a_lag

HZ, N, MOST = 5.0, 300, 5.0
T = np.arange(N) / HZ
TOP = 1.5


def lag_of(a: F64, b: F64, hz: float, most_s: float) -> Lag:
    return correlate.lag_of(SampledSeries(a), SampledSeries(b), hz, most_s)


def mix(rng: np.random.Generator, top: float = TOP) -> Callable[[F64], F64]:
    """Return a movement of 300 sinusoids up to `top` Hz, RMS 1."""
    hz, phase = rng.uniform(0.02, top, 300), rng.uniform(0, 2 * np.pi, 300)
    return lambda t: np.sqrt(2 / 300) * np.sin(2 * np.pi * np.outer(t, hz) + phase).sum(axis=1)


def pair(lag: float, *, noise: float = 0.1, seed: int = 0, top: float = TOP) -> tuple[F64, F64]:
    """Return a window of two series; the second is `lag` s late."""
    rng = np.random.default_rng(seed)
    signal = mix(rng, top)
    hiss = noise * rng.standard_normal((2, N))
    return signal(T) + hiss[0], signal(T - lag) + hiss[1]


# -- what it finds --------------------------------------------------------------------------------


@pytest.mark.parametrize("lag", [-4.6, -1.37, -0.2, -0.03, 0.0, 0.07, 0.5, 2.222, 4.7])
def test_lags_of_either_sign_are_found_within_a_tenth_of_a_sample(lag: float) -> None:
    found = lag_of(*pair(lag, noise=0.03), HZ, MOST)
    assert found.ok and found.note == ""
    assert found.lag_s == pytest.approx(lag, abs=0.02)
    assert found.confidence > 0.5 and found.rho > 0.8


def test_gain_and_level_do_not_matter() -> None:
    a, b = pair(0.83)
    plain, scaled = lag_of(a, b, HZ, MOST), lag_of(1e6 + 3 * a, -40 + 0.01 * b, HZ, MOST)
    assert scaled.lag_s == pytest.approx(plain.lag_s, abs=1e-6)
    assert scaled.confidence == pytest.approx(plain.confidence, abs=1e-6)


def test_exchanged_series_change_the_sign_of_the_lag() -> None:
    a, b = pair(1.234)
    assert lag_of(b, a, HZ, MOST).lag_s == pytest.approx(-lag_of(a, b, HZ, MOST).lag_s, abs=1e-9)


def test_the_peak_gives_the_lag_at_low_coherence() -> None:
    lags = np.random.default_rng(2).uniform(-2, 2, 30)
    found = [lag_of(*pair(x, noise=1.2, seed=s), HZ, MOST) for s, x in enumerate(lags)]
    error = np.array([f.lag_s - x for f, x in zip(found, lags, strict=True) if f.ok])
    assert len(error) >= 5
    assert np.abs(error).max() < 0.3


def test_holes_reduce_accuracy_only() -> None:
    a, b = pair(0.77, noise=0.05)
    a[40:70], b[200:215] = np.nan, np.nan
    assert lag_of(a, b, HZ, MOST).lag_s == pytest.approx(0.77, abs=0.015)


# -- when there is none ---------------------------------------------------------------------------


def note(a: F64, b: F64, most: float = MOST) -> str:
    """Return the note of a missing lag; without a search the confidence is NaN, not 0."""
    found = lag_of(a, b, HZ, most)
    unknown = found.note in ("too little data", "constant")
    assert not found.ok and np.isnan(found.lag_s)
    assert np.isnan(found.confidence) if unknown else found.confidence == 0
    return found.note


def test_too_little_data_has_its_note() -> None:
    a, b = pair(0.5)
    a[60:] = np.nan
    assert note(a, b) == note(b, a) == "too little data"
    assert note(np.empty(0), np.empty(0)) == "too little data"


def test_a_constant_has_its_note() -> None:
    a, _ = pair(0.5)
    assert note(a, np.full(N, 7.0)) == note(np.full(N, 7.0), a) == "constant"


@pytest.mark.parametrize("seed", range(4))
def test_an_inverted_channel_has_its_note(seed: int) -> None:
    a, b = pair(0.5, seed=seed)
    assert note(a, -b) == "anti-correlated"


@pytest.mark.parametrize("hz", [0.25, 0.5, 1.0])
def test_a_periodic_signal_has_no_one_lag(hz: float) -> None:
    hiss = 0.02 * np.random.default_rng(3).standard_normal((2, N))
    a, b = np.sin(2 * np.pi * hz * T) + hiss[0], np.sin(2 * np.pi * hz * (T - 0.3)) + hiss[1]
    assert note(a, b) in ("ambiguous", "weak")


def test_a_lag_beyond_the_search_is_not_reported() -> None:
    found = [lag_of(*pair(4.0, seed=s), HZ, 2.0) for s in range(20)]
    assert not any(f.ok for f in found)


@pytest.mark.parametrize("kind", KINDS)
def test_independent_noise_never_locks(kind: str) -> None:
    rng = np.random.default_rng(4)
    pairs = ((noise(kind, 10 * N, rng), noise(kind, 10 * N, rng)) for _ in range(40))
    assert sum(windows_with_a_lag(a, b) for a, b in pairs) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_drift_is_too_slow_for_a_lag(seed: int) -> None:
    rng = np.random.default_rng(seed)
    slow = np.cumsum(np.cumsum(rng.standard_normal(N + 10)))
    assert note(slow[10:], slow[5:-5]) in ("too slow", "weak", "at the edge")


def test_one_bump_in_each_series_gives_no_lag() -> None:
    a, b = (np.exp(-(((T - at) / 0.8) ** 2)) for at in (30.0, 31.5))
    assert not lag_of(a, b, HZ, MOST).ok


def test_the_side_lobe_of_a_mirror_image_is_no_lag() -> None:
    rng = np.random.default_rng(8)
    n = 1200
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.fft.rfftfreq(n, 1 / 40)
    spectrum[(f < 3) | (f > 9)] = 0
    swing = np.fft.irfft(spectrum, n)
    swing /= swing.std()
    a, b = (sign * swing + 0.5 * rng.standard_normal(n) for sign in (1, -1))
    found = lag_of(a, b, 40.0, 5.0)
    assert found.note == "anti-correlated" and not found.ok
    assert lag_of(a, -b, 40.0, 5.0).lag_s == pytest.approx(0.0, abs=2e-3)


@pytest.mark.parametrize(("n", "max_shift"), [(90, 20), (400, 50), (1200, 100), (2400, 200)])
@pytest.mark.parametrize("lead", [0, 8])
def test_series_without_gaps_have_the_sums_of_any_series(n: int, max_shift: int, lead: int) -> None:
    x, y = np.random.default_rng(n + lead).standard_normal((2, n))
    x[:lead] = y[:lead] = np.nan
    a, b = SampledSeries(x), SampledSeries(y)
    expected = correlate._short(a, b, max_shift)
    for found in (correlate._without_gaps, correlate._long):
        for one, other in zip(found(a, b, max_shift), expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [110, 300])
def test_a_search_wider_than_the_data_is_possible(n: int) -> None:
    x, y = pair(0.2)
    a, b = x[:n].copy(), y[:n].copy()
    a[: n - 64] = b[: n - 64] = np.nan
    shorter = lag_of(a[n - 64 :], b[n - 64 :], HZ, 1.0)
    found = lag_of(a, b, HZ, n / HZ)
    assert (found.rho, found.peak_s) == pytest.approx((shorter.rho, shorter.peak_s))


def test_the_second_peak_is_the_highest_far_from_the_first() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 3, 21, 60):
        rho = rng.uniform(-1, 1, n)
        for peak in range(n):
            for apart in (0.0, 2.4, 3.0, 100.0):
                far = [
                    rho[k]
                    for k in range(1, n - 1)
                    if abs(k - peak) > apart and rho[k - 1] <= rho[k] >= rho[k + 1]
                ]
                assert correlate._second(rho, peak, apart) == max([*far, 0.0])
