"""Lines of a run as stored on disk: the one schema of the output files, and their reader.

A run may be active, killed or damaged. Every field but the time may therefore be null or absent.
A line that cannot be decoded, such as a torn last one, is counted and skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TypeVar

import msgspec

from sinks.files.jsonl import segments_of

T = TypeVar("T", bound="Timed")
SLACK_S = 120.0
"""Largest disorder of the lines in time: one block of arrivals, or one lag (s)."""
_NEAR_BYTES = 1 << 16


class Timed(msgspec.Struct):
    """The field of every line."""

    ts: float


class SignalPart(msgspec.Struct):
    """One signal of a tick."""

    value: float | None = None
    sd: float | None = None
    systematic_sd: float | None = None
    mode: str | None = None
    live: int | None = None
    weights: dict[str, float | None] = {}


class TickLine(Timed):
    """A line of `fused.jsonl`."""

    released: float | None = None
    rig: str | None = None
    mode: str | None = None
    live: int | None = None
    signals: dict[str, SignalPart] = {}
    indicators: dict[str, float | None] = {}
    sync_bound_s: float | None = None


class SyncLine(Timed):
    """A line of `sync.jsonl`."""

    channel: str
    rig: str | None = None
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
    search_hz: float | None = None
    rate_hz: float | None = None
    jitter_p95_s: float | None = None
    gain: float | None = None
    gain_sd: float | None = None
    level: float | None = None
    level_sd: float | None = None
    scale_state: str | None = None
    hindsight: bool | None = None
    received: int | None = None
    used: int | None = None
    outliers: int | None = None
    late: int | None = None
    duplicate: int | None = None
    rejected: int | None = None
    gaps: int | None = None


class SampleLine(Timed):
    """A line of `aligned.jsonl`."""

    channel: str
    value: float | None = None
    source_ts: float | None = None
    rx: float | None = None
    rig: str | None = None


class EvidenceLine(Timed):
    """A line of `evidence.jsonl`."""

    rule: str
    rig: str | None = None
    kind: str | None = None
    state: str | None = None
    severity: str | None = None
    risk: str | None = None
    action: str | None = None
    quote: str | None = None
    facts: dict[str, float | None] = {}
    since: float | None = None


class UnusedLine(Timed):
    """A line of `dead.jsonl`."""

    rig: str | None = None
    stage: str | None = None
    reason: str | None = None
    source: str | None = None
    where: str | None = None
    count: int | None = None
    sample: str | None = None


class MarkerPart(Timed):
    """A line of `markers.jsonl`."""

    source_ts: float | None = None
    rig: str | None = None
    channel: str | None = None
    value: str | None = None


class BridgeLine(Timed):
    """A line of `bridge.jsonl`: a tick of the clock, or a change of state, in order of `known`."""

    known: float | None = None
    rig: str | None = None
    beat: int | None = None
    tick_ms: float | None = None
    rate_hz: float | None = None
    phase_error: float | None = None
    phase_sd: float | None = None
    lock: str | None = None
    state: str | None = None
    why: str | None = None
    safety_gain: float | None = None
    withheld: bool | None = None
    slips: int | None = None
    steps: int | None = None
    kp: float | None = None
    ki: float | None = None
    kd: float | None = None
    phase_diff: float | None = None
    sync_quality: float | None = None
    entropy_ratio: float | None = None
    applied: list[str] = []


class LineReader:
    """The files of one rig. `unread` counts the lines that could not be decoded."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.unread = 0

    def has(self, stem: str) -> bool:
        """Return whether a file of this name has content."""
        return any(file.seek(0, os.SEEK_END) for file in self._segments(stem))

    def lines(self, stem: str, kind: type[T]) -> Iterator[T]:
        """Yield the lines of all segments, in their order."""
        decode = msgspec.json.Decoder(kind).decode
        for file in self._segments(stem):
            for line in file:
                try:
                    yield decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.unread += 1

    def near(self, stem: str, kind: type[T], begin: float, end: float) -> Iterator[T]:
        """Yield the lines from `begin` to `end` (host s), and up to `SLACK_S` beyond."""
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
        """Yield the open segments; an active run may remove old ones meanwhile."""
        for _, path in segments_of(self.folder, stem):
            with suppress(FileNotFoundError), path.open("rb") as file:
                yield file


def _seek(file: BinaryIO, time: float) -> None:
    """Seek to the start of a line with only older lines before it, by bisection."""
    decode = msgspec.json.Decoder(Timed).decode
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > _NEAR_BYTES:
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
