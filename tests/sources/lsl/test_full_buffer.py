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
    assert buffer.lost(np.arange(100) / rate_hz, full=False) == 0
    assert buffer.lost(np.arange(5000, 5100) / rate_hz, full=True) == 4900


def test_jitter_of_the_stamps_changes_nothing() -> None:
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, 4100)
    buffer = FullBuffer()
    buffer.lost((np.arange(4000) + noise[:4000]) / 250, full=False)
    assert buffer.lost((np.arange(5000, 5100) + noise[4000:]) / 250, full=True) == 1000


def test_a_hole_without_a_full_buffer_is_no_loss() -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), full=False)
    assert buffer.lost(stamps(*range(5000, 5100)), full=False) == 0


def test_two_holes_within_one_pull_are_both_counted() -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), full=False)
    assert buffer.lost(stamps(110, 111, 112, 122, 123), full=True) == 10 + 9


@pytest.mark.parametrize(
    "after", [stamps(-5000, -4999), np.array([1e11, 1e11 + 0.004]), np.array([np.nan, np.inf])]
)
def test_a_full_buffer_without_a_measurable_hole_lost_at_least_one(after: np.ndarray) -> None:
    buffer = FullBuffer()
    buffer.lost(stamps(*range(100)), full=False)
    assert buffer.lost(after, full=True) == 1


def test_of_an_irregular_stream_the_number_is_unknown() -> None:
    buffer = FullBuffer(regular=False)
    buffer.lost(stamps(*range(100)), full=False)
    assert buffer.lost(stamps(5000, 5001), full=True) == 1


def test_a_full_buffer_at_the_first_pull_lost_at_least_one() -> None:
    assert FullBuffer().lost(stamps(7), full=True) == 1
