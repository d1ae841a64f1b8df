"""Laws of all stations in the second of two passes, with known clocks, lags and gains."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from operators.align import Align
from operators.collect import BlockRule
from operators.drift import Drift
from operators.hindsight import Hindsight, Learner, decode, encode
from operators.records import Packet
from operators.snapshot import decode_state, encode_state
from operators.station import maker
from tests.contract.outcome import assert_same, outcome
from tests.contract.rich import ALIGN, BLOCKS, PLAN, recording, stations
from tests.contract.rich import traced as one_pass
from tests.support.signals import STATIONS, every, feed, trace

TWO = dataclasses.replace(PLAN, hindsight=True)
LEARNERS = ("drift", "align", "scale")


@lru_cache(maxsize=4)
def found(block_s: BlockRule = 1.0) -> Hindsight:
    """Return the findings of a first pass, decoded from their file."""
    make = stations(TWO, block_s)
    make |= {"drift": maker(Drift, TWO, learn=True), "align": maker(Align, TWO, ALIGN, learn=True)}
    items: list[Any] = every(recording(), 997)
    shown = {}
    for station, build in make.items():
        core = build(None)
        items = feed(core, items)
        if isinstance(core, Learner):
            shown[station] = core.shown()
    assert tuple(shown) == LEARNERS
    return decode(encode(Hindsight({PLAN.rig: shown}), "f", ["r"]), "f", ["r"])


@lru_cache(maxsize=4)
def traced(block_s: BlockRule = 1.0) -> dict[str, list[Packet]]:
    return trace(stations(TWO, block_s, found()), every(recording(), 997))


def test_every_line_has_clock_lag_and_gain_from_the_first_on() -> None:
    out = outcome(traced()["evidence"])
    assert {line.hindsight for line in out["sync"]} == {True}
    first = {}
    for line in out["sync"]:
        first.setdefault(line.channel, line)
    for channel in ("osc_1:/pulse", "osc_2:/pulse"):
        assert first[channel].offset_s is not None
        assert first[channel].lag_s is not None
    assert first["osc_2:/pulse"].scale_state == "live"
    causal = [x for x in outcome(one_pass()["evidence"])["sync"] if x.channel == "osc_2:/pulse"]
    assert first["osc_2:/pulse"].gain == pytest.approx(causal[-1].gain, rel=0.02)


def test_clock_resets_are_reported_as_they_happen() -> None:
    resets = [x for x in outcome(traced()["evidence"])["sync"] if x.why == "reset"]
    mine = [x for x in resets if x.channel == "osc_1:/pulse"]
    assert [x.clock_resets for x in mine] == [1, 2]
    assert all(x.ts == x.reset_at for x in mine)


@pytest.mark.parametrize("block_s", BLOCKS)
@pytest.mark.parametrize("station", STATIONS[1:])
def test_the_output_of_a_station_does_not_depend_on_the_width_of_blocks(
    station: str, block_s: BlockRule
) -> None:
    assert_same(outcome(traced(block_s)[station]), outcome(traced()[station]), 1e-9)


@pytest.mark.parametrize("station", LEARNERS)
def test_a_station_continues_from_any_snapshot(station: str) -> None:
    build = stations(TWO, known=found())[station]
    core, out = build(None), []
    for item in traced()[STATIONS[STATIONS.index(station) - 1]]:
        core = build(decode_state(encode_state(core.snapshot(), station, "f"), station, "f"))
        out += feed(core, [item])
    assert_same(out, traced()[station])


@pytest.mark.parametrize("station", LEARNERS)
def test_the_findings_are_left_as_they_are(station: str) -> None:
    before = encode(found(), "f", [])
    feed(
        stations(TWO, known=found())[station](None), traced()[STATIONS[STATIONS.index(station) - 1]]
    )
    assert encode(found(), "f", []) == before


def test_findings_hardly_depend_on_the_width_of_blocks() -> None:
    one, other = found(0.5), found(10.0)
    for station in ("drift", "align"):
        a, b = (x.of(PLAN.rig, station) for x in (one, other))
        assert a.keys() == b.keys()
    lags = [np.array([r[3] for r in x.of(PLAN.rig, "align")["lags"]]) for x in (one, other)]
    np.testing.assert_allclose(lags[0], lags[1], atol=1e-9)
    paths = [x.of(PLAN.rig, "drift")["paths"] for x in (one, other)]
    assert paths[0].keys() == paths[1].keys() == {"ure", "osc_1", "osc_2", "osc_3", "osc_4"}
    for source in paths[0]:
        np.testing.assert_allclose(paths[0][source]["line"], paths[1][source]["line"], atol=1e-9)
