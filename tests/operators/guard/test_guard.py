"""The guard: outliers are removed, all other rows stay, each row with its watermark."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest
from msgspec.structs import replace

from operators.guard import Guard, hampel
from operators.records import Block, Packet
from operators.settings.channels import ChannelConfig
from operators.types import F64, Bool
from tests.support.signals import START, block, feed, packet, plan

CHANNEL = "osc_1:/pulse"


def evenly(hz: float, seconds: float = 120.0) -> F64:
    """Return the host times of a channel with a little jitter."""
    n = round(hz * seconds)
    return START + (np.arange(n) + 0.3 * np.random.default_rng(1).random(n)) / hz


def guarded(*packets: Packet, held: bool = False) -> list[Packet]:
    channels = {CHANNEL: ChannelConfig(kind="held" if held else "sampled")}
    return feed(Guard(plan((CHANNEL,), channels=channels)), packets)


def kept(*packets: Packet, held: bool = False) -> Block:
    """Return the rows that pass."""
    return Block.join(b for p in guarded(*packets, held=held) for b in p.blocks)


def gone(time: F64, value: F64) -> Bool:
    """Return which rows of a channel the guard takes for outliers."""
    return ~np.isin(time, kept(packet(block(CHANNEL, time, value))).host_time)


def ends_of(packets: list[Packet]) -> Counter[tuple[str, str]]:
    """Return the number of events by channel and end."""
    out: Counter[tuple[str, str]] = Counter()
    for e in (e for p in packets for e in p.ends):
        out[e.channel, e.end] += len(e.watermark)
    return out


def noise(time: F64, sd: float) -> F64:
    return sd * np.random.default_rng(2).standard_normal(len(time))


def swinging(time: F64, seed: int) -> F64:
    """Return a mix of 300 sinusoids, 0.02 to 1.5 Hz, RMS 1."""
    rng = np.random.default_rng(seed)
    hz, phase = rng.uniform(0.02, 1.5, 300), rng.uniform(0, 2 * np.pi, 300)
    return np.sqrt(2 / 300) * np.sin(2 * np.pi * np.outer(time - START, hz) + phase).sum(axis=1)


def hit(time: F64, value: F64, at: list[int], by: float = 10.0) -> F64:
    """Return the values with outliers at these rows."""
    return value + by * np.isin(np.arange(len(time)), at)


# -- outliers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_sd", [0.1, 0.32, 1.0])
@pytest.mark.parametrize("hz", [20.0, 31.7, 64.0])
def test_nearly_all_outliers_go_and_hardly_anything_else(hz: float, noise_sd: float) -> None:
    time = evenly(hz, 400.0)
    lost, out = [], []
    for seed in range(2):
        rng = np.random.default_rng([seed, 1])
        out.append(rng.random(len(time)) < 0.01)
        far = rng.choice([-1.0, 1.0], len(time)) * rng.uniform(8, 20, len(time))
        value = swinging(time, seed) + noise_sd * rng.standard_normal(len(time))
        lost.append(gone(time, value + out[-1] * far))
    assert np.mean(np.concatenate(lost)[np.concatenate(out)]) >= 0.97
    assert np.mean(np.concatenate(lost)[~np.concatenate(out)]) <= 0.001


def test_outliers_beside_each_other_go_together() -> None:
    time = evenly(20.0, 30.0)
    at = [200, 201, 300, 302, 304]
    value = hit(time, np.sin(time - START) + noise(time, 0.05), at)
    assert gone(time, value)[at].all()


def test_each_row_ends_as_used_or_as_an_outlier() -> None:
    time = evenly(20.0, 30.0)
    value = hit(time, np.sin(time - START), [100, 400])
    ends = guarded(packet(block(CHANNEL, time, value)))[0].ends
    assert {e.end: len(e.watermark) for e in ends} == {"used": len(time) - 2, "outliers": 2}


@pytest.mark.parametrize("seed", range(4))
def test_a_sample_that_is_not_suspect_passes_the_full_test(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 4000
    value = np.cumsum(rng.standard_normal(n + 10)) * 0.1 + rng.standard_t(2, n + 10)
    value[:5] = np.where(np.arange(5) < seed, np.nan, value[:5])
    after = rng.integers(0, 6, n).astype(np.int8)
    count = after + np.int8(6) - np.maximum(seed - np.arange(n), 0).astype(np.int8)
    scale = rng.choice([0.0, 0.1, 1.0], n)
    windows = np.lib.stride_tricks.sliding_window_view(value, 11)
    every = hampel._judge(windows, after, count, scale)
    assert hampel.outliers(value, after, count, scale).tolist() == every.tolist()
    assert 50 < every.sum() < 2000


# -- kept rows -------------------------------------------------------------------------------------


def fader(time: F64) -> F64:
    """A controller that moves, with jitter of 0.3 of its last bit."""
    return np.round(64 + 20 * np.sin(2 * np.pi * 0.05 * (time - START)) + noise(time, 0.3))


def flicker(time: F64) -> F64:
    """A channel at rest whose last bit flips now and then."""
    return 0.1 + (np.random.default_rng(2).random(len(time)) < 0.05) / 1024


def late_flicker(time: F64) -> F64:
    """A channel that was at rest for so long that its last bit is not known when it flips."""
    return np.where(np.arange(len(time)) % 700 == 699, 0.3, 0.1)


def square(time: F64) -> F64:
    return np.floor((time - START) / 7) % 3


def triangle(time: F64) -> F64:
    return np.abs(np.arange(len(time)) % 40 - 20.0)


SHAPES = (fader, flicker, late_flicker, square, triangle)


@pytest.mark.parametrize("hz", [20.0, 64.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_quantised_resting_stepping_and_bent_channels_lose_nothing(
    shape: Callable[[F64], F64], hz: float
) -> None:
    time = evenly(hz)
    assert gone(time, shape(time)).sum() == 0


def test_an_outlier_of_a_quantised_channel_goes_all_the_same() -> None:
    time = evenly(20.0)
    assert np.flatnonzero(gone(time, hit(time, fader(time), [700, 1500], 60.0))).tolist() == [
        700,
        1500,
    ]


@pytest.mark.parametrize("hz", [20.0, 200.0])
def test_noise_alone_loses_hardly_a_row(hz: float) -> None:
    time = evenly(hz, 20_000 / hz)
    assert np.mean(gone(time, noise(time, 0.3))) <= 0.0005


def test_noise_that_grows_tenfold_is_not_taken_for_outliers() -> None:
    time = evenly(64.0)
    grown = noise(time, 0.1) * np.where(time - START < 60, 1, 10)
    assert np.mean(gone(time, grown)) <= 0.005


def test_a_fader_at_rest_for_minutes_may_move_when_it_likes() -> None:
    time = evenly(50.0, 400.0)
    moves = np.random.default_rng(3).integers(0, 128, 5)
    value = moves[((time - START) // 90).astype(int)] / 127
    assert gone(time, value).sum() == 0
    # One bit up for a single sample, after minutes of rest.
    value[[4000, 11000]] += 1 / 127
    assert gone(time, value).sum() == 0


def test_a_step_of_a_noisy_channel_costs_no_row() -> None:
    time = evenly(20.0)
    quiet = noise(time, 0.01)
    beside = np.min(np.abs((time - START)[:, None] - 7.0 * np.arange(1, 17)), axis=1) < 0.2
    assert not gone(time, square(time) + quiet)[beside & ~gone(time, quiet)].any()


def test_held_channels_pass_as_they_are() -> None:
    time = evenly(20.0, 10.0)
    value = hit(time, fader(time), [50, 60], 1e6)
    out = kept(packet(block(CHANNEL, time, value)), held=True)
    assert out.value.tolist() == value.tolist()
    # settle_s: a row waits for rows that may overtake it.
    assert out.watermark == pytest.approx(time + 0.1, abs=1e-6)


def test_beats_end_here_as_they_are_with_the_moment_of_held_channels() -> None:
    time = evenly(5.0, 10.0)
    value = hit(time, fader(time), [20, 30], 1e6)
    beat, other = "midi_1:clock", block(CHANNEL, time, np.zeros(len(time)))
    guard = Guard(plan((CHANNEL,), beats=(beat,)))

    out = feed(guard, [packet(block(beat, time, value), other)])

    (beats,) = [b for p in out for b in p.beats]
    assert (beats.channel, beats.value.tolist()) == (beat, value.tolist())
    assert beats.watermark == pytest.approx(time + 0.1, abs=1e-6)
    assert {b.channel for p in out for b in p.blocks} == {CHANNEL}
    assert ends_of(out) == {(beat, "used"): len(time), (CHANNEL, "used"): len(time)}


@pytest.mark.parametrize("kind", ["sampled", "held"])
def test_beats_of_a_member_go_both_ways_and_are_counted_once(
    kind: Literal["sampled", "held"],
) -> None:
    time = evenly(20.0, 10.0)
    value = hit(time, noise(time, 0.1), [50, 60])
    channels = {CHANNEL: ChannelConfig(kind=kind)}
    plans = [plan((CHANNEL,), channels=channels, beats=b) for b in ((CHANNEL,), ())]
    given = packet(block(CHANNEL, time, value))
    with_beats, without = (feed(Guard(p), [given]) for p in plans)
    beats = Block.join(b for p in with_beats for b in p.beats)
    assert beats.value.tolist() == value.tolist()
    assert not any(p.beats for p in without)
    assert ends_of(with_beats) == ends_of(without)
    there, here = (Block.join(b for p in out for b in p.blocks) for out in (with_beats, without))
    assert there.value.tobytes() == here.value.tobytes()
    assert there.watermark.tobytes() == here.watermark.tobytes()


# -- when a row is final --------------------------------------------------------------------------


def streamed(time: F64, value: F64) -> list[Packet]:
    """Return a packet a row."""
    return [
        packet(block(CHANNEL, time[i : i + 1], value[i : i + 1]), end=False)
        for i in range(len(time))
    ]


def test_a_row_is_final_with_the_watermark_of_its_fifth_successor() -> None:
    time = START + np.arange(30) / 20
    passed = [sum(map(len, p.blocks)) for p in guarded(*streamed(time, noise(time, 1e-9)))]
    assert passed == [0] * 5 + [1] * 25
    out = kept(*streamed(time, np.sin(time - START)))
    assert out.watermark == pytest.approx(out.host_time + 5 / 20 + 0.1, abs=1e-6)


def test_a_row_of_a_late_packet_is_final_when_its_successor_arrived() -> None:
    time = START + np.arange(30) / 20
    late = replace(block(CHANNEL, time, np.sin(time - START)), watermark=time + 0.7)
    out = kept(packet(late, upto=START + 9.0, end=False))
    assert out.watermark[:20] == pytest.approx(time[5:25] + 0.7, abs=1e-6)


def test_a_slow_channels_row_is_final_when_decide_s_has_passed() -> None:
    time = START + np.arange(20.0)
    value = hit(time, np.sin(0.3 * (time - START)), [12])
    nothing = [packet(upto=t + s, end=False, first=START) for t in time for s in (0.0, 0.59, 0.61)]
    rows = streamed(time, value)
    packets = [p for i in range(20) for p in (rows[i], nothing[3 * i + 1], nothing[3 * i + 2])]
    out = guarded(*packets)
    decide, settle = plan().decide_s, plan().settle_s
    assert decide == 0.5
    for i in set(range(20)) - {12}:
        assert [sum(map(len, p.blocks)) for p in out[3 * i : 3 * i + 3]] == [0, 0, 1]
        assert out[3 * i + 2].blocks[0].watermark == pytest.approx(time[i] + decide + settle)
    assert [e.end for e in out[38].ends] == ["outliers"]


def test_moments_never_go_back() -> None:
    time = np.sort(START + np.random.default_rng(3).uniform(0, 30, 200))
    out = kept(*streamed(time, noise(time, 1.0)))
    assert (np.diff(out.watermark) >= 0).all()


# -- stragglers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "passes"), [(0.0, True), (9.0, False)])
def test_a_straggler_has_a_verdict_and_changes_no_other(value: float, passes: bool) -> None:
    time = evenly(20.0, 20.0)
    rows = block(CHANNEL, time, hit(time, noise(time, 0.1), [150, 153]))
    astray = replace(
        block(CHANNEL, time[151:152] + 0.01, np.array([value])),
        straggler=np.ones(1, bool),
        watermark=np.array([START + 19.0]),
    )
    alone, both = (kept(packet(b)) for b in (rows, Block.join((rows, astray))))
    others = both.host_time != astray.host_time[0]
    assert both.host_time[others].tolist() == alone.host_time.tolist()
    assert (~others).sum() == passes
    if passes:
        assert both.watermark[~others] == [START + 19.0]


@pytest.mark.parametrize("acceleration", [0.3, -2.0])
@pytest.mark.parametrize(("tick_hz", "most"), [(1.0, 0), (5.0, 1)])
def test_a_slow_channel_may_set_off_after_a_rest(
    tick_hz: float, most: int, acceleration: float
) -> None:
    p = plan((CHANNEL,), tick_hz=tick_hz, half_width_s=10 / tick_hz)
    time = START + np.arange(120.0)
    value = 0.5 * acceleration * np.square(np.maximum(time - START - 60, 0))
    value += noise(time, 1e-3)
    out = Guard(p).update(packet(block(CHANNEL, time, hit(time, value, [40], by=1.0)), end=True))
    lost = np.concatenate([b.host_time for b in out.outliers])
    assert START + 40 in lost
    assert len(lost) <= 1 + most
