"""Drift: rows on host time, in order; rows without a usable time are wild or late."""

from __future__ import annotations

import numpy as np
import pytest

from operators.drift import Drift
from operators.records import Block, ClockReport, Packet
from tests.support.signals import START, Source, block, feed, makers, packet, plan, studio, trace

SKEWED = Source(offset_s=-3.2, skew_ppm=90.0)


def drifted(*sources: Source, seconds: float = 60.0) -> list[Packet]:
    p = plan(tuple(dict.fromkeys(s.channel for s in sources)))
    make = {k: v for k, v in makers(p).items() if k in ("collect", "normalize", "drift")}
    return trace(make, [studio(*sources, seconds=seconds)])["drift"]


def rows(packets: list[Packet], channel: str = "osc_1:/pulse") -> Block:
    return Block.join(b for p in packets for b in p.blocks if b.channel == channel)


def count(packets: list[Packet], end: str) -> int:
    return sum(len(e.watermark) for p in packets for e in p.ends if e.end == end)


def reports(packets: list[Packet]) -> list[ClockReport]:
    return [r for p in packets for r in p.clocks]


def test_rows_leave_in_order_of_host_time_with_nothing_lost() -> None:
    shaken = Source(queue_s=0.02, offset_s=7.0, skew_ppm=-150.0)
    packets = drifted(shaken, seconds=20.0)
    host = rows(packets).host_time
    assert (np.diff(host) >= 0).all()
    assert len(host) == 1000
    assert (np.diff(rows(packets).arrival) < 0).any()


def test_host_time_is_arrival_less_queueing() -> None:
    b = rows(drifted(SKEWED))
    early = rows(drifted(Source(offset_s=-3.2, skew_ppm=90.0, queue_s=0.0)))
    assert np.abs(b.host_time - early.arrival)[-1000:].max() <= 0.5e-3


def test_channels_of_a_source_share_its_clock() -> None:
    slow = Source(key="/slow", rate_hz=0.5, offset_s=-3.2, skew_ppm=90.0, queue_s=0.0)
    b = rows(drifted(SKEWED, slow), "osc_1:/slow")
    assert np.abs(b.host_time - b.arrival)[5:].max() <= 0.002


def test_a_source_without_stamps_of_its_own_passes_its_arrival() -> None:
    packets = drifted(Source(stamped=False), seconds=10.0)
    b = rows(packets)
    assert np.array_equal(b.host_time, np.sort(b.arrival))
    assert reports(packets) == []


def test_a_report_holds_offset_skew_and_steps() -> None:
    stepped = Source(offset_s=-3.2, skew_ppm=90.0, resets=((40.0, 0.5),))
    last = reports(drifted(stepped, seconds=120.0))[-1]
    now = START + 120.0
    assert last.offset_s + last.slope * (now - last.at) == pytest.approx(
        -3.2 - 120 * 90e-6 - 0.5, abs=1e-3
    )
    assert -1e6 * last.slope == pytest.approx(90.0, abs=3.0)
    assert last.resets == 1
    assert last.reset_at - START == pytest.approx(40.0, abs=0.05)


def test_wild_stamps_are_rejected_with_a_dead_letter() -> None:
    packets = drifted(Source(wild=4))
    assert count(packets, "rejected") == 4
    assert sum(d.count for p in packets for d in p.letters) == 4
    assert {(d.stage, d.reason) for p in packets for d in p.letters} == {("drift", "wild_stamp")}
    assert len(rows(packets)) == 2996


def test_a_row_overtaken_for_too_long_is_a_straggler_and_still_used() -> None:
    packets = drifted(Source(delays=((20.0, 20.05, 0.5),)))
    b = rows(packets)
    mine = b.host_time[b.straggler] - START
    assert 2 <= len(mine) <= 3
    assert (abs(mine - 20.025) <= 0.03).all()
    assert count(packets, "late") == 0


def test_a_row_behind_every_tick_is_late() -> None:
    packets = drifted(Source(delays=((20.0, 20.05, 6.0),)))
    assert 2 <= count(packets, "late") <= 3
    assert len(rows(packets)) + count(packets, "late") == 3000


def test_markers_are_clock_corrected_and_used() -> None:
    source = Source(offset_s=-3.2, skew_ppm=90.0, markers=((30.0, "verse"),))
    packets = drifted(source)
    (line,) = [m for p in packets for m in p.markers]
    assert (line.value, line.channel) == ("verse", "osc_1:/pulse")
    assert line.ts - START == pytest.approx(30.0, abs=0.002)
    assert line.source_ts - START == pytest.approx(30.0 * (1 + 90e-6) + 3.2, abs=1e-6)
    assert count(packets, "used") == 1


def test_the_first_and_the_newest_host_time_are_in_the_packet() -> None:
    packets = drifted(SKEWED, seconds=10.0)
    host = rows(packets).host_time
    assert packets[-1].first_host == host.min()
    assert packets[-1].newest_host == host.max()


def test_rows_wait_until_nothing_can_overtake_them() -> None:
    p = plan(("osc_1:/pulse",), wait_s=0.1)
    time = START + np.array([0.0, 0.95])
    first, last = feed(
        Drift(p),
        [
            packet(block("osc_1:/pulse", time, np.zeros(2)), upto=START + 1.0, end=False),
            packet(upto=START + 2.0, first=START),
        ],
    )
    assert [len(b) for b in first.blocks] == [1]
    assert [len(b) for b in last.blocks] == [1]
