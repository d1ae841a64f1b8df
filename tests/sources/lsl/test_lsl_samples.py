"""Samples as events: without a network."""

from __future__ import annotations

import numpy as np
import pytest

from sources.inbox import Message, Unread
from sources.lsl.samples import MAX_TEXT, SampleDecoder

INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize("form", ["f4", "f8", "i8", "i4", "i2", "i1"])
def test_each_number_is_an_event_of_its_channel(form: str) -> None:
    values = np.array([[1, 2], [3, 4]], form)
    found = SampleDecoder(["a", "b"], "m").numbers(values, np.array([5.0, 6.0]), 9.0)
    assert found == [
        Message(9.0, "a", 1.0, 5.0), Message(9.0, "b", 2.0, 5.0),
        Message(9.0, "a", 3.0, 6.0), Message(9.0, "b", 4.0, 6.0),
    ]  # fmt: skip
    assert {type(event.value) for event in found} == {float}


def test_what_is_no_number_is_counted_once_for_each_value() -> None:
    values = np.array([[1, NAN], [INF, 4], [5, 6], [7, 8]])
    stamps = np.array([1.0, 2.0, NAN, 1e13])
    found = SampleDecoder(["a", "b"], "m").numbers(values, stamps, 9.0)
    assert found == [
        Message(9.0, "a", 1.0, 1.0), Message(9.0, "b", 4.0, 2.0),
        Unread(9.0, "stamp", "m", b"nan", 4), Unread(9.0, "value", "b", b"nan", 2),
    ]  # fmt: skip


def test_a_text_is_a_marker_whatever_its_bytes() -> None:
    values = np.array([[b"go"], [b"\xff\x00"], [b"x" * (MAX_TEXT + 1)], [b"late"]], object)
    found = SampleDecoder(["a"], "m").texts(values, np.array([1.0, 2.0, 3.0, INF]), 9.0)
    assert found == [
        Message(9.0, "a", "go", 1.0), Message(9.0, "a", "\ufffd\x00", 2.0),
        Unread(9.0, "too_long", "a", b"x" * 256), Unread(9.0, "stamp", "m", b"inf"),
    ]  # fmt: skip
