"""The metrics of the history: read from the report of its follower in the output folder.

Counts are of the follower's process. Nothing here asks the database.

Cost: two looks at files a scrape, and a small file to decode where it has changed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeVar

from configs.outputs import OutputConfig
from sinks.exporter.metrics_text import Metric, RigSamples, Rows
from sinks.files.parts import part_folder
from sinks.files.progress import FINAL, TAKEN, Final, TakenIn, final_of, taken_of

STALE_S = 20.0
"""Age from which on the report of the follower is that of a dead one."""
T = TypeVar("T")


class StoreMetrics:
    """The metrics of one store.

    Parameters
    ----------
    output : OutputConfig
        The folders with the reports.
    clock : callable
        Monotonic seconds of the machine.
    """

    def __init__(self, output: OutputConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._folders = [part_folder(output, number) for number in range(output.parts)]
        self._clock = clock
        self._known: dict[Path, tuple[tuple[int, int], object]] = {}
        self._first: float | None = None

    def metrics(self, released: Iterable[float]) -> Iterator[Metric]:
        """Yield the metrics.

        Parameters
        ----------
        released : iterable of float
            When the newest tick of each rig was released (s).
        """
        pairs = [
            (self._read(folder / FINAL, final_of), self._read(folder / TAKEN, taken_of))
            for folder in self._folders
        ]
        reports = [taken for _, taken in pairs if taken is not None]
        newest = max(reports, key=lambda taken: taken.at, default=None)
        up = newest is not None and newest.up and 0 <= self._clock() - newest.at <= STALE_S
        yield _metric("up", "gauge", "1: the database answers the follower.", [((), float(up))])
        lag = self._lag(pairs, list(released))
        text = "When the newest tick was released, less that of the newest stored one."
        yield _metric("lag_seconds", "gauge", text, [] if lag is None else [((), lag)])
        if newest is None:
            return
        lost = newest.lost + sum(final.lost for final, _ in pairs if final is not None)
        yield _metric(
            "rows_total",
            "counter",
            "Rows written, by table.",
            [((table,), count) for table, count in newest.rows.items()],
            "table",
        )
        text = "Lines that were not taken in: unreadable, or removed beyond spool_mb."
        yield _metric("rows_lost_total", "counter", text, [((), lost)])
        yield _metric("size_bytes", "gauge", "Size of the store.", [((), newest.size)])
        yield _metric(
            "errors_total",
            "counter",
            "Errors of the follower, by reason.",
            [((reason,), count) for reason, count in newest.errors.items()],
            "reason",
        )

    def _lag(
        self, pairs: list[tuple[Final | None, TakenIn | None]], released: list[float]
    ) -> float | None:
        """Return the lag of the store (s), None before the first tick."""
        if not released:
            return None
        now = max(released)
        self._first = now if self._first is None else self._first
        stored = [
            taken.released
            for final, taken in pairs
            if final is not None
            and taken is not None
            and taken.run == final.run
            and taken.released is not None
        ]
        return max(now - max(stored, default=self._first), 0.0)

    def _read(self, path: Path, read: Callable[[Path], T]) -> T | None:
        """Return the content of a file, read again where it has changed."""
        try:
            found = path.stat()
        except OSError:
            return None
        version = found.st_mtime_ns, found.st_ino
        known = self._known.get(path)
        if known is None or known[0] != version:
            known = self._known[path] = version, read(path.parent)
        return known[1]  # type: ignore[return-value]


def _metric(
    name: str, kind: Literal["counter", "gauge"], text: str, rows: Rows, *labels: str
) -> Metric:
    name = f"fusion_store_{name}"
    return Metric(name, kind, text, [RigSamples(name, labels, None, rows)])
