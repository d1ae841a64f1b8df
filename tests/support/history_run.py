"""A run made up for the history: its lines, segments and what it has published."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sinks.files.jsonl import Segments
from sinks.files.progress import Final, RigFiles

NULLS = ("phase_diff", "coherence", "harmony", "sync_quality", "entropy_ratio")


def tick_line(ts: float, rig: str = "main", value: float | None = 1.0, mode: str = "fused") -> str:
    """Return a line of `fused.jsonl`."""
    part = {"value": value, "sd": None, "systematic_sd": None, "mode": mode, "live": 1}
    line = {
        "ts": ts,
        "released": ts + 0.5,
        "rig": rig,
        "mode": mode,
        "live": 1,
        "signals": {"pulse": {**part, "weights": {"a:b": 1.0}}},
        "indicators": dict.fromkeys(NULLS, 0.01),
        "sync_bound_s": 0.01,
    }
    return json.dumps(line, separators=(",", ":")) + "\n"


def dead_line(ts: float, count: int = 1, rig: str = "main") -> str:
    """Return a line of `dead.jsonl`."""
    line: dict[str, Any] = {"ts": ts, "rig": rig, "stage": "collect", "reason": "late"}
    return json.dumps(line | {"source": "s", "where": "w", "count": count, "sample": "x"}) + "\n"


class HistoryRun:
    """Files of a run with one rig in an output folder.

    Parameters
    ----------
    root : Path
    run : str
    whole : bool
        All whole lines are final; else those up to the last `publish`.
    limit : int
        Size of a segment (bytes).
    """

    def __init__(
        self, root: Path, run: str = "run-1", whole: bool = True, limit: int = 1 << 30
    ) -> None:
        self.root, self.whole = root, whole
        root.mkdir(exist_ok=True)
        self.final = Final(run, 1000.0, "1.0", os.getpid(), whole, 0, {"main": RigFiles(".")})
        self.files = {
            stem: Segments(root, stem, limit=limit, durable=False) for stem in ("fused", "dead")
        }
        self.publish()

    def ticks(self, first: int, last: int, every_s: float = 0.5) -> None:
        """Write the ticks of these numbers."""
        lines = "".join(tick_line(1000.0 + every_s * k) for k in range(first, last))
        self.files["fused"].write(lines.encode())

    def publish(self) -> None:
        """Publish what has been written."""
        if not self.whole:
            positions = {stem: each.snapshot() for stem, each in self.files.items()}
            self.final.rigs["main"].files = positions
        self.final.write(self.root)
