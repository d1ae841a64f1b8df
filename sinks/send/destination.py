"""What can be played: an OSC destination, a MIDI port.

OSC 1.0 (Wright 2002): a message a value, one float32 each. MIDI 1.0: what a key says of a device
that is heard, it says of one that is played: `cc/1/74`, `note/1/60` and so on. A note ends when
its `<note>/length` (s) is over, else with the next of its kind, and with the run in any case.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

_LARGEST = 3.4028234663852886e38
"""Of float32."""
_STATUS = {"note": 0x90, "cc": 0xB0, "pressure": 0xD0, "program": 0xC0, "pitch": 0xE0}
_OF_NOTE = 0xA0
"""Pressure of one note."""


class OutputDevice(Protocol):
    """A destination. Whatever fails is an OSError; then it is opened again."""

    def open(self) -> str:
        """Get ready; return what is played to."""

    def there(self) -> bool:
        """Whether it can still be played."""

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Play finite values by address or controller."""

    def rest(self, now: float) -> float:
        """End the notes whose time has come; return when the next one ends, inf without."""

    def release(self) -> None:
        """Let go of it for now, with nothing left sounding."""

    def close(self) -> None:
        """Let go of it for good."""


class MidiPort(Protocol):
    """A MIDI output, as `sources.midi.port.Port` is one."""

    facts: tuple[str, ...]

    def open(self) -> None:
        """Connect."""

    def there(self) -> bool:
        """Whether what it is connected to still exists."""

    def send(self, message: Sequence[int]) -> None:
        """Play one message."""

    def release(self) -> None:
        """Disconnect."""

    def close(self) -> None:
        """Leave nothing behind."""


class OscOutput:
    """An OSC destination `host:port` over UDP: what nobody receives is gone."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._socket: socket.socket | None = None
        self._address: tuple[str, int] | tuple[str, int, int, int] | None = None

    def open(self) -> str:
        """Look up the host, and make a socket that never waits."""
        host, _, port = self._to.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setblocking(False)
        self._address = address  # type: ignore[assignment]  # of the internet's families
        return f"udp {self._to}"

    def there(self) -> bool:
        """Whether there is a socket."""
        return self._socket is not None

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Send a message a value."""
        assert self._socket is not None
        assert self._address is not None
        for address, value in values.items():
            try:
                self._socket.sendto(packed(address, value), self._address)
            except BlockingIOError:  # the socket's buffer is full: newer values will follow
                return

    def rest(self, now: float) -> float:
        """Return that nothing sounds."""
        return inf

    def release(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def close(self) -> None:
        """Close the socket."""
        self.release()


class MidiOutput:
    """A MIDI destination.

    Parameters
    ----------
    keys : collection of str
        All that may be played.
    port : MidiPort
    """

    def __init__(self, keys: Sequence[str], port: MidiPort) -> None:
        self._timed = {key.removesuffix("/length") for key in keys if key.endswith("/length")}
        self._port = port
        self._ends: dict[str, float] = {}
        self._said: dict[str, Sequence[int]] = {}

    def open(self) -> str:
        """Connect the port; nothing sounds on it yet."""
        self._port.open()
        self._ends, self._said = {}, {}
        return ", ".join(self._port.facts)

    def there(self) -> bool:
        """Whether what the port is connected to still exists."""
        return self._port.there()

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Play notes; of controllers only what has changed."""
        for key, value in values.items():
            if key.startswith("note/"):
                if not key.endswith("/length"):
                    self._note(key, value, values.get(f"{key}/length"), now)
                continue
            message = encoded(key, value)
            if message != self._said.get(key):
                self._port.send(message)
                self._said[key] = message

    def rest(self, now: float) -> float:
        """End the notes whose time has come; return when the next one ends."""
        for key in [key for key, end in self._ends.items() if end <= now]:
            self._end(key)
        return min(self._ends.values(), default=inf)

    def release(self) -> None:
        """End all notes, and disconnect."""
        try:
            self.rest(inf)
        except OSError:  # it went before us
            pass
        self._port.release()

    def close(self) -> None:
        """End all notes, and leave nothing behind."""
        self.release()
        self._port.close()

    def _note(self, key: str, velocity: float, length: float | None, now: float) -> None:
        if key in self._timed and length is None:
            return  # how long it would sound is not known
        message = encoded(key, velocity)
        if key in self._ends:
            self._end(key)
        if message[2]:
            self._ends[key] = inf if length is None else now + length
            self._port.send(message)

    def _end(self, key: str) -> None:
        del self._ends[key]
        self._port.send(encoded(key, 0.0))


def packed(address: str, value: float) -> bytes:
    """Return an OSC message of one float."""
    text = address.encode("ascii")
    number = struct.pack(">f", min(max(value, -_LARGEST), _LARGEST))
    return text + bytes(4 - len(text) % 4) + b",f\0\0" + number


def encoded(key: str, value: float) -> list[int]:
    """Return a MIDI message: the nearest value that there is."""
    name, channel, *number = key.split("/")
    status = _OF_NOTE if name == "pressure" and number else _STATUS[name]
    start = [status + int(channel) - 1, *map(int, number)]
    if name == "pitch":
        bent = round(min(max(value, -8192), 8191)) + 8192
        return [*start, bent & 0x7F, bent >> 7]
    return [*start, round(min(max(value, 0), 127))]
