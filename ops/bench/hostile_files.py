"""Mutated files of earlier runs: no file outside a run's folders may change, no panic may occur.

`python -m ops.bench.hostile_files`: 1,000 mutants of `tape.json`, `run.json`, lock files and
recovery stores, each at the place where a run reads it. Mutations are names that lead elsewhere,
invalid numbers and types, cut and flipped bytes, and links, pipes and folders instead of files. A
tape is recorded beside them with retention, read and verified; an output folder is checked and
reused; a store is opened. A tree of canaries beside them has to remain unchanged, byte for byte.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from configs.outputs import TapConfig
from flows.store import LOCK as HOLDER
from flows.store import Store, StoreError
from ops.text.table import table
from sinks.files.folder import LOCK, RUN, Folder, FolderError
from sources.opening import open_recording
from sources.recordings.recording import Piece, UnusableError
from sources.tape.reader import MANIFEST, faults
from sources.tape.writer import LOCK as RECORDER
from sources.tape.writer import TapError, TapeWriter, unfinished

SECRET = b'{"tick":1.5}\n'
NAMES = (
    "../../canary/victim.txt",
    "../canary/000000.ndjson",
    "/etc/hostname",
    "..",
    ".",
    "",
    "a\0b",
    "000000.ndjson/../../../canary/victim.txt",
    "x" * 5000,
    "canary",
    "\x1b[2J",
    "\u202e",
    "%2e%2e/x",
    "link/fused.jsonl",
    "../canary/fused.jsonl",
    "000000.ndjson\n",
    "rig/../../canary/fused.jsonl",
)
NUMBERS = (-1, 0, 1, 2**31, 2**62, 2**63, 2**64, 10**400, 1.5, float("inf"), -(2**63))
OTHERS: tuple[Any, ...] = (None, True, [], {}, "", [[]], {"files": {"../x": 1}})


class FoundHarm(NamedTuple):
    """Results: mutants tried and refused by kind, canaries touched, panics."""

    tried: Counter[str]
    refused: Counter[str]
    touched: list[str]
    panics: list[str]


class Room:
    """A tape folder, an output folder and a store of earlier runs, beside a tree of canaries."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary, self.tap = folder / "canary", folder / "tap"
        self.out, self.store = folder / "out", folder / "store"
        self.canary.mkdir(parents=True)
        for name in ("victim.txt", "000000.ndjson", "fused.jsonl", MANIFEST, RUN, LOCK):
            (self.canary / name).write_bytes(SECRET)
        self.begun = self.shape()
        old = TapeWriter(self.config(), "rig", "print")
        for _ in range(20):
            old.write(b'{"tick":1}\n')
        old.close(ended=True)
        self.tape = old.folder
        output = Folder(self.out)
        output.take(fresh=True)
        (self.out / "rig").mkdir()
        names = ["fused.jsonl", "rig/fused.jsonl"]
        output.announce([self.out / name for name in names])
        for name in names:
            (self.out / name).write_bytes(b"{}\n")
        (self.out / RUN).write_text(json.dumps({"files": dict.fromkeys(names, 3)}))
        output.release()
        Store(self.store).release()

    def config(self) -> TapConfig:
        """Return a tap that rotates and deletes segments at almost every line."""
        return TapConfig(dir=str(self.tap), rotate_mb=2e-5, keep=1)

    def shape(self) -> list[tuple[str, int, int, bytes]]:
        """Return the canaries: names, sizes, times and bytes."""
        paths = sorted(self.canary.rglob("*"))
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns, p.read_bytes()) for p in paths]


def mutate(path: Path, room: Room, chance: random.Random) -> None:
    """Change a file at random; in JSON files, also single values."""
    data = path.read_bytes()
    kind = chance.randrange(8)
    if kind == 0:
        path.unlink()
        target = chance.choice([room.canary / "victim.txt", room.canary / path.name, room.canary])
        path.symlink_to(target)
    elif kind == 1:
        path.unlink()
        if chance.random() < 0.5:
            os.mkfifo(path)
        else:
            path.mkdir()
    elif kind == 2:
        path.write_bytes(data[: chance.randrange(len(data) + 1)])
    elif kind == 3:
        flipped = bytearray(data)
        for _ in range(chance.randint(1, 40)):
            flipped[chance.randrange(len(flipped))] = chance.randrange(256)
        path.write_bytes(flipped)
    elif kind == 4:
        path.write_bytes(b"[" * chance.choice([10, 100_000]) + data)
    elif path.suffix == ".json":
        value = json.loads(data)
        for _ in range(chance.randint(1, 3)):
            _replace(value, chance)
        path.write_text(json.dumps(value))
    elif path.name == LOCK:
        lines = [f"file {chance.choice(NAMES)}", f"pid {chance.choice(NUMBERS)}", "ready"]
        path.write_bytes(data + "\n".join(chance.choices(lines, k=9)).encode())
    else:
        path.write_bytes(data[: len(data) // 2] + chance.randbytes(4096) + data[len(data) // 2 :])


def _replace(value: Any, chance: random.Random) -> None:
    """Replace a part of a JSON value."""
    places: list[tuple[Any, Any]] = []
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict | list):
            keys = list(node) if isinstance(node, dict) else range(len(node))
            places += [(node, key) for key in keys]
            stack += [node[key] for key in keys]
    if not places:
        return
    node, key = chance.choice(places)
    if isinstance(node, dict) and chance.random() < 0.3:
        node[chance.choice(NAMES)] = node.pop(key)
    else:
        node[key] = chance.choice((*NAMES, *NUMBERS, *OTHERS))


def record(room: Room) -> None:
    """Record beside the tape of another run, with retention; its faults must not end this."""
    unfinished(room.config(), "print")
    tap = TapeWriter(room.config(), "rig", "print")
    try:
        for _ in range(6):
            tap.write(b'{"tick":2}\n')
        tap.sync(tap.offset)
    finally:
        tap.close(ended=True)


def read(room: Room) -> None:
    """Read, verify and continue a tape; it must not contain a canary."""
    recording = open_recording(str(room.tape))
    while not recording.ended:
        if any(isinstance(p, Piece) and SECRET in p.data for p in recording.read()):
            raise AssertionError("a canary was read")
    recording.close()
    faults(room.tape)
    TapeWriter(room.config(), "rig", "print", room.tape.name, 0).close(ended=False)


def begin(room: Room) -> None:
    """Start a new run in an output folder."""
    folder = Folder(room.out)
    folder.check()
    try:
        folder.take(fresh=True)
    finally:
        folder.release()


def look(room: Room) -> None:
    """Open a store."""
    Store(room.store).release()


REFUSALS = (FolderError, TapError, StoreError, UnusableError)
TARGETS: dict[str, tuple[Callable[[Room], Path], tuple[Callable[[Room], None], ...]]] = {
    "tape.json": (lambda room: room.tape / MANIFEST, (record, read)),
    "segment": (lambda room: next(room.tape.glob("0*")), (record, read)),
    "lock of tapes": (lambda room: room.tap / RECORDER, (record,)),
    "run.json": (lambda room: room.out / RUN, (begin,)),
    "lock of results": (lambda room: room.out / LOCK, (begin,)),
    "folder of a rig": (lambda room: room.out / "rig", (begin,)),
    "store": (lambda room: room.store / "part-0.sqlite3", (look,)),
    "lock of a store": (lambda room: room.store / HOLDER, (look,)),
}


def attack(folder: Path, mutants: int, seed: int) -> FoundHarm:
    """Try a number of mutants.

    Parameters
    ----------
    folder : Path
        Empty working folder.
    mutants, seed : int
    """
    found = FoundHarm(Counter(), Counter(), [], [])
    plain = Room(folder / "plain")
    for i in range(mutants):
        chance = random.Random(seed + i)
        kind = list(TARGETS)[i % len(TARGETS)]
        path_of, acts = TARGETS[kind]
        place = folder / f"try_{i}"
        shutil.copytree(plain.folder, place, symlinks=True, copy_function=shutil.copy2)
        room = object.__new__(Room)
        room.__dict__ |= {
            k: place / v.relative_to(plain.folder) if isinstance(v, Path) else v
            for k, v in vars(plain).items()
        }
        (place / "store").chmod(0o700)
        begun = room.shape()
        path = path_of(room)
        if kind == "folder of a rig":
            shutil.rmtree(path)
            path.symlink_to(room.canary)
        else:
            mutate(path, room, chance)
        found.tried[kind] += 1
        for act in acts:
            try:
                act(room)
            except REFUSALS:
                found.refused[kind] += 1
                if act is record and kind != "lock of tapes":
                    found.panics.append(f"{i} {kind}: another run's file ended a recording")
            except OSError as error:
                found.refused[kind] += 1
                if error.filename is None and "not found: " not in str(error):
                    found.panics.append(f"{i} {kind}: {error!r}")
            except Exception as error:
                found.panics.append(f"{i} {kind}: {error!r}")
            if room.shape() != begun:
                found.touched.append(f"{i} {kind} {act.__name__}")
        shutil.rmtree(place)
    return found


def main() -> int:
    """Print the results; return 1 if a mutant did harm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lumen-hostile-") as name:
        stderr, sys.stderr = sys.stderr, Path(os.devnull).open("w")  # noqa: SIM115
        try:
            found = attack(Path(name), args.mutants, args.seed)
        finally:
            sys.stderr = stderr
    rows = [(kind, str(n), str(found.refused[kind])) for kind, n in found.tried.items()]
    print(table(("file", "mutants", "refused by name"), rows))
    print(
        f"\n{found.tried.total()} mutants: {len(found.touched)} touched a file outside, "
        f"{len(found.panics)} panicked"
    )
    print(*found.touched[:20], *found.panics[:20], sep="\n")
    return 1 if found.touched or found.panics else 0


if __name__ == "__main__":
    raise SystemExit(main())
