"""Stands in for python-rtmidi on a system with CoreMIDI: one keyboard that plays, one synth.

The keyboard turns a controller, a message each 20 ms. The synth writes each message into the file
`$LUMEN_TEST_SYNTH`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

API_RTMIDI_DUMMY, API_LINUX_ALSA, API_UNIX_JACK, API_MACOSX_CORE = range(4)
_EVERY_S = 0.02


def get_compiled_api() -> list[int]:
    return [API_MACOSX_CORE, API_RTMIDI_DUMMY]


def get_api_display_name(api: int) -> str:
    return "CoreMIDI"


class MidiIn:
    def __init__(self, api: int, name: str, queue_size_limit: int) -> None:
        self._last: float | None = None
        self._value = 0

    def ignore_types(self, **_: bool) -> None:
        pass

    def get_ports(self) -> list[str]:
        return ["nanoKEY"]

    def open_port(self, number: int, name: str) -> None:
        self._last = time.monotonic()

    def close_port(self) -> None:
        self._last = None

    def delete(self) -> None:
        pass

    def get_message(self) -> tuple[list[int], float] | None:
        if self._last is None or time.monotonic() - self._last < _EVERY_S:
            return None
        self._last += _EVERY_S
        self._value = (self._value + 1) % 128
        return [0xB0, 1, self._value], _EVERY_S


class MidiOut(MidiIn):
    def __init__(self, api: int, name: str) -> None:
        super().__init__(api, name, 0)

    def get_ports(self) -> list[str]:
        return ["Synth"]

    def send_message(self, message: list[int]) -> None:
        with Path(os.environ["LUMEN_TEST_SYNTH"]).open("a") as log:
            log.write(f"{bytes(message).hex()}\n")
