"""The loss counter: counts by watermark, and dead letters that share a line."""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.accounting import LossCounter, ended, letters, spread
from operators.lines import DeadLine
from operators.records import DeadLetter, Ends
from operators.settings.plan import Plan
from operators.snapshot import decode_state, encode_state
from operators.types import End

CHANNEL = "osc_1:/pulse"
WINDOW_S = 10.0


def ends(end: End, *before: float, channel: str = CHANNEL) -> Ends:
    return Ends("osc_1", channel, end, np.array(before))


def letter(before: float, **given: Any) -> DeadLetter:
    fields = {
        "stage": "receive",
        "reason": "json",
        "source": "osc_1",
        "where": "demo:0",
        "sample": "{",
    }
    return DeadLetter(before, **(fields | given))


def lines(*dead: DeadLetter, moment: float = np.inf) -> tuple[DeadLine, ...]:
    book = LossCounter(WINDOW_S)
    book.add((), dead)
    return book.advance("studio", moment)


# -- counts -------------------------------------------------------------------------------------


def test_an_event_counts_from_the_moment_after_it_was_known() -> None:
    book = LossCounter(WINDOW_S)
    book.add([ends("used", 1.0, 2.0, 3.0)], ())
    found = []
    for moment in (1.0, 2.0, 2.5, 9.0):
        book.advance("studio", moment)
        found.append(book.of(CHANNEL)["used"])
    assert found == [0, 1, 2, 3]


def test_watermarks_may_be_out_of_order() -> None:
    book = LossCounter(WINDOW_S)
    book.add([ends("late", 5.0, 1.0, 3.0)], ())
    book.advance("studio", 4.0)
    assert book.of(CHANNEL)["late"] == 2


def test_each_end_and_each_channel_counts_on_its_own() -> None:
    book = LossCounter(WINDOW_S)
    book.add([ends("received", 1, 2), ends("used", 1), ends("outliers", 2)], ())
    book.add([ends("used", 1, channel="ure:pulse")], ())
    book.advance("studio", np.inf)
    assert {k: n for k, n in book.of(CHANNEL).items() if n} == {
        "received": 2,
        "used": 1,
        "outliers": 1,
    }
    assert book.of("ure:pulse")["used"] == 1


def test_an_unknown_channel_has_counts_of_zero() -> None:
    assert set(LossCounter(WINDOW_S).of("nobody:/x").values()) == {0}


def test_ends_without_a_channel_are_not_kept() -> None:
    book = LossCounter(WINDOW_S)
    book.add([ends("rejected", 1.0, channel="")], ())
    book.advance("studio", np.inf)
    assert book.counts == {}


# -- dead lines ---------------------------------------------------------------------------------


def test_letters_of_one_kind_in_one_window_share_a_line_that_shows_the_first() -> None:
    found = lines(
        letter(3.0, where="demo:3", sample="c", count=2),
        letter(1.0, where="demo:1", sample="a"),
        letter(9.9, where="demo:9", sample="d", count=4),
    )
    assert found == (
        DeadLine(
            ts=1.0,
            rig="studio",
            stage="receive",
            reason="json",
            source="osc_1",
            where="demo:1",
            count=7,
            sample="a",
        ),
    )


def test_the_first_of_simultaneous_letters_is_shown() -> None:
    found = lines(letter(1.0, where="demo:1"), letter(1.0, where="demo:2"))
    assert [(x.where, x.count) for x in found] == [("demo:1", 2)]


def test_each_stage_reason_source_and_window_has_its_own_line() -> None:
    found = lines(
        letter(1.0),
        letter(1.0, stage="drift"),
        letter(1.0, reason="value"),
        letter(1.0, source="ure"),
        letter(10.0),
    )
    assert [x.count for x in found] == [1] * 5


def test_a_dead_line_is_written_once_at_the_end_of_its_window() -> None:
    book = LossCounter(WINDOW_S)
    book.add((), [letter(1.0), letter(11.0)])
    assert [[x.ts for x in book.advance("studio", m)] for m in (9.9, 10.0, 10.0, 19.9, 20.0)] == [
        [],
        [1.0],
        [],
        [],
        [11.0],
    ]


def test_dead_lines_are_ordered_by_time() -> None:
    dead = [
        letter(25.0),
        letter(12.0, source="ure"),
        letter(12.0),
        letter(11.0, stage="drift"),
        letter(2.0, reason="value"),
        letter(2.0, reason="json"),
    ]
    there, back = lines(*dead), lines(*dead[::-1])
    assert there == back
    assert [x.ts for x in there] == [2, 2, 11, 12, 12, 25]


# -- resume -------------------------------------------------------------------------------------


def test_a_loss_counter_continues_from_its_snapshot() -> None:
    book = LossCounter(WINDOW_S)
    book.add([ends("used", 1.0, 8.0)], [letter(1.0, count=3), letter(12.0)])
    book.advance("studio", 5.0)
    stored = encode_state(book.snapshot(), "fuse", "")
    book.add((), [letter(2.0)])
    again = LossCounter.from_snapshot(decode_state(stored, "fuse", ""), WINDOW_S)
    again.add((), [letter(2.0)])
    assert again.advance("studio", 30.0) == book.advance("studio", 30.0)
    assert again.of(CHANNEL) == book.of(CHANNEL)
    assert again.of(CHANNEL)["used"] == 2


# -- making them --------------------------------------------------------------------------------


def test_losses_of_a_window_share_a_letter_with_the_first_sample() -> None:
    plan = Plan("studio", (), files=("a.ndjson", "b.ndjson"))
    found = letters(
        plan,
        "drift",
        "wild_stamp",
        "osc_1",
        np.array([1.0, 2.0, 11.0]),
        np.array([2, 4, 7]),
        ["x", "y", "z"],
    )
    assert found == (
        DeadLetter(1.0, "drift", "wild_stamp", "osc_1", "a.ndjson:1", "x", 2),
        DeadLetter(11.0, "drift", "wild_stamp", "osc_1", "b.ndjson:3", "z", 1),
    )


def test_no_loss_gives_no_letter() -> None:
    none = np.empty(0)
    assert letters(Plan("studio", ()), "drift", "value", "x", none, none.astype(int), []) == ()
    assert ended("osc_1", CHANNEL, "used", none) == ()


def test_a_row_of_several_events_counts_each_of_them() -> None:
    column = np.array([1.0, 2.0])
    assert spread(column, np.array([1, 3])).tolist() == [1.0, 2.0, 2.0, 2.0]
    assert spread(column, None) is column
