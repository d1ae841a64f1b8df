from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.exporter import rate_limit
from sinks.exporter.rate_limit import MAX_ADDRESSES, RateLimit

HERE, THERE = ip_address("10.0.0.1"), ip_address("10.0.0.2")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_second_of_requests_at_once_then_the_rate(clock):
    limit = RateLimit(5, clock)
    assert [limit.wait_s(HERE) for _ in range(5)] == [0] * 5
    assert limit.wait_s(HERE) == pytest.approx(0.2)
    assert limit.wait_s(THERE) == 0, "another address has a bucket of its own"
    clock.now += 0.2
    assert limit.wait_s(HERE) == 0
    assert limit.wait_s(HERE) > 0


def test_a_rate_below_one_admits_one_at_a_time(clock):
    limit = RateLimit(0.1, clock)
    assert limit.wait_s(HERE) == 0
    assert limit.wait_s(HERE) == pytest.approx(10)
    clock.now += 10
    assert limit.wait_s(HERE) == 0


@given(per_s=st.floats(0.1, 50), steps=st.lists(st.floats(0, 2), min_size=1, max_size=60))
def test_never_more_than_a_second_and_the_rate(per_s, steps):
    clock = Clock()
    limit = RateLimit(per_s, clock)
    admitted = 0
    for step in steps:
        clock.now += step
        admitted += limit.wait_s(HERE) == 0
    assert admitted <= max(per_s, 1) + per_s * (clock.now - Clock.now) + 1e-6


def test_addresses_of_one_network_of_version_six_share_a_bucket(clock):
    limit = RateLimit(1, clock)
    assert limit.wait_s(ip_address("2001:db8::1")) == 0
    assert limit.wait_s(ip_address("2001:db8::ffff:1")) > 0
    assert limit.wait_s(ip_address("2001:db8:0:1::1")) == 0


def test_the_table_is_bounded_and_all_others_share_one_bucket(clock):
    limit = RateLimit(2, clock)
    first = int(ip_address("10.0.0.0"))
    for i in range(5 * MAX_ADDRESSES):
        limit.wait_s(ip_address(first + i))
    assert len(limit) == MAX_ADDRESSES + 1
    new = [limit.wait_s(ip_address(first + 10**6 + i)) for i in range(10)]
    assert min(new) > 0, "the shared bucket is empty"
    assert limit.wait_s(ip_address(first)) == 0, "a known address keeps its own"
    clock.now += 2
    assert limit.wait_s(ip_address(first + 10**7)) == 0
    assert len(limit) <= 2, "full buckets are removed"


def test_the_table_is_swept_at_most_once_a_second(clock, monkeypatch):
    monkeypatch.setattr(rate_limit, "MAX_ADDRESSES", 1)
    limit = RateLimit(1, clock)
    for i in range(10):
        limit.wait_s(ip_address(i))
        clock.now += 0.05
    assert len(limit) == 2
