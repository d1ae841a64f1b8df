"""Numbers of 14 bits out of pairs of controllers."""

from __future__ import annotations

import mido
from hypothesis import given
from hypothesis import strategies as st

from operators.settings.channels import MIDI_KEY, MIDI_PLAYED
from sources.midi.controller_pairs import PATIENCE_S, Fine

CHANNEL, DATA, FINE = st.integers(0, 15), st.integers(0, 127), st.integers(0, 0x3FFF)


def cc(n: int, value: int, channel: int = 0) -> list[int]:
    return list(mido.Message("control_change", channel=channel, control=n, value=value).bytes())


def stated(*messages: list[int], fine: Fine | None = None) -> list[tuple[str, float]]:
    fine = fine or Fine()
    out = []
    for i, message in enumerate(messages):
        out += [(key, value) for _, key, value in fine.take(message, i * 0.001)]
    return out


@given(st.integers(0, 31), CHANNEL, st.lists(FINE, min_size=2))
def test_no_value_between_the_parts_of_a_pair_appears(
    n: int, channel: int, values: list[int]
) -> None:
    sent = [cc(n + 32 * low, (v & 127 if low else v >> 7), channel) for v in values
            for low in (0, 1)]  # fmt: skip
    key = f"cc14/{channel + 1}/{n}"
    numbers = [value for name, value in stated(*sent) if name == key]
    assert numbers[0] == values[0] & ~127, "that it has a fine part is not known yet"
    assert numbers[1:] == values
    assert MIDI_KEY.fullmatch(key)


def test_a_coarse_part_alone_counts_at_once_and_later_when_a_fine_one_is_usual() -> None:
    fine = Fine()
    assert fine.take(cc(1, 2), 0.0) == [(0.0, "cc14/1/1", 256.0)]
    assert fine.take(cc(33, 5), 0.1) == [(0.1, "cc14/1/1", 261.0)]
    assert fine.take(cc(33, 6), 0.2) == [(0.2, "cc14/1/1", 262.0)]
    assert fine.take(cc(1, 3), 1.0) == []
    assert fine.due(1.0 + PATIENCE_S / 2) == []
    assert fine.due(1.1) == [(1.1, "cc14/1/1", 384.0)]
    assert fine.due(1.2) == []


def test_a_clock_that_is_set_back_lets_nothing_wait_for_ever() -> None:
    fine = Fine()
    stated(cc(1, 2), cc(33, 5), fine=fine)
    assert fine.take(cc(1, 3), 1000.0) == []
    assert fine.due(500.0) == [(500.0, "cc14/1/1", 384.0)]


def test_a_fine_part_of_nothing_known_and_what_is_no_controller_give_nothing() -> None:
    assert (
        stated(cc(33, 5), cc(64, 1), cc(98, 1), [0x90, 1, 2], [0xB0, 1], [0xB0, 200, 1], []) == []
    )


@given(CHANNEL, st.integers(0, 0x3FFE), st.lists(FINE, min_size=2), st.booleans())
def test_parameters_are_numbers_of_14_bits(
    channel: int, parameter: int, values: list[int], registered: bool
) -> None:
    high, low = (101, 100) if registered else (99, 98)
    sent = [cc(high, parameter >> 7, channel), cc(low, parameter & 127, channel)]
    sent += [cc(n, x, channel) for v in values for n, x in ((6, v >> 7), (38, v & 127))]
    key = f"nrpn/{channel + 1}/{parameter}"
    numbers = [value for name, value in stated(*sent) if name == key]
    assert numbers[1:] == values
    assert MIDI_KEY.fullmatch(key)
    assert not MIDI_PLAYED.fullmatch(key)


def test_a_parameter_moves_by_one_within_its_range_and_ends_with_the_null_parameter() -> None:
    chosen = [cc(99, 1), cc(98, 2)]
    key = "nrpn/1/130"
    numbers = stated(*chosen, cc(96, 0), cc(6, 127), cc(38, 126), *[cc(96, 0)] * 3, cc(97, 0))
    assert [v for name, v in numbers if name == key] == [16256, 16382, 16383, 16383, 16383, 16382]
    numbers = stated(*chosen, cc(99, 127), cc(98, 127), cc(6, 1))
    assert numbers == [("cc14/1/6", 128.0)]


def test_keys_of_14_bits_end_where_their_numbers_do() -> None:
    for key in ("nrpn/1/0", "nrpn/16/16383", "nrpn/1/9999", "cc14/1/31", "cc14/1/0"):
        assert MIDI_KEY.fullmatch(key)
    for key in ("nrpn/1/16384", "nrpn/1/20000", "nrpn/17/1", "cc14/1/32", "cc14/1/"):
        assert not MIDI_KEY.fullmatch(key)


@given(st.lists(st.lists(st.integers(0, 255), max_size=5)))
def test_noise_raises_nothing(messages: list[list[int]]) -> None:
    fine = Fine()
    for i, message in enumerate(messages):
        for _, key, value in fine.take(message, i * 0.01):
            assert MIDI_KEY.fullmatch(key)
            assert 0 <= value <= 0x3FFF
