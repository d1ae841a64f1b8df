"""Streams with mostly unusable events, and their reports."""

from __future__ import annotations

import pytest

from operators.unusable import AGAIN_S, REMEDIES, WINDOW_S, UnusableStreams
from sources.inbox import FromSource, Item, Message, StreamChange, Unread
from sources.live.status import StatusReporter

NUMBER = Message(0.0, "/x", 1.0)


class Reports:
    """A status reporter polled four times a second, and its lines."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *steady: str, **keys: list[str]) -> None:
        self.now = 100.0
        self._capsys = capsys
        self._status = StatusReporter(lambda: self.now, steady, keys)

    def over(self, seconds: float, *items: Item) -> list[str]:
        for _ in range(round(4 * seconds)):
            self._status.update({"a": list(items)} if items else {})
            self.now += 0.25
        return self._capsys.readouterr().err.splitlines()


def refused(reason: str, sample: bytes = b"", events: int = 1) -> Unread:
    return Unread(0.0, reason, "192.168.1.7:9", sample, events)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", ["osc", "osc_limit", "value", "peer", "no_type_tags"])
def test_an_unusable_stream_is_reported_with_count_peer_sample_and_remedy(
    capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    reports = Reports(capsys, "a")
    assert reports.over(0.25, StreamChange(0.0, True, "here")) == ["lumen: a is up: here"]
    (line,) = reports.over(5, refused(reason, b"/a\0\0,T\0\0"))
    n = int(line.split()[2])
    assert line == (
        f"lumen: a: {n} of {n} events not used: {n} {reason} from 192.168.1.7:9"
        f" ({REMEDIES[reason]}; newest '/a ,T')"
    )
    assert 16 <= n <= 20


def test_the_report_repeats_each_minute_and_ends_with_the_fault(
    capsys: pytest.CaptureFixture[str],
) -> None:
    reports = Reports(capsys)
    lines = reports.over(150, refused("value"))
    assert len(lines) == 3
    counts = [int(line.split()[2]) for line in lines]
    assert counts[1] == pytest.approx(4 * AGAIN_S, abs=4 * WINDOW_S)
    assert reports.over(100, NUMBER, NUMBER, refused("value")) == []
    assert len(reports.over(10, refused("value"))) == 1


def test_occasional_faults_are_not_reported(capsys: pytest.CaptureFixture[str]) -> None:
    reports = Reports(capsys, "a")
    assert reports.over(120, NUMBER, NUMBER, refused("value")) == []


def test_filtered_events_are_reported_only_if_none_is_used(
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = refused("filtered", b"/accxyz\0,f\0\0", 50)
    reports = Reports(capsys, "a", a=["/accXYZ"])
    (line,) = reports.over(5, other)
    assert "keys asks for /accXYZ; newest '/accxyz ,f'" in line
    wanted = Reports(capsys, "a", a=["/accXYZ"])
    assert wanted.over(200, other, NUMBER) == []
    assert wanted.over(AGAIN_S - WINDOW_S, other) == []
    assert len(wanted.over(2 * WINDOW_S, other)) == 1
    held = Reports(capsys, a=["/button"])
    assert held.over(1, other, NUMBER) == []
    assert held.over(200, other) == []


def test_filtered_events_of_an_unused_driver_are_not_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert Reports(capsys).over(100, refused("filtered", b"\xfe")) == []


def test_one_sender_of_several_counts_for_the_stream(capsys: pytest.CaptureFixture[str]) -> None:
    reports = Reports(capsys, "a")
    reports.over(0.25, StreamChange(0.0, True, "here"))
    (line,) = reports.over(5, FromSource("a@10.0.0.1", refused("value")))
    assert line.startswith("lumen: a: ")
    assert reports.over(70, FromSource("a@10.0.0.1", NUMBER)) == []


def test_a_standing_report_is_cleared_without_events() -> None:
    refusals = UnusableStreams()
    refusals.lose("a", "late", 3, 0.0, "", "a:/x")
    refusals.use("a", 1, 0.0)
    (report,) = refusals.due(WINDOW_S)
    assert refusals.standing == {"a": report}
    assert report.text() == f"3 of 4 events not used: 3 late ({REMEDIES['late']}; newest 'a:/x')"
    assert refusals.due(2 * WINDOW_S) == []
    assert refusals.standing == {}
