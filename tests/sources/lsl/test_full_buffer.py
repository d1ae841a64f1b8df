"""Samples lost in a full buffer, by the hole in the stamps."""

from __future__ import annotations

import numpy as np
import pytest

from sources.lsl.full_buffer import FullBuffer


def stamps(*numbers: int) -> np.ndarray:
    return np.array(numbers) / 250.0


@pytest.mark.parametrize("rate_hz", [0.5, 250.0, 1e5])
def test_the_hole_over_the_measured_period_is_the_number(rate_hz: float) -> None:
    buffer = FullBuffer()
    assert buffer.lost(np.arange(100) / rate_hz, fullness=0.01) == 0
    assert buffer.lost(np.arange(5000, 5100) / rate_hz, fullness=1.0) == 4900


def test_jitter_of_the_stamps_changes_nothing() -> None:
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, 4100)
    buffer = FullBuffer()
    buffer.lost((np.arange(4000) + noise[:4000]) / 250, fullness=0.01)
    assert buffer.lost((np.arange(5000, 5100) + noise[4000:]) / 250, fullness=1.0) == 1000


def test_a_hole_without_a_full_buffer_is_no_loss() -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), fullness=0.01)
    assert buffer.lost(stamps(*range(5000, 5100)), fullness=0.01) == 0


def test_two_holes_within_one_pull_are_both_counted() -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), fullness=0.01)
    assert buffer.lost(stamps(110, 111, 112, 122, 123), fullness=1.0) == 10 + 9


@pytest.mark.parametrize(
    "after", [stamps(-5000, -4999), np.array([1e11, 1e11 + 0.004]), np.array([np.nan, np.inf])]
)
def test_a_full_buffer_without_a_measurable_hole_lost_at_least_one(after: np.ndarray) -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), fullness=0.01)
    assert buffer.lost(after, fullness=1.0) == 1


def test_of_an_irregular_stream_the_number_is_unknown() -> None:
    buffer = FullBuffer(regular=False)
    buffer.lost(stamps(*range(100)), fullness=0.01)
    assert buffer.lost(stamps(5000, 5001), fullness=1.0) == 1


def test_a_full_buffer_at_the_first_pull_lost_at_least_one() -> None:
    assert FullBuffer().lost(stamps(7), fullness=1.0) == 1


def test_a_full_buffer_without_a_hole_lost_nothing() -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), fullness=0.01)
    assert buffer.lost(stamps(*range(100, 200)), fullness=1.0) == 0


def test_a_buffer_that_ran_full_during_a_pull_is_seen_by_the_hole() -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), fullness=0.01)
    assert buffer.lost(stamps(*range(100, 150), *range(300, 350)), fullness=0.6) == 150


def test_a_step_of_the_sender_s_clock_spoils_no_later_count() -> None:
    buffer = FullBuffer()
    buffer.lost(np.concatenate((stamps(*range(100)), 5000 + stamps(*range(100)))), fullness=0.01)
    assert buffer.lost(5000 + stamps(*range(1100, 1200)), fullness=1.0) == 1000
