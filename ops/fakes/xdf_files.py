"""XDF files with known truth, in the chunk layout of LabRecorder."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from operators.types import F64
from sources.xdf.chunks import BOUNDARY

FORMATS = {
    "double64": "<f8",
    "float32": "<f4",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
}


def number(n: int) -> bytes:
    """Return a number in variable-length format."""
    return struct.pack("<BB", 1, n) if n < 256 else struct.pack("<BI", 4, n)


def chunk(tag: int, content: bytes) -> bytes:
    """Return a chunk."""
    return number(len(content) + 2) + struct.pack("<H", tag) + content


def readings(rng: np.random.Generator, n: int, kind: str) -> F64:
    """Return the errors (s) of n two-way readings, each the quickest of eight round trips.

    error = (back - there) / 2
    """
    if kind == "exact":
        return np.zeros(n)
    if kind == "gaussian":
        return rng.normal(0.0, 50e-6, n)
    mean = {"cable": 0.3e-3, "radio": 5e-3}[kind]
    there, back = rng.exponential(mean, (2, n, 8)) + 0.1e-3
    best = np.argmin(there + back, axis=1)
    error = (back - there)[np.arange(n), best] / 2
    if kind == "radio":
        error[rng.random(n) < 0.03] += 0.05
    return np.asarray(error)


@dataclass
class XdfFileStream:
    """A stream and its truth.

    `host` (n,) holds the sample times on the recorder's clock (s). The stream's own clock is
    source = host * (1 + skew_ppm / 1e6) + wander - offset_s, plus each of `steps` (start, size).
    Its stamps have errors of sd `jitter_s`, and a share `lost` of the samples is missing. Its clock
    is read each `every_s`; `kind` is the quality of the readings (see `readings`). With
    `one_stamp`, only the first sample of a chunk has a stamp; the nominal rate gives the others.
    """

    name: str
    host: F64
    rate_hz: float = 0.0
    form: str = "double64"
    labels: tuple[str, ...] = ("x",)
    texts: tuple[str, ...] = ()
    offset_s: float = 0.0
    skew_ppm: float = 0.0
    wander_s: float = 0.0
    steps: tuple[tuple[float, float], ...] = ()
    jitter_s: float = 0.0
    lost: float = 0.0
    kind: str = "cable"
    every_s: float = 5.0
    has_readings: bool = True
    desc: str = ""
    one_stamp: bool = False
    content: str = "T"
    seed: int = 0
    values: NDArray[np.float64] | None = None
    stamps: F64 = field(init=False)
    reading_at: F64 = field(init=False)
    reading: F64 = field(init=False)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        if self.lost:
            kept = rng.random(len(self.host)) >= self.lost
            self.host = self.host[kept]
            self.values = None if self.values is None else self.values[kept]
        n = len(self.host)
        self.stamps = self.source(self.host) + rng.normal(0.0, 1.0, n) * self.jitter_s
        if self.values is None:
            wave = np.sin(2 * np.pi * 0.3 * self.host)
            self.values = np.repeat(100 * wave[:, None], len(self.labels), axis=1)
        asked = np.arange(self.host[0] + 1.0, self.host[-1], self.every_s) if n else np.empty(0)
        asked = asked + rng.uniform(0, 0.2, len(asked))
        error = readings(rng, len(asked), self.kind)
        # LabRecorder stamps a reading with its estimate of the stream's clock.
        self.reading = asked - self.source(asked) + error
        self.reading_at = asked - self.reading
        if not self.has_readings:
            self.reading = self.reading_at = np.empty(0)

    def source(self, host: F64) -> F64:
        """Return the stream's own clock at host times."""
        wander = self.wander_s * np.sin(2 * np.pi * host / 600)
        step = sum((size * (host >= at) for at, size in self.steps), np.zeros(len(host)))
        return np.asarray(host * (1 + self.skew_ppm * 1e-6) + wander - self.offset_s + step)

    def header(self) -> bytes:
        """Return the content of the header chunk, after the stream number."""
        channels = "".join(f"<channel><label>{x}</label></channel>" for x in self.labels)
        form = "string" if self.texts else self.form
        return (
            f'<?xml version="1.0"?><info><name>{self.name}</name><type>{self.content}</type>'
            f"<channel_count>{len(self.labels)}</channel_count>"
            f"<nominal_srate>{self.rate_hz:g}</nominal_srate>"
            f"<channel_format>{form}</channel_format>"
            f"<desc>{self.desc}<channels>{channels}</channels></desc></info>"
        ).encode()

    def samples(self, first: int, last: int) -> bytes:
        """Return the content of a chunk of samples, after the stream number."""
        if not self.texts:
            return number(last - first) + self._numbers(first, last)
        rows = []
        for i in range(first, last):
            text = self.texts[i % len(self.texts)].encode()
            value = (number(len(text)) + text) * len(self.labels)
            rows.append(b"\x08" + struct.pack("<d", self.stamps[i]) + value)
        return number(last - first) + b"".join(rows)

    def _numbers(self, first: int, last: int) -> bytes:
        value = ("v", FORMATS[self.form], (len(self.labels),))
        stamped = np.zeros(last - first, [("n", "u1"), ("t", "<f8"), value])
        stamped["n"], stamped["t"] = 8, self.stamps[first:last]
        stamped["v"] = np.asarray(self.values)[first:last].astype(FORMATS[self.form])
        if not self.one_stamp:
            return stamped.tobytes()
        bare = np.zeros(last - first - 1, [("n", "u1"), value])
        bare["v"] = stamped["v"][1:]
        return stamped[:1].tobytes() + bare.tobytes()


def write(path: Path, *streams: XdfFileStream) -> None:
    """Write streams, with chunks of one second in order of host time."""
    out = [b"XDF:", chunk(1, b'<?xml version="1.0"?><info><version>1.0</version></info>')]
    parts: list[tuple[float, bytes]] = []
    for number_, s in enumerate(streams, 1):
        mark = struct.pack("<I", number_)
        out.append(chunk(2, mark + s.header()))
        edges = np.searchsorted(s.host, np.arange(s.host[0], s.host[-1] + 1, 1.0)).tolist()
        for a, b in zip(edges, [*edges[1:], len(s.host)], strict=True):
            if b > a:
                parts.append((float(s.host[b - 1]), chunk(3, mark + s.samples(a, b))))
        for at, offset in zip(s.reading_at.tolist(), s.reading.tolist(), strict=True):
            parts.append((at + offset, chunk(4, mark + struct.pack("<dd", at, offset))))
    for k, (_, part) in enumerate(sorted(parts, key=lambda p: p[0])):
        out.append(part)
        if k % 20 == 0:
            out.append(chunk(5, BOUNDARY))
    for number_, s in enumerate(streams, 1):
        footer = f"<info><sample_count>{len(s.host)}</sample_count></info>".encode()
        out.append(chunk(6, struct.pack("<I", number_) + footer))
    path.write_bytes(b"".join(out))


def regular(rate_hz: float, seconds: float, begin: float = 5000.0) -> F64:
    """Return the instants of an even sampler."""
    return begin + np.arange(round(rate_hz * seconds)) / rate_hz
