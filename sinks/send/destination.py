"""Destinations of `send`: an OSC address, a MIDI port.

OSC 1.0 (Wright 2002): one message a value, one float32 each. MIDI 1.0: a key has the same meaning
as for a MIDI input, such as `cc/1/74` and `note/1/60`. A note ends after its `<note>/length` (s),
else with the next note of its key, and at the latest with the run.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping, Sequence
from math import inf
from typing import Protocol

_MAX_FLOAT32 = 3.4028234663852886e38
_STATUS = {"note": 0x90, "cc": 0xB0, "pressure": 0xD0, "program": 0xC0, "pitch": 0xE0}
_NOTE_PRESSURE = 0xA0
"""Status of the pressure of one note."""


class OutputDevice(Protocol):
    """A destination. A failure is an OSError; the destination is then opened again."""

    def open(self) -> str:
        """Get ready; return a description of the connection."""

    def there(self) -> bool:
        """Whether the destination still exists."""

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Send finite values by address or controller."""

    def rest(self, now: float) -> float:
        """End the notes that are due; return the time of the next end, inf without one."""

    def release(self) -> None:
        """Disconnect for now, with all notes ended."""

    def close(self) -> None:
        """Disconnect for good."""


class MidiPort(Protocol):
    """A MIDI output, such as `sources.midi.port.Port`."""

    @property
    def facts(self) -> tuple[str, ...]:
        """Description of the connected device; empty while disconnected."""

    def open(self) -> None:
        """Connect."""

    def there(self) -> bool:
        """Whether the connected device still exists."""

    def send(self, message: Sequence[int]) -> None:
        """Send one message."""

    def release(self) -> None:
        """Disconnect."""

    def close(self) -> None:
        """Release all resources."""


class OscOutput:
    """An OSC destination `host:port` over UDP: messages without a receiver are lost."""

    def __init__(self, to: str) -> None:
        self._to = to
        self._socket: socket.socket | None = None
        self._address: tuple[str, int] | tuple[str, int, int, int] | None = None

    def open(self) -> str:
        """Resolve the host, and open a non-blocking socket."""
        host, _, port = self._to.rpartition(":")
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        self._socket = socket.socket(family, kind, protocol)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self._socket.setblocking(False)
        self._address = address  # type: ignore[assignment]  # of the internet's families
        return f"udp {self._to}"

    def there(self) -> bool:
        """Whether a socket is open."""
        return self._socket is not None

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Send one message a value."""
        for address, value in values.items():
            if not self.send(packed(address, value)):
                return  # newer values will follow

    def send(self, datagram: bytes) -> bool:
        """Send a datagram; return False where the socket's buffer is full."""
        assert self._socket is not None
        assert self._address is not None
        try:
            self._socket.sendto(datagram, self._address)
        except BlockingIOError:
            return False
        return True

    def rest(self, now: float) -> float:
        """Return inf: OSC has no notes to end."""
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
        All keys that may be sent.
    port : MidiPort
    """

    def __init__(self, keys: Sequence[str], port: MidiPort) -> None:
        self._timed = {key.removesuffix("/length") for key in keys if key.endswith("/length")}
        self._port = port
        self._ends: dict[str, float] = {}
        self._last_message: dict[str, Sequence[int]] = {}

    def open(self) -> str:
        """Connect the port; no note is on after it."""
        self._port.open()
        self._ends, self._last_message = {}, {}
        return ", ".join(self._port.facts)

    def there(self) -> bool:
        """Whether the connected device still exists."""
        return self._port.there()

    def play(self, values: Mapping[str, float], now: float) -> None:
        """Send notes, and the controllers that have changed."""
        for key, value in values.items():
            if key.startswith("note/"):
                if not key.endswith("/length"):
                    self._note(key, value, values.get(f"{key}/length"), now)
                continue
            message = encoded(key, value)
            if message != self._last_message.get(key):
                self._port.send(message)
                self._last_message[key] = message

    def rest(self, now: float) -> float:
        """End the notes that are due; return the time of the next end."""
        for key in [key for key, end in self._ends.items() if end <= now]:
            self._end(key)
        return min(self._ends.values(), default=inf)

    def release(self) -> None:
        """End all notes, and disconnect."""
        try:
            self.rest(inf)
        except OSError:  # the device was removed before
            pass
        self._port.release()

    def close(self) -> None:
        """End all notes, and release all resources."""
        self.release()
        self._port.close()

    def _note(self, key: str, velocity: float, length: float | None, now: float) -> None:
        if key in self._timed and length is None:
            return  # its length is unknown
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
    return padded(address) + b",f\0\0" + float32(value)


def padded(address: str) -> bytes:
    """Return an OSC string: ended by zeros up to a multiple of four bytes."""
    text = address.encode("ascii")
    return text + bytes(4 - len(text) % 4)


def float32(value: float) -> bytes:
    """Return the nearest float32 that is finite; NaN as it is."""
    return struct.pack(">f", min(max(value, -_MAX_FLOAT32), _MAX_FLOAT32))


def encoded(key: str, value: float) -> list[int]:
    """Return a MIDI message with the nearest value in range."""
    name, channel, *number = key.split("/")
    status = _NOTE_PRESSURE if name == "pressure" and number else _STATUS[name]
    start = [status + int(channel) - 1, *map(int, number)]
    if name == "pitch":
        bend = round(min(max(value, -8192), 8191)) + 8192  # 14 bits, the low seven first
        return [*start, bend & 0x7F, bend >> 7]
    return [*start, round(min(max(value, 0), 127))]
