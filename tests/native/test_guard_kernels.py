"""The compiled verdicts of `guard` are those of its Python forms, bit for bit, for any rows."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators.guard.guard import Guard
from operators.records import Packet
from operators.settings.plan import Plan
from tests.contract.test_few_rows import parts
from tests.support.signals import START, block

PLAN = Plan.of(pulse=["ure:pulse", "osc:/pulse"], tick_hz=5)
CHANNEL = "ure:pulse"


def packets(seed: int, sizes: list[int]) -> list[Packet]:
    """Return packets of one channel: rough, quantised or resting values, late and old rows."""
    rng = np.random.default_rng(seed)
    n = 300
    host = START + np.cumsum(rng.exponential(rng.choice([0.01, 0.1, 1.0]), n))
    value = np.sin(3 * host) + 0.1 * rng.standard_normal(n)
    value[rng.random(n) < 0.03] += rng.choice([1.0, 30.0])
    if rng.random() < 0.3:
        value = np.round(value * 2) / 2
    mark = np.maximum.accumulate(
        host + rng.choice([0.0, PLAN.settle_s, 20.0], n, p=[0.9, 0.07, 0.03])
    )
    made, first = [], 0
    while first < n:
        stop = min(first + sizes[len(made) % len(sizes)], n)
        rows = slice(first, stop)
        b = block(CHANNEL, host[rows], value[rows], watermark=mark[rows])
        made.append(Packet(PLAN.rig, float(mark[stop - 1]), stop == n, mark[rows], (b,)))
        first = stop
    return made


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 60), min_size=1, max_size=5))
def test_verdicts_on_any_rows_are_the_same(both, seed: int, sizes: list[int]) -> None:
    def decided() -> list[object]:
        core = Guard(PLAN)
        out = [list(parts(core.update(p))) for p in packets(seed, sizes)]
        return [*out, list(parts(list(core.snapshot()[CHANNEL]["past"])))]

    python, compiled = both(decided)
    assert python == compiled


@pytest.mark.parametrize("wrong", range(11))
def test_rows_of_the_wrong_shape_are_refused(kernels, wrong: int) -> None:
    time, scale = np.arange(4.0), array("d", [1.0] * 4)
    right = [time, time, time, array("d", [0.0] * 5), scale, np.empty(4), 0.5, 1.0, 9.0, -1.0, True]
    assert kernels.decide(*right) == (4, [])
    others = (np.ones(3), np.ones((4, 1), np.float32), "x", (1.0, 2.0), array("d"))
    for other in others if wrong < 10 else ():
        arguments = [*right]
        arguments[wrong] = other
        with pytest.raises((ValueError, TypeError)):
            kernels.decide(*arguments)
    with pytest.raises(TypeError):
        kernels.decide(*right[:wrong])
