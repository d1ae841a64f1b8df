"""`lumen restore NAME`: a snapshot in the place of the store; the old one stays as `.before`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ops.snapshots.audit import audited
from ops.snapshots.faults import SnapshotError, of_disk
from ops.snapshots.snapshot_folder import SnapshotFolder
from ops.snapshots.targets import add_target, target_of
from sinks.history.rebuild import BEFORE
from sinks.snapshots.names import RECOVERY, SNAPSHOTS, SnapshotName, parsed

NEWEST = "newest"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen restore`."""
    parser.add_argument(
        "name", metavar="NAME", help="a name of `lumen snapshot --list`, its path, or `newest`"
    )
    add_target(parser)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="PATH",
        help="another file, or the folder of a recovery store; default the store itself",
    )


def main(args: argparse.Namespace) -> int:
    """Check a snapshot and put it in its place.

    Returns
    -------
    int
        0; 1 where the snapshot is damaged or the disk fails; 2 where it is refused.
    """
    path = Path(args.name)
    if path.name != args.name and args.dir is None:
        args.dir = path.parent
    name = parsed(path.name)
    is_recovery = name is not None and name.kind == RECOVERY
    if args.into and args.dir is None and args.store is None and args.config is None:
        args.dir = args.into.parent / SNAPSHOTS
    target = target_of(args, needs_store=args.into is None)
    if name is None and args.name == NEWEST:
        kind = "sqlite" if target.dsn is None or target.sqlite else "dump"
        found = [each for each in target.snapshots.names() if each.kind == kind]
        name = found[-1] if found else None
    if name is None:
        raise SnapshotError(
            f"{args.name}: no name of a snapshot; `lumen snapshot --list` shows them"
        )
    place = args.into or target.sqlite
    if place is None or (is_recovery and args.into is None):
        raise SnapshotError(f"{name}: give --into PATH")
    with of_disk(), audited(target.snapshots.root, "restore", str(name)) as entry:
        entry.details["into"] = str(place)
        with target.snapshots.hold():
            entry.hash = _restored(target.snapshots, name, place)
    print(f"{place}: restored from {name}")
    before = place.with_name(place.name + BEFORE)
    if before.exists():
        print(f"{before}: the one before it")
    return 0


def _restored(folder: SnapshotFolder, name: SnapshotName, place: Path) -> str:
    from ops.snapshots.restore import restore_recovery, restore_sqlite

    if name.kind == RECOVERY:
        return restore_recovery(folder, name, place)
    return restore_sqlite(folder, name, place)
