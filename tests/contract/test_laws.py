"""The laws of the house, over every station: what each makes of a rich recording."""

from __future__ import annotations

import copy
import dataclasses
import tracemalloc
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import collect, state
from operators.align import AlignConfig
from operators.evidence import Rule
from operators.plan import ChannelConfig, FailoverConfig, Member, Plan
from operators.quality import QualityConfig
from operators.records import ENDS, Batch, Marker, Packet, Reject
from operators.state import StateRefusedError, decode_state, encode_state
from tests.contract.outcome import assert_same, outcome
from tests.signals import (
    START,
    STATIONS,
    Make,
    Source,
    cut,
    every,
    feed,
    makers,
    plan,
    studio,
    trace,
)  # fmt: skip

PLAN = plan(
    ("ure:pulse", "osc_1:/pulse", "osc_1:/array", "osc_2:/pulse", "osc_3:/slow"),
    channels={
        "osc_1:/pulse": ChannelConfig(gain=2.0, offset=0.5, range=(-200.0, 200.0)),
        "osc_1:/array": ChannelConfig(reduce="mean"),
        "midi_1:cc/1/1": ChannelConfig(kind="held", stale_after_s=6.0),
    },
    facts=("ure:ure_coherence_level",),
    failover=FailoverConfig(min_streams=2, rejoin_after_s=4.0),
    reference="ure:pulse",
    aligned=True,
)
RULES = (
    Rule(name="weak", when="coherence < 0.9", for_s=2.0, keep_for_s=3.0),
    Rule(name="low", when="pulse < -0.5 or slope(pulse, 5s) > 0.1"),
    Rule(name="blurred", when="sync_bound_s > 0.01 and live >= 2"),
)
SKEWED = {"offset_s": -3.214, "skew_ppm": 87.0, "resets": ((35.0, 0.5), (60.0, -0.8))}
STUDIO = (
    Source(source="ure", key="pulse", rate_hz=20.0, loss=0.02),
    Source(
        key="/pulse", lag_s=0.18, loss=0.02, outliers=0.01, duplicates=5, wild=3,
        wild_arrivals=2, far=2, delays=((20.0, 20.4, 0.35), (42.0, 42.2, 0.9), (50.0, 50.1, 6.0)),
        markers=((10.0, "verse"), (36.0, "chorus"), (65.0, "coda")), **SKEWED,
    ),
    Source(key="/array", rate_hz=10.0, lag_s=0.25, elements=3, **SKEWED),
    Source(
        source="osc_2", rate_hz=31.7, offset_s=7.905, skew_ppm=-140.0, lag_s=-0.42,
        silent=((44.0, 53.0),), delays=((15.0, 15.6, 0.2),), sequenced=False,
    ),
    Source(source="osc_3", key="/slow", rate_hz=2.5, noise=0.02),
    Source(source="midi_1", key="cc/1/1", rate_hz=40.0, held=True, stamped=False),
    Source(source="ure", key="ure_coherence_level", rate_hz=0.5, value=lambda t: 0.9 + 0 * t),
    Source(source="osc_2", key="/unused", rate_hz=3.0),
)  # fmt: skip
SECONDS = 75.0
BLOCKS = (0.05, 0.5, 10.0)


def stations(p: Plan = PLAN, block_s: float = 1.0) -> dict[str, Make]:
    return makers(
        p, block_s, align=AlignConfig(window_s=20.0, hop_s=5.0, max_lag_s=2.0),
        quality=QualityConfig(window_s=20.0), rules=RULES,
    )  # fmt: skip


@lru_cache(maxsize=1)
def recording() -> Batch:
    return studio(*STUDIO, seconds=SECONDS, seed=3, ticks_s=0.5, rejects=4)


@lru_cache(maxsize=8)
def traced(block_s: float = 1.0) -> dict[str, list[Packet]]:
    """Return what leaves each station when collect cuts blocks of this width."""
    return trace(stations(block_s=block_s), every(recording(), 997))


def into(station: str) -> list[Any]:
    """Return what the station is given: the batches, or what leaves the one before."""
    k = STATIONS.index(station)
    return list(traced()[STATIONS[k - 1]]) if k else every(recording(), 997)


def test_the_recording_has_all_that_can_happen_in_it() -> None:
    out = outcome(traced()["evidence"])
    ends = {key.split()[-1] for key in out if key.startswith("ends ")}
    assert ends == set(ENDS) - {"dropped"}
    assert {(d.stage, d.reason) for d in out["dead"]} == {
        ("receive", "json"), ("collect", "wild_stamp"), ("drift", "wild_stamp"),
        ("normalize", "out_of_range"),
    }  # fmt: skip
    assert {s.why for s in out["sync"]} == {"hop", "reset", "state", "end"}
    assert {s.state for s in out["sync"]} >= {"acquiring", "live", "stale", "rejoining"}
    assert [m.value for m in out["markers"]] == ["verse", "chorus", "coda"]
    assert {e.state for e in out["evidence"]} == {"firing", "resolved"}
    assert len(out["indicators"]) == 0
    assert len(np.unique(out["fused mode"])) >= 2
    assert any(b.straggler.any() for p in traced()["drift"] for b in p.blocks)
    for signal in ("ure:pulse", "osc_1:/pulse", "osc_1:/array", "osc_2:/pulse"):
        column = PLAN.signals[0].members.index(next(m for m in PLAN.members if m.channel == signal))
        assert (out["fused pulse weights"][:, column] > 0).any()


# -- 1: same however cut ------------------------------------------------------------------------


@lru_cache(maxsize=1)
def collected() -> list[Packet]:
    return feed(stations()["collect"](None), [recording()])


@pytest.mark.parametrize("rows", [1, 7, 997])
@pytest.mark.parametrize("rejects_first", [True, False])
def test_collect_gives_the_same_packets_for_any_batches(rows: int, rejects_first: bool) -> None:
    batch = recording()
    places = range(rows, len(batch.ts), rows)
    if rows == 1:
        batch, places = cut(batch, [1200])[0], range(1, 1200)
    pieces = cut(batch, places, rejects_first=rejects_first)
    whole = feed(stations()["collect"](None), [batch])
    assert_same(feed(stations()["collect"](None), pieces), whole)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 12_000), max_size=8), st.booleans())
def test_collect_gives_the_same_packets_for_batches_of_any_size(
    places: list[int], rejects_first: bool
) -> None:
    pieces = cut(recording(), places, rejects_first=rejects_first)
    assert_same(feed(stations()["collect"](None), pieces), collected())


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 600), max_size=12), st.integers(1, 90), st.booleans())
def test_collect_cuts_early_at_the_same_row_for_any_batches(
    places: list[int], most: int, rejects_first: bool
) -> None:
    batch = studio(Source(rate_hz=100.0), seconds=6.0, rejects=60)
    make = makers(plan(), block_s=3.0)["collect"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collect, "MOST_ROWS", most)
        whole = feed(make(None), [batch])
        pieces = feed(make(None), cut(batch, places, rejects_first=rejects_first))
    assert len(whole) >= 600 // most
    assert_same(pieces, whole)


@pytest.mark.parametrize("block_s", BLOCKS)
@pytest.mark.parametrize("station", STATIONS)
def test_a_station_says_the_same_however_wide_the_blocks(station: str, block_s: float) -> None:
    one, other = outcome(traced()[station]), outcome(traced(block_s)[station])
    assert_same(other, one, 1e-9)


@pytest.mark.parametrize(
    "given",
    [
        {"tick_hz": 20.0, "half_width_s": 0.5},
        {"tick_hz": 1.0, "half_width_s": 10.0},
        {"half_width_s": 0.3, "wait_s": 0.005, "wait_lag_s": 0.0},
        {"wait_s": 0.6},
    ],
    ids=["fine grid", "coarse grid", "low latency", "long wait"],
)
def test_any_grid_says_the_same_however_wide_the_blocks(given: dict[str, float]) -> None:
    p = dataclasses.replace(PLAN, **given)
    one, other = (
        outcome(trace(stations(p, block_s), every(recording(), 997))["evidence"])
        for block_s in (0.25, 10.0)
    )
    assert_same(other, one, 1e-9)


# -- 2: same after resume -----------------------------------------------------------------------


def resumed(station: str, items: list[Any], cuts: set[int]) -> list[Packet]:
    """Return what the station says when it is stored and begun anew before each cut."""
    build = stations()[station]
    core = build(None)
    out: list[Packet] = []
    for i, item in enumerate(items):
        if i in cuts:
            stored = encode_state(core.snapshot(), station, "f")
            core = build(decode_state(stored, station, "f"))
        out += feed(core, [item])
    return out


@pytest.mark.parametrize("station", STATIONS)
def test_a_station_goes_on_from_any_snapshot(station: str) -> None:
    items = into(station)
    straight = traced()[station]
    assert_same(resumed(station, items, set(range(len(items)))), straight)
    assert_same(resumed(station, items, {len(items) // 3, len(items) - 1}), straight)


@pytest.mark.parametrize("station", STATIONS)
def test_a_snapshot_that_is_not_the_stations_own_is_refused(station: str) -> None:
    core = stations()[station](None)
    feed(core, into(station)[:5])
    stored = encode_state(core.snapshot(), station, "f")
    with pytest.raises(StateRefusedError, match="another station"):
        decode_state(stored, "other", "f")
    with pytest.raises(StateRefusedError, match="another configuration"):
        decode_state(stored, station, "g")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "VERSION", state.VERSION + 1)
        with pytest.raises(StateRefusedError, match="another version"):
            decode_state(stored, station, "f")


# -- 3: input untouched; snapshot a copy ----------------------------------------------------------


def arrays(item: Any) -> list[np.ndarray]:
    """Return every array in it, however deep."""
    if isinstance(item, np.ndarray):
        return [item]
    if dataclasses.is_dataclass(item):
        return [a for f in dataclasses.fields(item) for a in arrays(getattr(item, f.name))]
    if isinstance(item, (list, tuple)):
        return [a for x in item for a in arrays(x)]
    if isinstance(item, dict):
        return [a for x in item.values() for a in arrays(x)]
    return []


@pytest.mark.parametrize("station", STATIONS)
def test_a_station_leaves_its_input_as_it_was(station: str) -> None:
    items = copy.deepcopy(into(station))
    for a in arrays(items):
        a.setflags(write=False)
    assert_same(feed(stations()[station](None), items), traced()[station])
    assert_same(items, into(station))


@pytest.mark.parametrize("station", STATIONS)
def test_a_snapshot_does_not_change_with_what_comes_later(station: str) -> None:
    items = into(station)
    core = stations()[station](None)
    half = len(items) // 2
    feed(core, items[:half])
    snapshot = core.snapshot()
    stored = encode_state(snapshot, station, "f")
    feed(core, items[half:])
    assert encode_state(snapshot, station, "f") == stored


# -- 4 and 5: nothing raises on data, nothing vanishes ----------------------------------------------

NAMES = (
    ("ure", "pulse"), ("osc_1", "/pulse"), ("osc_1", "/array[0]"), ("osc_1", "/array[1]"),
    ("osc_2", "/pulse"), ("midi_1", "cc/1/1"), ("ure", "ure_coherence_level"), ("who", "cares"),
)  # fmt: skip
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
    """Return batches in which anything may stand that the decoder lets through."""
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
        joined = column(st.booleans(), bool) & (name == 3) & (np.roll(name, 1) == 2)
        for i in np.flatnonzero(joined[1:]) + 1:
            rx[i], ts[i], stamped[i] = rx[i - 1], ts[i - 1], stamped[i - 1]
        line = 1000 * k + np.cumsum(~joined)
        value = np.where(text | (name < 0), np.nan, column(VALUES, float))
        pieces.append(
            Batch(
                "studio", NAMES, name, ts, rx, stamped, column(st.booleans(), bool) & (name >= 0),
                value, column(st.integers(-1, 3), np.int64), line,
                tuple(Marker(int(i), "x") for i in np.flatnonzero(text)),
                tuple(Reject(int(r), "json", draw(st.sampled_from(["osc_1", "?"])),
                                     "f", b"\xff", draw(st.integers(1, 3)))
                      for r in sorted(draw(st.lists(st.integers(0, n), max_size=3)))),
                end=k == 0,
            )
        )  # fmt: skip
    return pieces[1:] + pieces[:1]


FIRST = Batch(
    "studio", NAMES, np.zeros(1, np.int32), np.array([1.73e9]), np.array([1.73e9]),
    np.zeros(1, bool), np.zeros(1, bool), np.zeros(1), np.full(1, -1), np.full(1, -1),
)  # fmt: skip
"""One event with which a run begins; an older one could come after ticks of the host clock."""


def balance(packets: list[Packet]) -> dict[str, dict[str, int]]:
    """Return by source how many events met each end, rows still on the way not counted."""
    out: dict[str, dict[str, int]] = {}
    for e in (e for p in packets for e in p.ends):
        mine = out.setdefault(e.source, dict.fromkeys(ENDS, 0))
        mine[e.end] += len(e.before)
    return out


def events_in(batches: list[Batch]) -> dict[str, int]:
    """Return how many events each source sent: a tick of the host clock is none."""
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
        PLAN, wait_s=0.0, wait_lag_s=0.0, half_width_s=0.3, max_disorder_s=0.0, tick_hz=2.0,
        failover=FailoverConfig(fallback="degrade", rejoin_after_s=0.0),
    ),
    plan(("osc_1:/pulse",), frozen_after_s={"osc_1": 1.0}),
    plan((Member("pulse", "ure:pulse", "ure", -3.0, 0.1),
          Member("pulse", "osc_1:/pulse", "sensors", 40.0, 0.0))),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(hostile(), st.sampled_from(PLANS), st.sampled_from([0.01, 1.0, 10.0]))
def test_hostile_rows_raise_nothing_and_each_has_one_end(
    batches: list[Batch], p: Plan, block_s: float
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
def test_hostile_rows_give_the_same_however_cut(batches: list[Batch], places: list[int]) -> None:
    batches = [FIRST, *batches]
    whole = feed(stations()["collect"](None), batches)
    pieces = [p for b in batches for p in cut(b, places)]
    assert_same(feed(stations()["collect"](None), pieces), whole)
    one, other = (outcome(trace(stations(block_s=b), batches)["evidence"]) for b in (0.05, 10.0))
    assert_same(other, one, 1e-9)


def test_the_rich_recording_balances() -> None:
    for block_s in (1.0, *BLOCKS):
        assert_balanced([recording()], traced(block_s)["evidence"])


def test_a_rig_that_ends_before_it_began_gives_nothing() -> None:
    nothing = cut(studio(Source(), seconds=1.0), [0])[0]
    packets = trace(stations(), [dataclasses.replace(nothing, end=True)])["evidence"]
    assert [(p.fused, p.sync, p.ends) for p in packets] == [(None, (), ())]


def peak_mb(gap_s: float) -> float:
    """Return the most memory that it takes to bridge a gap in a recording (MB)."""
    batch = studio(Source(source="ure", key="pulse", rate_hz=20.0), Source(), seconds=20.0)
    gap = gap_s * (batch.rx > START + 10)
    tracemalloc.start()
    trace(makers(plan()), [dataclasses.replace(batch, rx=batch.rx + gap, ts=batch.ts + gap)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def test_a_gap_takes_no_more_memory_the_longer_it_is() -> None:
    assert peak_mb(1800.0) <= 2 * peak_mb(100.0)


# -- 6: bounded state ---------------------------------------------------------------------------


@lru_cache(maxsize=1)
def sizes() -> dict[str, tuple[int, int]]:
    """Return each station's largest state in a quarter minute, after one minute and after ten."""
    sources = [Source(source="ure", key="pulse", rate_hz=10.0)] + [
        Source(source=f"osc_{k}", rate_hz=12.0, skew_ppm=50.0, lag_s=0.2) for k in (1, 2)
    ]
    p = plan(("ure:pulse", "osc_1:/pulse", "osc_2:/pulse"))
    batch = studio(*sources, seconds=600.0, ticks_s=0.5)
    seconds = np.searchsorted(batch.rx, START + np.arange(1.0, 600.0))
    items: list[Any] = [dataclasses.replace(b, end=False) for b in cut(batch, seconds)]
    out: dict[str, tuple[int, int]] = {}
    for station, build in stations(p).items():
        core = build(None)
        size, packets = [], []
        for i, item in enumerate(items):
            packets += feed(core, [item])
            if 45 <= i < 60 or i >= 585:
                size.append(len(encode_state(core.snapshot(), station, "f")))
        items = packets
        out[station] = (max(size[:15]), max(size[15:]))
    return out


@pytest.mark.parametrize("station", STATIONS)
def test_state_does_not_grow_with_time(station: str) -> None:
    early, late = sizes()[station]
    assert late <= 1.05 * early
