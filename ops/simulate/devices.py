"""Simulated devices on this machine: an OSC sender, a MIDI controller, a URE page.

Each device sends, on its own clock, the channels that the configuration uses, in their expected
units. Data is sent to this machine only.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import isfinite
from typing import Protocol
from urllib.parse import urlsplit

import numpy as np

from configs.address import endpoint, ip_of
from configs.document import public_url
from configs.inputs import MidiStream, OscStream, UreStream
from operators.settings.plan import Plan
from ops.simulate.recording import FACTS, HELD_SPAN
from sinks.send.destination import MidiOutput, encoded
from sinks.send.send_worker import SendWorker
from sources.midi.port import Port
from sources.ure.exposition import MAX_PAGE

OSC_HZ, MIDI_HZ, URE_HZ = 100.0, 25.0, 10.0
_RATE_BEATS = 9
"""Newest beats whose rate a page shows."""
_UNIX_EPOCH = 2_208_988_800
"""1970 on the NTP time scale (s)."""
_ELEMENT = re.compile(r"(.+)\[([0-9]{1,3})\]")
_PULSE, _START, _STOP = 0xF8, 0xFA, 0xFC
_TAP = 100.0
"""Value of a beat that is a note or a control."""
_LEVEL = 8.0
"""Constant part of a vector, in RMS of the movement; it keeps the sign of its size."""


@dataclass(frozen=True)
class Reading:
    """Content of one message: `parts` numbers, each `gain` times the movement plus `level`."""

    key: str
    gain: float
    level: float
    parts: int = 1

    def of(self, value: float) -> tuple[float, ...]:
        """Return the numbers for a `value` of the movement, which has an RMS of 1."""
        return (self.level + self.gain * value,) * self.parts


@dataclass(frozen=True)
class DeviceClock:
    """The clock of a device, with offset and skew, and the lag of its measurement (s)."""

    began: float
    offset_s: float = 0.0
    skew_ppm: float = 0.0
    lag_s: float = 0.0

    def at(self, host: float) -> float:
        """Return the source time at a host time (s since 1970).

        source = host - offset + (host - began) skew
        """
        return host - self.offset_s + (host - self.began) * self.skew_ppm * 1e-6


class Device(Protocol):
    """A device that measures and sends `rate_hz` times a second, and may send beats.

    `beats` are the keys of its beats.
    """

    name: str
    rate_hz: float
    clock: DeviceClock
    beats: tuple[str, ...]

    def start(self) -> str:
        """Open the output; return its description."""

    def update(self, host: float, value: float) -> None:
        """Send the value measured at a host time (s since 1970)."""

    def beat(self, host: float) -> None:
        """Send a beat of a host time (s since 1970)."""

    def stop(self) -> None:
        """Close the output."""


class DeviceSender:
    """An OSC sender, such as a phone: one bundle with a timetag for each measurement."""

    rate_hz = OSC_HZ

    def __init__(
        self,
        stream: OscStream,
        readings: Sequence[Reading],
        clock: DeviceClock,
        beats: Sequence[str] = (),
    ) -> None:
        self.name, self.clock, self.beats = stream.name, clock, tuple(beats)
        if endpoint(stream.addr).tcp:
            raise ValueError(f"{stream.addr} is TCP, and devices play UDP")
        self._host, self._port = _place(stream.addr)
        self._readings = readings
        self._socket: socket.socket | None = None

    def start(self) -> str:
        """Open a socket."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        return f"osc to {self._host}:{self._port}"

    def update(self, host: float, value: float) -> None:
        """Send all readings; without a receiver they are lost."""
        if self._readings:
            self._send(host, [(r.key, r.of(value)) for r in self._readings])

    def beat(self, host: float) -> None:
        """Send a beat; without a receiver it is lost."""
        self._send(host, [(key, (1.0,)) for key in self.beats])

    def _send(self, host: float, messages: Sequence[tuple[str, Sequence[float]]]) -> None:
        assert self._socket is not None
        with suppress(OSError):
            self._socket.sendto(bundle(self.clock.at(host), messages), (self._host, self._port))

    def stop(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()


class _SharedPort(Port):
    """A MIDI port that two threads send to: that of the controls and that of the beats."""

    def __init__(self, device: str, virtual: bool) -> None:
        super().__init__(device, virtual)
        self._sending = threading.Lock()

    def send(self, message: Sequence[int]) -> None:
        """Send one message."""
        with self._sending:
            super().send(message)


class Controller:
    """A MIDI controller, with a port between `start` and `stop`.

    Its clock begins with a Start and ends with a Stop; other beats are the messages of their keys.
    """

    rate_hz = MIDI_HZ

    def __init__(
        self,
        stream: MidiStream,
        readings: Sequence[Reading],
        clock: DeviceClock,
        beats: Sequence[str] = (),
    ) -> None:
        self.name, self.clock = stream.name, clock
        self.beats = tuple(key for key in beats if key != "transport")
        self._readings = [r for r in readings if r.key not in ("clock", "transport")]
        keys = [r.key for r in self._readings]
        self._out = _SharedPort(stream.device, not stream.virtual)
        self._port = stream.device
        self._player = SendWorker(self.name, MIDI_HZ, MidiOutput(keys, self._out))
        self._runs = False

    def start(self) -> str:
        """Open the port, now or as soon as MIDI is available; return its name."""
        self._player.start()
        return f"midi port {self._port}"

    def update(self, host: float, value: float) -> None:
        """Set the controls; an unchanged value is not sent."""
        self._player.put({r.key: r.of(value)[0] for r in self._readings})

    def beat(self, host: float) -> None:
        """Send a beat now; before the first one of a clock, or of a new connection, a Start."""
        if not self._out.facts:
            self._runs = False
            return
        messages = [[_PULSE] if key == "clock" else encoded(key, _TAP) for key in self.beats]
        if "clock" in self.beats and not self._runs:
            messages.insert(0, [_START])
        self._runs = True
        with suppress(OSError):
            for message in messages:
                self._out.send(message)

    def stop(self) -> None:
        """End the clock, and close the port."""
        if self._runs and self._out.facts and "clock" in self.beats:
            with suppress(OSError):
                self._out.send([_STOP])
        self._player.stop()


class UrePage:
    """A URE: serves the newest values of its series."""

    rate_hz = URE_HZ

    def __init__(
        self,
        stream: UreStream,
        readings: Sequence[Reading],
        clock: DeviceClock,
        rng: np.random.Generator,
        beats: Sequence[str] = (),
    ) -> None:
        self.name, self.clock, self.beats = stream.name, clock, tuple(beats)
        self.page = b""
        self._newest: deque[float] = deque(maxlen=_RATE_BEATS)
        self._count = 0
        self._rng = rng
        self._readings = [r for r in readings if len(r.key) < MAX_PAGE]
        parts = urlsplit(stream.metrics_url)
        self._at = _place(
            f"{parts.hostname if parts.hostname != 'localhost' else '127.0.0.1'}:{parts.port or 80}"
        )
        self._path = parts.path or "/"
        self._url = public_url(stream.metrics_url)
        self._server: ThreadingHTTPServer | None = None

    def start(self) -> str:
        """Serve the page, unless the address is in use."""
        if self._url.startswith("https://"):
            return f"nothing: {self._url} needs a certificate, and pages are played on http:// only"
        self.update(0.0, 0.0)
        page = self

        class _UreHandler(BaseHTTPRequestHandler):
            """Responds with the page."""

            def do_GET(self) -> None:
                """Send the page."""
                known = self.path == page._path
                body = page.page if known else b""
                self.send_response(200 if known else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                """Log nothing."""

        try:
            self._server = ThreadingHTTPServer(self._at, _UreHandler)
        except OSError as error:
            return f"nothing: {self._url} is in use by another program ({error.strerror})"
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return f"page {self._url}"

    def update(self, host: float, value: float) -> None:
        """Update the page."""
        lines = []
        for reading in self._readings:
            number = reading.of(value)[0]
            if reading.key in FACTS:
                calm, _, sd = FACTS[reading.key]
                number = calm + sd * float(self._rng.standard_normal())
            lines.append(f"{reading.key} {number:.6g}\n")
        lines += [f"{key} {self._of_beats(key):.6f}\n" for key in self.beats]
        self.page = "".join(lines).encode()

    def beat(self, host: float) -> None:
        """Count a beat."""
        self._newest.append(host)
        self._count += 1

    def _of_beats(self, key: str) -> float:
        """Return the number of beats, the time of the newest one, or their rate, by the name."""
        newest = list(self._newest)
        if key.endswith("_total"):
            return self._count
        if key.endswith("_timestamp_seconds"):
            return newest[-1] if newest else 0.0
        return (len(newest) - 1) / (newest[-1] - newest[0]) if len(newest) > 1 else 0.0

    def stop(self) -> None:
        """Stop the server."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def bundle(source_time: float, messages: Iterable[tuple[str, Sequence[float]]]) -> bytes:
    """Return an OSC bundle of messages of float32 each, its timetag a source time (s)."""
    ticks = round((source_time + _UNIX_EPOCH) * 2**32)
    parts = [b"#bundle\0", struct.pack(">Q", min(max(ticks, 0), 2**64 - 1))]
    for address, values in messages:
        message = _text(address) + _text("," + "f" * len(values))
        message += struct.pack(f">{len(values)}f", *values)
        parts += [struct.pack(">i", len(message)), message]
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    return data + bytes(4 - len(data) % 4)


def _place(addr: str | int) -> tuple[str, int]:
    """Return host and port of an address on this machine.

    Raises
    ------
    ValueError
        The address is not on this machine only.
    """
    where = endpoint(addr)
    address = ip_of(where.host)
    if address is not None and address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1", where.port
    if address is None or not address.is_loopback:
        raise ValueError(f"{addr} is not on this machine only")
    return str(address), where.port


def readings(plan: Plan, stream: str, keys: Iterable[str] = ()) -> list[Reading]:
    """Return the readings of a device: each channel that the configuration uses, but beats.

    Parameters
    ----------
    plan : Plan
    stream : str
    keys : iterable of str
        Additional keys.
    """
    sizes: dict[str, int] = defaultdict(int)
    named = plan.used - {*plan.beats}
    wanted = [name.partition(":")[2] for name in sorted(named) if name.startswith(f"{stream}:")]
    for key in [*wanted, *(key for key in keys if not {"*", "?"} & set(key))]:
        if f"{stream}:{key}" in plan.beats:
            continue
        element = _ELEMENT.fullmatch(key)
        base, parts = (element[1], int(element[2]) + 1) if element else (key, 1)
        sizes[base] = max(sizes[base], parts)
    return [_reading(plan, f"{stream}:{key}", key, parts) for key, parts in sizes.items()]


def _reading(plan: Plan, channel: str, key: str, parts: int) -> Reading:
    """Return a reading that lies, after gain and offset of the channel, within its range."""
    set_up = plan.channel(channel if parts == 1 else f"{channel}[0]")
    gain, offset = set_up.conversion
    gain = gain or 1.0
    middle, span = 0.0, 1.0
    if re.match(r"(cc|note|pressure|program)/\d", key) and set_up.gain in (None, "auto"):
        middle, span = 63.5, 127 / HELD_SPAN
    elif set_up.reduce == "norm":
        parts, middle = 3, _LEVEL
    elif set_up.reduce:
        parts = 3
    if set_up.range is not None:
        low, high = set_up.range
        middle, span = (low + high) / 2, (high - low) / 12
        if not (isfinite(middle) and isfinite(span)):
            middle, span = 0.0, 1.0
    share = {"norm": 3**-0.5, "sum": 1 / 3, "mean": 1.0, None: 1.0}[set_up.reduce]
    return Reading(key, span * share / gain, (middle - offset) * share / gain, parts)
