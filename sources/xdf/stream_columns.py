"""The streams of an XDF file as columns in a spool, with stamps and numbers as written.

Chunks are joined before decoding: samples with stamps as one structured array, samples without
(deduced as `stamp + k / nominal rate`, by the format) as another. Texts are decoded one by one.

Cost: about 0.1 us a number, 10 us a chunk. State: 256 KiB a stream, 64 MiB of all, and 24 bytes a
reading; the columns are on disk.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from operators.types import F64, I64
from sources.recordings.spool import Array, Spool, SpoolColumn, Texts
from sources.xdf.chunks import Header, Offset, Samples, Span, chunks, number_at, runs

FORMS = {
    "double64": "<f8",
    "float32": "<f4",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "<i1",
}
EXACT = 1 << 53
"""Largest integer that float64 holds exactly."""
_FLUSH, _MAX_WAITING = 1 << 18, 1 << 26
_PROGRESS_EVERY = 256
"""Chunks between two progress reports."""


class StreamColumns:
    """One stream: header, columns, and clock readings.

    Attributes
    ----------
    header : Header
    ts : SpoolColumn
        Raw stamps (s).
    values : SpoolColumn or Texts
        Rows of `header.channels`.
    at, offset : array of float
        Source time and host - source (s) of each clock reading.
    before : array of int
        Number of samples before each reading in the file.
    wide : int64 (channels,)
        Number of integers of each channel that float64 rounds.
    """

    def __init__(self, header: Header, spool: Spool) -> None:
        self.header = header
        self.ts = SpoolColumn(spool, "<f8")
        self.values: SpoolColumn | Texts
        if header.size:
            form = FORMS[header.form]
            self.values = SpoolColumn(spool, form, header.channels)
            value = ("v", form, (header.channels,))
            self._stamped = np.dtype([("n", "u1"), ("t", "<f8"), value])
            self._bare = np.dtype([("n", "u1"), value])
        else:
            self.values = Texts(spool, header.channels)
        self.at, self.offset, self.before = array("d"), array("d"), array("q")
        self.wide: I64 = np.zeros(header.channels, np.int64)
        self.count = self.waiting = 0
        self._period = 1 / header.rate_hz if header.rate_hz else 0.0
        self._last = 0.0
        self._bodies: list[bytes] = []
        self._anchors: list[tuple[int, float]] = []
        self._is_bare = False
        self._n = 0

    @property
    def readings(self) -> tuple[F64, F64, I64]:
        """Source time, offset and preceding samples of each reading, in the order of the file."""
        return np.array(self.at), np.array(self.offset), np.array(self.before, np.int64)

    def reading(self, found: Offset) -> None:
        """Add a clock reading."""
        at, offset = np.frombuffer(found.body, "<f8").tolist()
        self.at.append(at)
        self.offset.append(offset)
        self.before.append(self.count)

    def take(self, found: Samples) -> None:
        """Add the samples of a chunk."""
        body, at, count = found.body, found.at, found.samples
        self.count += count
        if not self.header.size:
            self._texts(body, at, count)
        elif found.stamped:
            self._wait(body[at:], count, bare=False)
        else:
            self._runs(body, at, count)

    def _runs(self, body: bytes, at: int, count: int) -> None:
        """Add samples, some of which have no stamp."""
        width = self._bare.itemsize
        for first, last, flagged in runs(body, at, count, width):
            n = last - first
            if flagged and n == 1:
                # The last byte of the stamp takes the position of the flag of a bare sample.
                stamp = float(np.frombuffer(body, "<f8", 1, at + 1)[0])
                self._wait(body[at + 8 : at + 8 + width], 1, bare=True, stamp=stamp)
            else:
                self._wait(body[at : at + n * (width + 8 * flagged)], n, bare=not flagged)
            at += n * (width + 8 * flagged)

    def _wait(self, rows: bytes, n: int, *, bare: bool, stamp: float | None = None) -> None:
        if self._bodies and self._is_bare != bare:
            self.flush()
        self._is_bare = bare
        if stamp is not None:
            self._anchors.append((self._n, stamp))
        self._bodies.append(rows)
        self._n += n
        self.waiting += len(rows)
        if self.waiting >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write the pending samples."""
        if not self._n:
            return
        kind = self._bare if self._is_bare else self._stamped
        rows = np.frombuffer(b"".join(self._bodies), kind)
        ts = self._deduced() if self._is_bare else rows["t"]
        self._bodies, self._anchors, self._n, self.waiting = [], [], 0, 0
        self._write(ts, rows["v"])

    def _deduced(self) -> F64:
        """Return the stamps of bare samples: last stamp + k / nominal rate."""
        places = [-1, *(i for i, _ in self._anchors)]
        stamps = np.array([self._last, *(t for _, t in self._anchors)])
        which = np.zeros(self._n, np.int64)
        which[places[1:]] = 1
        np.cumsum(which, out=which)
        after = np.arange(self._n) - np.array(places)[which]
        return np.asarray(stamps[which] + after * self._period)

    def _write(self, ts: Array, values: Array) -> None:
        self._last = float(ts[-1])
        self.ts.add(ts)
        if self.header.form == "int64":
            self.wide += ((values > EXACT) | (values < -EXACT)).sum(axis=0)
        assert isinstance(self.values, SpoolColumn)
        self.values.add(values)

    def _texts(self, body: bytes, at: int, count: int) -> None:
        texts: list[bytes] = []
        ts = np.empty(count)
        for i in range(count):
            stamped = body[at] != 0
            last = float(np.frombuffer(body, "<f8", 1, at + 1)[0]) if stamped else None
            self._last = ts[i] = self._last + self._period if last is None else last
            at += 9 if stamped else 1
            for _ in range(self.header.channels):
                length, at = number_at(body, at)
                texts.append(body[at : at + length])
                at += length
        self.ts.add(ts)
        assert isinstance(self.values, Texts)
        self.values.add(texts)


def decode(
    file: BinaryIO, size: int, spool: Spool, shown: Callable[[int, int], None]
) -> tuple[list[StreamColumns], list[Span]]:
    """Decode the streams of a file into a spool.

    Parameters
    ----------
    file : binary file
    size : int
        Size of the file (bytes).
    spool : Spool
    shown : callable
        Called regularly with the bytes read and the samples found so far.

    Returns
    -------
    streams, damaged
    """
    streams: dict[int, StreamColumns] = {}
    damaged: list[Span] = []
    waiting = samples = 0
    for k, found in enumerate(chunks(file, size)):
        if isinstance(found, Samples):
            stream = streams[found.number]
            waiting -= stream.waiting
            stream.take(found)
            waiting += stream.waiting
            samples += found.samples
            if waiting > _MAX_WAITING:
                for each in streams.values():
                    each.flush()
                waiting = 0
        elif isinstance(found, Offset):
            streams[found.number].reading(found)
        elif isinstance(found, Header):
            streams[found.number] = StreamColumns(found, spool)
        else:
            damaged.append(found)
        if k % _PROGRESS_EVERY == 0:
            shown(file.tell(), samples)
    for stream in streams.values():
        stream.flush()
    shown(size, samples)
    return list(streams.values()), damaged
