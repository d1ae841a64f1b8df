"""Results of a run, read back as lines: one `Results` for the folder of each rig."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ops.results.lines import (
    EvidenceLine,
    LineReader,
    MarkerPart,
    SampleLine,
    SyncLine,
    TickLine,
    UnusedLine,
)
from sinks.files.jsonl import segments_of


class Results:
    """The files of one rig, segments joined.

    Parameters
    ----------
    folder : Path
        Folder with the rig's `fused.jsonl`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = LineReader(folder)

    def ticks(self) -> Iterator[TickLine]:
        """Yield the fused ticks."""
        return self._reader.lines("fused", TickLine)

    def sync(self) -> Iterator[SyncLine]:
        """Yield the sync lines."""
        return self._reader.lines("sync", SyncLine)

    def evidence(self) -> Iterator[EvidenceLine]:
        """Yield the evidence."""
        return self._reader.lines("evidence", EvidenceLine)

    def dead(self) -> Iterator[UnusedLine]:
        """Yield the dead letters."""
        return self._reader.lines("dead", UnusedLine)

    def markers(self) -> Iterator[MarkerPart]:
        """Yield the markers."""
        return self._reader.lines("markers", MarkerPart)

    def aligned(self) -> Iterator[SampleLine]:
        """Yield the used samples, if the configuration asked for them."""
        return self._reader.lines("aligned", SampleLine)

    def last_sync(self) -> dict[str, SyncLine]:
        """Return the newest sync line of each channel."""
        return {line.channel: line for line in self.sync()}

    def modes(self) -> list[tuple[float, str, int]]:
        """Return the spells of one mode: time of the first tick, mode, number of ticks."""
        return [
            (next(spell).ts, mode or "none", 1 + sum(1 for _ in spell))
            for mode, spell in itertools.groupby(self.ticks(), key=lambda tick: tick.mode)
        ]


def rigs(folder: Path) -> list[Results]:
    """Return the rigs of a run: that of the folder itself, then those of its subfolders.

    A rotated run may have removed `fused.jsonl` and kept `fused.000003.jsonl`; both count.
    """
    places = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    return [Results(place) for place in places if segments_of(place, "fused")]


def run_json(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`; empty for a run without one."""
    path = folder / "run.json"
    report: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    return report
