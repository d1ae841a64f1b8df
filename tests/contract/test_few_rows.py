"""Few rows are processed in plain numbers: the results are those of the array forms, bit for bit.

The array forms are the reference. With all limits at 0 they process everything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from operators import native
from operators.drift import (
    clock,
    clock_bin,
    clock_rate,
    drift,
    packet_rate,
    reorder_buffer,
    shared_stamps,
    stamp_checks,
    stamp_grain,
)
from operators.guard import guard
from operators.records import Packet
from operators.settings.plan import Plan
from tests.contract.rich import PLAN, recording, stations
from tests.support.signals import every, feed, trace

LIMITS = (
    (drift, "MAX_FEW"),
    (clock, "MAX_SPARSE"),
    (clock_bin, "MAX_PLAIN_BIN"),
    (clock_rate, "MAX_FEW"),
    (packet_rate, "MAX_EACH"),
    (reorder_buffer, "MAX_FEW"),
    (reorder_buffer, "MAX_ORDERED"),
    (shared_stamps, "MAX_FEW"),
    (stamp_checks, "MAX_FEW"),
    (stamp_grain, "MAX_FEW"),
    (guard, "MAX_FEW"),
    (guard, "MAX_PLAIN"),
)
LATENCY = {"half_width_s": 0.03, "wait_s": 0.005, "wait_lag_s": 0.0, "eager": True}
PLANS = {
    "accurate": PLAN,
    "fine grid": dataclasses.replace(PLAN, tick_hz=20.0, half_width_s=0.5),
    "low latency": dataclasses.replace(PLAN, **LATENCY),
}


def parts(item: Any) -> Iterator[Any]:
    """Yield the numbers, texts and bytes of arrays in an item, in order."""
    if isinstance(item, np.ndarray):
        yield item.dtype.str, item.shape, item.tobytes()
    elif isinstance(item, msgspec.Struct):
        for name in item.__struct_fields__:
            yield from parts(getattr(item, name))
    elif isinstance(item, tuple | list):
        for x in item:
            yield from parts(x)
    elif isinstance(item, float):
        yield np.float64(item).tobytes()
    else:
        yield item


def guarded(plan: Plan, block_s: float) -> dict[str, list[Packet]]:
    """Return the packets of drift and guard."""
    make = stations(plan, block_s)
    first = dict(list(make.items())[: list(make).index("guard") + 1])
    traced = trace(first, every(recording(), 997))
    return {name: traced[name] for name in ("drift", "guard")}


@pytest.mark.parametrize("block_s", [0.01, 0.05, 0.25, 1.0])
@pytest.mark.parametrize("plan", PLANS)
def test_few_rows_give_the_packets_of_the_array_forms(
    monkeypatch: pytest.MonkeyPatch, plan: str, block_s: float
) -> None:
    plain = guarded(PLANS[plan], block_s)
    for module, limit in LIMITS:
        monkeypatch.setattr(module, limit, 0)
    monkeypatch.setattr(native, "kernels", None)
    arrays = guarded(PLANS[plan], block_s)
    for name, packets in plain.items():
        assert len(packets) == len(arrays[name])
        for one, other in zip(packets, arrays[name], strict=True):
            assert list(parts(one)) == list(parts(other)), (name, one.watermark)


def test_a_live_packet_is_processed_in_plain_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a healthy rig, the array forms process few packets after the start."""
    arrays = {"clock": 0, "guard": 0}
    mapped, decided = drift.every_row, guard.Guard._of_cases

    def counted_map(*given: Any) -> Any:
        arrays["clock"] += 1
        return mapped(*given)

    def counted_cases(self: guard.Guard, *given: Any) -> Any:
        arrays["guard"] += 1
        return decided(self, *given)

    monkeypatch.setattr(drift, "every_row", counted_map)
    monkeypatch.setattr(guard.Guard, "_of_cases", counted_cases)
    make = stations(PLAN, 0.05)
    packets = feed(make["collect"](None), every(recording(), 997))
    for name in ("normalize", "drift", "guard"):
        packets = feed(make[name](None), packets)
    assert arrays["clock"] < 0.2 * len(packets)
    assert arrays["guard"] < 0.5 * len(packets)
