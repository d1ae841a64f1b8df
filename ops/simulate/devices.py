"""Devices that can be played on this machine: an OSC sender, a MIDI controller, a URE's page.

Each tells, on its own clock, what the configuration reads of its stream, in the units that it
expects. Only this machine is spoken to.
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
from configs.schema import MidiStream, OscStream, UreStream
from operators.plan import Plan
from ops.simulate.recording import FACTS, HELD_SPAN
from sinks.send.destination import MidiOutput
from sinks.send.send_worker import SendWorker
from sources.midi.port import Port
from sources.ure.exposition import MAX_PAGE

OSC_HZ, MIDI_HZ, URE_HZ = 100.0, 25.0, 10.0
_UNIX = 2_208_988_800
_ELEMENT = re.compile(r"(.+)\[([0-9]{1,3})\]")
_LEVEL = 8.0
"""Behind the movement, in its RMS, where only its size is read: that never turns its sign."""


@dataclass(frozen=True)
class Reading:
    """What one message holds: `parts` numbers, each `gain` times the movement and `level`."""

    key: str
    gain: float
    level: float
    parts: int = 1

    def of(self, value: float) -> tuple[float, ...]:
        """Return the numbers that say `value`, the movement having an RMS of 1."""
        return (self.level + self.gain * value,) * self.parts


@dataclass(frozen=True)
class DeviceClock:
    """A device's own: see the words `offset` and `skew`; and how late it measures (s)."""

    began: float
    offset_s: float = 0.0
    skew_ppm: float = 0.0
    lag_s: float = 0.0

    def at(self, host: float) -> float:
        """Return what it shows (s since 1970)."""
        return host - self.offset_s + (host - self.began) * self.skew_ppm * 1e-6


class Device(Protocol):
    """Something that measures and tells, `rate_hz` times a second."""

    name: str
    rate_hz: float
    clock: DeviceClock

    def start(self) -> str:
        """Get ready; return what is played where."""

    def tell(self, host: float, value: float) -> None:
        """Say what was measured at a moment (s since 1970)."""

    def stop(self) -> None:
        """Say no more."""


class DeviceSender:
    """A phone, say: sends a bundle with a timetag for each moment."""

    rate_hz = OSC_HZ

    def __init__(self, stream: OscStream, readings: Sequence[Reading], clock: DeviceClock) -> None:
        self.name, self.clock = stream.name, clock
        if endpoint(stream.addr).tcp:
            raise ValueError(f"{stream.addr} is TCP, and devices play UDP")
        self._host, self._port = _place(stream.addr)
        self._readings = readings
        self._socket: socket.socket | None = None

    def start(self) -> str:
        """Make a socket."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        return f"osc to {self._host}:{self._port}"

    def tell(self, host: float, value: float) -> None:
        """Send all readings; who does not listen misses them."""
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
    """A MIDI controller: a port that is there as long as it is played."""

    rate_hz = MIDI_HZ

    def __init__(self, stream: MidiStream, readings: Sequence[Reading], clock: DeviceClock) -> None:
        self.name, self.clock = stream.name, clock
        self._readings = [r for r in readings if r.key != "clock"]
        keys = [r.key for r in self._readings]
        port = Port(stream.device, virtual=not stream.virtual)
        self._port = stream.device
        self._player = SendWorker(self.name, MIDI_HZ, MidiOutput(keys, port))

    def start(self) -> str:
        """Open the port, now or as soon as there is MIDI; it says which."""
        self._player.start()
        return f"midi port {self._port}"

    def tell(self, host: float, value: float) -> None:
        """Turn the knobs; what has not changed is not sent."""
        self._player.put({r.key: r.of(value)[0] for r in self._readings})

    def stop(self) -> None:
        """Close the port."""
        self._player.stop()


class UrePage:
    """A URE: serves its series, as they were last told."""

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
        """Serve the page, unless somebody else does."""
        if self._url.startswith("https://"):
            return f"nothing: {self._url} needs a certificate, and pages are played on http:// only"
        self.tell(0.0, 0.0)
        page = self

        class _UreHandler(BaseHTTPRequestHandler):
            """Answers with the page."""

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
                """Say nothing."""

        try:
            self._server = ThreadingHTTPServer(self._at, _UreHandler)
        except OSError as error:
            return f"nothing: {self._url} is somebody else's ({error.strerror})"
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()
        return f"page {self._url}"

    def tell(self, host: float, value: float) -> None:
        """Write the page anew."""
        lines = []
        for reading in self._readings:
            number = reading.of(value)[0]
            if reading.key in FACTS:
                calm, _, sd = FACTS[reading.key]
                number = calm + sd * float(self._rng.standard_normal())
            lines.append(f"{reading.key} {number:.6g}\n")
        self.page = "".join(lines).encode()

    def stop(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


def bundle(source_time: float, messages: Iterable[tuple[str, Sequence[float]]]) -> bytes:
    """Return an OSC bundle of messages of float32 each, its timetag a source time (s)."""
    ticks = round((source_time + _UNIX) * 2**32)
    parts = [b"#bundle\0", struct.pack(">Q", min(max(ticks, 0), 2**64 - 1))]
    for address, values in messages:
        said = _text(address) + _text("," + "f" * len(values))
        said += struct.pack(f">{len(values)}f", *values)
        parts += [struct.pack(">i", len(said)), said]
    return b"".join(parts)


def _text(text: str) -> bytes:
    data = text.encode("ascii")
    return data + bytes(4 - len(data) % 4)


def _place(addr: str | int) -> tuple[str, int]:
    """Return where on this machine an address is reached.

    Raises
    ------
    ValueError
        It is not on this machine alone.
    """
    where = endpoint(addr)
    address = ip_of(where.host)
    if address is not None and address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "::1", where.port
    if address is None or not address.is_loopback:
        raise ValueError(f"{addr} is not this machine alone")
    return str(address), where.port


def readings(plan: Plan, stream: str, keys: Iterable[str] = ()) -> list[Reading]:
    """Return what a device has to tell: every channel of its that the configuration uses.

    Parameters
    ----------
    plan : Plan
    stream : str
    keys : iterable of str
        Besides.
    """
    sizes: dict[str, int] = defaultdict(int)
    wanted = [name.partition(":")[2] for name in sorted(plan.used) if name.startswith(f"{stream}:")]
    for key in [*wanted, *(key for key in keys if not {"*", "?"} & set(key))]:
        element = _ELEMENT.fullmatch(key)
        base, parts = (element[1], int(element[2]) + 1) if element else (key, 1)
        sizes[base] = max(sizes[base], parts)
    return [_reading(plan, f"{stream}:{key}", key, parts) for key, parts in sizes.items()]


def _reading(plan: Plan, channel: str, key: str, parts: int) -> Reading:
    """Return a reading that becomes, by the channel's gain and offset, what its range allows."""
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
