"""The ways to run a field of rigs, and the hash of each rig's results.

One process, shards (independent processes with partitions of their own), and a cluster of the
engine. Each process is one of its own, as a user would start it. A way may be killed and resumed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ops.engine_runs import PROMISED, RunError, cluster, command, make_store, written
from ops.results.folder import rig_folders, run_json
from sinks.files.jsonl import segments_of

_POLL_S = 0.002
_LOOK_S = 0.1
_TOGETHER_S = 5.0
_PEAK = re.compile(rb"VmHWM:\s+(\d+) kB")
_HUNG_S = 600.0


class ProcessCost(msgspec.Struct, frozen=True):
    """CPU time (s) and largest resident memory (MiB) of a process."""

    cpu_s: float
    peak_mib: float


@dataclass(frozen=True)
class Way:
    """One way to run a field.

    Attributes
    ----------
    name : str
    configs : sequence of Path
        Of each shard; one for a process alone, and for a cluster.
    processes : int
        Of a cluster; 1 without.
    """

    name: str
    configs: Sequence[Path]
    processes: int = 1

    def outs(self) -> list[Path]:
        """Return the output folders."""
        return [Path(json.loads(path.read_bytes())["output"]["dir"]) for path in self.configs]

    def commands(self, stores: Sequence[Path] | None = None) -> list[list[str]]:
        """Return the command of each process."""
        found: list[list[str]] = []
        for number, path in enumerate(self.configs):
            argv = command(path, stores[number] if stores else None)
            found += cluster(argv, self.processes) if self.processes > 1 else [argv]
        return found


def rig_digests(outs: Sequence[Path]) -> dict[str, str]:
    """Return the hash of each rig's promised files.

    The place of a dead letter names a file or a topic, and is left out.

    Raises
    ------
    RunError
        A rig has results in two folders.
    """
    found: dict[str, str] = {}
    for out in outs:
        for folder in rig_folders(out):
            digest, size = hashlib.sha256(), 0
            for stem in PROMISED:
                for _, path in segments_of(folder, stem):
                    data = path.read_bytes()
                    size += len(data)
                    digest.update(stem.encode() + b"\n")
                    digest.update(_without_places(data) if stem == "dead" else data)
            if not size:
                continue
            if folder.name in found:
                raise RunError(f"rig {folder.name} has results twice")
            found[folder.name] = digest.hexdigest()
    return found


def whole(digests: dict[str, str]) -> str:
    """Return one hash of all rigs."""
    text = "".join(f"{rig} {digest}\n" for rig, digest in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _without_places(data: bytes) -> bytes:
    rows = [json.loads(line) for line in data.splitlines()]
    return json.dumps([{k: v for k, v in row.items() if k != "where"} for row in rows]).encode()


def unbalanced(outs: Sequence[Path]) -> list[str]:
    """Return the folders whose account does not balance, or whose run did not end."""
    runs = [(out, run_json(out)) for out in outs]
    return [str(out) for out, run in runs if not (run and run["balanced"] and run["ended"])]


def spent(way: Way) -> tuple[list[ProcessCost], float]:
    """Run a way from start to end; return the cost of each process, and the wall time (s).

    Raises
    ------
    RunError
        A process failed.
    """
    start = time.monotonic()
    children = [_started(argv) for argv in way.commands()]
    costs: list[ProcessCost] = []
    with ThreadPoolExecutor(len(children)) as pool:
        costs += pool.map(_waited, children, [way.name] * len(children))
    return costs, time.monotonic() - start


def _waited(child: subprocess.Popen[bytes], name: str) -> ProcessCost:
    """Wait for a process; its peak is looked at until then, since `ru_maxrss` has the parent's."""
    peak_kib = 0
    while True:
        with suppress(OSError):
            found = _PEAK.search(Path(f"/proc/{child.pid}/status").read_bytes())
            peak_kib = max(peak_kib, int(found[1]) if found else 0)
        ended, status, used = os.wait4(child.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(_LOOK_S)
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.stderr is not None
    message = child.stderr.read().decode(errors="replace")
    child.stderr.close()
    if child.returncode:
        raise RunError(f"{name}: exit code {child.returncode}\n{message[-2000:]}")
    return ProcessCost(used.ru_utime + used.ru_stime, peak_kib / 1024)


def killed(way: Way, folder: Path, kills: int, size: float, seed: int = 0) -> int:
    """Run a way, kill and resume processes of it, and run it once more; return the kills.

    Parameters
    ----------
    way : Way
    folder : Path
        For the recovery stores, one a shard.
    kills : int
        Wanted, over all shards; fewer where a run ends before.
    size : float
        Bytes of all results: kills come at shares of it.
    seed : int
        Of the points.

    Raises
    ------
    RunError
        A process that was not killed failed.
    """
    groups = len(way.configs)
    counts = [kills // groups + (n < kills % groups) for n in range(groups)]

    def one(number: int) -> int:
        store = make_store(folder / f"store-{number}")
        part = Way(f"{way.name} {number}", [way.configs[number]], way.processes)
        chance = random.Random(seed * 1000 + number)
        points = sorted(chance.random() for _ in range(counts[number]))
        done = sum(_kill(part, store, point * size / groups, chance) for point in points)
        for _ in range(2):  # the second finds a finished run, and must write nothing
            _complete(part, store)
        return done

    with ThreadPoolExecutor(groups) as pool:
        return sum(pool.map(one, range(groups)))


def _kill(way: Way, store: Path, size: float, chance: random.Random) -> int:
    """Start the processes, and kill one of them when so much is written."""
    (out,) = way.outs()
    size = max(size, written(out) + 1.0)  # a resumed run is killed once it has come on
    children = [_started(argv) for argv in way.commands([store])]
    try:
        _until(lambda: written(out) >= size or any(c.poll() is not None for c in children))
        victim = chance.choice(children)
        done = victim.poll() is None
        victim.kill()
        # The others of a running cluster end with it; one that is at the start waits for it.
        end = time.monotonic() + _TOGETHER_S
        _until(lambda: all(c.poll() is not None for c in children) or time.monotonic() > end)
    finally:
        for child in children:
            child.kill()
            child.communicate()
    return int(done)


def _complete(way: Way, store: Path) -> None:
    children = [_started(argv) for argv in way.commands([store])]
    with ThreadPoolExecutor(len(children)) as pool:
        messages = list(pool.map(lambda child: child.communicate()[1], children))
    for child, message in zip(children, messages, strict=True):
        if child.returncode:
            text = message.decode(errors="replace")[-2000:]
            raise RunError(f"{way.name}: exit code {child.returncode}\n{text}")


def _started(argv: Sequence[str]) -> subprocess.Popen[bytes]:
    quiet = os.environ | {"RUST_BACKTRACE": "0"}
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=quiet)


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + _HUNG_S
    while not holds():
        if time.monotonic() > end:
            raise RunError(f"a run did not come on for {_HUNG_S:g} s")
        time.sleep(_POLL_S)
