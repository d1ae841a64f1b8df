"""When the messages of a queue arrived that is read now and then."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sources.midi.arrival_times import ArrivalTimes

US = 1.1e-6


def read(
    true: list[float], looks: list[float], hidden: frozenset[int] = frozenset(), zero: float = 0.0
) -> list[float]:
    """Return the stamps of messages that are taken at `looks`; the hidden ones are not handed
    over, though the driver's time goes on from them."""
    stamps, out, before, empty, i = ArrivalTimes(), [], zero, looks[0] - 1.0, 0
    for look in looks:
        deltas = []
        while i < len(true) and true[i] <= look:
            if i not in hidden:
                deltas.append(true[i] - before)
            before = true[i]
            i += 1
        if deltas:
            out += stamps.at(deltas, empty, look)
        empty = look
    return out


def test_a_reader_that_waits_for_a_tenth_of_a_second_does_not_move_stamps() -> None:
    rng = np.random.default_rng(1)
    true = np.sort(rng.uniform(1000, 1020, 2000)).tolist()
    looks = np.cumsum(rng.choice([0.002, 0.1], 2000, p=[0.5, 0.5])) + 999.9
    found = np.array(read(true, looks.tolist()))
    off = found - true[: len(found)]
    assert len(found) == 2000
    assert np.abs(off[50:]).max() < 0.001, "the best look decides, not each"
    assert np.diff(found).min() >= 0


def test_what_the_driver_leaves_out_costs_no_more_than_the_next_look() -> None:
    true = [1000 + 0.05 * i for i in range(400)]
    looks = [999.0 + 0.002 * i for i in range(11_000)]
    hidden = frozenset(range(100, 140)) | {7, 250, 251}
    found = read(true, looks, hidden)
    kept = [t for i, t in enumerate(true) if i not in hidden]
    assert np.abs(np.array(found) - kept).max() <= 0.002 + US


@given(
    st.lists(st.floats(0, 0.3), min_size=1, max_size=60),
    st.lists(st.floats(0.0005, 0.2), min_size=1, max_size=60),
    st.sets(st.integers(0, 60)),
)
def test_every_stamp_lies_between_the_two_looks_it_was_taken_between(
    gaps: list[float], steps: list[float], hidden: set[int]
) -> None:
    true = (1000 + np.cumsum(gaps)).tolist()
    looks = (1000 + np.cumsum([*steps, 60.0])).tolist()
    found = read(true, looks, frozenset(hidden))
    kept = [t for i, t in enumerate(true) if i not in hidden]
    assert len(found) == len(kept)
    edges = [looks[0] - 1.0, *looks]
    for stamp, t in zip(found, kept, strict=True):
        n = int(np.searchsorted(edges, t))
        assert edges[n - 1] - US <= stamp <= edges[n] + US
    assert all(a <= b for a, b in pairwise(found))


def test_a_host_s_clock_that_is_set_is_followed() -> None:
    stamps = ArrivalTimes()
    assert stamps.at([0.0], 99.9, 100.0) == [100.0]
    assert stamps.at([1.0], 50.9, 51.0) == [51.0], "back"
    assert stamps.at([1.0], 500.0, 500.1) == [500.0], "ahead"


def test_a_driver_s_stamp_that_is_no_number_or_runs_backwards_raises_nothing() -> None:
    stamps = ArrivalTimes()
    found = stamps.at([float("nan"), -5.0, float("inf"), 0.0], 9.0, 10.0)
    assert all(9.0 <= stamp <= 10.0 for stamp in found)
    assert 10.0 <= stamps.at([0.0], 10.0, 11.0)[0] <= 11.0
