import math
import os
import time

import pytest

from ops.bench.watched import Interval, cpu_s, interval


def test_the_interval_of_twenty_goes_from_the_sixth_to_the_fifteenth():
    values = [float((7 * i) % 20) for i in range(20)]
    assert interval(values) == Interval(5.0, 9.5, 14.0)
    outside = 2 * sum(math.comb(20, k) for k in range(6)) / 2**20
    assert outside <= 0.05 < outside + 2 * math.comb(20, 6) / 2**20


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0, 5.0]])
def test_few_values_are_their_own_interval(values):
    found = interval(values)
    assert (found.low, found.high) == (values[0], values[-1])


def test_the_time_of_a_process_is_that_of_its_own_clock():
    before = time.process_time()
    assert before <= cpu_s(os.getpid()) <= time.process_time()
