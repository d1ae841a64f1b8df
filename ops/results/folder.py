"""What a run wrote, read back: one `Results` for each rig's folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from operators.lines import DeadLine, EvidenceRecord, MarkerLine, SyncReport
from operators.types import Mode
from sinks.files.jsonl import segments_of

T = TypeVar("T")


class TickSignal(msgspec.Struct):
    """One signal of a tick."""

    value: float | None
    sd: float | None
    systematic_sd: float | None = None
    weights: dict[str, float] = {}


class FusedTick(msgspec.Struct):
    """What is needed here of a line of `fused.jsonl`."""

    ts: float
    released: float
    mode: Mode
    live: int
    signals: dict[str, TickSignal]
    sync_bound_s: float | None


class AlignedLine(msgspec.Struct):
    """A line of `aligned.jsonl`."""

    ts: float
    rx: float
    channel: str
    value: float


class Results:
    """The files of one rig, segments put together."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ticks(self) -> Iterator[FusedTick]:
        """Yield the fused ticks."""
        return self._lines("fused", FusedTick)

    def sync(self) -> Iterator[SyncReport]:
        """Yield the sync lines."""
        return self._lines("sync", SyncReport)

    def evidence(self) -> Iterator[EvidenceRecord]:
        """Yield the evidence."""
        return self._lines("evidence", EvidenceRecord)

    def dead(self) -> Iterator[DeadLine]:
        """Yield the dead letters."""
        return self._lines("dead", DeadLine)

    def markers(self) -> Iterator[MarkerLine]:
        """Yield the markers."""
        return self._lines("markers", MarkerLine)

    def aligned(self) -> Iterator[AlignedLine]:
        """Yield the used samples, where the run was to write them."""
        return self._lines("aligned", AlignedLine)

    def last_sync(self) -> dict[str, SyncReport]:
        """Return the newest sync line of each channel."""
        return {line.channel: line for line in self.sync()}

    def modes(self) -> list[tuple[float, Mode, int]]:
        """Return the spells of one mode: when it began, the mode, how many ticks."""
        return [
            (next(spell).ts, mode, 1 + sum(1 for _ in spell))
            for mode, spell in itertools.groupby(self.ticks(), key=lambda tick: tick.mode)
        ]

    def _lines(self, name: str, kind: type[T]) -> Iterator[T]:
        decode = msgspec.json.Decoder(kind).decode
        for _, path in segments_of(self.folder, name):
            with path.open("rb") as file:
                yield from map(decode, file)


def rigs(folder: Path) -> list[Results]:
    """Return the rigs of a run: the one in the folder itself, then those with their own."""
    found = [*folder.glob("fused.jsonl"), *sorted(folder.glob("*/fused.jsonl"))]
    return [Results(path.parent) for path in found]


def run_json(folder: Path) -> dict[str, Any]:
    """Return what `run.json` says; empty where none was finished."""
    path = folder / "run.json"
    report: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    return report
