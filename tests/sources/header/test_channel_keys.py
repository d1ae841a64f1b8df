"""Keys of the channels of an LSL stream."""

from __future__ import annotations

from sources.header.channel_keys import channel_keys


def test_a_key_is_the_label_or_the_number_and_unique() -> None:
    labels = ["x", "x", " ", "clock_offset", "a:b", "clock_offset_error"]
    assert channel_keys(labels, 7) == (
        "x", "x_2", "ch3", "clock_offset_2", "a_b", "clock_offset_error", "ch7",
    )  # fmt: skip


def test_labels_beyond_the_channels_have_no_key() -> None:
    assert channel_keys(["a", "b", "c"], 2) == ("a", "b")


def test_a_long_label_is_cut() -> None:
    (key,) = channel_keys(["x" * 1000], 1)
    assert 200 < len(key) <= 255
