"""Waiting rows of a channel: those that were appended, in order; views are never overwritten."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from operators.numeric.row_store import MIN_ROOM, RowStore
from operators.records import Block
from tests.support.signals import START, block

FIELDS = ("row", "source_time", "arrival", "value", "watermark", "stamped", "line", "host_time")


def rows(first: int, n: int, weighted: bool = False) -> Block:
    number = np.arange(first, first + n)
    made = block("osc_1:/a", START + number, number * 0.5)
    weight = number + 1 if weighted else None
    return replace(made, row=number, line=7 * number, weight=weight)


def same(one: Block, other: Block) -> bool:
    names = (*FIELDS, "weight")
    return all(np.array_equal(getattr(one, x), getattr(other, x)) for x in names)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, MIN_ROOM), st.integers(0, MIN_ROOM)), max_size=12),
    st.booleans(),
)
def test_rows_leave_as_they_came(steps: list[tuple[int, int]], weighted: bool) -> None:
    store = RowStore(rows(0, 3, weighted))
    came, left, views = 3, 0, []
    for new, gone in steps:
        store.append(rows(came, new, weighted))
        came += new
        k = min(gone, len(store))
        views.append((left, k, store.take(k)))
        left += k
    assert same(store.block(len(store)), rows(left, came - left, weighted))
    assert store.host_time.tolist() == rows(left, came - left).host_time.tolist()
    for first, k, view in views:
        assert same(view, rows(first, k, weighted))


def test_the_first_block_is_not_changed() -> None:
    first = rows(0, 4)
    store = RowStore(first)
    store.append(rows(4, 2))
    store.take(1)
    assert same(first, rows(0, 4))
