"""A live flow with tap and recovery, killed repeatedly under load.

    python -m ops.bench.live_kills [--kills 100] [--rate 2000]

Each taped event has to be used exactly once: the fused, sync and evidence lines of the killed flow
have to be, byte for byte, the beginning of those of a replay of its tape.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from ops.bench.osc_flood import ROOT, send
from ops.fakes.ports import free_port

COMMON = """version: 2
rig: killed
signals:
  pulse: {members: {"osc:/flood": {group: sensors, lag_s: 0.0}}}
collect: {block_s: 0.05}
failover: {fallback: sensors_only}
"""
STEMS = ("fused", "sync", "dead", "markers")


def write_configs(folder: Path, port: int) -> tuple[Path, Path]:
    """Write the configurations of the live run and of the replay of its tape."""
    live, replay = folder / "live.yaml", folder / "replay.yaml"
    live.write_text(
        COMMON + f'streams: [{{name: osc, type: osc, addr: "127.0.0.1:{port}"}}]\n'
        f"tap: {{dir: {folder}/tap, rotate_mb: 0.5}}\noutput: {{dir: {folder}/live}}\n"
    )
    replay.write_text(
        COMMON + f"streams: [{{name: tape, type: file, path: {folder}/tape}}]\n"
        f"output: {{dir: {folder}/replay}}\n"
    )
    return live, replay


def start(config: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start or resume the live run."""
    store = ["--recover", str(folder / "store"), "--snapshot-s", "0.5"]
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "ops", "run", str(config), *store],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def kill_often(folder: Path, kills: int, rate: float, seed: int = 1) -> dict[str, int]:
    """Kill and compare; return the number of live ticks, and of ticks missing at the end.

    Raises
    ------
    AssertionError
        A line differs.
    """
    chance = random.Random(seed)
    port = free_port()
    live, replay = write_configs(folder, port)
    done = threading.Event()
    sender = threading.Thread(target=_keep_sending, args=(port, rate, done))
    sender.start()
    try:
        process = start(live, folder)
        for _ in range(kills):
            time.sleep(chance.uniform(1.0, 6.0))
            if process.poll() is not None:
                raise AssertionError((folder / "log").read_text()[-2000:])
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start(live, folder)
        time.sleep(8)
        process.send_signal(signal.SIGTERM)
        code = process.wait(30)
    finally:
        done.set()
        sender.join()
    assert code == 0, (folder / "log").read_text()[-2000:]
    tapes = [path for path in (folder / "tap").iterdir() if path.is_dir()]
    assert len(tapes) == 1, tapes
    tapes[0].rename(folder / "tape")
    subprocess.run(
        [sys.executable, "-m", "ops", "run", str(replay)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    found = {"kills": kills, "segments": len(list((folder / "tape").glob("*.ndjson")))}
    for stem in STEMS:
        there = (folder / "live" / f"{stem}.jsonl").read_bytes().splitlines()
        whole = (folder / "replay" / f"{stem}.jsonl").read_bytes().splitlines()
        same = sum(a == b for a, b in zip(there, whole, strict=False))
        assert same == len(there), f"{stem}: line {same + 1} differs: {there[same]!r}"
        found |= {stem: len(there), f"{stem}_missing": len(whole) - len(there)}
    return found


def _keep_sending(port: int, rate: float, done: threading.Event) -> None:
    while not done.is_set():
        try:
            send(port, rate, 0.5)
        except ConnectionError:  # the flow is down
            time.sleep(0.01)


def main() -> int:
    """Kill a flow repeatedly, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(kill_often(Path(folder), args.kills, args.rate))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
