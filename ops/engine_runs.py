"""Commands of runs under the engine's own command, and what they have written so far."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from operators.errors import ToolError
from ops.fakes.ports import free_port

PROMISED = ("fused", "sync", "evidence", "dead", "markers", "bridge")
"""Files of a rig whose bytes are promised."""


class RunError(ToolError, RuntimeError):
    """A failed run, with the end of its standard error."""


def command(config: Path, store: Path | None = None, module: str = "flows.fusion") -> list[str]:
    """Return the command that runs a configuration, with a snapshot after each batch."""
    recovery = [] if store is None else ["-r", str(store), "-s", "0", "-b", "0"]
    target = f"{module}:flow({str(config)!r})"
    return [sys.executable, "-m", "bytewax.run", target, *recovery]


def make_store(store: Path) -> Path:
    """Create an empty recovery store, accessible by its owner only."""
    from bytewax.recovery import init_db_dir

    store.mkdir(mode=0o700)
    init_db_dir(store, 1)
    return store


def cluster(argv: Sequence[str], processes: int) -> list[list[str]]:
    """Return the command of each process of a cluster on this machine."""
    addresses = ";".join(f"127.0.0.1:{free_port()}" for _ in range(processes))
    return [[*argv, "-i", str(number), "-a", addresses] for number in range(processes)]


def written(out: Path) -> int:
    """Return the number of bytes of lines so far."""
    total = 0
    for folder, _, names in os.walk(out):  # a started run may remove folders meanwhile
        for name in names:
            if name.endswith(".jsonl"):
                with suppress(FileNotFoundError):
                    total += Path(folder, name).stat().st_size
    return total
