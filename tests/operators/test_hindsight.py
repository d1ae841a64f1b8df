"""The findings of a first pass: kept whole, refused where they are not this run's, used at once."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from operators.align import Align, AlignConfig
from operators.collect import Collect
from operators.drift import Drift
from operators.hindsight import Hindsight, Learner, decode, encode
from operators.records import LagReport
from operators.scale import Scale
from operators.snapshot import StateRefusedError
from tests.support.signals import START, Source, block, feed, packet, plan, studio

CHANNEL = "osc_1:/pulse"
FOUND = Hindsight(
    {"studio": {"align": {"lags": [["pulse", CHANNEL, -np.inf, 0.25, 1e-8, 0.0, 0.9, True, ""]]}}}
)


def test_findings_come_back_as_they_were_written() -> None:
    found = Hindsight({"a": {"drift": {"nodes": np.arange(3.0)}}, "b": {}})
    back = decode(encode(found, "f", ["1", None]), "f", ["1", None])
    assert list(back.rigs) == ["a", "b"]
    assert np.array_equal(back.of("a", "drift")["nodes"], np.arange(3.0))
    assert back.of("a", "align") == back.of("c", "drift") == {}


def test_equal_findings_give_equal_bytes() -> None:
    assert encode(FOUND, "f", ["1"]) == encode(FOUND, "f", ["1"])


@pytest.mark.parametrize(
    ("fingerprint", "recordings"),
    [("g", ["1"]), ("f", ["2"]), ("f", ["1", "2"]), ("f", [])],
)
def test_findings_of_another_run_are_refused(fingerprint: str, recordings: list[str]) -> None:
    with pytest.raises(StateRefusedError):
        decode(encode(FOUND, "f", ["1"]), fingerprint, recordings)


@pytest.mark.parametrize("cut", [0, 3, 20, -1])
def test_findings_that_were_cut_or_altered_are_refused(cut: int) -> None:
    data = encode(FOUND, "f", ["1"])
    with pytest.raises(StateRefusedError):
        decode(data[:cut], "f", ["1"])
    altered = bytearray(data)
    altered[cut] ^= 1
    with pytest.raises(StateRefusedError):
        decode(bytes(altered), "f", ["1"])


def test_align_states_known_lags_before_any_row_and_searches_none() -> None:
    p = plan(("ure:pulse", CHANNEL))
    core = Align(p, AlignConfig(), known=FOUND)
    at = START + np.arange(2000) / 20
    rows = (block("ure:pulse", at, np.sin(at)), block(CHANNEL, at, np.sin(at)))
    out = core.update(packet(*rows, upto=at[-1], end=True, first=START))
    assert [(r.channel, r.known, r.lag_s, r.locked) for r in out.lags] == [
        (CHANNEL, -np.inf, 0.25, True)
    ]
    assert not core.update(packet(upto=at[-1], end=True, first=START)).lags


def test_align_states_a_later_lag_when_ticks_may_need_it_and_once() -> None:
    first = ["pulse", CHANNEL, -np.inf, 0.25, 1e-8, 0.0, 0.9, True, ""]
    later = [*first[:2], START + 10.0, 0.30, *first[4:]]
    found = Hindsight({"studio": {"align": {"lags": [first, later]}}})
    core = Align(plan(("ure:pulse", CHANNEL)), AlignConfig(), known=found)
    out = []
    for upto in (0.0, 9.9, 10.0, 11.0):
        out.append(len(core.update(packet(upto=START + upto, end=False, first=START)).lags))
        core = Align.from_snapshot(core.snapshot(), core.plan, core.config, known=found)
    assert out == [1, 0, 1, 0]
    core = Align(core.plan, core.config, known=found)
    assert len(core.update(packet(upto=START, end=True, first=START)).lags) == 2


def test_align_of_a_rig_without_findings_states_none() -> None:
    core = Align(plan(("ure:pulse", CHANNEL)), AlignConfig(), known=Hindsight())
    assert core.update(packet(upto=START, end=True, first=START)).lags == ()


def test_stations_that_learn_have_findings() -> None:
    p = plan(("ure:pulse", CHANNEL), reference="ure:pulse")
    assert isinstance(Scale(p), Learner)
    learner = Align(p, AlignConfig(), learn=True)
    learner.update(packet(upto=START, end=True, first=START))
    assert [LagReport(*r).channel for r in learner.shown()["lags"]] == ["ure:pulse"]


def test_drift_has_clock_and_grain_before_the_first_row() -> None:
    source = Source(
        source="osc_1",
        key="/pulse",
        offset_s=4.0,
        skew_ppm=100.0,
        resets=((40.0, 0.5),),
        rate_hz=20.0,
    )
    p = plan((CHANNEL,))
    batch = studio(source, seconds=80.0)
    whole = np.round(batch.ts)
    batch = dataclasses.replace(batch, ts=np.where(np.isnan(batch.ts), batch.ts, whole))
    packets = feed(Collect(p, 1.0), [batch])
    first = Drift(p, learn=True)
    feed(first, packets)
    shown = first.shown()
    assert shown["grains"] == {CHANNEL: 1.0}
    second = Drift(p, known=Hindsight({"studio": {"drift": shown}}))
    out = second.update(packets[0])
    assert [(g.channel, g.watermark, g.grain_s) for g in out.grains][:1] == [
        (CHANNEL, -np.inf, 1.0)
    ]
    assert out.clocks[0].known == out.clocks[0].watermark == -np.inf


def test_drift_reports_a_reset_at_its_own_time() -> None:
    source = Source(offset_s=4.0, skew_ppm=100.0, resets=((40.0, 0.5),))
    p = plan((CHANNEL,))
    packets = feed(Collect(p, 1.0), [studio(source, seconds=80.0)])
    first = Drift(p, learn=True)
    feed(first, packets)
    out = feed(Drift(p, known=Hindsight({"studio": {"drift": first.shown()}})), packets)
    reports = [r for x in out for r in x.clocks]
    (reset,) = [r for r in reports if r.stepped]
    assert reset.known == reset.reset_at == pytest.approx(START + 40.0, abs=0.05)
    assert [r.resets for r in reports] == sorted(r.resets for r in reports)
    known = np.array([r.known for r in reports])
    assert (np.diff(known) >= 0).all()
    for x in out:
        assert all(r.known <= x.watermark for r in x.clocks) or x.end
    at = START + 60.0
    r = reports[int(np.searchsorted(known, at)) - 1]
    assert r.offset_s + r.slope * (at - r.at) == pytest.approx(4.0 - 60 * 100e-6 - 0.5, abs=1e-3)
    assert not [e for x in out for e in x.ends if e.end == "rejected"]
