"""`lumen prune`: delete old snapshots; the newest sound one of each kind always stays."""

from __future__ import annotations

import argparse
import sys
from typing import get_args

from ops.cli.bounded_number import bounded_number
from ops.snapshots.audit import audited
from ops.snapshots.faults import SnapshotError, of_disk
from ops.snapshots.prune import deleted_names
from ops.snapshots.snapshot_folder import SnapshotFolder, remove
from ops.snapshots.sqlite_copy import refuse_unsound
from ops.snapshots.targets import add_target, target_of
from sinks.snapshots.names import BAD, HASH, Kind, SnapshotName, parsed

MAX_KEPT = 100_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen prune`."""
    add_target(parser, recovery=True)
    parser.add_argument(
        "--keep", type=_number, default=20, metavar="N", help="the newest N stay; default 20"
    )
    parser.add_argument(
        "--daily",
        type=_number,
        default=14,
        metavar="D",
        help="the last one of each of D days (UTC) stays; default 14",
    )
    parser.add_argument("--dry-run", action="store_true", help="show the names; delete nothing")


def _number(text: str) -> int:
    number = bounded_number(text, 0, MAX_KEPT, f"a number from 0 to {MAX_KEPT:,}")
    if number != int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number")
    return int(number)


def main(args: argparse.Namespace) -> int:
    """Delete old snapshots.

    Returns
    -------
    int
        0; 1 where no snapshot of a kind is sound, and its snapshots all stay.
    """
    target = target_of(args, needs_store=args.dir is None and args.recovery is None)
    folder = target.snapshots
    if not folder.root.is_dir():
        raise SnapshotError(f"{folder.root}: there are no snapshots")
    code, deleted = 0, 0
    with of_disk(), folder.hold():
        for kind in get_args(Kind):
            names = folder.names(kind)
            if not names:
                continue
            sound = newest_sound(folder, names)
            if sound is None:
                print(f"lumen: no {kind} snapshot is sound; all stay", file=sys.stderr)
                code = 1
            for name in deleted_names(names, sound, args.keep, args.daily):
                delete(folder, name, dry=args.dry_run)
                deleted += 1
            deleted += _delete_bad(folder, sound, dry=args.dry_run)
    left = len(folder.names())
    print(f"{deleted} deleted, {left} stay" + (" (dry run)" if args.dry_run else ""))
    return code


def newest_sound(folder: SnapshotFolder, names: list[SnapshotName]) -> SnapshotName | None:
    """Return the newest name whose snapshot passes its check now; the others are reported."""
    for name in reversed(names):
        try:
            folder.check(name)
            if name.kind == "sqlite":
                refuse_unsound(folder.path(name), str(name))
        except SnapshotError as error:
            print(*error.lines(), sep="\n", file=sys.stderr)
            continue
        return name
    return None


def delete(folder: SnapshotFolder, name: SnapshotName, *, dry: bool = False) -> None:
    """Delete a snapshot, then its hash file."""
    print(f"delete {name}")
    if dry:
        return
    with audited(folder.root, "prune", str(name)):
        remove(folder.path(name))
        remove(folder.root / f"{name}{HASH}")


def _delete_bad(folder: SnapshotFolder, sound: SnapshotName | None, *, dry: bool) -> int:
    """Delete the `.bad` files that are older than a sound snapshot of their kind."""
    old = []
    for path in sorted(folder.root.glob(f"*{BAD}")):
        name = parsed(path.name.removesuffix(BAD))
        if name and sound and name.kind == sound.kind and name < sound:
            old.append(path)
    for path in old:
        print(f"delete {path.name}")
        if not dry:
            with audited(folder.root, "prune", path.name):
                remove(path)
    return len(old)
