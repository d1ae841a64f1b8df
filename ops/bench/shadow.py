"""The comparison of a candidate: a million ticks of one version, removed ticks, and its cost.

Both sides are files as a run writes them, read as `lumen shadow` reads them.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ops.shadow.comparer import Verdict, failure_ratio, total, unique_ratio
from ops.shadow.shadow import OUT, Shadow
from ops.text.table import table

START, HZ = 1_730_000_000.0, 5.0
RIGS = 10
MAX_CPU_US = 10.0
TIMED, ROUNDS = 100_000, 5


def line(rig: str, k: int, released_s: float, value: float) -> bytes:
    """Return the line of tick k of a rig with one signal of four members."""
    ts = START + k / HZ
    weights = {f"osc_{i}:/body/pulse": 0.25 for i in range(4)}
    signal = {"value": value, "sd": 0.0123456789, "systematic_sd": None, "mode": "fused",
              "live": 4, "weights": weights}  # fmt: skip
    indicators = dict.fromkeys(
        ("phase_diff", "coherence", "harmony", "sync_quality", "entropy_ratio"), 0.0123456789
    )
    tick = {
        "ts": ts,
        "released": ts + released_s,
        "rig": rig,
        "mode": "fused",
        "live": 4,
        "signals": {"pulse": signal},
        "indicators": indicators,
        "sync_bound_s": 0.0123,
    }
    return msgspec.json.encode(tick) + b"\n"  # fmt: skip


def write(folder: Path, ticks: int, made: Callable[[str, int], bytes | None]) -> None:
    """Write the lines of all rigs; None is a tick that is missing."""
    for i in range(RIGS):
        rig = f"rig_{i}"
        (folder / rig).mkdir(parents=True)
        with (folder / rig / "fused.jsonl").open("wb") as file:
            lines: Iterable[bytes | None] = (made(rig, k) for k in range(ticks // RIGS))
            file.writelines(line for line in lines if line is not None)


def compared(
    ticks: int, candidate: Callable[[str, int], bytes | None]
) -> tuple[dict[Verdict, int], float, int]:
    """Return counts by verdict, CPU time a tick (us) and the most ticks that waited."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        write(root / "out", ticks, lambda rig, k: line(rig, k, 2.1, 0.5))
        write(root / "shadow" / OUT, ticks, candidate)
        shadow = Shadow(root / "out", root / "shadow", settle_s=0.0)
        begun, most = time.process_time(), 0
        while shadow.step((True, True)):
            most = max(most, shadow.comparer.waiting())
        shadow.finish()
        used = time.process_time() - begun
        return total(shadow.comparer.counts), used / ticks * 1e6, most


def main() -> int:
    """Print the counts, ratios and costs; return 1 beyond what is asked."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench.shadow", description=__doc__)
    parser.add_argument("--ticks", type=int, default=1_000_000)
    args = parser.parse_args()
    rng = random.Random(1)
    rows, sound = [], True
    cases: tuple[tuple[str, int, Callable[[str, int], bytes | None]], ...] = (
        ("the same version", args.ticks, lambda rig, k: line(rig, k, 2.3, 0.5)),
        ("5 % of the ticks removed", TIMED,
         lambda rig, k: None if rng.random() < 0.05 else line(rig, k, 2.3, 0.5)),
        ("every 20th tick removed", TIMED,
         lambda rig, k: None if k % 20 == 0 and k else line(rig, k, 2.3, 0.5)),
        ("other values, within", TIMED, lambda rig, k: line(rig, k, 2.3, 0.51)),
    )  # fmt: skip
    for name, ticks, candidate in cases:
        runs = [compared(ticks, candidate)]
        counts, most = runs[0][0], runs[0][2]
        # Others use this machine: the least of several runs is the nearest.
        runs += [compared(TIMED, candidate) for _ in range(ROUNDS)]
        cost = min(run[1] for run in runs)
        unique, failing = unique_ratio(counts) or 0.0, failure_ratio(counts) or 0.0
        rows.append(
            (name, str(sum(counts.values())), str(counts["identical"]), str(counts["within"]),
             f"{unique:.4f}", f"{failing:.4f}", f"{cost:.1f}", str(most))
        )  # fmt: skip
        if name == "the same version":
            sound &= counts["identical"] == ticks and cost <= MAX_CPU_US
        elif name == "every 20th tick removed":
            sound &= abs(unique - 0.95) <= 0.001
    head = ("candidate", "ticks", "identical", "within", "unique", "failure", "CPU us", "waiting")
    print(table(head, rows))
    print(f"{RIGS} rigs of {HZ:g} Hz, four members; both sides read from their files")
    return int(not sound)


if __name__ == "__main__":
    raise SystemExit(main())
