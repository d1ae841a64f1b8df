import numpy as np
import pytest

from sources.xdf.dejitter import dejitter

PERIOD = 0.01


def sampled(jitter_s, lost=0.0, seconds=120.0, gap=None, wander_s=0.0, seed=0):
    """Return sampling times (s) and stamps."""
    rng = np.random.default_rng(seed)
    true = 1000.0 + np.arange(round(seconds / PERIOD)) * PERIOD * (1 + 3e-4)
    true = true + wander_s * np.sin(2 * np.pi * true / 600)
    kept = rng.random(len(true)) >= lost
    if gap:
        kept[slice(*gap)] = False
    true = true[kept]
    return true, true + rng.normal(0, 1, len(true)) * jitter_s


def rms_ms(error):
    return float(np.sqrt(np.mean(error**2))) * 1e3


@pytest.mark.parametrize("wander_s", [0.0, 1e-3])
@pytest.mark.parametrize("how", [{}, {"lost": 0.02}, {"gap": (4000, 4050)}, {"gap": (4000, 4900)}])
def test_jitter_goes_and_lost_samples_stay_lost(how, wander_s):
    true, stamps = sampled(1e-3, wander_s=wander_s, **how)
    assert rms_ms(dejitter(stamps, 100.0) - true) < 0.06


@pytest.mark.parametrize("how", [{}, {"lost": 0.02}, {"gap": (4000, 4050)}])
def test_exact_stamps_stay_as_they_are(how):
    true, stamps = sampled(0.0, **how)
    assert np.max(np.abs(dejitter(stamps, 100.0) - true)) < 1e-6


@pytest.mark.parametrize(("jitter", "bar_ms"), [(0.4, 0.2), (2.0, 0.6)])
def test_jitter_of_whole_periods_goes_where_nothing_is_lost(jitter, bar_ms):
    true, stamps = sampled(jitter * PERIOD)
    assert rms_ms(dejitter(stamps, 100.0) - true) < bar_ms


def test_stamps_made_up_within_packets_are_evened():
    true, _ = sampled(0.0)
    late = np.repeat(np.random.default_rng(0).normal(0, 0.02, len(true) // 10), 10)
    assert rms_ms(dejitter(true + late, 100.0) - true) < 0.1 * rms_ms(late)


@pytest.mark.parametrize("jitter", [0.4, 2.0])
def test_losses_that_hide_in_jitter_cost_no_more_than_the_jitter(jitter):
    true, stamps = sampled(jitter * PERIOD, lost=0.005)
    assert rms_ms(dejitter(stamps, 100.0) - true) < 1.1 * rms_ms(stamps - true)


def test_a_wrong_rate_or_too_few_samples_change_nothing():
    _, stamps = sampled(1e-3)
    assert dejitter(stamps, 250.0) is not stamps
    assert np.array_equal(dejitter(stamps, 250.0), stamps)
    assert np.array_equal(dejitter(stamps[:50], 100.0), stamps[:50])
    assert len(dejitter(stamps[:0], 100.0)) == 0


def test_time_rises_whatever_the_stamps_do():
    _, stamps = sampled(0.02)
    assert (np.diff(stamps) < 0).any()
    assert (np.diff(dejitter(stamps, 100.0)) >= 0).all()
