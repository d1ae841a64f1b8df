"""Kill the follower of the history, and the run beside it, and compare the store with the files.

    python -m ops.bench.history_kills [--points 1000] [--runs 12]

First a follower alone, killed after 0 to 30 ms again and again while it takes in the files of two
rigs; then whole runs with recovery that die at a point of `tests/flow/killed.py`, resume, and lose
their follower meanwhile. After each, every line of the files has its rows in the store, once.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from configs.outputs import StoreConfig
from configs.schema import Config
from ops.bench.kill_points import MODULE, configuration
from ops.cli.verify import write_config
from ops.engine_runs import command
from ops.results.folder import run_json
from ops.text.table import table
from sinks.files.jsonl import Segments
from sinks.files.progress import Final, RigFiles, taken_of
from sinks.history import follower as follower_module
from sinks.history.follower import Follower, FollowSettings, follow
from sinks.history.sqlite_store import SqliteStore

WAIT_S = 120.0
_PAUSE_S = 0.03
_TICKS = 20_000
_POINTS = ("write", "snapshot", "torn", "begin", "end")


def differences(out: Path, store: Path, rigs: dict[str, Path] | None = None) -> list[str]:
    """Return how the store differs from the files of the run in an output folder.

    Parameters
    ----------
    out, store : Path
    rigs : dict, optional
        Folder by rig; all subfolders by default.
    """
    run = run_json(out).get("run_id", "run")
    base = SqliteStore(store, read_only=True)
    found = []
    try:
        for rig, folder in (rigs or {rig: out / rig for rig in run_json(out)["rigs"]}).items():
            values: dict[str, Any] = {"run": run, "rig": rig}
            which = (
                " WHERE run = (SELECT id FROM name WHERE kind = 'run' AND text = :run)"
                " AND rig = (SELECT id FROM name WHERE kind = 'rig' AND text = :rig)"
            )
            for stem, of in (("fused", "tick"), ("sync", "sync"), ("dead", "dead")):
                paths = sorted(folder.glob(f"{stem}*.jsonl"))
                lines = [msgspec.json.decode(x) for p in paths for x in p.read_bytes().splitlines()]
                times = Counter(line["ts"] for line in lines)
                stored = Counter(
                    ts for (ts,) in base.rows(f"SELECT ts FROM {of}{which}", values, 60.0)
                )
                if times != stored:
                    lost, more = (times - stored).total(), (stored - times).total()
                    found.append(f"{rig}/{stem}: {lost} lost, {more} too many")
                if stem == "fused":
                    sums = f"SELECT total(ticks), total(value_sum) FROM minute{which}"
                    ticks, total = next(iter(base.rows(sums, values, 60.0)))
                    signals = sum(len(line["signals"]) for line in lines)
                    known = (s["value"] for line in lines for s in line["signals"].values())
                    right = sum(value for value in known if value is not None)
                    if ticks != signals or abs(total - right) > 1e-6 * max(1.0, abs(right)):
                        found.append(f"{rig}/minute: {ticks:g} ticks of {signals}")
    finally:
        base.close()
    return found


def follower_kills(folder: Path, points: int, seed: int) -> tuple[int, int, list[str]]:
    """Kill a follower at random times; return kills, stores, and differences."""
    chance = random.Random(seed)
    out, killed, stores = folder / "out", 0, 0
    rigs = _made_up(out)
    found: list[str] = []
    follower_module.MAX_STEP = 1 << 16
    while killed < points:
        store = folder / f"history-{stores}.sqlite"
        stores += 1
        settings = FollowSettings(f"sqlite:{store}", (str(out),))
        done = False
        while not done:
            ended = _killed(settings, chance.uniform(0.0, _PAUSE_S) if killed < points else None)
            killed += not ended
            done = ended
        found += differences(out, store, rigs)
    return killed, stores, found


def _killed(settings: FollowSettings, after_s: float | None) -> bool:
    """Run a follower in a child process and kill it; return whether it ended before."""
    child = os.fork()
    if child == 0:
        code = 1
        with suppress(BaseException):
            taken = Follower(settings)
            while taken.step():
                pass
            code = 0
        os._exit(code)
    if after_s is not None:
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == 0


def _made_up(out: Path) -> dict[str, Path]:
    """Write the files of two rigs in segments; return their folders."""
    out.mkdir()
    rigs = {rig: out / rig for rig in "ab"}
    for rig, folder in rigs.items():
        folder.mkdir()
        segments = Segments(folder, "fused", limit=1_000_000, durable=False)
        for first in range(0, _TICKS, 1_000):
            numbers = range(first, first + 1_000)
            lines = (tick(1.7e9 + 0.2 * k, rig, random.Random(k).random()) for k in numbers)
            segments.write(b"".join(lines))
    final = Final("run", 0.0, "", 0, True, 0, {rig: RigFiles(rig) for rig in rigs})
    final.write(out)
    return rigs


def tick(ts: float, rig: str, value: float) -> bytes:
    """Return a line of `fused.jsonl` with one signal of four members."""
    names = ("ure:pulse", "osc_1:/body/pulse", "osc_2:/wrist/pulse", "midi_1:cc/1/1")
    part = {"value": value, "sd": value / 20, "systematic_sd": 0.0, "mode": "fused", "live": 4}
    line = {
        "ts": ts,
        "released": ts + 1.3 + value / 10,
        "rig": rig,
        "mode": "fused",
        "live": 4,
        "signals": {"pulse": {**part, "weights": dict.fromkeys(names, value / 3)}},
        "indicators": {
            "phase_diff": 0.011148,
            "coherence": 0.9311,
            "harmony": 0.90069,
            "sync_quality": 0.98,
            "entropy_ratio": 0.075795,
        },
        "sync_bound_s": value / 200,
    }
    return msgspec.json.encode(line) + b"\n"


def run_kills(folder: Path, tries: int, seed: int) -> tuple[int, int, list[str]]:
    """Kill runs at their points and their followers at random times.

    Returns
    -------
    runs : int
        Killed runs.
    followers : int
        Killed followers.
    differences : list of str
    """
    chance = random.Random(seed)
    small = configuration(folder, rotate_mb=0.02)
    killed, followers, found = 0, 0, list[str]()
    for number in range(tries):
        point = _POINTS[number % len(_POINTS)]
        place = folder / f"try-{number}"
        place.mkdir()
        at = f"{point} {1 if point == 'end' else chance.randint(1, 5 if point == 'begin' else 25)}"
        died, ended, wrong = one_run(small, place, at, chance)
        killed, followers = killed + died, followers + ended
        found += [f"{at}: {text}" for text in wrong]
    return killed, followers, found


def one_run(
    config: Config, folder: Path, at: str, chance: random.Random
) -> tuple[int, int, list[str]]:
    """Run a configuration that dies at a point, resume it, and kill its followers meanwhile."""
    out, store = folder / "out", folder / "history.sqlite"
    history = StoreConfig(dsn=f"sqlite:{store}")
    path = write_config(config, folder / "run.yaml", out, history)
    died = followers = 0
    for point in (at, at, "none 0"):
        process = subprocess.Popen(
            command(path, folder / "recovery", MODULE),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(LUMEN_KILL=point),
        )
        kills = 2
        while process.poll() is None:
            time.sleep(chance.uniform(0.0, 0.3))
            taken = taken_of(out)
            if kills and taken is not None and _is_follower(taken.pid):
                with suppress(OSError):
                    os.kill(taken.pid, signal.SIGKILL)
                    followers, kills = followers + 1, kills - 1
        died += process.returncode == -signal.SIGKILL
        if process.returncode not in (0, -signal.SIGKILL):
            return died, followers, [f"exit code {process.returncode}"]
    _finished(out, store)
    return died, followers, differences(out, store)


def _environment(**more: str) -> dict[str, str]:
    return os.environ | more


def _is_follower(pid: int) -> bool:
    """Whether a process is a follower: a number may have been given again."""
    with suppress(OSError):
        return b"follow_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _finished(out: Path, store: Path) -> None:
    """Take in what is left, once the followers of killed runs have ended.

    A follower that is killed at the very end of a run leaves its rest to the next one.
    """
    end = time.monotonic() + WAIT_S
    while (taken := taken_of(out)) is not None and _is_follower(taken.pid):
        if time.monotonic() > end:
            raise TimeoutError(f"process {taken.pid} goes on")
        time.sleep(0.05)
    follow(FollowSettings(f"sqlite:{store}", (str(out),)), lambda seconds: True)


def main() -> int:
    """Run both and print the outcomes; return 1 if a line is lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000, help="kills of a follower alone")
    parser.add_argument("--runs", type=int, default=12, help="runs that are killed and resumed")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-history-") as name:
        (Path(name) / "alone").mkdir()
        (Path(name) / "runs").mkdir()
        alone, stores, wrong = follower_kills(Path(name) / "alone", args.points, args.seed)
        runs, beside, also = run_kills(Path(name) / "runs", args.runs, args.seed)
    rows = [
        ("follower alone", str(alone), f"{stores} stores of {2 * _TICKS:,} ticks", str(len(wrong))),
        ("run", str(runs), f"{args.runs} runs, each killed twice and resumed", str(len(also))),
        ("follower beside a run", str(beside), "the same runs", ""),
    ]
    print(table(("killed", "kills", "of", "differences"), rows))
    print(*wrong, *also, sep="\n", file=sys.stderr)
    return 1 if wrong or also else 0


if __name__ == "__main__":
    raise SystemExit(main())
