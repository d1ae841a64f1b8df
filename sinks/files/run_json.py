"""Parts of `run.json`: the account of every event, hashes, versions and usage."""

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
MAX_SOURCES = 256
_PACKAGES = ("numpy", "scipy", "bytewax", "msgspec")


class Account:
    """Counts of received events and of their ends: in total, and by source.

    The first 256 sources are counted by name, all others under `*`, and events without a source
    under `?`.
    """

    def __init__(self) -> None:
        self.by_source: dict[str, dict[str, int]] = {}

    @classmethod
    def from_snapshot(cls, state: State) -> Account:
        """Return an account that continues from a snapshot."""
        account = cls()
        account.by_source = {name: dict(counts) for name, counts in state["by_source"].items()}
        return account

    def add(self, packet: Packet) -> None:
        """Add the ends of a packet."""
        for ends in packet.ends:
            name = ends.source or "?"
            if name not in self.by_source and len(self.by_source) >= MAX_SOURCES:
                name = "*"
            counts = self.by_source.setdefault(name, dict.fromkeys(ENDS, 0))
            counts[ends.end] += len(ends.watermark)

    def total(self) -> dict[str, int]:
        """Return the eight counts of all sources together."""
        return {end: sum(c[end] for c in self.by_source.values()) for end in ENDS}

    def balanced(self) -> bool:
        """Whether each received event has one end."""
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
    """Return the versions of the packages that affect the numbers, without importing them."""
    found = {name: _version(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **found, "lumen": _own_version()}


def usage(events: int) -> dict[str, float | None]:
    """Return the usage of this process: wall and CPU seconds, speed, peak memory.

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
    """Write the file atomically."""
    text = msgspec.json.format(msgspec.json.encode(run), indent=2)
    write_whole(path, inert_json(text) + b"\n", access)


def _age_s() -> float:
    """Return the age of this process (s); where unknown, the time since the import."""
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
    """Return the version of the running tree, installed or not."""
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
