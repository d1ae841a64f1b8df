"""What a series is, by its values: sensors and controls as networks deliver them."""

from __future__ import annotations

import numpy as np
import pytest

from operators.types import F64
from ops.cli.guess.kinds import nature, steady

RATE, LONG = 50.0, 20.0
SENT = np.arange(0, LONG, 1 / RATE)


def movement(t: F64) -> F64:
    """Return a smooth movement without noise."""
    return np.asarray(np.sin(2 * np.pi * 0.7 * t) + 0.5 * np.sin(2 * np.pi * 1.9 * t + 1))


def bunched(t: F64, seed: int) -> F64:
    """Return arrivals that wait for the next beacon, which come 0.1 to 0.4 s apart."""
    beacons = np.cumsum(np.random.default_rng(seed).uniform(0.1, 0.4, 400))
    return np.asarray(beacons[np.searchsorted(beacons, t)])


@pytest.mark.parametrize("seed", range(5))
def test_a_sensor_that_arrives_in_bunches_is_sampled(seed: int) -> None:
    rng = np.random.default_rng([seed, 1])
    rx = bunched(SENT, seed)
    for values in (movement(SENT), movement(SENT) + 0.1 * rng.standard_normal(len(SENT))):
        assert nature(rx, values, 5, rx[-1]) == "sampled"


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_a_sensor_of_which_nothing_arrives_for_long_has_moved_on_and_is_sampled(
    noise: float,
) -> None:
    rng = np.random.default_rng(3)
    got = SENT % 5 < 3  # two seconds of five are lost
    values = movement(SENT) + noise * rng.standard_normal(len(SENT))
    assert nature(SENT[got], values[got], 5, LONG) == "sampled"


@pytest.mark.parametrize("jitter", [0.0, 0.03])
def test_a_control_that_rests_and_goes_on_from_there_is_held(jitter: float) -> None:
    # Moved for one second of three, and sent while it moves: evenly or not.
    rng = np.random.default_rng(4)
    moved = SENT % 3 < 1
    rx = np.sort(SENT[moved] + jitter * rng.random(moved.sum()))
    assert nature(rx, movement(np.arange(moved.sum()) / RATE), 5, LONG) == "held"


def test_repeated_values_are_sampled_at_any_pauses() -> None:
    got = SENT % 5 < 3
    steps = np.round(movement(SENT) * 4)  # a sensor of few bits
    assert nature(SENT[got], steps[got], 5, LONG) == "sampled"


def test_a_switch_is_held_however_evenly_it_is_sent() -> None:
    assert nature(SENT, (SENT // 3) % 2, 2, LONG) == "held"


def test_one_value_is_constant_and_one_event_is_not() -> None:
    assert nature(SENT, np.full(len(SENT), 0.87), 1, LONG) == "constant"
    assert nature(SENT[:1], SENT[:1], 1, LONG) == "held"


def test_a_slow_series_is_sampled_where_it_is_steady_for_no_network_delays_by_seconds() -> None:
    slow = np.arange(0, 60, 1.0)
    assert nature(slow, movement(slow), 5, 60.0) == "sampled"
    struck = np.add.outer(np.arange(0, 60, 6.0), np.arange(5) / 2).ravel()  # in phrases
    assert nature(struck, movement(struck), 5, 60.0) == "held"


def test_numbers_near_the_largest_are_judged_without_a_warning() -> None:
    values = 1.7e308 * np.where(np.arange(len(SENT)) % 2, 1, -1) * np.linspace(0.5, 1, len(SENT))
    assert nature(SENT, values, 5, LONG) == "sampled"


def test_steadiness_takes_silence_since_the_last_event_in() -> None:
    gaps = np.full(50, 0.02)
    assert steady(gaps, 0.02)
    assert not steady(gaps, 5.0)
    assert not steady(gaps[:3], 0.02)
