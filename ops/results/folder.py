"""Results of a run, read back as lines: one `Results` for the folder of each rig."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ops.results.lines import (
    BridgeLine,
    EvidenceLine,
    LineReader,
    MarkerPart,
    SampleLine,
    SyncLine,
    TickLine,
    UnusedLine,
)
from sinks.files.jsonl import segments_of
from sinks.files.parts import parts_of
from sinks.files.progress import LATER


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

    def bridge(self) -> Iterator[BridgeLine]:
        """Yield the ticks and changes of the bridge, if the configuration has one."""
        return self._reader.lines("bridge", BridgeLine)

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
    """Return the rigs of a run, in the order of `rig_folders`.

    A rotated run may have removed `fused.jsonl` and kept `fused.000003.jsonl`; both count.
    """
    return [Results(place) for place in rig_folders(folder) if segments_of(place, "fused")]


def rig_folders(folder: Path) -> list[Path]:
    """Return the folder of a run, then its subfolders in the order of their names.

    Folders of rigs in several parts of an output are mixed. Runs that were set aside for the
    history are left out.
    """
    found = [
        path
        for part in parts_of(folder)
        for path in part.glob("*")
        if path.is_dir() and path.name != LATER
    ]
    return [folder, *sorted(found, key=lambda path: path.name)]


def run_json(folder: Path) -> dict[str, Any]:
    """Return the content of `run.json`; empty for a run without one.

    That of several parts is added up: counts, CPU and memory are sums, the wall time is the
    longest, a flag holds if it holds in all parts (`aborted`: in any).
    """
    parts = [(part, _run_json(part)) for part in parts_of(folder)]
    found = [(part, run) for part, run in parts if run]
    if len(parts) == 1 or not found:
        return parts[0][1]
    runs = [run for _, run in found]
    by_source: dict[str, dict[str, int]] = {}
    for run in runs:
        for source, counts in run["account"]["by_source"].items():
            by_source[source] = _sum(by_source.get(source, {}), counts)
    total: dict[str, int] = {}
    for run in runs:
        total = _sum(total, run["account"]["total"])
    wall = max(run["wall_s"] for run in runs)
    events = sum(run["events"] for run in runs)
    complete = len(found) == len(parts) == runs[0]["part"]["of"]
    return {
        **runs[0],
        "part": {"number": None, "of": runs[0]["part"]["of"]},
        "wall_s": wall,
        "cpu_s": round(sum(run["cpu_s"] for run in runs), 3),
        "events": events,
        "events_per_s": round(events / wall, 1) if wall > 0 else None,
        "peak_mib": None,
        "ended": complete and all(run["ended"] for run in runs if run["rigs"]),
        "aborted": any(run["aborted"] for run in runs),
        "balanced": complete and all(run["balanced"] for run in runs),
        "account": {"total": total, "by_source": by_source},
        "dead_lines_lost": sum(run["dead_lines_lost"] for run in runs),
        "batches_not_shown": sum(run["batches_not_shown"] for run in runs),
        "rigs": sorted(rig for run in runs for rig in run["rigs"]),
        "files": {
            f"{part.name}/{name}": size
            for part, run in found
            for name, size in run["files"].items()
        },
    }


def _run_json(folder: Path) -> dict[str, Any]:
    path = folder / "run.json"
    content: dict[str, Any] = msgspec.json.decode(path.read_bytes()) if path.exists() else {}
    return content


def _sum(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {end: counts.get(end, 0) + more.get(end, 0) for end in counts | more}
