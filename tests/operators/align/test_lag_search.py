"""The search of a lag: two views that must agree, several rates, a confirmation."""

from __future__ import annotations

import numpy as np
import pytest

from operators.align.lag_search import Ladder, look, whitening
from operators.numeric.correlation import Lag, SampledSeries, lag_of
from operators.types import F64
from ops.bench.lock import CASES, LockCase, read, search
from ops.bench.pairs import KINDS, TOP_HZ, confirmed, noise
from tests.support.real_recordings import needs_recordings

HZ, SECONDS, STEEP = 10.0, 20.0, 1.6


def slow_pair(lag_s: float, seed: int = 0) -> tuple[SampledSeries, SampledSeries]:
    """Return two series most of whose energy is a swell, the second late, both noisy."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(SECONDS * HZ)) / HZ
    f, phase = rng.uniform(0.05, 4.0, 200), rng.uniform(0, 2 * np.pi, 200)

    def at(t: F64) -> F64:
        return np.asarray((np.sin(2 * np.pi * f * t[:, None] + phase) / f**STEEP).sum(1))

    a, b = (SampledSeries(at(x) + 0.3 * rng.standard_normal(len(t))) for x in (t, t - lag_s))
    return a, b


def test_whitening_shows_a_lag_that_a_narrow_spectrum_hides() -> None:
    pairs = [slow_pair(0.4, seed) for seed in range(30)]
    raw = [lag_of(a, b, HZ, 5.0) for a, b in pairs]
    both = [look(a, b, HZ, 5.0) for a, b in pairs]
    assert sum(x.ok for x in both) > sum(x.ok for x in raw) + 10
    assert all(abs(x.lag_s - 0.4) < 0.1 for x in both if x.ok)


def test_the_filter_makes_both_series_flatter() -> None:
    a, b = slow_pair(0.4)
    flat = [SampledSeries(np.convolve(x.x, whitening(a, b), "valid")).auto for x in (a, b)]
    assert np.abs(a.auto[1:9]).mean() > 1.8 * np.mean([np.abs(r[1:9]).mean() for r in flat])


def test_a_hole_stays_a_hole_in_the_whitened_view() -> None:
    a, b = slow_pair(0.4)
    x = b.x.copy()
    x[60:64] = np.nan
    assert look(a, SampledSeries(x), HZ, 5.0).lag_s == pytest.approx(0.4, abs=0.1)


def test_views_that_do_not_agree_do_not_count() -> None:
    rng = np.random.default_rng(4)
    n = round(30 * HZ)
    fine, swell = rng.standard_normal(n + 60), np.cumsum(rng.standard_normal(n + 60))
    a = SampledSeries(swell[60:] + 2 * fine[60:])
    # The swell is 1 s late, the detail 5 s.
    b = SampledSeries(swell[50:-10] + 2 * fine[10:-50])
    taps = whitening(a, b)
    white = [SampledSeries(np.convolve(x.x, taps, "valid")) for x in (a, b)]
    assert lag_of(white[0], white[1], HZ, 5.5).lag_s == pytest.approx(5.0, abs=0.1)
    found = look(a, b, HZ, 5.5)
    assert not found.ok and found.confidence == 0 and np.isnan(found.lag_s)


def test_an_inverted_channel_never_counts() -> None:
    a, b = slow_pair(0.4)
    assert not look(a, SampledSeries(-b.x), HZ, 5.0).ok


def count(lag_s: float) -> Lag:
    return Lag(lag_s, 0.9, 0.9, True, "")


def test_a_count_is_confirmed_by_one_from_half_a_window_later() -> None:
    ladder = Ladder()
    confirmed = [ladder.confirms(count(0.4), end, end, 60.0) for end in (13.0, 16.0, 19.0, 20.0)]
    assert confirmed == [False, False, False, True]


def test_a_count_of_another_lag_confirms_nothing() -> None:
    ladder = Ladder()
    assert not ladder.confirms(count(0.4), 13.0, 13.0, 60.0)
    assert not ladder.confirms(count(0.55), 20.0, 20.0, 60.0)
    assert ladder.confirms(count(0.45), 24.0, 24.0, 60.0)


def test_a_short_window_is_no_count() -> None:
    ladder = Ladder()
    assert not any(ladder.confirms(count(0.4), end, 10.0, 60.0) for end in range(10, 60))
    assert not ladder.counts


def test_counts_older_than_a_window_are_forgotten() -> None:
    ladder = Ladder()
    for end in range(13, 400):
        ladder.confirms(count(float(end)), end, 30.0, 30.0)
    assert len(ladder.counts) <= 31
    assert Ladder.from_snapshot(ladder.snapshot()).counts == ladder.counts


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_never_confirmed(kind: str) -> None:
    rng = np.random.default_rng([3, KINDS.index(kind)])
    n = round(40 * TOP_HZ)
    assert not any(
        confirmed(noise(kind, n, rng), noise(kind, n, rng), step_s=3.0) for _ in range(6)
    )


@needs_recordings
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_a_real_recording_is_locked_within_22_seconds_and_20_ms(case: LockCase) -> None:
    channels = read(case.file)
    found = search(channels[case.one], channels[case.other])
    assert found.locked_s <= 22
    assert abs(found.lag_s - case.lag_s) <= 0.02
