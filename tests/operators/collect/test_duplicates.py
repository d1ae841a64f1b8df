"""Duplicates: short blocks as plain floats, long ones as arrays, with one result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.collect import duplicates
from operators.collect.duplicates import Duplicates, rises
from operators.records import Block

TIMES = st.lists(st.sampled_from([*map(float, range(8)), float("nan")]), max_size=12)
WITHIN_S = 0.5


def block(ts: np.ndarray, rx: np.ndarray, value: np.ndarray, first: int) -> Block:
    n = len(ts)
    return Block(
        source="a",
        channel="a:x",
        row=np.arange(n),
        source_time=ts,
        arrival=rx,
        value=value,
        watermark=rx,
        stamped=np.ones(n, bool),
        line=first + np.arange(n),
    )


def found(columns: list[np.ndarray], cuts: list[int], within_s: float = WITHIN_S) -> Any:
    """Return which rows are duplicates, and the state at the end, for blocks with these ends."""
    ts, rx, value, seq = columns
    finder = Duplicates(within_s, 1 << 16)
    out = []
    for a, b in zip([0, *cuts], [*cuts, len(ts)], strict=True):
        if a < b:
            mask = finder.find(block(ts[a:b], rx[a:b], value[a:b], a), seq[a:b])
            out.append(np.zeros(b - a, bool) if mask is None else mask)
    return np.concatenate(out), finder.snapshot()


@given(TIMES, st.sampled_from([-np.inf, 2.0, 5.0]))
def test_plain_floats_and_arrays_agree_on_rising_times(times: list[float], latest: float) -> None:
    time = np.array(times, float)
    plain = rises(time, latest)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "MAX_PLAIN", -1)
        assert rises(time, latest) == plain
    seen = [latest, *times]
    assert plain[0] == all(not t <= s for k, t in enumerate(seen) for s in seen[:k])


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 59), max_size=8, unique=True))
def test_duplicates_are_those_of_the_definition_in_blocks_of_any_size(
    seed: int, cuts: list[int]
) -> None:
    rng = np.random.default_rng(seed)
    n = 60
    columns = [
        rng.integers(0, 12, n) / 10.0 + np.arange(n) * rng.choice([0.0, 0.05]),
        np.cumsum(rng.choice([0.0, 0.02, 0.2, -0.1], n, p=[0.3, 0.5, 0.1, 0.1])),
        rng.integers(0, 2, n).astype(float),
        np.full(n, -1),
    ]
    columns[0][rng.random(n) < 0.05] = np.nan
    mask, state = found(columns, sorted(cuts))
    whole, end = found(columns, [])
    np.testing.assert_array_equal(mask, whole)
    assert state["newest"] == end["newest"]
    for mine, other in zip(state["tails"]["a:x"], end["tails"]["a:x"], strict=True):
        np.testing.assert_array_equal(mine, other)
    ts, rx, value, _ = columns
    newest, expected = np.maximum.accumulate(rx), np.zeros(n, bool)
    for i in range(n):
        same = (ts[:i] == ts[i]) & (value[:i] == value[i]) & ~expected[:i]
        same &= np.minimum(rx[:i], rx[i]) >= newest[i] - WITHIN_S
        # The newest of equal rows that stay is compared.
        equal = np.flatnonzero((ts[:i] == ts[i]) & (value[:i] == value[i]) & ~expected[:i])
        expected[i] = len(equal) > 0 and same[equal[-1]]
    np.testing.assert_array_equal(mask, expected)


def test_a_clock_that_was_set_back_is_compared_with_recent_rows_only() -> None:
    finder = Duplicates(WITHIN_S, 1 << 16)
    for k in range(40):
        t = np.array([k * 0.1 if k < 20 else k * 0.1 - 100.0])
        assert finder.find(block(t, np.array([k * 0.1]), np.zeros(1), k), np.array([-1])) is None
    tail = finder.snapshot()["tails"]["a:x"]
    np.testing.assert_allclose(tail[3], np.arange(34, 40) * 0.1)
    again = finder.find(
        block(np.array([39 * 0.1 - 100.0]), np.array([4.0]), np.zeros(1), 99), np.array([-1])
    )
    assert again is not None and again.tolist() == [True]
