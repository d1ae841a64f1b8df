"""Damage the recovery store of a killed replay, and resume; then put its snapshot back.

`python -m ops.bench.damaged_stores`: 15 damages (`--tries N`). Asked of each: the run is refused in
at most four lines with the name of the store, or its results have the bytes of an unbroken run; no
crafted state is executed; with the snapshot put back, the results have those bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from ops.bench.kill_points import MODULE, configuration
from ops.cli.verify import digests, replay, run, write_config
from ops.engine_runs import command
from ops.text.table import table

MAX_LINES = 4
PART = "part-0.sqlite3"
_PAGE = 4096


class _Crafted:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self._path}",)


def _flipped(state: Path, chance: random.Random) -> None:
    path = chance.choice(sorted(state.glob(f"{PART}*")))
    data = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 20, 500))):
        if data:
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def _cut(state: Path, chance: random.Random) -> None:
    path = chance.choice(sorted(state.glob(f"{PART}*")))
    os.truncate(path, chance.randrange(path.stat().st_size + 1))


def _zeroed(state: Path, chance: random.Random) -> None:
    path = state / PART
    with path.open("rb+") as file:
        file.seek(chance.randrange(max(path.stat().st_size // _PAGE, 1)) * _PAGE)
        file.write(bytes(_PAGE))


def _without_log(state: Path, chance: random.Random) -> None:
    for path in state.glob(f"{PART}-*"):
        path.unlink()
    if chance.random() < 0.5:
        (state / PART).unlink()


def _crafted(state: Path, chance: random.Random) -> None:
    data = pickle.dumps(_Crafted(state.with_name("executed")))
    with closing(sqlite3.connect(state / PART)) as base, base:
        base.execute("UPDATE snaps SET ser_change = ? WHERE ser_change NOT NULL", (data,))


def _edited(state: Path, chance: random.Random) -> None:
    with closing(sqlite3.connect(state / PART)) as base, base:
        base.execute(EDITS[chance.randrange(len(EDITS))])


DAMAGES = (_flipped, _cut, _zeroed, _without_log, _crafted, _edited)
EDITS = (
    "DELETE FROM fronts",
    "UPDATE exs SET resume_epoch = -1",
    "UPDATE snaps SET snap_epoch = -snap_epoch - 1",
    "UPDATE parts SET part_count = 3",
    "DROP TABLE fronts",
    "ALTER TABLE snaps RENAME COLUMN snap_epoch TO epoch",
)


def resumed(config: Path, state: Path) -> tuple[int, list[str]]:
    """Resume a run; return its exit code and the lines of its standard error."""
    argv = [sys.executable, "-m", "ops", "run", str(config), "--recover", str(state)]
    done = subprocess.run([*argv, "--snapshot-s", "0"], capture_output=True, text=True, check=False)
    return done.returncode, [line for line in done.stderr.splitlines() if line.strip()]


def attempt(base: Path, expected: dict[str, str], seed: int) -> tuple[str, str, bool]:
    """Damage the store of a killed run; return damage, outcome, and whether it is as asked."""
    chance = random.Random(seed)
    damage = DAMAGES[seed % len(DAMAGES)]
    for name in ("out", "state"):
        shutil.rmtree(base / name, ignore_errors=True)
        shutil.copytree(base / f"{name}-killed", base / name)
    if chance.random() < 0.5:  # else most pages are in the log
        with closing(sqlite3.connect(base / "state" / PART)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    damage(base / "state", chance)
    code, lines = resumed(base / "run.yaml", base / "state")
    same = digests(base / "out") == expected
    named = any(str(base / "state") in line for line in lines)
    if code == 0 and same:
        outcome = "identical"
    elif code == 2 and named and len(lines) <= MAX_LINES:
        outcome = "refused"
    else:
        outcome = f"exit code {code}, {len(lines)} lines: {(lines or ['-'])[0][:100]}"
    ok = outcome in ("identical", "refused") and not (base / "executed").exists()
    if outcome != "identical":
        ok &= _put_back(base) and digests(base / "out") == expected
    return damage.__name__.strip("_"), outcome, ok


def _put_back(base: Path) -> bool:
    """Put the snapshot back, with the results of the killed run, and resume."""
    shutil.rmtree(base / "out")
    shutil.copytree(base / "out-killed", base / "out")
    snapshot = next((base / "snapshots").glob("*.recovery.tar"))
    argv = [sys.executable, "-m", "ops", "restore", str(snapshot), "--into", str(base / "state")]
    if subprocess.run(argv, capture_output=True, check=False).returncode:
        return False
    return resumed(base / "run.yaml", base / "state")[0] == 0


def prepared(base: Path) -> dict[str, str]:
    """Kill a replay and take a snapshot of its store; return the digests of an unbroken run."""
    config = configuration(base)
    plain = write_config(config, base / "plain.yaml", base / "plain")
    expected = replay("plain", plain, base / "plain").digests
    path = write_config(config, base / "run.yaml", base / "out")
    run(command(path, base / "state", MODULE), (-9,), LUMEN_KILL="write 14")
    shutil.copytree(base / "state", base / "state-killed")
    argv = [sys.executable, "-m", "ops", "snapshot", "--recovery", str(base / "state")]
    subprocess.run(argv, check=True, capture_output=True)
    (base / "out").rename(base / "out-killed")
    return expected


def main(argv: Sequence[str] | None = None) -> int:
    """Run all tries; return 1 if one is not as asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=15, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="lumen-damaged-") as name:
        base = Path(name)
        expected = prepared(base)
        seeds = range(args.seed, args.seed + args.tries)
        found = [attempt(base, expected, seed) for seed in seeds]
    rows = [(damage, outcome, "yes" if ok else "NO") for damage, outcome, ok in found]
    print(table(("damage", "outcome", "as asked"), rows))
    print(json.dumps({"tries": len(found), "as asked": sum(ok for *_, ok in found)}))
    return 0 if all(ok for *_, ok in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
