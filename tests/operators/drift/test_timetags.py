"""Timetags that cannot be a clock, and those that can."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from msgspec.structs import replace

from operators.drift import Drift
from operators.drift.timetags import Timetags
from operators.records import Block, Packet
from operators.types import F64
from tests.support.signals import packet, plan

BEGAN = 1.75e9


def sent(rate_hz: float = 50.0, seconds: float = 20.0, seed: int = 0) -> F64:
    begin = BEGAN + np.random.default_rng(seed).uniform(0, 10)
    return np.asarray(begin + np.arange(round(rate_hz * seconds)) / rate_hz)


def arrived(t: F64, seed: int = 0, pause_s: float = 0.0) -> F64:
    rng = np.random.default_rng([seed, 1])
    rx = t + 0.004 + rng.exponential(0.003, len(t))
    if pause_s:  # a radio that sleeps: what was sent meanwhile comes at its end
        within = (t - BEGAN) % 5 < pause_s
        rx = np.where(within, t - (t - BEGAN) % 5 + pause_s, rx)
    return np.maximum.accumulate(rx)


NTP = 2_208_988_800
FORMS = {
    "nanoseconds in the fraction": lambda t: np.floor(t) + np.floor(t % 1 * 1e9) / 2**32,
    "microseconds in the fraction": lambda t: np.floor(t) + np.floor(t % 1 * 1e6) / 2**32,
    "whole seconds": np.floor,
    "constant": lambda t: np.full(len(t), 5.0 - NTP),
    "milliseconds for seconds": lambda t: np.floor(t * 1e3),
    "milliseconds since 1970 as one number": lambda t: np.floor(t * 1e3) / 2**32 - NTP,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rate_hz", [20.0, 50.0, 90.0])
@pytest.mark.parametrize("seed", range(6))
def test_each_wrong_form_is_found_within_fifty_messages(
    form: str, rate_hz: float, seed: int
) -> None:
    t = sent(rate_hz, seed=seed)
    tags = Timetags()
    at = tags.feed(FORMS[form](t), arrived(t, seed))
    either = "constant or whole seconds"  # within one second
    assert tags.form in ({form, either} if form in either else {form})
    assert at is not None
    assert at < 50


@pytest.mark.parametrize("form", FORMS)
def test_a_fast_sender_and_a_radio_that_sleeps_hide_none(form: str) -> None:
    for rate_hz, pause_s in ((1_000.0, 0.0), (50.0, 0.4)):
        t = sent(rate_hz)
        tags = Timetags()
        tags.feed(FORMS[form](t), arrived(t, pause_s=pause_s))
        assert tags.form is not None


@pytest.mark.parametrize("rate_hz", [1.0, 20.0, 50.0, 200.0])
@pytest.mark.parametrize("pause_s", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("grain_s", [0.0, 1e-3, 0.1])
def test_a_clock_is_believed_whatever_the_network_does(
    rate_hz: float, pause_s: float, grain_s: float
) -> None:
    for seed in range(8):
        t = sent(rate_hz, 220.0 if rate_hz < 20 else 20.0, seed)
        tags = Timetags()
        stamps = np.floor(t / grain_s) * grain_s if grain_s else t * (1 + 3e-4) - 7.0
        assert tags.feed(stamps, arrived(t, seed, pause_s)) is None
        assert tags.form is None
        assert tags.done


def test_frames_on_whole_seconds_are_a_clock() -> None:
    seconds = np.repeat(np.arange(60.0), 10) + BEGAN
    rx = seconds + np.tile(np.arange(10) * 0.006, 60) + 0.01
    tags = Timetags()
    assert tags.feed(seconds, rx) is None
    assert tags.form is None


def test_a_verdict_does_not_depend_on_how_messages_were_cut() -> None:
    t = sent(700.0)
    ts, rx = FORMS["nanoseconds in the fraction"](t), arrived(t)
    whole = Timetags()
    at = whole.feed(ts, rx)
    assert at is not None
    for seed in range(5):
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(t), 40))
        tags, found = Timetags(), None
        for a, b in pairwise([0, *cuts.tolist(), len(t)]):
            tags = Timetags.from_snapshot(tags.snapshot())
            place = tags.feed(ts[a:b], rx[a:b])
            found = a + place if place is not None else found
        assert (tags.form, found) == (whole.form, at)


def test_what_is_kept_is_bounded() -> None:
    tags = Timetags()
    for i in range(200):
        t = BEGAN + i / 2 + np.arange(1_000) / 2_000
        tags.feed(t, t)
        assert len(tags.snapshot()["ts"]) <= 1_024


def rows(t: F64, stamps: F64, rx: F64) -> Packet:
    n = len(t)
    block = Block(
        "osc_1", "osc_1:/pulse", np.arange(n), stamps, rx, np.sin(t), rx, np.ones(n, bool),
        np.arange(n),
    )  # fmt: skip
    return replace(packet(replace(block, host_time=rx)), blocks=(block,))


def cut(whole: Packet, size: int) -> list[Packet]:
    (block,) = whole.blocks
    parts = [block.take(slice(i, i + size)) for i in range(0, len(block), size)]
    return [
        replace(whole, blocks=(b,), watermark=float(b.arrival[-1]), end=i == len(parts) - 1)
        for i, b in enumerate(parts)
    ]


def drifted(packets: list[Packet], timetags: bool = True) -> list[Packet]:
    p = plan(("osc_1:/pulse",), timetags=frozenset({"osc_1"} if timetags else ()))
    core, out = Drift(p), []
    for one in packets:
        core = Drift.from_snapshot(core.snapshot(), p)
        out.append(core.update(one))
    return out


def test_rows_after_the_finding_go_by_their_arrival_and_it_is_said_once() -> None:
    t = sent()
    rx = arrived(t)
    whole = rows(t, FORMS["nanoseconds in the fraction"](t), rx)
    made = drifted(cut(whole, 7))
    (note,) = [n for p in made for n in p.notes]
    assert note[0] == "osc_1"
    assert note[2].startswith("its timetags are nanoseconds in the fraction: ")
    known = note[1]
    later = Block.join(b for p in made for b in p.blocks)
    later = later.take(later.arrival > known)
    assert len(later) >= len(t) - 50
    assert np.array_equal(later.host_time, later.arrival)
    assert np.array_equal(later.source_time, later.arrival)
    assert not later.stamped.any()
    last = [r for p in made for r in p.clocks][-1]
    assert np.isnan(last.offset_s)


def test_how_rows_were_cut_changes_nothing() -> None:
    t = sent()
    whole = rows(t, FORMS["constant"](t), arrived(t))
    ways = [drifted(cut(whole, size)) for size in (3, 50, len(t))]
    joined = [Block.join(b for p in way for b in p.blocks) for way in ways]
    for other in joined[1:]:
        assert np.array_equal(other.host_time, joined[0].host_time)
        assert np.array_equal(other.watermark, joined[0].watermark)
    assert len({n for way in ways for p in way for n in p.notes}) == 1


def test_a_stream_whose_timetags_are_to_be_used_is_left_alone() -> None:
    t = sent()
    whole = rows(t, FORMS["whole seconds"](t), arrived(t))
    made = drifted([whole], timetags=False)
    assert made[0].blocks[0].stamped.all()
    assert not any("timetags" in note for _, _, note in made[0].notes)
    assert not np.array_equal(made[0].blocks[0].host_time, made[0].blocks[0].arrival)
