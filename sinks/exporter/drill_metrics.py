"""The metrics of drills of restores: read from `audit.jsonl` beside the snapshots.

The percentile is that of the sound drills of 90 days. With fewer than 20 it is a maximum.

Cost: a look at a file a scrape; 20 ms for 15,000 lines where it has changed. State: the drills.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from configs.schema import Config
from sinks.exporter.metrics_text import Metric, RigSamples, Rows
from sinks.snapshots.drills import Drill, drills, record
from sinks.snapshots.names import AUDIT, SNAPSHOTS

RECENT_S = 90 * 86_400.0
MIN_DRILLS = 20
"""Fewer sound drills give their longest time."""
PERCENT = 95.0
_SQLITE = "sqlite:"
RESULTS = ("ok", "failed")


def folder_of(config: Config) -> Path | None:
    """Return the folder of the snapshots of a run's store; None without a store."""
    if config.store is None:
        return None
    file = config.store.dsn
    beside = file.removeprefix(_SQLITE) if file.startswith(_SQLITE) else config.output.dir
    return Path(beside).parent / SNAPSHOTS


def percentile(seconds: Sequence[float]) -> float | None:
    """Return the 95th percentile of the length of drills (s), the longest of fewer than 20."""
    if len(seconds) < MIN_DRILLS:
        return max(seconds, default=None)
    return float(np.percentile(seconds, PERCENT, method="inverted_cdf"))


class DrillMetrics:
    """The metrics of the drills of one folder.

    Parameters
    ----------
    folder : Path
        Of the snapshots.
    wall : callable
        Host time (s).
    """

    def __init__(self, folder: Path, wall: Callable[[], float] = time.time) -> None:
        self._folder, self._wall = folder, wall
        self._version: tuple[int, int, int] | None = None
        self._found: list[Drill] = []

    def metrics(self) -> Iterator[Metric]:
        """Yield the metrics; none before the first drill."""
        found = self._read()
        if not found:
            return
        after = self._wall() - RECENT_S
        recent = [drill for drill in found if drill.ts >= after]
        sound = [drill.seconds for drill in recent if drill.result == "ok"]
        all_of, newest = record(found), record(recent)
        counts: Rows = [((result,), all_of.results.get(result, 0)) for result in RESULTS]
        yield _metric("drills_total", "counter", "Drills by result.", counts, "result")
        for name, text, value in (
            ("drill_last_seconds", "Length of the newest sound drill of 90 days.", newest.last_s),
            ("drill_longest_seconds", "Length of the longest one.", newest.longest_s),
            ("drill_p95_seconds", "Their 95th percentile; the longest of fewer than 20.",
             percentile(sound)),
            ("drills_recent", "Number of sound drills of 90 days.", float(len(sound))),
            ("drill_sound", "1: the newest drill of 90 days succeeded.",
             float(recent[-1].result == "ok") if recent else None),
        ):  # fmt: skip
            yield _metric(name, "gauge", text, [] if value is None else [((), value)])

    def _read(self) -> list[Drill]:
        """Return the drills, read again where the file has changed."""
        try:
            status = (self._folder / AUDIT).stat()
        except OSError:
            self._version, self._found = None, []
            return self._found
        version = status.st_mtime_ns, status.st_ino, status.st_size
        if version != self._version:
            self._version, self._found = version, drills(self._folder)
        return self._found


def _metric(
    name: str, kind: Literal["counter", "gauge"], text: str, rows: Rows, *labels: str
) -> Metric:
    name = f"fusion_{name}"
    return Metric(name, kind, text, [RigSamples(name, labels, None, rows)])
