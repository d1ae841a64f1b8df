"""The LSL receiver against real outlets: found, gone and back; alike, changed, overflowing."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from pylsl import StreamInlet

from configs.connectors.lsl import LslStream
from sources.host.host_clock import HostClock
from sources.inbox import Inbox, Message, Unread
from sources.lsl import lsl
from sources.lsl.lsl import LslReceiver
from sources.lsl.network import resolved
from sources.lsl.stream_inlet import LslInlet
from tests.support.lsl_sender import LslSender
from tests.support.waiting import until

Begun = list[Callable[[], object]]


@pytest.fixture
def begun() -> Iterator[Begun]:
    """What a test has to end."""
    ends: Begun = []
    yield ends
    for end in reversed(ends):
        end()


@pytest.fixture
def name() -> str:
    """A stream's name that no other test has."""
    return f"s{uuid4().hex[:12]}"


def sender(begun: Begun, name: str, **spec) -> LslSender:
    one = LslSender(name, **spec)
    begun.append(one.end)
    return one


class StuckClock(HostClock):
    """A host clock that a test stops, and with it the thread that reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.runs, self.stands = threading.Event(), threading.Event()
        self.runs.set()

    def __call__(self) -> float:
        if not self.runs.is_set():
            self.stands.set()
        self.runs.wait()
        return super().__call__()


class Receiving:
    """A receiver and all that came out of its inbox."""

    def __init__(self, begun: Begun, name: str, used=(), is_held=lambda _: True, **more) -> None:
        options = {key: more.pop(key) for key in ("buffer_s", "silent_s") if key in more}
        self.inbox = Inbox("m")
        self.receiver = LslReceiver(
            LslStream(name="m", **(more or {"stream": name})), used, is_held, **options
        )
        self.items: list = []
        self.receiver.start(self.inbox)
        begun.append(self.receiver.stop)

    def look(self) -> bool:
        self.items += self.inbox.take()
        return True

    def events(self, *keys: str) -> list[Message]:
        self.look()
        return [
            x for x in self.items
            if isinstance(x, Message)
            and (x.key in keys if keys else not x.key.startswith("clock_offset"))
        ]  # fmt: skip

    def unread(self) -> list[Unread]:
        self.look()
        return [x for x in self.items if isinstance(x, Unread)]

    def up(self) -> None:
        until(lambda: self.inbox.up)

    def down(self) -> None:
        until(lambda: not self.inbox.up and self.inbox.why != "not started")


def test_samples_arrive_once_in_order_with_the_sender_s_stamps(begun: Begun, name: str) -> None:
    one = sender(begun, name, channels=2, rate_hz=100.0, labels=["x", "x"])
    got = Receiving(begun, name)
    got.up()
    stamps = [1000.0 + i / 100 for i in range(500)]
    one.push([[i, -i] for i in range(500)], stamps)
    until(lambda: len(got.events()) >= 1000)
    assert [(e.key, e.value, e.ts) for e in got.events()] == [
        event for i, ts in enumerate(stamps)
        for event in (("x", float(i), ts), ("x_2", float(-i), ts))
    ]  # fmt: skip
    assert got.unread() == []


def test_a_reading_of_the_sender_s_clock_is_offset_and_error_on_the_host_axis(
    begun: Begun, name: str
) -> None:
    sender(begun, name, rate_hz=100.0)
    got = Receiving(begun, name)
    until(lambda: len(got.events("clock_offset")) >= 2)
    readings = got.events("clock_offset")
    assert len({e.ts for e in readings}) == len(readings)
    from pylsl import local_clock  # the sender has this machine's clock

    truth = got.inbox.host() - local_clock()
    for offset, error in (e.value for e in readings):
        assert 0 < error < 1
        assert abs(offset - truth) <= error + 0.01


def test_a_stream_without_identifier_is_gone_and_comes_back(begun: Begun, name: str) -> None:
    one = sender(begun, name, rate_hz=100.0)
    got = Receiving(begun, name)
    got.up()
    one.push([[1]], [5.0])
    until(lambda: got.events())
    one.end()
    got.down()
    assert "gone" in got.inbox.why or "no stream" in got.inbox.why
    again = sender(begun, name, rate_hz=100.0)
    got.up()
    again.push([[2]], [1.0])
    until(lambda: len(got.events()) >= 2)
    assert [e.value for e in got.events()] == [1.0, 2.0]


def test_of_two_streams_of_one_name_none_is_taken_and_both_are_named(
    begun: Begun, name: str
) -> None:
    sender(begun, name, source_id="left")
    sender(begun, name, source_id="right")
    got = Receiving(begun, name)
    got.down()
    assert "source_id left" in got.inbox.why
    assert "source_id right" in got.inbox.why
    assert "name one by source_id" in got.inbox.why


def test_a_stream_is_taken_by_its_identifier(begun: Begun, name: str) -> None:
    sender(begun, name, source_id=f"{name} left")
    right = sender(begun, name, source_id=f"{name} 'right' \"")
    got = Receiving(begun, name, source_id=f"{name} 'right' \"")
    got.up()
    right.push([[7]], [1.0])
    until(lambda: got.events())
    assert [e.value for e in got.events()] == [7.0]


def test_a_stream_is_taken_by_its_type(begun: Begun, name: str) -> None:
    one = sender(begun, "any", type=name)
    got = Receiving(begun, name, stream_type=name)
    got.up()
    one.push([[7]], [1.0])
    until(lambda: got.events())


def test_texts_where_numbers_were_are_markers(begun: Begun, name: str) -> None:
    one = sender(begun, name, channels=2, rate_hz=100.0)
    got = Receiving(begun, name)
    got.up()
    one.push([[1, 2]], [1.0])
    until(lambda: len(got.events()) >= 2)
    one.end()
    got.down()
    again = sender(begun, name, channels=1, form="string")
    got.up()
    assert "string, irregular" in got.inbox.why
    again.push([["3.5"], ["x" * 9000], ["\x1b[2J"]], [2.0, 3.0, 4.0])
    until(lambda: len(got.events()) >= 4)
    assert [(e.key, e.value) for e in got.events()[2:]] == [("ch1", "3.5"), ("ch1", "\x1b[2J")]
    assert [(u.reason, u.where) for u in got.unread()] == [("too_long", "ch1")]


def test_numbers_and_stamps_that_are_none_are_counted(begun: Begun, name: str) -> None:
    one = sender(begun, name, channels=2, rate_hz=100.0, labels=["a", "b"])
    got = Receiving(begun, name)
    got.up()
    nan, inf = float("nan"), float("inf")
    one.push([[1, nan], [inf, nan], [2, 3], [4, 5]], [1.0, 2.0, nan, 3.0])
    until(lambda: len(got.events()) >= 3)
    until(lambda: sum(u.events for u in got.unread()) >= 5)
    assert [(e.key, e.value) for e in got.events()] == [("a", 1.0), ("a", 4.0), ("b", 5.0)]
    assert {(u.reason, u.where) for u in got.unread()} >= {("stamp", "m"), ("value", "b")}
    assert got.inbox.received == 8 + 2 * len(got.events("clock_offset"))


def test_stamps_that_go_back_are_passed_on(begun: Begun, name: str) -> None:
    one = sender(begun, name, rate_hz=100.0)
    got = Receiving(begun, name)
    got.up()
    one.push([[1], [2], [3]], [50.0, 20.0, 20.0])
    until(lambda: len(got.events()) >= 3)
    assert [e.ts for e in got.events()] == [50.0, 20.0, 20.0]


@pytest.mark.parametrize("declared", [100.0, 50.0])
def test_samples_lost_in_a_full_buffer_are_counted_at_the_measured_rate(
    begun: Begun, name: str, declared: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flow stands still for longer than the buffer; the declared rate is right, or half."""
    inlets: list[LslInlet] = []

    class Kept(LslInlet):
        def __init__(self, *arguments) -> None:
            inlets.append(self)
            super().__init__(*arguments)

    monkeypatch.setattr(lsl, "LslInlet", Kept)
    one = sender(begun, name, channels=2, rate_hz=declared)
    got, host = Receiving(begun, name, buffer_s=4), StuckClock()
    got.inbox.host = host
    got.up()
    sent = 0

    def push(samples: int) -> None:
        nonlocal sent
        numbers = range(sent, sent + samples)
        one.push([[i, i] for i in numbers], [1000 + i / 100 for i in numbers])
        sent += samples

    push(200)
    until(lambda: len(got.events()) >= 400)
    other = StreamInlet(resolved({"name": name}, at_least=1)[0], recover=False)
    other.open_stream(30.0)
    host.runs.clear()
    try:
        push(1)
        until(host.stands.is_set)
        push(3000)
        until(lambda: inlets[0].fullness >= 1)
        until(lambda: other.samples_available() >= 3001)  # all is transferred
    finally:
        host.runs.set()
    until(lambda: got.events()[-1].value == sent - 1)
    assert got.inbox.lost > 0
    assert len(got.events()) + got.inbox.lost == 2 * sent
    assert {u.reason for u in got.unread()} == {"kernel_full"}


def test_a_pause_of_the_sender_is_no_loss(begun: Begun, name: str) -> None:
    one = sender(begun, name, rate_hz=100.0)
    got = Receiving(begun, name, buffer_s=4)
    got.up()
    one.push([[i] for i in range(100)], [i / 100 for i in range(100)])
    one.push([[i] for i in range(100)], [60 + i / 100 for i in range(100)])
    until(lambda: len(got.events()) >= 200)
    assert got.inbox.lost == 0


def test_a_silent_stream_that_is_still_announced_stays_up(begun: Begun, name: str) -> None:
    one = sender(begun, name)
    got = Receiving(begun, name, silent_s=0.2)
    got.up()
    until(lambda: len(got.events("clock_offset")) >= 2)  # silent for longer
    assert got.inbox.up
    one.push([[1]], [1.0])
    until(lambda: got.events())
    turns = [x for x in got.items if hasattr(x, "up")]
    assert [t.up for t in turns] == [True]


def test_a_stopped_sender_that_is_no_longer_announced_is_down(begun: Begun, name: str) -> None:
    one = sender(begun, name)
    got = Receiving(begun, name, silent_s=0.2)
    got.up()
    os.kill(one.process.pid, 19)  # SIGSTOP: its connection stays open
    got.down()
    assert name in got.inbox.why


def test_a_channel_that_the_stream_has_not_and_an_irregular_one_are_named(
    begun: Begun, name: str
) -> None:
    sender(begun, name, channels=2, labels=["a", "b"])
    got = Receiving(begun, name, used={"a", "z"}, is_held=lambda key: False)
    got.up()
    lines: list[str] = []
    until(lambda: lines.extend(got.inbox.take_log()) or len(lines) >= 2)
    assert "m has no channel z; it has a, b" in lines[0]
    assert 'channels: {"m:*": {kind: held}}' in lines[1]


def test_more_channels_than_are_taken_is_a_reason(begun: Begun, name: str) -> None:
    sender(begun, name, channels=1025)
    got = Receiving(begun, name)
    got.down()
    assert "1025 channels, at most 1024 are taken" in got.inbox.why


def test_a_stop_leaves_no_thread(begun: Begun, name: str) -> None:
    sender(begun, name, rate_hz=100.0)
    got = Receiving(begun, name)
    got.up()
    thread = got.receiver._thread
    got.receiver.stop()
    assert thread
    assert not thread.is_alive()
    got.receiver.stop()
