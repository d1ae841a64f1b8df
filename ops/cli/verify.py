"""`lumen verify`: equal bytes at any speed, at any batch size and after any kill.

Each run is a process of its own, as a user would start it. The comparison covers the content of
the files of `PROMISED` of all rigs, segments joined.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from configs.connectors.kafka_out import KafkaDestination
from configs.inert import literal
from configs.inputs import FileStream
from configs.load import load
from configs.outputs import StoreConfig
from configs.schema import Config
from operators.settings.groups import FAILOVER
from ops.cli.excerpt import excerpt
from ops.cli.run import add_mode, remark
from ops.engine_runs import PROMISED, RunError, cluster, command, make_store, written
from ops.results.folder import rig_folders, run_json
from ops.results.lines import LineReader, Timed
from ops.text.table import table
from sinks.files.folder import LOCK
from sinks.files.jsonl import segments_of

SLOW_WALL_S = 15.0
"""Longest run at a given speed (s); longer recordings are cut to an excerpt."""
FIRST_PASS = 0.3
"""Share of the first pass in a run of two passes, without the start of the process."""
MAX_EVENTS = 40_000
"""Longer recordings are cut for batches of one line and for kills, unless `--full`."""


@dataclass(frozen=True)
class VerifyResult:
    """One run.

    Attributes
    ----------
    digests : dict
        SHA-256 by file name.
    bytes, received : int
        Bytes written, events received.
    span_s, wall_s : float
        Duration of the data and of the run.
    """

    name: str
    digests: dict[str, str]
    bytes: int
    received: int
    span_s: float
    wall_s: float
    kills: int = 0

    @classmethod
    def read(cls, name: str, out: Path, start: float, kills: int = 0) -> VerifyResult:
        """Read the results in `out` of a run that began at `start` (monotonic)."""
        received = run_json(out)["account"]["total"]["received"]
        wall = time.monotonic() - start
        return cls(name, digests(out), written(out), received, _span(out), wall, kills)


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


def replay(name: str, config: Path, out: Path) -> VerifyResult:
    """Run a configuration from start to end.

    Raises
    ------
    RunError
        The run failed.
    """
    start = time.monotonic()
    run(command(config))
    return VerifyResult.read(name, out, start)


def in_processes(name: str, config: Path, out: Path, processes: int) -> VerifyResult:
    """Run a configuration from start to end in a cluster of the engine on this machine.

    Raises
    ------
    RunError
        A process failed.
    """
    start = time.monotonic()
    commands = cluster(command(config), processes)
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(run, commands))
    return VerifyResult.read(name, out, start)


def in_threads(name: str, config: Path, out: Path, workers: int) -> VerifyResult:
    """Run a configuration from start to end with several workers in one process.

    Raises
    ------
    RunError
        The run failed.
    """
    start = time.monotonic()
    run([*command(config), "-w", str(workers)])
    return VerifyResult.read(name, out, start)


def killed(
    name: str, config: Path, out: Path, store: Path, points: Sequence[Callable[[], bool]]
) -> VerifyResult:
    """Run a configuration, kill and resume it at some points, and start it once more.

    Parameters
    ----------
    name, config, out : str, Path, Path
        As of `replay`.
    store : Path
        Folder of the recovery store.
    points : sequence of callable
        Each is polled, and returns True when the process is to be killed.
    """
    start = time.monotonic()
    make_store(store)
    kills = 0
    for point in points:
        with subprocess.Popen(
            command(config, store), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as child:
            while child.poll() is None and not point():
                time.sleep(0.002)
            kills += child.poll() is None
            child.kill()
    for _ in range(2):  # the second finds a finished run, and must write nothing
        run(command(config, store))
    return VerifyResult.read(name, out, start, kills)


def at_share(out: Path, size: float) -> Callable[[], bool]:
    """Return a point: `size` bytes have been written into a folder."""
    return lambda: written(out) >= size


def in_first_pass(out: Path, seconds: float) -> Callable[[], bool]:
    """Return a point: `seconds` after the start of a first pass, which locks the folder."""
    holders: list[int] = []
    began: list[float] = []

    def reached() -> bool:
        lock = out / LOCK
        holders.append(lock.read_text("utf-8").count("pid ") if lock.exists() else 0)
        if not began and holders[-1] > holders[0]:
            began.append(time.monotonic())
        return bool(began) and time.monotonic() - began[0] >= seconds

    return reached


def runs(config: Config, folder: Path, full: bool, seed: int) -> Iterator[list[VerifyResult]]:
    """Yield groups of runs whose bytes must be equal; the first of each is the plain run."""

    def one(name: str, of: Config, **stream: Any) -> VerifyResult:
        out = folder / "out"
        result = replay(name, write_config(of, folder / "run.yaml", out, **stream), out)
        shutil.rmtree(out)
        return result

    plain = one("plain", config, speed=0)
    group = [plain]
    group += [one(f"batches of {n}", config, speed=0, batch_lines=n) for n in (37, 10_000)]
    longest = min(50 * SLOW_WALL_S, plain.span_s * MAX_EVENTS / max(plain.received, 1))
    if not full and plain.span_s > longest:
        yield group
        config = excerpt(config, folder, longest)
        plain = one(f"first {longest:.0f} s", config, speed=0)
        group = [plain]
    group.append(one("batches of 1", config, speed=0, batch_lines=1))
    if config.output.parts > 1:  # recordings that processes share have no speed
        path = write_config(config, folder / "parts.yaml", folder / "parts", speed=0)
        for form, name, number in (
            (in_threads, "2 workers", 2),
            (in_processes, "2 processes", 2),
            (in_processes, "3 processes", 3),
        ):
            group.append(form(name, path, folder / "parts", number))
            shutil.rmtree(folder / "parts")
    elif config.mode == "causal":  # two passes have no speed
        group += [one(f"speed {n}", config, speed=n) for n in (50, 1000)]
    chance = random.Random(seed)
    points = sorted(chance.random() for _ in range(10 if full else 3))
    out = folder / "killed"
    lines = plain.received // 100 + 1
    path = write_config(config, folder / "killed.yaml", out, speed=0, batch_lines=lines)
    kill_points = [at_share(out, point * plain.bytes) for point in points]
    group.append(killed("killed and resumed", path, out, folder / "store", kill_points))
    if config.mode == "hindsight":
        shutil.rmtree(out)
        kill_points = [in_first_pass(out, point * FIRST_PASS * plain.wall_s) for point in points]
        group.append(killed("killed in pass 1", path, out, folder / "store_1", kill_points))
    yield group


def _span(out: Path) -> float:
    """Return the duration of the data (s), that of the longest rig."""
    spans = [0.0]
    for folder in rig_folders(out):
        ticks = [tick.ts for tick in LineReader(folder).lines("fused", Timed)]
        if ticks:
            spans.append(ticks[-1] - ticks[0])
    return max(spans)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen verify`."""
    parser.add_argument(
        "inputs",
        nargs="*",
        type=Path,
        metavar="FILE",
        help="recordings, or one configuration (.yaml) of recordings",
    )
    parser.add_argument(
        "--kafka",
        action="store_true",
        help="in place of FILE: eight rigs as files, through a topic, in shards and a cluster",
    )
    parser.add_argument(
        "--brokers",
        default="",
        metavar="HOST:PORT",
        help="of --kafka: brokers that take a new topic; by default one in memory",
    )
    parser.add_argument(
        "--full", action="store_true", help="never an excerpt; ten kills, not three"
    )
    add_mode(parser)
    parser.add_argument("--seed", type=int, default=0, help="of the kills; default %(default)s")


def main(args: argparse.Namespace) -> int:
    """Replay in many ways and compare; return 1 if a byte differs."""
    if args.kafka:
        return _over_topic(args)
    if not args.inputs:
        print("lumen: verify needs a FILE, or --kafka", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="lumen-verify-") as name:
        folder = Path(name)
        path = args.inputs[0]
        if path.suffix not in (".yaml", ".yml"):
            from ops.cli.guess.config import derive

            path = derive(args.inputs, folder / "derived", args.mode, warn=remark)
        config = load(path).config
        # An excerpt of a tape has the blocks of the tape, too.
        collect = msgspec.structs.replace(config.collect, block_s=config.block_s())
        config = msgspec.structs.replace(config, mode=args.mode or config.mode, collect=collect)
        if not all(isinstance(s, FileStream) for s in config.streams):
            print(f"lumen: {path}: only recordings can be replayed", file=sys.stderr)
            return 2
        same = True
        try:
            for group in runs(config, folder, args.full, args.seed):
                print(_table(group), end="\n\n")
                same &= all(result.digests == group[0].digests for result in group)
        except RunError as error:
            print(f"lumen: a run failed: {error}", file=sys.stderr)
            return 1
    print("Every run gave the same bytes." if same else "THE BYTES DIFFER.")
    return 0 if same else 1


def _over_topic(args: argparse.Namespace) -> int:
    """Compare files, topic, shards and cluster; return 1 if a byte of a rig differs."""
    from ops.scale_out.proof import proof, shown

    seconds, kills = (300.0, 20) if args.full else (60.0, 3)

    rows = []
    try:
        for row in proof(args.brokers, seconds, kills, args.seed):
            rows.append(row)
            print(f"{row.name}: {len(row.digests)} rigs, {row.kills} kills", file=sys.stderr)
    except RunError as error:
        print(f"lumen: {error}", file=sys.stderr)
        return 1
    print(shown(rows))
    same = all(row.digests == rows[0].digests for row in rows)
    print("\nEvery run gave each rig the same bytes." if same else "\nTHE BYTES DIFFER.")
    return 0 if same else 1


def _table(group: Sequence[VerifyResult]) -> str:
    rows = [
        (
            result.name,
            *(result.digests[stem][:8] for stem in PROMISED),
            str(result.kills),
            f"{result.wall_s:.1f}",
            "same" if result.digests == group[0].digests else "DIFFERS",
        )
        for result in group
    ]
    return table(("run", *PROMISED, "kills", "s", ""), rows)
