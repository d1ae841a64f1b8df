from datetime import UTC, datetime

import pytest

from sources.replay.poll import AT_ONCE, Poll


class Clock:
    def __init__(self):
        self.now = 100.0
        self.waited = []

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        self.waited.append(seconds)
        self.now += seconds


def test_looks_are_a_few_milliseconds_apart():
    clock = Clock()
    pace = Poll(0.004, clock, clock.sleep)
    pace.wait()
    for worked in (0.001, 0.003, 0.02):
        clock.now += worked
        pace.wait()
    assert clock.waited == [pytest.approx(0.003), pytest.approx(0.001)]


def test_no_wait_is_longer_than_a_look_even_where_the_clock_runs_back():
    clock = Clock()
    pace = Poll(0.004, clock, clock.sleep)
    pace.wait()
    clock.now -= 3600.0
    pace.wait()
    assert clock.waited == [0.004]


def test_a_source_is_due_under_any_clock():
    assert datetime(1970, 1, 1, tzinfo=UTC) >= AT_ONCE
