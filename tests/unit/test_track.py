"""The filter that follows a lag: what it makes of segments, of time, of jumps."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from operators.correlate import Lag, Series, lag_of
from operators.records import F64
from operators.track import SEGMENT, STEP, Pair, Track
from tests.signals import movement

HZ, N = 5.0, 300
NOTHING = Lag(float("nan"), 0.0, 0.0, False, "weak")


def series(lag: float = 0.0, *, noise: float = 0.1, n: int = 3000, seed: int = 0) -> F64:
    """Return ten minutes of a channel that is `lag` s late (a number, or one a sample)."""
    hiss = np.random.default_rng(int(1e4 + 1e3 * np.max(lag))).standard_normal(n)
    return movement(seed)(np.arange(n) / HZ - lag) + noise * hiss


def at(a: F64, b: F64, stop: int) -> tuple[Pair, Lag]:
    """Return the window before sample `stop`, and what its correlation says."""
    first = max(stop - N, 0)
    pair = Pair(Series(a[first:stop]), Series(b[first:stop]), first, HZ)
    return pair, lag_of(pair.a, pair.b, HZ, 5.0)


def followed(
    a: F64, b: F64, walk: float = 0.0, r: float | None = None, hop: int = 50
) -> list[Track]:
    """Return the track after each hop, from half a window on."""
    track = Track()
    out = []
    for stop in range(N // 2, len(a) + 1, hop):
        track.update(*at(a, b, stop), walk, r)
        out.append(Track.revive(track.snapshot()))
    return out


def test_without_a_peak_there_is_no_lag() -> None:
    track = Track()
    pair, _ = at(series(), series(0.4), N)
    track.update(pair, NOTHING, 1e-6)
    assert not track.locked and np.isnan(track.var)


def test_one_segment_is_not_enough_to_begin() -> None:
    track = Track()
    a, b = series()[: SEGMENT + STEP], series(0.02)[: SEGMENT + STEP]
    track.update(Pair(Series(a), Series(b), 0, HZ), Lag(0.02, 0.9, 0.9, True, ""), 0.0)
    assert not track.locked


@pytest.mark.parametrize("lag", [-3.3, -0.31, 0.0, 0.1, 0.77, 2.0])
def test_the_longer_it_follows_the_better_it_knows(lag: float) -> None:
    tracks = followed(series(), series(lag))
    sds = [np.sqrt(t.var) for t in tracks]
    assert all(abs(t.lag - lag) < 5 * sd for t, sd in zip(tracks, sds, strict=True))
    assert sds[-1] < 0.4 * sds[2]
    assert abs(tracks[-1].lag - lag) < 2e-3


def test_its_variance_is_that_of_its_errors() -> None:
    tracks = [followed(series(seed=s), series(0.001 * s, seed=s))[-1] for s in range(40)]
    z = [(t.lag - 0.001 * s) ** 2 / t.var for s, t in enumerate(tracks)]
    # 40 of them know their mean to 22 %.
    assert 0.4 < np.mean(z) < 1.6


def test_each_segment_is_used_once() -> None:
    a, b = series(), series(0.4)
    track = Track()
    track.update(*at(a, b, N), 0.0)
    before = track.snapshot()
    track.update(*at(a, b, N + STEP // 2), 0.0)
    assert track.lag == before["lag"] and track.squares == before["squares"]
    track.update(*at(a, b, N + STEP), 0.0)
    assert track.squares < before["squares"]


def test_time_without_a_peak_makes_it_less_sure() -> None:
    track = followed(series(), series(0.4))[-1]
    lag, var = track.lag, track.var
    track.update(at(series(), series(0.4), 3000)[0], NOTHING, 1e-6)
    assert track.lag == lag
    assert track.var == pytest.approx(var + 1e-6)


def test_a_lag_that_walks_is_followed_by_as_much_as_it_may_walk() -> None:
    t = np.arange(3000) / HZ
    a, b = series(), series(0.4 + 5e-5 * t)
    still, walking = followed(a, b, walk=0.0)[-1], followed(a, b, walk=1e-5)[-1]
    assert abs(walking.lag - 0.43) < 7e-3
    assert abs(still.lag - 0.43) > 10e-3
    assert abs(walking.lag - 0.43) < 3 * np.sqrt(walking.var)


def test_segments_that_are_far_off_are_left_out_twice_and_believed_the_third_time() -> None:
    jump = np.where(np.arange(3000) < 1500, 0.4, 0.46)
    tracks = followed(series(), series(jump))
    left_out = [t.rejects for t in tracks]
    assert max(left_out) == 2
    assert abs(tracks[-1].lag - 0.46) < 2e-3
    i = left_out.index(2)
    assert abs(tracks[i].lag - 0.4) < 3e-3
    assert tracks[i + 1].var > tracks[i].var


def test_a_single_bad_hop_is_forgiven() -> None:
    b = series(0.4)
    b[1450:1500] = np.roll(b, 20)[1450:1500]
    tracks = followed(series(), b)
    assert max(t.rejects for t in tracks) in (1, 2)
    assert all(abs(t.lag - 0.4) < 5e-3 for t in tracks[3:])
    assert tracks[-1].rejects == 0


def test_a_given_variance_takes_the_place_of_the_spectrums() -> None:
    track = followed(series(), series(0.4), r=1e-4)[0]
    # Two or three segments, with what so few of them are too sure of.
    m = 1 / track.squares
    assert track.var == pytest.approx(1e-4 / m * (1 + 1.5 / (0.83 * m)))


def test_holes_leave_segments_out() -> None:
    a, b = series(), series(0.4)
    b[1000:1400:7] = np.nan
    tracks = followed(a, b)
    assert tracks[-1].lag == pytest.approx(0.4, abs=2e-3)
    assert tracks[-1].squares > followed(a, series(0.4))[-1].squares


def test_a_track_goes_on_from_its_snapshot() -> None:
    a, b = series(), series(0.4)
    track, other = followed(a, b)[20], Track.revive(followed(a, b)[20].snapshot())
    for x in (track, other):
        x.update(*at(a, b, 2000), 1e-8)
    for f in fields(Track):
        assert np.array_equal(getattr(track, f.name), getattr(other, f.name), equal_nan=True)
