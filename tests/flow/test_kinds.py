"""Kinds of streams beside the usual: bursts, slow and fast, coarse stamps, resting faders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from operators.events import Batch
from operators.lines import SyncReport
from operators.records import Packet
from operators.settings.channels import ChannelConfig
from operators.types import F64
from tests.support.signals import START, Source, every, makers, movement, plan, run, studio

URE = Source(source="ure", key="pulse", rate_hz=20.0)
PHONE = Source(rate_hz=31.7, skew_ppm=-90.0, lag_s=-0.3)
SECONDS = 240.0


def fused(
    batch: Batch, members: list[str], truth: Callable[[F64], F64] | None = None, **given: Any
) -> tuple[float, dict[str, SyncReport]]:
    """Return the RMS error of the fused value, once it has settled, and the last sync lines."""
    packets: list[Packet] = run(makers(plan(members, **given), 10.0), every(batch, 5000))
    parts = [p.fused for p in packets if p.fused is not None]
    ts = np.concatenate([f.ts for f in parts]) - START
    value = np.concatenate([f.signals[0].value for f in parts])
    settled = (ts > 120) & (ts < SECONDS - 5)
    error = (value - (truth or movement(0))(ts))[settled]
    lines = {line.channel: line for p in packets for line in p.sync}
    return float(np.sqrt(np.mean(error**2))), lines


def test_a_radio_that_delivers_by_the_second_loses_nothing() -> None:
    radio = Source(source="radio", bursts_s=1.0, queue_s=0.0, skew_ppm=50.0, offset_s=1.0)
    batch = studio(URE, radio, PHONE, seconds=SECONDS)
    error, lines = fused(batch, [URE.channel, radio.channel, PHONE.channel])
    line = lines[radio.channel]
    assert line.used >= 0.999 * line.received
    assert (line.state, line.clock_resets) == ("live", 0)
    assert line.lag_s is not None and abs(line.lag_s) <= 0.01
    assert error <= 0.035


def test_rates_from_one_in_two_seconds_to_a_thousand_a_second_stand_side_by_side() -> None:
    slow = Source(source="slow", rate_hz=0.5, noise=0.01)
    fast = Source(source="khz", rate_hz=1000.0, skew_ppm=40.0, lag_s=0.2)
    batch = studio(URE, slow, fast, PHONE, seconds=SECONDS)
    error, lines = fused(batch, [URE.channel, slow.channel, fast.channel, PHONE.channel])
    assert error <= 0.03
    for source in (slow, fast, PHONE):
        rate_hz = lines[source.channel].rate_hz
        assert rate_hz is not None and abs(rate_hz / source.rate_hz - 1) <= 0.05
    lag_s = lines[fast.channel].lag_s
    assert lag_s is not None and abs(lag_s - 0.2) <= 0.004
    # A channel slower than the movement has no lag that is believed.
    assert lines[slow.channel].state == "acquiring"


def test_stamps_in_whole_milliseconds_cost_the_half_of_one() -> None:
    batch = studio(URE, replace(PHONE, offset_s=2.0), seconds=SECONDS)
    batch = replace(batch, ts=np.floor(batch.ts * 1e3) / 1e3)
    error, lines = fused(batch, [URE.channel, PHONE.channel])
    line = lines[PHONE.channel]
    true = 2.0 + (line.ts - START) * 90e-6
    assert line.offset_s is not None and abs(line.offset_s - true) <= 0.0006
    assert line.skew_ppm is not None and abs(line.skew_ppm + 90) <= 1.0
    assert error <= 0.04


def test_without_any_stamps_of_their_own_streams_are_fused_by_arrival() -> None:
    sources = [replace(s, stamped=False) for s in (URE, PHONE)]
    error, lines = fused(studio(*sources, seconds=SECONDS), [s.channel for s in sources])
    assert lines[PHONE.channel].offset_s is None
    lag_s = lines[PHONE.channel].lag_s
    assert lag_s is not None and abs(lag_s + 0.3) <= 0.004
    assert error <= 0.04


def test_packets_twice_and_out_of_order_change_nothing_that_matters() -> None:
    rough = replace(PHONE, duplicates=200, queue_s=0.08)
    error, lines = fused(studio(URE, rough, seconds=SECONDS), [URE.channel, rough.channel])
    line = lines[rough.channel]
    assert (line.duplicate, line.late, line.clock_resets) == (200, 0, 0)
    assert line.used >= 0.999 * (line.received - 200)
    assert error <= 0.04


def test_a_fader_that_rests_is_fused_beside_sampled_channels_and_loses_nothing() -> None:
    def rests(t: Any) -> Any:
        return np.where((t > 150) & (t < 200), 0.0, movement(0)(t))

    fader = Source(
        source="midi_1", key="cc/1/1", rate_hz=40.0, held=True, stamped=False, noise=0.0,
        value=rests,
    )  # fmt: skip
    batch = studio(URE, PHONE, fader, seconds=SECONDS)
    scale = ChannelConfig(kind="held", gain=1 / 12.7, offset=-5.0)
    members = [URE.channel, PHONE.channel, fader.channel]
    _, lines = fused(batch, members, channels={fader.channel: scale})
    line = lines[fader.channel]
    assert (line.outliers, line.gaps, line.state) == (0, 0, "live")
    assert line.used == line.received


def test_channels_of_one_source_learn_its_clock_together() -> None:
    sd = []
    for extra in (0, 3):
        keys = [f"/axis/{k}" for k in range(1 + extra)]
        axes = [replace(PHONE, key=key, offset_s=1.0) for key in keys]
        _, lines = fused(studio(URE, *axes, seconds=SECONDS), [s.channel for s in (URE, *axes)])
        line = lines[axes[0].channel]
        true = 1.0 + (line.ts - START) * 90e-6
        assert line.offset_s is not None and line.offset_sd_s is not None
        assert abs(line.offset_s - true) <= 4 * line.offset_sd_s
        sd.append(line.offset_sd_s)
    assert sd[1] <= 0.6 * sd[0]


@pytest.mark.parametrize("rate_hz", [1.0, 2.0, 5.0, 10.0, 31.7, 100.0])
def test_the_value_of_a_tick_is_that_of_its_time_however_slow_the_channel(rate_hz: float) -> None:
    ramp = Source(rate_hz=rate_hz, noise=0.0, queue_s=0.0, value=lambda t: t)
    error, _ = fused(studio(ramp, seconds=SECONDS), [ramp.channel], truth=lambda t: t)
    assert error <= 0.001
