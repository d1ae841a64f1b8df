"""The comparer: each verdict, their order, and counts that do not depend on the interleaving."""

from __future__ import annotations

import json
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.shadow.comparer import (
    CANDIDATE,
    GOOD,
    MIN_KEPT,
    RUNNING,
    VERDICTS,
    Comparer,
    failure_ratio,
    total,
    unique_ratio,
)
from tests.ops.shadow.shadow_lines import HZ, START, line


def compared(running, candidate, **settings):
    """Return the counts of all rigs after both sides in turn."""
    comparer = Comparer(**({"settle_s": 0.0} | settings))
    for i in range(max(len(running), len(candidate))):
        for side, lines in ((RUNNING, running), (CANDIDATE, candidate)):
            if i < len(lines):
                comparer.add(side, lines[i])
    comparer.finish()
    assert comparer.waiting() == 0
    return {v: n for v, n in total(comparer.counts).items() if n}


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, "identical"),
        ({"released": 3.0}, "identical"),
        ({"value": 0.6}, "within"),
        ({"sd": 0.3, "value": 1.0}, "within"),
        ({"value": 0.75}, "value"),
        ({"value": None}, "presence"),
        ({"live": 1}, "presence"),
        ({"weights": {"a:x": 1.0, "b:x": 0.0}}, "presence"),
        ({"weights": {"a:x": 0.7, "b:x": 0.3}}, "within"),
        ({"mode": "ure_only"}, "mode"),
        ({"mode": "ure_only", "value": None, "live": 1}, "mode"),
    ],
)
def test_each_pair_has_its_verdict(changed, verdict):
    assert compared([line(0)], [line(0, **changed)]) == {verdict: 1}
    assert compared([line(0, **changed)], [line(0)]) == {verdict: 1}


def test_tiny_differences_without_a_deviation_are_none():
    a, b, c = (line(0, sd=0.0, value=0.5 + off) for off in (0.0, 5e-10, 5e-9))
    assert compared([a], [b]) == {"within": 1}
    assert compared([a], [c]) == {"value": 1}


def test_a_tick_of_one_side_only_is_missing_or_extra():
    ticks = [line(k) for k in range(3)]
    assert compared(ticks, ticks[:2]) == {"identical": 2, "missing": 1}
    assert compared(ticks[:2], ticks) == {"identical": 2, "extra": 1}


@pytest.mark.parametrize("side", [RUNNING, CANDIDATE])
def test_a_repeat_is_twice_before_and_after_the_verdict(side):
    comparer = Comparer(settle_s=0.0)
    comparer.add(side, line(0))
    comparer.add(side, line(0))
    comparer.add(1 - side, line(0))
    assert total(comparer.counts)["twice"] == 1
    (found,) = comparer.add(side, line(0))
    assert found.verdict == "twice"
    assert total(comparer.counts) == dict.fromkeys(VERDICTS, 0) | {"twice": 2}


def test_a_repeat_of_a_missing_tick_is_missing():
    assert compared([line(0), line(0)], []) == {"missing": 1}


def test_the_wait_ends_in_data_time():
    comparer = Comparer(wait_s=1.0, settle_s=0.0)
    comparer.add(RUNNING, line(0))
    for k in range(1, 6):
        assert comparer.add(RUNNING, line(k)) == []
    (found,) = comparer.add(RUNNING, line(6))
    assert (found.verdict, found.ts, found.running, found.candidate) == (
        "missing", START, line(0), None,
    )  # fmt: skip


def test_the_first_part_of_a_rig_is_not_counted():
    ticks = [line(k) for k in range(100)]
    assert compared(ticks, ticks, settle_s=10.0) == {"identical": 50}
    # The candidate began five seconds later.
    assert compared(ticks, ticks[25:], settle_s=10.0) == {"identical": 25}


def test_rigs_are_apart():
    comparer = Comparer(settle_s=0.0)
    for rig in ("one", 'tw"o'):
        for side in (RUNNING, CANDIDATE):
            comparer.add(side, line(0, rig=rig))
    assert {rig: counts["identical"] for rig, counts in comparer.counts.items()} == {
        "one": 1, 'tw"o': 1,
    }  # fmt: skip


def test_the_share_of_rigs_is_a_subset_of_a_larger_share():
    rigs = [f"rig {i}" for i in range(300)]

    def of(share):
        comparer = Comparer(settle_s=0.0, share=share)
        for rig in rigs:
            for side in (RUNNING, CANDIDATE):
                comparer.add(side, line(0, rig=rig))
        return {rig for rig, counts in comparer.counts.items() if counts["identical"]}

    assert of(0.0) == set() and of(1.0) == set(rigs)
    assert of(0.2) < of(0.6)
    assert 30 < len(of(0.2)) < 90


def test_a_line_that_is_no_tick_is_counted_apart():
    comparer = Comparer(settle_s=0.0)
    for bad in (b"", b"{", b"[]", b'{"ts":"x"}', b'{"ts":x,"released":1,"rig":"r","a":1}'):
        assert comparer.add(RUNNING, bad) == []
    assert comparer.unreadable == 5
    assert sum(total(comparer.counts).values()) == 0


def test_keys_in_another_order_are_read():
    tick = msgspec.json.decode(line(0))
    swapped = msgspec.json.encode(dict(reversed(tick.items())))
    assert compared([line(0)], [swapped]) == {"identical": 1}


@st.composite
def cases(draw):
    """Two sides of up to 40 ticks with gaps and changed values, and an interleaving of both."""
    sides = []
    for _ in range(2):
        ks = draw(st.lists(st.integers(1, 40), unique=True, max_size=40).map(sorted))
        ks = [0, *ks]  # both begin at once
        values = [draw(st.sampled_from([0.5, 0.5, 0.6, 2.0])) for _ in ks]
        sides.append([line(k, value=v) for k, v in zip(ks, values, strict=True)])
    order = [side for side, lines in enumerate(sides) for _ in lines]
    return sides, draw(st.permutations(order))


@given(cases())
def test_counts_do_not_depend_on_the_interleaving(case):
    sides, order = case
    comparer, places = Comparer(settle_s=0.0), [0, 0]
    for side in order:
        comparer.add(side, sides[side][places[side]])
        places[side] += 1
    comparer.finish()
    found = {v: n for v, n in total(comparer.counts).items() if n}
    assert found == compared(*sides)
    ts = [{json.loads(each)["ts"] for each in lines} for lines in sides]
    assert sum(found.values()) == len(ts[0] | ts[1])
    assert found.get("missing", 0) == len(ts[0] - ts[1])
    assert found.get("extra", 0) == len(ts[1] - ts[0])


@given(cases())
def test_exchanged_sides_exchange_missing_and_extra(case):
    (a, b), _ = case
    one, other = compared(a, b), compared(b, a)
    assert one.pop("missing", 0) == other.pop("extra", 0)
    assert one.pop("extra", 0) == other.pop("missing", 0)
    assert one == other


def test_ratios_are_those_of_the_ticks_and_need_500():
    ticks = [line(k) for k in range(2000)]
    rng = random.Random(1)
    removed = set(rng.sample(range(2000), 100))
    comparer = Comparer(settle_s=0.0)
    for k, tick in enumerate(ticks):
        comparer.add(RUNNING, tick)
        if k not in removed:
            comparer.add(CANDIDATE, tick)
    comparer.finish()
    counts = comparer.counts["studio"]
    assert unique_ratio(counts) == pytest.approx(0.95)
    assert failure_ratio(counts) == pytest.approx(0.05)
    few = dict.fromkeys(VERDICTS, 0) | {"identical": 499}
    assert failure_ratio(few) is None is unique_ratio(few)
    assert failure_ratio(few | {"within": 1}) == 0.0 and unique_ratio(few | {"within": 1}) == 1.0
    assert set(GOOD) < set(VERDICTS)


def test_memory_is_that_of_the_wait():
    comparer = Comparer(wait_s=10.0, settle_s=0.0)
    for k in range(3000):
        comparer.add(RUNNING, line(k))
        assert comparer.waiting() <= 10.0 * HZ + 1
    (state,) = comparer._rigs.values()
    assert len(state.judged) <= 2 * MIN_KEPT + 1 and not state.repeated
