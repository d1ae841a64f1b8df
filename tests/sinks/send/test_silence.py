"""While the bridge allows no sound, notes are ended and none begins."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest

from configs.schema import Config
from operators.records import Fused, FusedSignal
from sinks.send.destination import MidiOutput
from sinks.send.send import Send, is_silent
from sinks.send.send_worker import SendWorker
from tests.support.bridge_frames import packet, status
from tests.support.waiting import until

CONFIG = msgspec.convert(
    {
        "version": 2,
        "streams": [{"name": "a", "type": "osc", "addr": "127.0.0.1:9000"}],
        "signals": {"pulse": {"members": {"a:/x": {}}}},
        "send": [
            {"name": "s", "type": "midi", "to": "x", "map": {"note/1/60": "100", "cc/1/1": "7"}}
        ],
    },
    Config,
)


class ValueSender:
    """Keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def start(self) -> None:
        pass

    def put(self, values: dict[str, float]) -> None:
        self.given.append(values)

    def end_notes(self) -> None:
        self.given.append("end")

    def stop(self) -> None:
        pass


def fused() -> Fused:
    one, whole = np.ones(1), np.zeros(1, np.int64)
    signal = FusedSignal("pulse", ("a:/x",), one, one, one, whole, whole, np.ones((1, 1)))
    five = np.ones((1, 5))
    return Fused(
        one, one, whole, whole, (signal,), five, five, five, np.empty((1, 0)), (), one, one
    )


@pytest.mark.parametrize(("gain", "silent"), [(0.0, True), (0.9, False), (1.0, False)])
def test_the_newest_safety_gain_decides(gain: float, silent: bool) -> None:
    given = packet(at=1.0, bridge_status=status(1.0, safety_gain=gain))

    assert is_silent(given, not silent) is silent
    assert is_silent(packet(), silent) is silent


def test_notes_end_once_and_none_begins_until_sound_is_allowed() -> None:
    sender = ValueSender()
    send = Send(CONFIG, lambda *_: None, {"s": sender})  # type: ignore[arg-type, return-value]
    for gain in (1.0, 0.0, 0.0, 0.9):
        send.consume([packet(fused=fused(), bridge_status=status(safety_gain=gain))])
    sounds, rests = {"note/1/60": 100.0, "cc/1/1": 7.0}, {"cc/1/1": 7.0}

    assert sender.given == [sounds, rests, "end", rests, sounds]


class Port:
    """A port that keeps its messages."""

    facts = ("port",)

    def __init__(self) -> None:
        self.sent: list[list[int]] = []

    def open(self) -> None:
        pass

    def there(self) -> bool:
        return True

    def send(self, message: Any) -> None:
        self.sent.append(list(message))

    def release(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_a_worker_ends_its_notes_and_plays_later_ones() -> None:
    port = Port()
    worker = SendWorker("s", 1000.0, MidiOutput(["note/1/60"], port))
    worker.start()
    try:
        worker.put({"note/1/60": 100.0})
        until(lambda: port.sent == [[0x90, 60, 100]])
        worker.end_notes()
        until(lambda: port.sent[1:] == [[0x90, 60, 0]])
        worker.put({"note/1/60": 50.0})
        until(lambda: port.sent[2:] == [[0x90, 60, 50]])
    finally:
        worker.stop()
