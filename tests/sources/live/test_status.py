"""Status messages of a live run, and their rate."""

from __future__ import annotations

import pytest

from sources.inbox import Item, Message, StreamChange, Unread
from sources.live.status import SILENT_S, StatusReporter


class Reports:
    """A reporter, and its lines since the last call."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *steady: str) -> None:
        self.now = 100.0
        self._capsys = capsys
        self._status = StatusReporter(lambda: self.now, steady)

    def after(self, seconds: float, **taken: list[Item]) -> list[str]:
        self.now += seconds
        self._status.update(taken)
        return self._capsys.readouterr().err.splitlines()

    def waits(self, seconds: float, waited_s: float) -> list[str]:
        self.now += seconds
        self._status.report_wait(waited_s)
        return self._capsys.readouterr().err.splitlines()


UP, DOWN = StreamChange(0.0, True, "here"), StreamChange(0.0, False, "gone")
NUMBER = Message(0.0, "/x", 1.0)


def test_a_stream_that_comes_or_goes_is_named_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = Reports(capsys)
    assert reports.after(0, a=[DOWN]) == ["lumen: a is down: gone"]
    assert reports.after(9, a=[UP, NUMBER]) == ["lumen: a is up: here"]
    assert reports.after(9) == []


def test_silence_is_reported_once_and_so_is_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    reports = Reports(capsys, "a")
    assert reports.after(0, a=[UP]) == ["lumen: a is up: here"]
    assert reports.after(SILENT_S - 0.1) == []
    assert reports.after(0.2) == ["lumen: a is silent: no events for 5 s"]
    assert reports.after(60) == []
    assert reports.after(1, a=[NUMBER]) == ["lumen: a sends again"]
    assert reports.after(1, a=[NUMBER]) == []


@pytest.mark.parametrize(("steady", "first"), [((), UP), (("a",), DOWN)])
def test_a_stream_without_a_rate_or_a_link_is_not_reported_as_silent(
    capsys: pytest.CaptureFixture[str], steady: tuple[str, ...], first: StreamChange
) -> None:
    reports = Reports(capsys, *steady)
    reports.after(0, a=[first])
    assert reports.after(60) == []


def test_many_lines_are_printed_a_few_a_second_and_none_is_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = Reports(capsys)
    lines = [reports.after(0, **{f"s{i}": [DOWN] for i in range(12)})]
    lines += [reports.after(0.25) for _ in range(12)]
    assert [line.split()[1] for look in lines for line in look] == [f"s{i}" for i in range(12)]
    assert max(sum(map(len, lines[i : i + 4])) for i in range(len(lines))) <= 10


def test_losses_are_summed(capsys: pytest.CaptureFixture[str]) -> None:
    reports = Reports(capsys)
    lost = Unread(0.0, "inbox_full", "", b"", 3)
    assert reports.after(0, a=[lost]) == ["lumen: a: 3 events lost (inbox_full)"]
    assert reports.after(5, a=[lost]) == []
    assert reports.after(5, a=[lost]) == ["lumen: a: 6 events lost (inbox_full)"]


def test_lateness_is_reported_once_it_lasts_and_its_end_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = Reports(capsys)
    assert reports.waits(0, 1.5) == []
    assert reports.waits(1, 3.0) == []
    (line,) = reports.waits(1.5, 4.25)
    assert line.startswith("lumen: late: events wait 4.2 s before they are taken: this machine")
    assert reports.waits(5, 9.0) == []
    assert len(reports.waits(60, 9.0)) == 1
    assert reports.waits(1, 0.8) == []
    assert reports.waits(1, 0.4) == ["lumen: in time again: events are taken as they arrive"]
    assert reports.waits(1, 0.0) == []


def test_one_hiccup_is_no_lateness(capsys: pytest.CaptureFixture[str]) -> None:
    reports = Reports(capsys)
    assert [reports.waits(1, s) for s in (0.0, 9.0, 0.1, 9.0, 0.1)] == [[]] * 5
