"""Laws of all stations, tested on a rich recording."""

from __future__ import annotations

import copy
import dataclasses
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import snapshot as state
from operators.collect import BlockRule, collect
from operators.records import Packet
from operators.snapshot import StateRefusedError, decode_state, encode_state
from operators.types import BRIDGE_COMMANDS, ENDS
from tests.contract.outcome import assert_same, outcome
from tests.contract.rich import BLOCKS, PLAN, into, recording, stations, traced
from tests.support.signals import (
    START,
    STATIONS,
    Source,
    cut,
    every,
    feed,
    makers,
    plan,
    studio,
    trace,
)


def test_the_rich_recording_has_every_kind_of_result() -> None:
    out = outcome(traced()["evidence"])
    ends = {key.split()[-1] for key in out if key.startswith("ends ")}
    assert ends == set(ENDS) - {"dropped"}
    assert {(d.stage, d.reason) for d in out["dead"]} == {
        ("receive", "json"),
        ("collect", "wild_stamp"),
        ("drift", "wild_stamp"),
        ("normalize", "out_of_range"),
    }
    assert {s.why for s in out["sync"]} == {"hop", "reset", "state", "end"}
    assert {s.state for s in out["sync"]} >= {"acquiring", "live", "stale", "rejoining"}
    assert [m.value for m in out["markers"]] == ["verse", "chorus", "coda"]
    assert {e.state for e in out["evidence"]} == {"firing", "resolved"}
    beats = {b.channel for p in traced()["guard"] for b in p.beats}
    assert beats == set(PLAN.beats)
    assert {c.command for c in out["controls"]} == set(BRIDGE_COMMANDS)
    assert len(out["indicators"]) == 0
    assert len(np.unique(out["fused mode"])) >= 2
    assert {r.grain_s for p in traced()["drift"] for r in p.grains} == {0.001}
    assert (out["fused sync_bound_s"] > out["fused sync_estimate_bound_s"]).any()
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
        patch.setattr(collect, "MAX_ROWS", most)
        whole = feed(make(None), [batch])
        pieces = feed(make(None), cut(batch, places, rejects_first=rejects_first))
    assert len(whole) >= 600 // most
    assert_same(pieces, whole)


@pytest.mark.parametrize("block_s", BLOCKS)
@pytest.mark.parametrize("station", STATIONS)
def test_the_output_of_a_station_does_not_depend_on_the_width_of_blocks(
    station: str, block_s: BlockRule
) -> None:
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
def test_the_output_on_any_grid_does_not_depend_on_the_width_of_blocks(
    given: dict[str, float],
) -> None:
    p = dataclasses.replace(PLAN, **given)
    one, other = (
        outcome(trace(stations(p, block_s), every(recording(), 997))["evidence"])
        for block_s in (0.25, 10.0)
    )
    assert_same(other, one, 1e-9)


# -- 2: same after resume -----------------------------------------------------------------------


def resumed(station: str, items: list[Any], cuts: set[int]) -> list[Packet]:
    """Return the output of a station that is rebuilt from its snapshot before each cut."""
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
def test_a_station_continues_from_any_snapshot(station: str) -> None:
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
    """Return all nested arrays."""
    if isinstance(item, np.ndarray):
        return [item]
    if isinstance(item, msgspec.Struct):
        return [a for name in item.__struct_fields__ for a in arrays(getattr(item, name))]
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
def test_a_snapshot_does_not_change_with_later_input(station: str) -> None:
    items = into(station)
    core = stations()[station](None)
    half = len(items) // 2
    feed(core, items[:half])
    snapshot = core.snapshot()
    stored = encode_state(snapshot, station, "f")
    feed(core, items[half:])
    assert encode_state(snapshot, station, "f") == stored


# -- 6: bounded state ---------------------------------------------------------------------------


@lru_cache(maxsize=1)
def sizes() -> dict[str, tuple[int, int]]:
    """Return each station's largest state in the second minute and in the tenth."""
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
            if 60 <= i < 120 or i >= 539:
                size.append(len(encode_state(core.snapshot(), station, "f")))
        items = packets
        out[station] = (max(size[:60]), max(size[60:]))
    return out


@pytest.mark.parametrize("station", STATIONS)
def test_state_does_not_grow_with_time(station: str) -> None:
    early, late = sizes()[station]
    assert late <= 1.05 * early
