"""The guard: outliers go, whatever else a channel says stays, each row with its moment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from operators.guard import Guard
from operators.plan import ChannelConfig
from operators.records import F64, Block, Packet
from tests.signals import START, block, feed, movement, packet, plan

CHANNEL = "osc_1:/pulse"


def grid(hz: float, seconds: float = 120.0) -> F64:
    """Return times of a jittered channel, in s after the start."""
    n = round(hz * seconds)
    return (np.arange(n) + 0.3 * np.random.default_rng(1).random(n)) / hz


def rows(t: F64, value: F64, channel: str = CHANNEL) -> Block:
    return block(channel, START + t, value)


def guarded(*packets: Packet, held: bool = False) -> Block:
    """Return the rows that pass."""
    channels = {CHANNEL: ChannelConfig(kind="held")} if held else {}
    core = Guard(plan((CHANNEL,), channels=channels))
    return Block.join(b for p in feed(core, packets) for b in p.blocks)


def lost(t: F64, value: F64) -> int:
    """Return how many rows the guard takes for outliers."""
    return len(t) - len(guarded(packet(rows(t, value))))


def spoilt(hz: float, seed: int) -> tuple[F64, F64, np.ndarray]:
    """Return times and values at 20 dB with 1 % outliers, and which those are."""
    rng = np.random.default_rng(seed)
    t = grid(hz, 600.0)
    out = rng.random(len(t)) < 0.01
    far = rng.choice([-1.0, 1.0], len(t)) * rng.uniform(8, 20, len(t))
    return t, movement(seed)(t) + 0.1 * rng.standard_normal(len(t)) + out * far, out


@pytest.mark.parametrize("hz", [20.0, 31.7, 64.0])
def test_nearly_all_outliers_go_and_hardly_anything_else(hz: float) -> None:
    found = false = bad = good = 0
    for seed in range(3):
        t, value, out = spoilt(hz, seed)
        gone = ~np.isin(START + t, guarded(packet(rows(t, value))).host_time)
        found, false = found + int((gone & out).sum()), false + int((gone & ~out).sum())
        bad, good = bad + int(out.sum()), good + int((~out).sum())
    assert found / bad >= 0.97
    assert false / good <= 0.003


def quantised(t: F64) -> F64:
    """A slow fader of 0.3 LSB jitter."""
    jitter = 0.3 * np.random.default_rng(2).standard_normal(len(t))
    return np.round(64 + 20 * np.sin(2 * np.pi * 0.05 * t) + jitter)


def flickering(t: F64) -> F64:
    """A channel at rest whose last bit flips now and then."""
    return 0.25 + (np.random.default_rng(2).random(len(t)) < 0.05) / 1024


def stepping(t: F64) -> F64:
    """A level that jumps every 7 s, with a little noise."""
    return np.floor(t / 7) % 3 + 0.01 * np.random.default_rng(2).standard_normal(len(t))


def resting(t: F64) -> F64:
    """A constant that moves once, for good."""
    return np.where(t < 50, 1.0, 2.0)


@pytest.mark.parametrize("hz", [20.0, 64.0])
@pytest.mark.parametrize("signal", [quantised, flickering, resting])
def test_a_channel_that_is_quantised_or_at_rest_loses_nothing(
    signal: Callable[[F64], F64], hz: float
) -> None:
    t = grid(hz)
    assert lost(t, signal(t)) == 0


@pytest.mark.parametrize("hz", [20.0, 64.0])
def test_no_row_beside_a_step_is_taken_for_an_outlier(hz: float) -> None:
    t = grid(hz)
    value = stepping(t)
    kept = guarded(packet(rows(t, value))).host_time - START
    beside = (t % 7 < 5 / hz) | (t % 7 > 7 - 5 / hz)
    assert np.isin(t[beside], np.round(kept, 9)).all() or lost(t[beside], value[beside]) == 0
