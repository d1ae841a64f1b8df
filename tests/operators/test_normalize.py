"""Normalize: arrays to one number, then gain, offset and range."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from operators.normalize import MAX_VALUE, Normalize
from operators.records import Packet
from operators.settings.channels import ChannelConfig
from tests.support.signals import START, block, packet, plan

CHANNEL = "osc_1:/pulse"


def normalized(values: list[float], lines: list[int] | None = None, **config: Any) -> Packet:
    time = START + np.arange(len(values))
    rows = block(CHANNEL, time, np.array(values, float))
    if lines:
        rows = replace(rows, line=np.array(lines))
    core = Normalize(plan((CHANNEL,), channels={CHANNEL: ChannelConfig(**config)}))
    return core.update(packet(rows))


def value(p: Packet) -> list[float]:
    return [v for b in p.blocks for v in b.value.tolist()]


def test_gain_comes_before_offset_and_offset_before_range() -> None:
    p = normalized([1.0, 2.0, 3.0], gain=2.0, offset=1.0, range=(4.0, 7.0))
    assert value(p) == [5.0, 7.0]
    (letter,) = p.letters
    assert (letter.stage, letter.reason, letter.count) == ("normalize", "out_of_range", 1)
    assert [(e.end, len(e.watermark)) for e in p.ends] == [("rejected", 1)]


def test_what_stays_is_untouched_without_a_config() -> None:
    assert value(normalized([1.5, -2.0])) == [1.5, -2.0]


@pytest.mark.parametrize(
    ("reduce", "expected"), [("norm", [5.0, 13.0]), ("sum", [7.0, 17.0]), ("mean", [3.5, 8.5])]
)
def test_an_array_becomes_one_number(reduce: str, expected: list[float]) -> None:
    p = normalized([3.0, 4.0, 5.0, 12.0], [1, 1, 2, 2], reduce=reduce)
    assert value(p) == expected
    (rows,) = p.blocks
    assert rows.weight is not None
    assert rows.weight.tolist() == [2, 2]


def test_a_row_rejected_after_reduction_stands_for_all_its_elements() -> None:
    p = normalized([3.0, 4.0, 0.0, 1.0], [1, 1, 2, 2], reduce="norm", range=(0.0, 2.0))
    assert value(p) == [1.0]
    assert [len(e.watermark) for e in p.ends] == [2]
    assert [d.count for d in p.letters] == [2]


@pytest.mark.parametrize("config", [{}, {"gain": 1e10}, {"reduce": "norm"}])
def test_what_would_overflow_later_is_out_of_range(config: dict[str, Any]) -> None:
    p = normalized([1e308, 1.0], [1, 2], **config)
    assert value(p) == [config.get("gain", 1.0)]
    assert [d.reason for d in p.letters] == ["out_of_range"]
    assert value(normalized([MAX_VALUE, -MAX_VALUE])) == [MAX_VALUE, -MAX_VALUE]


def test_markers_pass() -> None:
    marker = replace(block(CHANNEL, np.array([START]), np.array([np.nan])), text=("verse",))
    core = Normalize(plan((CHANNEL,), channels={CHANNEL: ChannelConfig(range=(0.0, 1.0))}))
    assert core.update(packet(marker)).blocks == (marker,)
