"""What a run says of itself: `run.json`, with the account of every event."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from configs.files import PRIVATE, Access, write_whole
from configs.inert import inert_json
from operators.records import Packet
from operators.types import ENDS, State

_STARTED = time.monotonic()
NAMES = 256
_PACKAGES = ("numpy", "scipy", "bytewax", "msgspec")


class Account:
    """How many events came and where each ended: in all, and by source.

    The first 256 sources are counted by name, all others under `*`, and what names no source
    under `?`. Counts go on where `state` left them.
    """

    def __init__(self, state: State | None = None) -> None:
        self.by_source: dict[str, dict[str, int]] = state["by_source"] if state else {}

    def add(self, packet: Packet) -> None:
        """Count what a packet says."""
        for ends in packet.ends:
            name = ends.source or "?"
            if name not in self.by_source and len(self.by_source) >= NAMES:
                name = "*"
            counts = self.by_source.setdefault(name, dict.fromkeys(ENDS, 0))
            counts[ends.end] += len(ends.watermark)

    def total(self) -> dict[str, int]:
        """Return the eight counts of all sources together."""
        return {end: sum(c[end] for c in self.by_source.values()) for end in ENDS}

    def balanced(self) -> bool:
        """Whether each event that came has one end."""
        total = self.total()
        return total["received"] == sum(total.values()) - total["received"]

    def snapshot(self) -> State:
        """Return a copy of the counts."""
        return {"by_source": {name: dict(c) for name, c in self.by_source.items()}}


class Digests:
    """SHA-256 of files, each read once unless it changes."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], str] = {}

    def of(self, path: str) -> str | None:
        """Return the digest in hexadecimal, or None where the file cannot be read."""
        try:
            with Path(path).open("rb", buffering=0) as file:
                stat = os.fstat(file.fileno())
                key = (path, stat.st_size, stat.st_mtime_ns)
                if key not in self._known:
                    self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
                return self._known[key]
        except OSError:
            return None


@cache
def versions() -> dict[str, str | None]:
    """Return the versions of what the numbers depend on, without importing any of it."""
    found = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found, "lumen": _own_version()}


def usage(events: int) -> dict[str, float | None]:
    """Return what this process has taken: wall and CPU seconds, speed, peak memory.

    Parameters
    ----------
    events : int
        Received by this process.
    """
    wall = _age_s()
    return {
        "wall_s": round(wall, 3),
        "cpu_s": round(time.process_time(), 3),
        "events": events,
        "events_per_s": round(events / wall, 1) if wall > 0 else None,
        "peak_mib": _peak_mib(),
    }


def write_run(path: Path, run: dict[str, Any], access: Access = PRIVATE) -> None:
    """Write the file whole or not at all."""
    text = msgspec.json.format(msgspec.json.encode(run), indent=2)
    write_whole(path, inert_json(text) + b"\n", access)


def _age_s() -> float:
    """Return how long this process has run; where that is unknown, how long this module."""
    since_import = time.monotonic() - _STARTED
    try:
        ticks = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        started = int(ticks) / os.sysconf("SC_CLK_TCK")
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - started, since_import)
    except (OSError, AttributeError, ValueError, IndexError):
        return since_import


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _own_version() -> str | None:
    """Return the version of the tree that runs; it need not be installed."""
    project = Path(__file__).parents[2] / "pyproject.toml"
    try:
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        return _version("lumen-fusion")


def _peak_mib() -> float | None:
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
