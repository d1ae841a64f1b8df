"""Lines of a run as they lie on the disk: also of one that still runs, was killed or was damaged.

Everything but the time may be null. A line that cannot be read, such as a torn last one, is
counted and passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from sinks.files.jsonl import segments_of

T = TypeVar("T", bound="Timed")
SLACK_S = 120.0
"""Lines are in order of time but for what one block of arrivals, or a lag, may put between."""
_NEAR = 1 << 16


class Timed(msgspec.Struct):
    """What every line has."""

    ts: float


class SignalPart(msgspec.Struct):
    """One signal of a tick."""

    value: float | None = None
    sd: float | None = None
    weights: dict[str, float | None] = {}


class TickLine(Timed):
    """A line of `fused.jsonl`."""

    released: float | None = None
    mode: str | None = None
    live: int | None = None
    signals: dict[str, SignalPart] = {}
    indicators: dict[str, float | None] = {}
    sync_bound_s: float | None = None


class SyncLine(Timed):
    """A line of `sync.jsonl`."""

    channel: str
    why: str | None = None
    state: str | None = None
    offset_s: float | None = None
    offset_sd_s: float | None = None
    skew_ppm: float | None = None
    skew_sd_ppm: float | None = None
    clock_resets: int | None = None
    reset_at: float | None = None
    lag_s: float | None = None
    lag_sd_s: float | None = None
    confidence: float | None = None
    rate_hz: float | None = None
    jitter_p95_s: float | None = None
    gain: float | None = None
    gain_sd: float | None = None
    scale_state: str | None = None
    received: int | None = None
    used: int | None = None
    gaps: int | None = None


class SampleLine(Timed):
    """A line of `aligned.jsonl`."""

    channel: str
    value: float | None = None
    source_ts: float | None = None
    rx: float | None = None


class EvidenceLine(Timed):
    """A line of `evidence.jsonl`."""

    rule: str
    kind: str | None = None
    state: str | None = None
    quote: str | None = None
    action: str | None = None
    facts: dict[str, Any] = {}


class DeadLineFields(Timed):
    """A line of `dead.jsonl`."""

    stage: str | None = None
    reason: str | None = None
    source: str | None = None
    where: str | None = None
    count: int | None = None
    sample: str | None = None


class MarkerPart(Timed):
    """A line of `markers.jsonl`."""

    channel: str | None = None
    value: str | None = None


class LineReader:
    """The files of one rig. `unread` counts the lines of which nothing could be made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unread = 0

    def has(self, stem: str) -> bool:
        """Whether the run wrote anything of this name."""
        return any(file.seek(0, os.SEEK_END) for file in self._segments(stem))

    def lines(self, stem: str, kind: type[T]) -> Iterator[T]:
        """Yield all lines, segments put together."""
        decode = msgspec.json.Decoder(kind).decode
        for file in self._segments(stem):
            for line in file:
                try:
                    yield decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.unread += 1

    def near(self, stem: str, kind: type[T], begin: float, end: float) -> Iterator[T]:
        """Yield the lines from `begin` to `end` (host s) and some around them, no others read."""
        decode = msgspec.json.Decoder(kind).decode
        for file in self._segments(stem):
            _seek(file, begin - SLACK_S)
            for line in file:
                try:
                    found = decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    continue
                if found.ts > end + SLACK_S:
                    return
                yield found

    def _segments(self, stem: str) -> Iterator[BinaryIO]:
        """Yield the segments; a run that goes on may let old ones go meanwhile."""
        for _, path in segments_of(self.folder, stem):
            with suppress(FileNotFoundError), path.open("rb") as file:
                yield file


def _seek(file: BinaryIO, time: float) -> None:
    """Go to where a line begins before which all are older than `time`, found by halving."""
    decode = msgspec.json.Decoder(Timed).decode
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > _NEAR:
        middle = (low + high) // 2
        file.seek(middle)
        file.readline()
        try:
            older = decode(file.readline()).ts < time
        except (msgspec.DecodeError, UnicodeDecodeError):
            older = False
        low, high = (middle, high) if older else (low, middle)
    file.seek(low)
    if low:
        file.readline()
