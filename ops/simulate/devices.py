"""Simulated devices on this machine: an OSC sender, a MIDI controller, a URE page.

Each device sends, on its own clock, the channels that the configuration uses, in their expected
units. Data is sent to this machine only.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
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
from sinks.send.destination import MidiOutput
from sinks.send.send_worker import SendWorker
from sources.midi.port import Port
from sources.ure.exposition import MAX_PAGE

OSC_HZ, MIDI_HZ, URE_HZ = 100.0, 25.0, 10.0
_UNIX_EPOCH = 2_208_988_800
"""1970 on the NTP time scale (s)."""
_ELEMENT = re.compile(r"(.+)\[([0-9]{1,3})\]")
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
    """A device that measures and sends `rate_hz` times a second."""

    name: str
    rate_hz: float
    clock: DeviceClock

    def start(self) -> str:
        """Open the output; return its description."""

    def update(self, host: float, value: float) -> None:
        """Send the value measured at a host time (s since 1970)."""

    def stop(self) -> None:
        """Close the output."""


class DeviceSender:
    """An OSC sender, such as a phone: one bundle with a timetag for each measurement."""

    rate_hz = OSC_HZ

    def __init__(self, stream: OscStream, readings: Sequence[Reading], clock: DeviceClock) -> None:
        self.name, self.clock = stream.name, clock
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
        assert self._socket is not None
        try:
            data = bundle(self.clock.at(host), [(r.key, r.of(value)) for r in self._readings])
            self._socket.sendto(data, (self._host, self._port))
        except OSError:
            pass

    def stop(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()


class Controller:
    """A MIDI controller, with a port between `start` and `stop`."""

    rate_hz = MIDI_HZ

    def __init__(self, stream: MidiStream, readings: Sequence[Reading], clock: DeviceClock) -> None:
        self.name, self.clock = stream.name, clock
        self._readings = [r for r in readings if r.key != "clock"]
        keys = [r.key for r in self._readings]
        port = Port(stream.device, virtual=not stream.virtual)
        self._port = stream.device
        self._player = SendWorker(self.name, MIDI_HZ, MidiOutput(keys, port))

    def start(self) -> str:
        """Open the port, now or as soon as MIDI is available; return its name."""
        self._player.start()
        return f"midi port {self._port}"

    def update(self, host: float, value: float) -> None:
        """Set the controls; an unchanged value is not sent."""
        self._player.put({r.key: r.of(value)[0] for r in self._readings})

    def stop(self) -> None:
        """Close the port."""
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
    ) -> None:
        self.name, self.clock = stream.name, clock
        self.page = b""
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
        self.page = "".join(lines).encode()

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
    """Return the readings of a device: each channel that the configuration uses.

    Parameters
    ----------
    plan : Plan
    stream : str
    keys : iterable of str
        Additional keys.
    """
    sizes: dict[str, int] = defaultdict(int)
    wanted = [name.partition(":")[2] for name in sorted(plan.used) if name.startswith(f"{stream}:")]
    for key in [*wanted, *(key for key in keys if not {"*", "?"} & set(key))]:
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
