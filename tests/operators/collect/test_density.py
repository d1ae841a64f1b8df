"""Blocks by density: on a fixed lattice, from the rig's own rows alone, over any resume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.collect import Collect, density
from operators.collect.density import AIM_ROWS, CELL_S, MAX_SPAN, Spans
from operators.events import Batch
from operators.records import Packet
from operators.settings.plan import Plan
from operators.snapshot import decode_state, encode_state
from tests.contract.outcome import assert_same
from tests.support.signals import cut, every, feed, plan

PLAN = plan(("ure:pulse", "osc_1:/pulse"))
AIM = 40
"""Rows of a block in these tests."""


def rows(*phases: tuple[float, float], begin: float = 1_700_000_003.0) -> Batch:
    """Return rows of two channels: phases of (duration in s, rate in Hz), one after another."""
    times, start = [], begin
    for seconds, hz in phases:
        times.append(start + np.arange(int(seconds * hz)) / hz)
        start += seconds
    t = np.concatenate(times) if times else np.empty(0)
    even = np.arange(len(t)) % 2 == 0
    channels = {"ure:pulse": t[even], "osc_1:/pulse": t[~even]}
    return Batch.of({name: (x, x, np.sin(x)) for name, x in channels.items()})


def collected(batch: Batch, p: Plan = PLAN) -> list[Packet]:
    return feed(Collect(p, "density"), [batch])


def spans(packets: list[Packet]) -> Iterator[tuple[float, float, int]]:
    """Yield the first and the last arrival of each packet, and its number of rows."""
    for p in packets:
        if len(p.arrivals):
            yield float(p.arrivals[0]), float(p.arrivals[-1]), sum(len(b) for b in p.blocks)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(density, "AIM_ROWS", AIM)


PHASES = st.lists(
    st.tuples(st.sampled_from([5.0, 35.0, 200.0, 700.0]), st.sampled_from([0.0, 0.4, 3.0, 40.0])),
    min_size=1,
    max_size=5,
)


@pytest.mark.parametrize(
    ("hz", "width_s"), [(0.01, 320.0), (0.5, 80.0), (1.0, 40.0), (3.0, 20.0), (50.0, 10.0)]
)
def test_a_block_grows_until_it_holds_the_rows_asked_for(hz: float, width_s: float) -> None:
    times = list(spans(collected(rows((4_000.0, hz)))))[:-1]
    tail = times[len(times) // 2 :]
    assert {first // width_s for first, _, _ in tail} == {last // width_s for _, last, _ in tail}
    assert len({first // width_s for first, _, _ in tail}) == len(tail)
    if width_s not in (CELL_S, CELL_S * MAX_SPAN):
        assert all(AIM <= n < 4 * AIM for _, _, n in tail)


def test_a_block_shrinks_when_rows_become_dense() -> None:
    times = list(spans(collected(rows((1_000.0, 0.1), (1_000.0, 30.0)))))
    dense = [last - first for first, last, _ in times[-20:-1]]
    assert max(dense) <= CELL_S


@settings(max_examples=30, deadline=None)
@given(PHASES, st.floats(1e9, 2e9))
def test_blocks_lie_on_a_dyadic_lattice_and_never_overlap(
    phases: list[tuple[float, float]], begin: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(density, "AIM_ROWS", AIM)
        core = Spans(PLAN)
        stop = -np.inf
        cells = np.floor(rows(*phases, begin=begin).rx / CELL_S)
        for cell in cells.tolist():
            last = core.last(cell)
            if last + 1 != stop:
                span = core.snapshot()["span"]
                first = last + 1 - span
                assert first % span == 0
                assert span in (1, 2, 4, 8, 16, 32)
                assert stop <= first <= cell <= last
                stop = last + 1
            core.count(1)


def test_a_dense_grid_keeps_blocks_narrow() -> None:
    fine = replace(PLAN, tick_hz=1_000.0)
    lengths = [last - first for first, last, _ in spans(collected(rows((500.0, 1.0)), fine))]
    assert max(lengths) <= 2 * CELL_S


@settings(max_examples=60, deadline=None)
@given(PHASES, st.lists(st.integers(0, 3_000), max_size=8))
def test_blocks_do_not_depend_on_batches_and_outlive_a_kill_at_any_row(
    phases: list[tuple[float, float]], places: list[int]
) -> None:
    batch = rows(*phases)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(density, "AIM_ROWS", AIM)
        whole = collected(batch)
        core, out = Collect(PLAN, "density"), []
        for piece in cut(batch, places):
            stored = encode_state(core.snapshot(), "collect", "f")
            core = Collect.from_snapshot(decode_state(stored, "collect", "f"), PLAN, "density")
            out += feed(core, [piece])
    assert_same(out, whole)


def test_a_kill_at_every_row_changes_no_block() -> None:
    batch = rows((60.0, 0.5), (30.0, 8.0), (300.0, 0.3))
    core: Any = Collect(PLAN, "density")
    out: list[Packet] = []
    for piece in every(batch, 1):
        core = Collect.from_snapshot(core.snapshot(), PLAN, "density")
        out += feed(core, [piece])
    whole = collected(batch)
    assert len(whole) > 5
    assert_same(out, whole)


def test_an_early_cut_counts_for_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("operators.collect.collect.MAX_ROWS", 64)
    packets = collected(rows((400.0, 20.0)))
    assert max(n for _, _, n in spans(packets)) == 64
    lengths = [last - first for first, last, _ in spans(packets)]
    assert max(lengths) < CELL_S


def test_the_shipped_aim_is_about_four_thousand_rows() -> None:
    assert AIM_ROWS == 4_096
