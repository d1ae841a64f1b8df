"""Two-way readings: the line they give, its stated sd, wild readings, and the end of readings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from operators.drift import Drift
from operators.drift.clock_readings import ClockReading
from operators.drift.two_way import STALE_S, TwoWay
from operators.events import Batch
from operators.hindsight import Hindsight
from operators.records import Block, ClockReport, Packet
from operators.types import F64
from tests.support.signals import START, feed, makers, plan, trace
from tests.support.two_way_paths import TwoWayPath, batch

KINDS = {
    "cable": (2e-4, 5e-5),
    "radio": (3e-3, 4e-3),
    "far": (4e-2, 1e-2),
}
"""Largest constant delay of one way, and the mean queue (s)."""


def drifted(path: TwoWayPath, seconds: float = 90.0, given: Batch | None = None) -> list[Packet]:
    make = makers(plan((path.channel,)))
    make = {k: v for k, v in make.items() if k in ("collect", "normalize", "drift")}
    return trace(make, [given or batch(path, seconds=seconds)])["drift"]


def errors(packets: list[Packet], path: TwoWayPath, steps: float = 0.0) -> tuple[F64, F64]:
    """Return true host time (s since START) and the error of the host time of each row."""
    b = Block.join(b for p in packets for b in p.blocks if b.channel == path.channel)
    sent = (b.source_time - START - steps + path.offset_s) / (1 + path.skew_ppm * 1e-6)
    return sent, b.host_time - START - sent


def late(packets: list[Packet], path: TwoWayPath, since: float = 30.0) -> float:
    """Return the mean error of the host times from a moment on (s)."""
    sent, error = errors(packets, path)
    return float(error[sent > since].mean())


def reports(packets: list[Packet]) -> list[ClockReport]:
    return [r for p in packets for r in p.clocks]


def count(packets: list[Packet], end: str) -> dict[str, int]:
    out: dict[str, int] = {}
    for e in (e for p in packets for e in p.ends if e.end == end):
        out[e.channel] = out.get(e.channel, 0) + len(e.watermark)
    return out


# -- the delay of the path ----------------------------------------------------------------------


def test_a_constant_delay_is_in_the_host_time_without_readings_and_not_with_them() -> None:
    path = TwoWayPath(out_s=0.040, back_s=0.040)
    assert late(drifted(dataclasses.replace(path, read=())), path) == pytest.approx(0.040, abs=1e-3)
    assert abs(late(drifted(path), path)) < 0.002


def test_an_unequal_way_is_wrong_by_half_the_difference_and_the_sd_includes_it() -> None:
    path = TwoWayPath(out_s=0.060, back_s=0.020)
    packets = drifted(path)
    assert late(packets, path) == pytest.approx(0.020, abs=2e-3)
    sd = np.sqrt(reports(packets)[-1].offset_var)
    assert sd == pytest.approx(0.040 / np.sqrt(3), rel=0.1)


def test_the_offset_of_a_report_is_that_of_the_source() -> None:
    path = TwoWayPath(offset_s=11.5, skew_ppm=-80.0)
    last = reports(drifted(path))[-1]
    truth = 11.5 + 80e-6 * (last.at - START)
    assert last.offset_s == pytest.approx(truth, abs=2e-3)
    assert last.resets == 0


def test_readings_are_used_and_end_in_drift() -> None:
    path = TwoWayPath()
    packets = drifted(path)
    for i in range(2):
        name = f"phone:clock_offset[{i}]"
        assert count(packets, "used")[name] == count(packets, "received")[name] == 18
    assert {b.channel for p in packets for b in p.blocks} == {path.channel}
    notes = [n for p in packets for n in p.notes]
    assert [source for source, _, _ in notes] == ["phone"]


def test_a_source_without_a_channel_in_the_configuration_has_no_readings() -> None:
    path = TwoWayPath()
    make = makers(plan(("osc_1:/x",)))
    (packet,) = trace({"collect": make["collect"]}, [batch(path, seconds=9.0)])["collect"][-1:]
    assert packet.readings == ()


# -- the stated sd ------------------------------------------------------------------------------


def followed(kind: str, seed: int) -> tuple[float, float]:
    """Return the error of the offset after 25 readings, and its stated sd (s)."""
    rng = np.random.default_rng([seed, 3])
    most, queue = KINDS[kind]
    out, back = rng.uniform(0, most, (2, 1)) + rng.exponential(queue, (2, 25))
    skew, offset = rng.normal(0, 50e-6), rng.normal(0, 10)
    clock = TwoWay(30.0)
    asked = np.arange(0, 125, 5.0)
    for t, there, home in zip(asked.tolist(), out.tolist(), back.tolist(), strict=True):
        received, got = t + there, t + there + home
        sent, end = t - offset - skew * t, got - offset - skew * got
        value, error = ((received - sent) + (received - end)) / 2, (end - sent) / 2
        clock.read(ClockReading(0, end, got + there, value, error, ()), None)
    truth = offset + skew * got
    return clock.offset + clock.slope * (end - clock.at) - truth, clock.sd


@pytest.mark.parametrize("kind", KINDS)
def test_the_stated_sd_is_that_of_the_errors(kind: str) -> None:
    error, sd = np.array([followed(kind, seed) for seed in range(150)]).T
    assert 1 / 3 < np.sqrt(np.mean((error / sd) ** 2)) < 3
    assert np.mean(np.abs(error) < 2 * sd) > 0.93


def test_the_sd_of_equal_ways_does_not_fall_below_what_is_known_of_them() -> None:
    path = TwoWayPath(queue_s=0.0)
    assert reports(drifted(path))[-1].offset_var == pytest.approx(0.040**2 / 3, rel=0.05)


# -- resets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0.5, -0.8, 300.0, -2e4])
def test_stamps_after_a_clock_reset_are_right_before_the_next_reading(step: float) -> None:
    path = TwoWayPath(resets=((51.0, step),))
    packets = drifted(path)
    sent, error = errors(packets, path, steps=step)
    after = (sent + error > 51.01) & (sent + error < 55.0)
    assert after.sum() > 150
    assert np.abs(error[after]).max() < 0.006
    (reset,) = (r for r in reports(packets) if r.stepped)
    assert reset.reset_at - START == pytest.approx(51.0, abs=0.05)
    assert reports(packets)[-1].resets == 1


def test_a_clock_reset_too_small_for_arrivals_is_found_by_the_readings() -> None:
    path = TwoWayPath(queue_s=1e-4, out_s=1e-3, back_s=1e-3, resets=((47.0, 0.012),))
    packets = drifted(path)
    sent, error = errors(packets, path, steps=0.012)
    assert np.abs(error[sent > 60.0]).max() < 1e-3
    assert reports(packets)[-1].resets >= 1


def test_a_restart_of_a_source_that_rarely_sends_is_found_by_its_readings() -> None:
    # A row each 20 s: the arrivals alone need five rows, which are 100 s.
    path = TwoWayPath(rate_hz=0.05, resets=((130.0, -5e4),), every_s=5.0)
    packets = drifted(path, 300.0)
    sent, error = errors(packets, path, steps=-5e4)
    after = (sent > 140.0) & (sent < 400.0)
    assert after.sum() >= 7
    assert np.abs(error[after]).max() < 0.01
    assert reports(packets)[-1].resets == 1


def test_delays_that_become_longer_do_not_move_a_clock_with_readings() -> None:
    path = TwoWayPath(queue_s=1e-3)
    made = batch(path, seconds=90.0)
    delayed = (made.rx > START + 40.0) & (made.rx < START + 60.0) & (made.name == 0)
    rng = np.random.default_rng(4)
    rx = made.rx + delayed * (0.15 + 0.1 * rng.random(len(made.rx)))
    order = np.argsort(rx, kind="stable")
    columns = ("name", "ts", "stamped", "wild", "value", "seq", "line")
    made = dataclasses.replace(made, rx=rx[order], **{c: getattr(made, c)[order] for c in columns})
    sent, error = errors(drifted(path, given=made), path)
    middle = (sent > 30.0) & (sent < 80.0)
    assert np.abs(error[middle]).max() < 0.004


# -- wild readings ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2, 8])
@pytest.mark.parametrize("change", [1e9, -1e9, 40.0, -0.5, 5.0, 6.4])
def test_one_bad_reading_does_not_move_the_clock(number: int, change: float) -> None:
    path = TwoWayPath(spoiled=((number, change, 0.0),))
    packets = drifted(path)
    sent, error = errors(packets, path)
    assert np.abs(error[sent > 16.0]).max() < 0.006
    assert reports(packets)[-1].resets == 0


@pytest.mark.parametrize(("change", "error"), [(1e9, None), (-60.0, None), (0.0, -1.0), (1.0, 0.0)])
def test_an_impossible_reading_is_a_dead_letter(change: float, error: float | None) -> None:
    path = TwoWayPath(spoiled=((6, change, error),))
    packets = drifted(path)
    letters = [d for p in packets for d in p.letters]
    assert {(d.stage, d.reason, d.source) for d in letters} == {("drift", "wild_stamp", "phone")}
    assert sum(d.count for d in letters) == sum(count(packets, "rejected").values()) == 2


def test_an_element_without_the_other_is_a_dead_letter() -> None:
    path = TwoWayPath()
    made = batch(path, seconds=60.0)
    second = made.names.index(("phone", "clock_offset[1]"))
    lost = np.flatnonzero(made.name == second)[4]
    kept = np.arange(len(made.ts)) != lost
    columns = ("name", "ts", "rx", "stamped", "wild", "value", "seq", "line")
    made = dataclasses.replace(made, **{c: getattr(made, c)[kept] for c in columns})
    packets = drifted(path, given=made)
    assert [(d.reason, d.count) for p in packets for d in p.letters] == [("schema", 1)]
    assert count(packets, "rejected") == {"phone:clock_offset[0]": 1}


# -- the end of readings ------------------------------------------------------------------------


def test_without_new_readings_the_delay_stays_and_the_sd_widens() -> None:
    path = TwoWayPath(read=((0.0, 60.0),))
    packets = drifted(path, 400.0)
    sent, error = errors(packets, path)
    assert np.abs(error[sent > 60.0]).max() < 0.004
    at = np.array([r.known - START for r in reports(packets)])
    sd = np.sqrt([r.offset_var for r in reports(packets)])
    fresh, stale = sd[(at > 30) & (at < 60 + STALE_S / 2)], sd[at > 380]
    assert stale.min() > fresh.max() * 1.1


def test_readings_that_come_back_are_in_force_at_once() -> None:
    path = TwoWayPath(read=((0.0, 60.0), (200.0, 1e9)))
    sent, error = errors(drifted(path, 260.0), path)
    assert np.abs(error[sent > 16.0]).max() < 0.004


# -- two passes ---------------------------------------------------------------------------------


def hindsight(path: TwoWayPath, seconds: float) -> list[Packet]:
    make = makers(plan((path.channel,)))
    items = feed(
        make["normalize"](None), feed(make["collect"](None), [batch(path, seconds=seconds)])
    )
    first = Drift(plan((path.channel,)), learn=True)
    feed(first, items)
    known = Hindsight({"studio": {"drift": first.shown()}})
    return feed(Drift(plan((path.channel,)), known=known), items)


def test_the_second_pass_is_corrected_from_the_first_row_on() -> None:
    path = TwoWayPath(spoiled=((3, 1e9, None), (6, 4.0, 0.0)))
    packets = hindsight(path, 120.0)
    _, error = errors(packets, path)
    assert np.abs(error).max() < 0.0015
    assert sum(count(packets, "rejected").values()) == 4
    assert [d.reason for p in packets for d in p.letters][:1] == ["wild_stamp"]
    sd = np.sqrt([r.offset_var for r in reports(packets)])
    assert sd.min() == pytest.approx(0.040 / np.sqrt(3), rel=0.1)


def test_the_second_pass_is_corrected_on_both_sides_of_a_reset() -> None:
    path = TwoWayPath(resets=((61.0, 250.0),))
    packets = hindsight(path, 120.0)
    sent, error = errors(packets, path)
    assert np.abs(error[sent < 61.0]).max() < 0.002
    sent, error = errors(packets, path, steps=250.0)
    assert np.abs(error[sent > 61.0]).max() < 0.002
