"""Statistics of a received channel."""

from __future__ import annotations

from math import nan

import pytest

from ops.cli.guess.channel_survey import MAX_CHANNELS, MIN_COUNT, ChannelSurvey, shown
from sources.inbox import Message, Unread


def surveyed(times: list[float], key: str = "/x", ts: float = nan) -> ChannelSurvey:
    survey = ChannelSurvey()
    for i, rx in enumerate(times):
        survey.take("a", Message(rx, key, float(i), ts))
    return survey


def every(period: float, count: int, start: float = 0.0) -> list[float]:
    return [start + i * period for i in range(count)]


def test_a_channel_with_a_rate_is_sampled_and_has_its_rate() -> None:
    channel = surveyed(every(0.02, 200)).channels["a:/x"]
    assert channel.kind(3.99) == "sampled"
    assert channel.rate_hz(3.99) == pytest.approx(50)
    assert (channel.low, channel.high, channel.events) == (0.0, 199.0, 200)


def test_a_few_gaps_leave_a_channel_sampled() -> None:
    times = [t for i, t in enumerate(every(0.02, 200)) if i % 7]
    assert surveyed(times).channels["a:/x"].kind(3.99) == "sampled"


@pytest.mark.parametrize(
    ("times", "now"),
    [
        (every(0.02, MIN_COUNT), 0.2),
        (every(0.02, 50) + every(0.02, 50, 8.0), 9.0),  # a fader that was moved twice
        (every(0.02, 100), 10.0),  # silent since
        (every(1.0, 3), 3.0),
    ],
)
def test_an_irregular_channel_is_held(times: list[float], now: float) -> None:
    assert surveyed(times).channels["a:/x"].kind(now) == "held"


def test_a_controller_is_held_however_steadily_it_is_turned() -> None:
    assert surveyed(every(0.02, 200), "cc/1/74").channels["a:cc/1/74"].kind(4.0) == "held"
    assert surveyed(every(0.02, 200), "clock").channels["a:clock"].kind(4.0) == "sampled"


def test_a_timetag_is_a_clock_of_its_own() -> None:
    assert [row[-1] for row in surveyed([1.0, 2.0]).rows(2.0)] == ["no"]
    assert [row[-1] for row in surveyed([1.0, 2.0], ts=7.0).rows(2.0)] == ["yes"]


def test_an_array_is_a_channel_for_each_number_of_it() -> None:
    survey = ChannelSurvey()
    survey.take("a", Message(1.0, "/acc", (1.0, nan, 3.0)))
    assert list(survey.channels) == ["a:/acc[0]", "a:/acc[2]"]


def test_a_text_has_no_range() -> None:
    survey = ChannelSurvey()
    survey.take("a", Message(1.0, "/say", "hello"))
    assert survey.rows(1.0)[0][3:5] == ("-", "text")


def test_channels_are_so_many_at_most_and_the_rest_is_counted() -> None:
    survey = ChannelSurvey()
    for i in range(MAX_CHANNELS + 5):
        survey.take("a", Message(1.0, f"/{i}", 1.0))
    assert (len(survey.channels), survey.others) == (MAX_CHANNELS, 5)


def test_rejected_events_are_counted_by_reason() -> None:
    survey = ChannelSurvey()
    survey.take("a", Unread(1.0, "osc", "", b"", 3))
    survey.take("a", Unread(1.0, "osc", "", b""))
    assert survey.refused == {"a: osc": 4}


def test_a_name_cannot_do_anything_to_the_terminal() -> None:
    assert shown("a:\x1b[2J\u202e") == "a:?[2J?"
    assert len(shown("x" * 300)) == 48
