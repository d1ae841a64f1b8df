"""Laws 4 and 5 over every station: nothing raises on data, and each event has one end."""

from __future__ import annotations

import dataclasses
import tracemalloc
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.collect import BlockRule
from operators.events import Batch, Marker, Reject
from operators.records import Packet
from operators.settings.groups import FailoverConfig
from operators.settings.plan import Member, Plan
from operators.types import ENDS
from tests.contract.outcome import assert_same, outcome
from tests.contract.rich import BLOCKS, PLAN, recording, stations, traced
from tests.support.signals import START, Source, cut, feed, makers, plan, studio, trace

NAMES = (
    ("ure", "pulse"),
    ("osc_1", "/pulse"),
    ("osc_1", "/array[0]"),
    ("osc_1", "/array[1]"),
    ("osc_2", "/pulse"),
    ("midi_1", "cc/1/1"),
    ("ure", "ure_coherence_level"),
    ("who", "cares"),
    ("osc_1", "clock_offset[0]"),
    ("osc_1", "clock_offset[1]"),
)
STAMPS = st.one_of(
    st.sampled_from([0.0, -1e12, 1e12, 1e9, -1e9, 1.73e9, 1.73e9 + 1, 1.73e9 - 40, 2.73e9]),
    st.floats(-1e12, 1e12),
    st.floats(1.73e9, 1.73e9 + 5),
)
NEAR = st.floats(1.73e9, 1.73e9 + 40)
VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1e308, -1e308, 5e-324, 1e6]), st.floats(-2, 2, width=32)
)


@st.composite
def hostile(draw: st.DrawFn, arrival: st.SearchStrategy[float] = NEAR) -> list[Batch]:
    """Return batches with any rows that the decoder accepts."""
    pieces = []
    for k in range(draw(st.integers(1, 4))):
        n = draw(st.integers(0, 25))

        def column(values: st.SearchStrategy[Any], kind: Any, n: int = n) -> np.ndarray:
            return np.array(draw(st.lists(values, min_size=n, max_size=n)), kind)

        name = column(st.integers(-1, len(NAMES) - 1), np.int32)
        rx = column(arrival, float)
        stamped = column(st.booleans(), bool) & (name >= 0)
        ts = np.where(stamped, column(STAMPS, float), rx)
        text = column(st.integers(0, 9), int) == 0
        text &= name >= 0
        # Elements of one array share line and stamps.
        second = np.isin(name, (3, 9)) & (np.roll(name, 1) == name - 1)
        joined = column(st.booleans(), bool) & second
        for i in np.flatnonzero(joined[1:]) + 1:
            rx[i], ts[i], stamped[i] = rx[i - 1], ts[i - 1], stamped[i - 1]
        line = 1000 * k + np.cumsum(~joined)
        value = np.where(text | (name < 0), np.nan, column(VALUES, float))
        pieces.append(
            Batch(
                rig="studio",
                names=NAMES,
                name=name,
                ts=ts,
                rx=rx,
                stamped=stamped,
                wild=column(st.booleans(), bool) & (name >= 0),
                value=value,
                seq=column(st.integers(-1, 3), np.int64),
                line=line,
                markers=tuple(Marker(int(i), "x") for i in np.flatnonzero(text)),
                rejects=tuple(
                    Reject(
                        int(r),
                        "json",
                        draw(st.sampled_from(["osc_1", "?"])),
                        "f",
                        b"\xff",
                        draw(st.integers(1, 3)),
                    )
                    for r in sorted(draw(st.lists(st.integers(0, n), max_size=3)))
                ),
                end=k == 0,
            )
        )
    return pieces[1:] + pieces[:1]


FIRST = Batch(
    rig="studio",
    names=NAMES,
    name=np.zeros(1, np.int32),
    ts=np.array([1.73e9]),
    rx=np.array([1.73e9]),
    stamped=np.zeros(1, bool),
    wild=np.zeros(1, bool),
    value=np.zeros(1),
    seq=np.full(1, -1),
    line=np.full(1, -1),
)
"""The first event of a run; an older one could follow ticks of the host clock."""


def balance(packets: list[Packet]) -> dict[str, dict[str, int]]:
    """Return the number of events by source and end, without rows in progress."""
    out: dict[str, dict[str, int]] = {}
    for e in (e for p in packets for e in p.ends):
        mine = out.setdefault(e.source, dict.fromkeys(ENDS, 0))
        mine[e.end] += len(e.watermark)
    return out


def events_in(batches: list[Batch]) -> dict[str, int]:
    """Return the number of events of each source, without ticks of the host clock."""
    out: dict[str, int] = {}
    for b in batches:
        for n in b.name[b.name >= 0].tolist():
            out[b.names[n][0]] = out.get(b.names[n][0], 0) + 1
        for r in b.rejects:
            out[r.source] = out.get(r.source, 0) + r.count
    return out


def assert_balanced(batches: list[Batch], packets: list[Packet]) -> None:
    received = {}
    for source, count in balance(packets).items():
        received[source] = count.pop("received")
        assert sum(count.values()) == received[source], (source, count)
    assert received == events_in(batches)
    rejected = sum(c["rejected"] for c in balance(packets).values())
    assert sum(d.count for p in packets for d in p.letters) == rejected
    assert sum(d.count for p in packets for d in p.dead) == rejected


PLANS = (
    PLAN,
    dataclasses.replace(
        PLAN,
        wait_s=0.0,
        wait_lag_s=0.0,
        half_width_s=0.3,
        max_disorder_s=0.0,
        tick_hz=2.0,
        failover=FailoverConfig(fallback="degrade", rejoin_after_s=0.0),
    ),
    plan(("osc_1:/pulse",), frozen_after_s={"osc_1": 1.0}),
    plan(
        (
            Member("pulse", "ure:pulse", "ure", -3.0, 0.1),
            Member("pulse", "osc_1:/pulse", "sensors", 40.0, 0.0),
        )
    ),
)


@settings(max_examples=150, deadline=None)
@given(hostile(), st.sampled_from(PLANS), st.sampled_from([0.01, 1.0, 10.0]))
def test_hostile_rows_raise_nothing_and_each_has_one_end(
    batches: list[Batch], p: Plan, block_s: BlockRule
) -> None:
    packets = trace(stations(p, block_s), batches)["evidence"]
    assert_balanced(batches, packets)


@settings(max_examples=60, deadline=None)
@given(hostile(st.one_of(NEAR, st.sampled_from([1.73e9 + 400.0, 1.73e9 - 400.0]))))
def test_arrivals_that_jump_raise_nothing(batches: list[Batch]) -> None:
    packets = trace(stations(), batches)["evidence"]
    assert_balanced(batches, packets)


@settings(max_examples=40, deadline=None)
@given(hostile(), st.lists(st.integers(0, 25), max_size=4))
def test_hostile_rows_give_the_same_for_any_batches(
    batches: list[Batch], places: list[int]
) -> None:
    batches = [FIRST, *batches]
    whole = feed(stations()["collect"](None), batches)
    pieces = [p for b in batches for p in cut(b, places)]
    assert_same(feed(stations()["collect"](None), pieces), whole)
    one, other = (outcome(trace(stations(block_s=b), batches)["evidence"]) for b in (0.05, 10.0))
    assert_same(other, one, 1e-9)


def test_the_rich_recording_balances() -> None:
    for block_s in (1.0, *BLOCKS):
        assert_balanced([recording()], traced(block_s)["evidence"])


def test_a_rig_without_events_gives_nothing() -> None:
    nothing = cut(studio(Source(), seconds=1.0), [0])[0]
    packets = trace(stations(), [dataclasses.replace(nothing, end=True)])["evidence"]
    assert [(p.fused, p.sync, p.ends) for p in packets] == [(None, (), ())]


def peak_mb(gap_s: float) -> float:
    """Return the peak memory for a gap in a recording (MB)."""
    batch = studio(Source(source="ure", key="pulse", rate_hz=20.0), Source(), seconds=20.0)
    gap = gap_s * (batch.rx > START + 10)
    tracemalloc.start()
    trace(makers(plan()), [dataclasses.replace(batch, rx=batch.rx + gap, ts=batch.ts + gap)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def test_a_gap_takes_less_than_a_kilobyte_for_each_of_its_ticks() -> None:
    ticks = (1800.0 - 100.0) * plan().tick_hz
    assert (peak_mb(1800.0) - peak_mb(100.0)) * 1e6 <= 1000 * ticks
