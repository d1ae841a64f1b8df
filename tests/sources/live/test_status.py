"""What a live run says of its streams, and how seldom."""

from __future__ import annotations

import pytest

from sources.inbox import Item, Message, StreamChange, Unread
from sources.live.status import SILENT_S, StatusReporter


class Told:
    """A voice, and what it said since it was last asked."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *steady: str) -> None:
        self.now = 100.0
        self._capsys = capsys
        self._voice = StatusReporter(lambda: self.now, steady)

    def after(self, seconds: float, **taken: list[Item]) -> list[str]:
        self.now += seconds
        self._voice.tell(taken)
        return self._capsys.readouterr().err.splitlines()

    def waits(self, seconds: float, waited_s: float) -> list[str]:
        self.now += seconds
        self._voice.wait(waited_s)
        return self._capsys.readouterr().err.splitlines()


UP, DOWN = StreamChange(0.0, True, "here"), StreamChange(0.0, False, "gone")
NUMBER = Message(0.0, "/x", 1.0)


def test_a_stream_that_comes_or_goes_is_named_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    assert told.after(0, a=[DOWN]) == ["lumen: a is down: gone"]
    assert told.after(9, a=[UP, NUMBER]) == ["lumen: a is up: here"]
    assert told.after(9) == []


def test_silence_is_said_once_and_so_is_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys, "a")
    assert told.after(0, a=[UP]) == ["lumen: a is up: here"]
    assert told.after(SILENT_S - 0.1) == []
    assert told.after(0.2) == ["lumen: a is silent: nothing came for 5 s"]
    assert told.after(60) == []
    assert told.after(1, a=[NUMBER]) == ["lumen: a speaks"]
    assert told.after(1, a=[NUMBER]) == []


@pytest.mark.parametrize(("steady", "first"), [((), UP), (("a",), DOWN)])
def test_who_speaks_now_and_then_or_is_down_is_not_called_silent(
    capsys: pytest.CaptureFixture[str], steady: tuple[str, ...], first: StreamChange
) -> None:
    told = Told(capsys, *steady)
    told.after(0, a=[first])
    assert told.after(60) == []


def test_many_lines_are_said_a_few_a_second_and_none_is_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    said = [told.after(0, **{f"s{i}": [DOWN] for i in range(12)})]
    said += [told.after(0.25) for _ in range(12)]
    assert [line.split()[1] for lines in said for line in lines] == [f"s{i}" for i in range(12)]
    assert max(sum(map(len, said[i : i + 4])) for i in range(len(said))) <= 10


def test_losses_are_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys)
    lost = Unread(0.0, "inbox_full", "", b"", 3)
    assert told.after(0, a=[lost]) == ["lumen: a: 3 events lost (inbox_full)"]
    assert told.after(5, a=[lost]) == []
    assert told.after(5, a=[lost]) == ["lumen: a: 6 events lost (inbox_full)"]


def test_lateness_is_said_once_it_lasts_and_its_end_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = Told(capsys)
    assert told.waits(0, 1.5) == []
    assert told.waits(1, 3.0) == []
    (line,) = told.waits(1.5, 4.25)
    assert line.startswith("lumen: late: events wait 4.2 s before they are taken: this machine")
    assert told.waits(5, 9.0) == []
    assert len(told.waits(60, 9.0)) == 1
    assert told.waits(1, 0.8) == []
    assert told.waits(1, 0.4) == ["lumen: in time again: events are taken as they come"]
    assert told.waits(1, 0.0) == []


def test_one_hiccup_is_no_lateness(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told(capsys)
    assert [told.waits(1, s) for s in (0.0, 9.0, 0.1, 9.0, 0.1)] == [[]] * 5
