"""`lumen snapshot`: a checked copy of the history, or of the recovery store of a run at rest."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from ops.snapshots.audit import audited
from ops.snapshots.faults import SnapshotError, of_disk
from ops.snapshots.snapshot import Copy, take
from ops.snapshots.targets import Target, add_target, target_of
from ops.text.table import table
from sinks.snapshots.listing import ListedSnapshot, listed
from sinks.snapshots.names import RECOVERY, Kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen snapshot`."""
    add_target(parser, recovery=True)
    parser.add_argument("--list", action="store_true", help="list the snapshots; take none")


def main(args: argparse.Namespace) -> int:
    """Take a snapshot, or list those there are.

    Returns
    -------
    int
        0; 1 where the copy fails its check; 2 where it is refused.
    """
    target = target_of(args, needs_store=args.recovery is None and not (args.list and args.dir))
    if args.list:
        print(_table(listed(target.snapshots.root)))
        return 0
    kind, copy = _source(target)
    with of_disk(), audited(target.snapshots.root, "snapshot") as entry:
        taken = take(target.snapshots, kind, copy, entry)
    print(f"{target.snapshots.path(taken.name)}  {taken.bytes:,} bytes  sha256 {taken.hash}")
    if taken.clock:
        print(
            f"lumen: {taken.clock} is newer: the clock was set back, or was ahead then",
            file=sys.stderr,
        )
    return 0


def _source(target: Target) -> tuple[Kind, Copy]:
    if target.recovery is not None:
        from ops.snapshots.recovery_copy import copy_of_recovery

        return RECOVERY, partial(copy_of_recovery, target.recovery)
    if target.sqlite is not None:
        return "sqlite", partial(_problem, target.sqlite)
    raise SnapshotError("snapshots of PostgreSQL are not part of this version")


def _problem(store: Path, draft: Path) -> str | None:
    from ops.snapshots.sqlite_copy import copy_of_sqlite

    return copy_of_sqlite(store, draft)[1]


def _table(found: list[ListedSnapshot]) -> str:
    if not found:
        return "no snapshots"
    rows = [
        (each.name, f"{each.bytes:,}", (each.sha256 or "-")[:16], "yes" if each.checked else "no")
        for each in found
    ]
    return table(("snapshot", "bytes", "sha256", "checked"), rows)
