"""MIDI in: what messages mean, and a device that comes and goes."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mido
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.inputs import MidiStream
from operators.settings.channels import MIDI_KEY
from sources.inbox import Inbox, Message, StreamChange, Unread
from sources.midi import midi
from sources.midi.midi import MidiReceiver, decoded
from sources.midi.port import MidiPortError, Taken
from tests.support.waiting import HUNG_S, until

CHANNEL, DATA = st.integers(0, 15), st.integers(0, 127)


def arrived(*message: int) -> tuple[str, float]:
    item = decoded(message, 1.0, "a port")
    assert isinstance(item, Message), item
    assert item.rx == 1.0
    return item.key, item.value


def refused(*message: int) -> str:
    item = decoded(message, 1.0, "a port")
    assert isinstance(item, Unread), item
    assert (item.where, item.sample) == ("a port", bytes(message))
    return item.reason


@pytest.mark.parametrize(
    ("message", "key", "value"),
    [
        ((0x90, 60, 100), "note/1/60", 100.0),
        ((0x90, 60, 0), "note/1/60", 0.0),
        ((0x80, 60, 64), "note/1/60", 0.0),
        ((0x9F, 127, 1), "note/16/127", 1.0),
        ((0xB0, 74, 5), "cc/1/74", 5.0),
        ((0xE2, 0, 64), "pitch/3", 0.0),
        ((0xE0, 0, 0), "pitch/1", -8192.0),
        ((0xE0, 127, 127), "pitch/1", 8191.0),
        ((0xD1, 9), "pressure/2", 9.0),
        ((0xA1, 60, 9), "pressure/2/60", 9.0),
        ((0xC0, 4), "program/1", 4.0),
        ((0xF8,), "clock", 1.0),
        ((0xFA,), "transport", 1.0),
        ((0xFB,), "transport", 2.0),
        ((0xFC,), "transport", 0.0),
    ],
)
def test_a_message_is_a_channel_and_a_number(
    message: tuple[int, ...], key: str, value: float
) -> None:
    assert arrived(*message) == (key, value)


@given(CHANNEL, DATA, DATA, st.integers(-8192, 8191))
def test_an_encoder_of_others_is_understood(channel: int, n: int, value: int, pitch: int) -> None:
    def sent(kind: str, **fields: int) -> tuple[str, float]:
        return arrived(*mido.Message(kind, channel=channel, **fields).bytes())

    one = channel + 1
    assert sent("note_on", note=n, velocity=value) == (f"note/{one}/{n}", value)
    assert sent("note_off", note=n, velocity=value) == (f"note/{one}/{n}", 0)
    assert sent("control_change", control=n, value=value) == (f"cc/{one}/{n}", value)
    assert sent("polytouch", note=n, value=value) == (f"pressure/{one}/{n}", value)
    assert sent("aftertouch", value=value) == (f"pressure/{one}", value)
    assert sent("program_change", program=n) == (f"program/{one}", n)
    assert sent("pitchwheel", pitch=pitch) == (f"pitch/{one}", pitch)


@pytest.mark.parametrize(
    "message",
    [(), (60,), (0x90,), (0x90, 60), (0x90, 60, 128), (0x90, 1, 2, 3), (0xC0, 1, 2), (0xD0, 200)],
)
def test_what_is_no_whole_message_is_rejected(message: tuple[int, ...]) -> None:
    assert refused(*message) == "midi"


@pytest.mark.parametrize("message", [(0xFA, 1), (0xF9,), (0xFE,), (0xFF,), (0xF2, 1, 2), (0xF0, 1)])
def test_what_is_no_channel_is_ignored(message: tuple[int, ...]) -> None:
    assert refused(*message) == "filtered"


def test_of_a_long_sysex_that_a_driver_hands_over_only_the_start_is_kept() -> None:
    item = decoded([0xF0] + [1] * 1_000_000, 1.0, "")
    assert isinstance(item, Unread)
    assert len(item.sample) == 256


@given(st.lists(st.integers(0, 255), max_size=6))
def test_noise_is_one_event_a_message_and_never_an_exception(message: list[int]) -> None:
    item = decoded(message, 1.0, "")
    if isinstance(item, Message):
        assert item.key == "clock" or MIDI_KEY.fullmatch(item.key)


class Device:
    """A device that can be plugged in and pulled out, as a port of ours sees it."""

    def __init__(self, plugged: bool) -> None:
        self.plugged = plugged
        self.tries = self.released = self.closed = self.periods = 0
        self.queue: deque[tuple[Sequence[int], float]] = deque()
        self.overrun = False
        self.facts: tuple[str, ...] = ()

    def port(self, device: str, virtual: bool, is_input: bool) -> Any:
        assert (device, virtual, is_input) == ("LPK", False, True)
        return self

    def deliver(self, message: Sequence[int], delta: float = 0.0) -> None:
        self.queue.append((message, delta))

    def take(self, host: Callable[[], float]) -> Taken:
        overrun, self.overrun = self.overrun, False
        messages = [self.queue.popleft() for _ in range(len(self.queue))]
        return Taken(messages, host(), overrun)

    def missed(self) -> int:
        return self.periods

    def open(self) -> None:
        self.tries += 1
        if not self.plugged:
            raise MidiPortError("no port fits 'LPK'; present: none")
        self.facts = ("LPK25", "ALSA")

    def there(self) -> bool:
        return self.plugged

    def release(self) -> None:
        self.released += 1
        self.facts = ()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_POLL_S", "_LOOK_S", "_FIRST_PAUSE_S", "_MAX_PAUSE_S"):
        monkeypatch.setattr(midi, name, 0.002)


def listening(device: Device, pair: bool = False) -> tuple[MidiReceiver, Inbox]:
    config = MidiStream(name="m", device="LPK", pair=pair)
    stream, inbox = MidiReceiver(config, device.port), Inbox("m")
    stream.start(inbox)
    return stream, inbox


def resources() -> tuple[int, int]:
    return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))


def test_a_device_that_is_absent_is_down_with_the_reason() -> None:
    stream, inbox = listening(Device(plugged=False))
    until(lambda: inbox.why != "not started")
    stream.stop()
    assert not inbox.up
    assert inbox.why == "no port fits 'LPK'; present: none"


def test_a_device_that_comes_is_received_and_reports_its_port() -> None:
    device = Device(plugged=False)
    stream, inbox = listening(device)
    until(lambda: device.tries > 2)
    device.plugged = True
    until(lambda: inbox.up)
    assert stream.facts() == ("LPK25", "ALSA")
    before = inbox.host()
    device.deliver([0xB0, 74, 5])
    stream.stop()
    down, up, item = inbox.take()
    assert (down.up, up.up, up.why) == (False, True, "LPK25, ALSA")
    assert (item.key, item.value) == ("cc/1/74", 5.0)
    assert before - 1e-5 <= item.rx <= inbox.host()
    assert stream.facts() == ()


def test_twenty_times_unplugged_and_back_it_is_received_again_and_leaves_nothing() -> None:
    device, before = Device(plugged=True), resources()
    stream, inbox = listening(device)
    for _ in range(20):
        until(lambda: inbox.up)
        device.deliver([0x90, 60, 1])
        device.plugged = False
        until(lambda: not inbox.up)
        device.plugged = True
    until(lambda: inbox.up)
    stream.stop()
    items = inbox.take()
    assert sum(isinstance(item, Message) for item in items) == 20
    edges = [item.up for item in items if isinstance(item, StreamChange)]
    assert edges == [True, False] * 20 + [True]
    assert (device.released, device.closed) == (21, 1)
    assert resources() == before


def test_while_it_is_absent_it_is_tried_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(midi, "_MAX_PAUSE_S", 4.0)
    device = Device(plugged=False)
    stream, _ = listening(device)
    time.sleep(0.3)
    started = time.monotonic()
    stream.stop()
    assert time.monotonic() - started < HUNG_S
    assert 3 <= device.tries <= 9


def test_stopped_twice_and_stopped_unstarted_is_stopped() -> None:
    device = Device(plugged=True)
    MidiReceiver(MidiStream(name="m", device="LPK"), device.port).stop()
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    stream.stop()
    stream.stop()
    assert device.closed == 1


def test_a_megabyte_of_noise_is_accounted_for_within_bounds() -> None:
    device = Device(plugged=True)
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    noise = os.urandom(1_000_000)
    messages: Sequence[bytes] = [noise[i : i + 5] for i in range(0, len(noise), 5)]
    for message in messages:
        device.deliver(message, 0.001)
    until(lambda: inbox.received == len(messages))
    stream.stop()
    _, *items = inbox.take()
    assert sum(getattr(item, "events", 1) for item in items) == len(messages)
    assert len(items) <= inbox.room + 1


def test_what_came_just_before_the_device_went_is_received() -> None:
    device = Device(plugged=True)
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    for n in range(100):
        device.deliver([0x90, n, 1], 0.001)
    device.plugged = False
    until(lambda: not inbox.up)
    stream.stop()
    assert sum(isinstance(item, Message) for item in inbox.take()) == 100


def test_what_the_driver_had_no_room_for_is_counted() -> None:
    device = Device(plugged=True)
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    device.overrun = True
    until(lambda: inbox.lost)
    stream.stop()
    lost = [item for item in inbox.take() if isinstance(item, Unread)]
    assert [(item.reason, item.events) for item in lost] == [("kernel_full", 1)]


def test_periods_that_jack_missed_are_named_seldom_and_halves_of_notes_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    device = Device(plugged=True)
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    for note in (60, 64):
        device.deliver([0x90, note, 1])
    until(lambda: inbox.received >= 2)
    device.periods = 7
    for note in (60, 64, 67):
        device.deliver([0x90, note, 2])
    until(lambda: inbox.received >= 5)
    time.sleep(0.02)
    stream.stop()
    assert inbox.lost == 2, "two ends of notes"
    printed = capsys.readouterr().err
    assert printed == "lumen: m: JACK missed 7 of its periods: their messages may be lost\n"


def test_pairs_of_controllers_are_numbers_of_14_bits_where_asked_for() -> None:
    for pair, keys in (
        (False, ["cc/1/1", "cc/1/33"]),
        (True, ["cc/1/1", "cc14/1/1", "cc/1/33", "cc14/1/1"]),
    ):
        device = Device(plugged=True)
        stream, inbox = listening(device, pair)
        until(lambda inbox=inbox: inbox.up)
        device.deliver([0xB0, 1, 2])
        device.deliver([0xB0, 33, 3])
        until(lambda inbox=inbox, keys=keys: inbox.received >= len(keys))
        device.deliver([0xB0, 1, 4])
        until(lambda inbox=inbox, keys=keys, pair=pair: inbox.received >= len(keys) + 1 + pair)
        stream.stop()
        values = [(item.key, item.value) for item in inbox.take() if isinstance(item, Message)]
        assert [key for key, _ in values[: len(keys)]] == keys
        if pair:
            assert values[3] == ("cc14/1/1", 259.0)
            assert values[-2:] == [("cc/1/1", 4.0), ("cc14/1/1", 512.0)], "no fine part follows"


def test_active_sensing_and_time_code_are_in_the_account() -> None:
    device = Device(plugged=True)
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    device.deliver([0xFE])
    device.deliver([0xF1, 0x23])
    until(lambda: inbox.received == 2)
    stream.stop()
    _, *items = inbox.take()
    assert [getattr(item, "reason", "") for item in items] == ["filtered", "filtered"]


def test_of_what_rtmidi_repeats_only_one_is_received_and_the_rest_is_in_the_account() -> None:
    device = Device(plugged=True)
    stream, inbox = listening(device)
    until(lambda: inbox.up)
    time.sleep(0.01)
    device.deliver([0xB0, 1, 5], 1.0)
    device.deliver([0xB0, 1, 5], 0.0)
    until(lambda: inbox.received == 2)
    device.queue.extend([([0xB0, 1, 6], 1.0), ([0xB0, 1, 6], 0.0), ([0x90, 1, 6], 0.0)])
    device.periods = 1
    until(lambda: inbox.received == 4 and inbox.lost == 1)
    stream.stop()
    _, *items = inbox.take()
    arrived = [item.value for item in items if isinstance(item, Message)]
    assert arrived == [5.0, 6.0, 6.0]
    reasons = [item.reason for item in items if isinstance(item, Unread)]
    assert reasons == ["filtered", "kernel_full"]
