"""Numbers of the last samples: when they are renewed, and what a channel's pace then is."""

from __future__ import annotations

import numpy as np
import pytest

from operators.pace import Pace
from operators.records import F64
from operators.renewal import Renewal


def newest(windows: F64) -> F64:
    """Sum a window up as its newest and its oldest sample."""
    return windows[:, 0][:, [-1, 0]]


def renewal() -> Renewal:
    return Renewal(memory=6, first=2, every=8, numbers=np.array([-1.0, -1.0]))


def samples(n: int) -> F64:
    return np.arange(1.0, n + 1)[None]


def test_numbers_are_renewed_at_doubling_counts_and_then_at_each_multiple() -> None:
    last, oldest = renewal().push(samples(25), newest)
    assert last.tolist() == [-1, 2, 2, 4, 4, 4, 4] + [8] * 8 + [16] * 8 + [24] * 2
    # Of at most six samples.
    assert oldest.tolist() == [-1, 1, 1, 1, 1, 1, 1] + [3] * 8 + [11] * 8 + [19] * 2


@pytest.mark.parametrize("cuts", [[1], [2, 3], [7, 8, 9], list(range(1, 25))])
def test_numbers_do_not_depend_on_how_samples_come(cuts: list[int]) -> None:
    core = renewal()
    pieces = []
    for part in np.split(samples(25), cuts, axis=1):
        pieces.append(core.push(part, newest))
        core = Renewal(**core.snapshot())
    assert np.concatenate(pieces, axis=1).tolist() == renewal().push(samples(25), newest).tolist()


def test_no_samples_change_nothing() -> None:
    core = renewal()
    core.push(samples(5), newest)
    before = core.snapshot()
    assert core.push(np.empty((1, 0)), newest).shape == (2, 0)
    assert core.snapshot()["numbers"].tolist() == before["numbers"].tolist()
    assert core.seen == 5


# -- pace -----------------------------------------------------------------------------------------


def test_nothing_is_said_of_a_pace_before_eight_intervals() -> None:
    spacing, noise = Pace().push(np.arange(10) / 4, np.zeros(10))
    assert np.isnan(spacing[:8]).all() and np.isnan(noise[:8]).all()
    assert spacing[8:].tolist() == [0.25, 0.25]


def test_the_interval_is_the_median_so_that_holes_do_not_count() -> None:
    apart = np.full(200, 0.02)
    apart[::5] = 0.7
    spacing, _ = Pace().push(np.cumsum(apart), np.zeros(200))
    assert spacing[8:] == pytest.approx(0.02)


def test_a_new_rate_is_known_within_two_renewals() -> None:
    apart = np.repeat([0.02, 0.1], [256, 128])
    spacing, _ = Pace().push(np.cumsum(apart), np.zeros(384))
    assert spacing[255] == pytest.approx(0.02)
    assert spacing[-1] == pytest.approx(0.1)


def test_noise_is_told_from_a_slow_signal() -> None:
    time = np.arange(6400) / 50
    slow = 3 * np.sin(2 * np.pi * 0.7 * time)
    hiss = 0.2 * np.random.default_rng(1).standard_normal(len(time))
    _, clean = Pace().push(time, slow)
    _, noise = Pace().push(time, slow + hiss)
    assert np.nanmax(clean) < 1e-4
    assert np.mean(noise[64:]) == pytest.approx(0.04, rel=0.05)


def test_samples_of_one_time_have_a_pace_too() -> None:
    pace = Pace()
    pace.push(np.zeros(20), np.ones(20))
    assert 0 < pace.spacing < 1e-6
    assert pace.noise == 0
