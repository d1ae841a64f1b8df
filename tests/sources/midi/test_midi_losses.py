"""What is lost or made up on the way, as the messages themselves show it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sources.midi.losses import RepeatedMessages, Sounding

ON, OFF = [0x90, 60, 100], [0x80, 60, 0]


def lost(*received: tuple[list[int], int]) -> int:
    sounding = Sounding(0)
    return sum(sounding.lost(message, missed, missed) for message, missed in received)


def test_the_other_half_of_a_note_shows_what_was_lost_in_a_missed_period() -> None:
    assert lost((ON, 0), (OFF, 0), (ON, 1), (OFF, 2)) == 0
    assert lost((ON, 0), (OFF, 0), (OFF, 1)) == 1
    assert lost((ON, 0), (ON, 1), ([0x90, 60, 0], 1)) == 1
    assert lost((OFF, 3)) == 1, "its beginning was lost after the port was opened"
    assert lost((OFF, 0), (ON, 0), (OFF, 1)) == 0, "it sounded when the port was opened"


def test_without_a_missed_period_nothing_is_lost_and_such_a_device_is_not_judged() -> None:
    assert lost((ON, 0), (ON, 0)) == 0
    assert lost((ON, 0), (OFF, 0), (OFF, 0)) == 0
    twice = [(ON, 0), (OFF, 0), (OFF, 0)] * 10
    assert lost(*twice, (OFF, 1)) == 0
    healthy = [(ON, 0), (OFF, 0)] * 100
    assert lost(*healthy, (OFF, 0), (OFF, 1)) == 1, "one proves nothing"


def test_a_period_that_was_missed_just_before_a_message_was_taken_may_have_followed_it() -> None:
    sounding = Sounding(0)
    assert sounding.lost(ON, 0, 1) == 0
    assert sounding.lost(ON, 1, 1) == 1
    assert sounding.lost(ON, 1, 1) == 0


def test_after_all_notes_off_an_end_proves_nothing() -> None:
    assert lost((ON, 0), ([0xB0, 123, 0], 1), (OFF, 1)) == 0
    assert lost((ON, 0), ([0xB1, 123, 0], 1), (ON, 1)) == 1, "another channel"


CC, CLOCK, SENSING = [0xB0, 1, 5], [0xF8], [0xFE]


def fates(*sent: tuple[list[int], float, bool]) -> list[str]:
    repeats = RepeatedMessages()
    return [repeats.judge(*each) for each in sent]


def test_what_rtmidi_repeats_in_place_of_what_is_gone_was_not_sent() -> None:
    at_once = 3e-6
    assert fates((ON, 1.0, True), (ON, at_once, True), (ON, at_once, True)) == [
        "sent", "shown", "shown"
    ]  # fmt: skip
    assert fates((CC, 1.0, True), (CC, at_once, True)) == ["sent", "lost"]
    assert fates((CC, 1.0, True), (CC, 0.02, True)) == ["sent", "lost"], "the reader stood still"
    assert fates((CLOCK, 1.0, True), (CLOCK, at_once, True)) == ["sent", "lost"]


def test_what_was_sent_twice_is_not_taken_for_a_repeat() -> None:
    assert fates((CC, 1.0, True), (CC, 0.2, True)) == ["sent", "sent"]
    assert fates((CC, 1.0, False), (CC, 0.02, False)) == ["sent", "sent"]
    assert fates((ON, 1.0, True), (OFF, 3e-6, True), (ON, 3e-6, True)) == ["sent"] * 3
    assert fates((CLOCK, 1.0, True), (CLOCK, 0.02, True)) == ["sent", "sent"], "each is a beat"
    assert fates((CLOCK, 1.0, False), (CLOCK, 0.0, False)) == ["sent", "sent"], "of one period"
    assert fates(([], 0.0, True), ([], 0.0, True)) == ["sent", "sent"]


def test_the_same_twice_in_one_call_is_no_news() -> None:
    assert fates((CC, 1.0, False), (CC, 0.0, False)) == ["sent", "again"]


@given(st.lists(st.lists(st.integers(0, 255), max_size=5)))
def test_noise_raises_nothing(messages: list[list[int]]) -> None:
    sounding, repeats = Sounding(0), RepeatedMessages()
    for i, message in enumerate(messages):
        assert repeats.judge(message, 0.0, i % 2 == 0) in ("sent", "lost", "shown", "again")
        assert sounding.lost(message, i, i + 1) in (0, 1)
