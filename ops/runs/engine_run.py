"""Runs of the engine in processes of their own: configurations, commands, digests of results."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from configs.connectors.kafka_out import KafkaDestination
from configs.inert import literal
from configs.inputs import FileStream
from configs.outputs import StoreConfig
from configs.schema import Config
from operators.errors import ToolError
from operators.settings.groups import FAILOVER
from ops.fakes.ports import free_port
from ops.results.folder import rig_folders
from sinks.files.jsonl import segments_of

PROMISED = ("fused", "sync", "evidence", "dead", "markers", "bridge")


def write_config(
    config: Config, path: Path, out: Path, store: StoreConfig | None = None, **stream: object
) -> Path:
    """Write a configuration that differs from `config` in its output, streams and history only.

    Parameters
    ----------
    config : Config
        The blocks stay the same at any speed.
    path, out : Path
        The file to be written, and its `output.dir`.
    store : StoreConfig, optional
        The history; none by default, for these runs are comparisons. None of their results goes
        to a topic.
    stream
        Keys to be changed in every stream.
    """
    files = [s for s in config.streams if isinstance(s, FileStream)]
    changed = msgspec.structs.replace(
        config,
        streams=[msgspec.structs.replace(s, follow=False, **stream) for s in files],
        collect=msgspec.structs.replace(config.collect, block_s=config.block_s()),
        output=msgspec.structs.replace(config.output, dir=str(out), keep=0),
        store=store,
        discovery=None,
        send=[each for each in config.send if not isinstance(each, KafkaDestination)],
    )
    data = _given(msgspec.to_builtins(changed))
    # A written default counts as an explicit value, which some configurations refuse.
    failover = data["failover"].items()
    data["failover"] = {key: value for key, value in failover if value != getattr(FAILOVER, key)}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(data)))
    return path


def _given(value: Any) -> Any:
    """Return plain data without nulls (equal to absent keys) and with escaped texts."""
    if isinstance(value, dict):
        return {literal(k): _given(v) for k, v in value.items() if v is not None}
    if isinstance(value, str):
        return literal(value)
    return [_given(v) for v in value] if isinstance(value, list | tuple) else value


def digests(out: Path) -> dict[str, str]:
    """Return the SHA-256 of each promised file; rigs, parts and segments joined."""
    found = {}
    for stem in PROMISED:
        digest, size = hashlib.sha256(), 0
        for folder in rig_folders(out):
            digest.update(f"\n{'.' if folder == out else folder.name}\n".encode())
            for _, path in segments_of(folder, stem):
                size += path.stat().st_size
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
        found[stem] = digest.hexdigest() if size else "empty"
    return found


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


class RunError(ToolError, RuntimeError):
    """A failed run, with the end of its standard error."""


def run(argv: Sequence[str], codes: Sequence[int] = (0,), **environ: str) -> int:
    """Run a command without output and return its exit code.

    Raises
    ------
    RunError
        The code is not among `codes`.
    """
    done = subprocess.run(
        argv, capture_output=True, env=os.environ | {"RUST_BACKTRACE": "0"} | environ
    )
    if done.returncode not in codes:
        message = done.stderr.decode(errors="replace").strip()
        raise RunError(f"exit code {done.returncode} of {' '.join(argv)}\n{message[-4000:]}")
    return done.returncode


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
