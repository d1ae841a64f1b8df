"""Stamps in plain numbers and as arrays: equal figures, for any stamps in any pieces."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import native
from operators.drift import clock, clock_bin, clock_rate, packet_rate, shared_stamps, stamp_grain
from operators.drift.clock import Clock
from operators.drift.clock_rate import Rate, Rates
from operators.drift.packet_rate import Packets
from operators.drift.shared_stamps import SharedStamps
from operators.drift.stamp_grain import Grain
from operators.types import F64
from tests.support.signals import START, block


@pytest.fixture(scope="module", autouse=True)
def without_the_extension() -> Iterator[None]:
    """Run Python's forms, which tests/native compares with the compiled ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "kernels", None)
        yield


GRIDS = (0.0, 1.0, 0.1, 0.01, 0.001)


@st.composite
def senders(draw: st.DrawFn) -> tuple[F64, F64]:
    """Return stamps and arrivals (n,) of a sender: rounded, repeated, wild, in packets."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, rate = draw(st.integers(1, 700)), draw(st.sampled_from([0.5, 5.0, 30.0, 62.5, 100.0]))
    source = np.arange(n) / rate * draw(st.sampled_from([1.0, 1.00012, 1.2]))
    source += draw(st.sampled_from([0.0, 0.3])) * rng.random(n) / rate
    source += draw(st.sampled_from([0.0, 0.8])) * (np.arange(n) > n // 2)
    arrival = np.arange(n) / rate + rng.exponential(draw(st.sampled_from([1e-4, 5e-3])), n)
    packet = draw(st.sampled_from([1, 8]))
    arrival = arrival[np.minimum(np.arange(n) // packet * packet + packet - 1, n - 1)]
    if grid := draw(st.sampled_from(GRIDS)):
        source = np.floor(source / grid) * grid
    source[rng.random(n) < draw(st.sampled_from([0.0, 0.02]))] += 50.0
    arrival[rng.random(n) < draw(st.sampled_from([0.0, 0.02]))] += 0.7
    return START + 3 + source, START + np.maximum.accumulate(arrival)


PIECES = st.lists(st.integers(1, 40), min_size=1, max_size=8)


def pieces(n: int, sizes: list[int]) -> list[slice]:
    """Return n rows cut into pieces, their sizes in turn."""
    edges = np.minimum(np.cumsum([0] + sizes * (n // sum(sizes) + 1)), n)
    return [slice(a, b) for a, b in pairwise(edges.tolist()) if a < b]


def bits(x: Any) -> Any:
    """Return numbers in a form that equal bits alone make equal."""
    if isinstance(x, np.ndarray | array):
        return np.asarray(x).tobytes()
    if isinstance(x, list | tuple):
        return [bits(y) for y in x]
    return np.float64(x).tobytes() if isinstance(x, float) else x


@settings(max_examples=40, deadline=None)
@given(senders(), PIECES)
def test_the_clock(sender: tuple[F64, F64], sizes: list[int]) -> None:
    source, arrival = sender
    found = []
    for most in (1_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock, "MAX_SPARSE", most)
            patch.setattr(clock_bin, "MAX_PLAIN_BIN", most)
            core, out, waiting = Clock(30.0), [], 0
            for rows in pieces(len(source), sizes):
                mine = slice(rows.start - waiting, rows.stop)
                judged = core.feed(source[mine], arrival[mine], rows.stop == len(source))
                k = judged.decided
                out.append(bits([judged.host[:k], judged.ok[:k], judged.by[:k], judged.turns]))
                out.append(judged.steps)
                waiting = rows.stop - (mine.start + k)
            found.append((out, bits(list(core.snapshot()["bin_source"])), core.finish()))
    assert repr(found[0]) == repr(found[1])


@settings(max_examples=40, deadline=None)
@given(senders(), PIECES)
def test_stamps_that_a_clock_has_begun_with(sender: tuple[F64, F64], sizes: list[int]) -> None:
    source, arrival = sender
    found = []
    for begins in (True, False):
        core, out, waiting = Clock(30.0), [], 0
        for rows in pieces(len(source), sizes):
            mine = slice(rows.start - waiting, rows.stop)
            s, a = source[mine], arrival[mine]
            run = core.run(s.tolist(), a.tolist()) if begins else clock.NOT_BEGUN
            judged = core.feed(s, a, rows.stop == len(source), run)
            k = judged.decided
            out.append(bits([judged.host[:k], judged.ok[:k], judged.by[:k], judged.turns]))
            waiting = rows.stop - (mine.start + k)
        found.append((out, core.finish()))
    assert repr(found[0]) == repr(found[1])


@settings(max_examples=60, deadline=None)
@given(senders(), PIECES)
def test_the_grain(sender: tuple[F64, F64], sizes: list[int]) -> None:
    source, arrival = sender
    found = []
    for most in (1_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stamp_grain, "MAX_FEW", most)
            core = Grain()
            changes = [
                core.feed(source[rows], arrival[rows] - source[rows], arrival[rows])
                for rows in pieces(len(source), sizes)
            ]
            found.append((changes, core.snapshot()))
    assert repr(found[0]) == repr(found[1])


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 3), min_size=16, max_size=16),
    st.lists(st.integers(0, 15), max_size=3),
    st.sampled_from(stamp_grain.STEPS),
    st.sampled_from([0.0, 0.004]),
    st.integers(0, 2),
)
def test_one_window_of_stamps(
    steps: list[int], off: list[int], size: float, spread: float, repeated: int
) -> None:
    stamps = START + np.cumsum(steps) * size
    stamps[off] += 0.37 * size
    each = stamps.tolist(), (spread * np.arange(16)).tolist(), [repeated] + [0] * 15
    assert stamp_grain._window(*each) == stamp_grain._by_arrays(*each)


@settings(max_examples=60, deadline=None)
@given(senders(), PIECES)
def test_shared_stamps(sender: tuple[F64, F64], sizes: list[int]) -> None:
    source, _ = sender
    found = []
    for most in (1_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(shared_stamps, "MAX_FEW", most)
            core, later = SharedStamps(), []
            for rows in pieces(len(source), sizes):
                delay = core.feed(source[rows])
                later.append(np.zeros(rows.stop - rows.start) if delay is None else delay)
            found.append(np.concatenate(later).tobytes())
    assert found[0] == found[1]


@settings(max_examples=60, deadline=None)
@given(senders(), PIECES)
def test_the_pace(sender: tuple[F64, F64], sizes: list[int]) -> None:
    source, arrival = sender
    found = []
    for most in (1_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packet_rate, "MAX_EACH", most)
            core, out = Packets(), []
            for rows in pieces(len(source), [7 * k for k in sizes]):
                length, rates = core.feed(arrival[rows], source[rows], arrival[rows])
                out.append((bits(length), bits([tuple(r) for r in rates])))
            found.append((out, bits([*core.snapshot().values()])))
    assert found[0] == found[1]


def test_rows_that_complete_no_count_change_no_pace() -> None:
    time = START + 0.02 * np.arange(200)
    one, other = Packets(), Packets()
    for rows in pieces(200, [3]):
        mine = time[rows]
        if not one.passes(mine.tolist(), mine.tolist()):
            one.feed(mine, mine, mine)
        other.feed(mine, mine, mine)
    assert bits([*one.snapshot().values()]) == bits([*other.snapshot().values()])
    assert one.passes([], [])


@settings(max_examples=30, deadline=None)
@given(senders(), PIECES, st.sampled_from([1.0, 1.5, 1000.0]))
def test_the_rate(sender: tuple[F64, F64], sizes: list[int], pace: float) -> None:
    source, arrival = sender
    source = START + pace * (source - START)
    found = []
    for most in (1_000, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(clock_rate, "MAX_FEW", most)
            core, out = Rates(30.0), []
            for rows in pieces(len(source), sizes):
                mine = block("osc_1:/a", arrival[rows], source[rows], source_time=source[rows])
                good, held = core.part([mine])
                out.append((bits([b.arrival for b in good]), bits([r for _, r in held])))
            found.append(out)
    assert found[0] == found[1]


def test_a_rate_by_single_stamps_is_that_of_all() -> None:
    time = START + 0.05 * np.arange(400)
    whole, single = Rate(30.0), Rate(30.0)
    expected = whole.feed(1.5 * time, time)
    found = [single.held(s, a) for s, a in zip((1.5 * time).tolist(), time.tolist(), strict=True)]
    assert np.isnan(expected).tolist() == [x is None for x in found]
    assert [x for x in found if x is not None] == expected[~np.isnan(expected)].tolist()
    assert whole.wrong is not None
