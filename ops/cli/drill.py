"""`lumen drill`: rehearse a restore in a scratch folder, and time it; the store is not touched."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ops.cli.bounded_number import bounded_number
from ops.snapshots.audit import audited
from ops.snapshots.drill import MIN_EVERY_S, drilling, rehearse_flow, rehearse_store, timed
from ops.snapshots.faults import SnapshotError, of_disk
from ops.snapshots.targets import CONFIG, Target, add_target, target_of
from ops.text.table import table
from sinks.snapshots.drills import DRILL
from sinks.snapshots.names import SnapshotName

MAX_EVERY_H = 8760.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `lumen drill`."""
    add_target(parser, recovery=True)
    parser.add_argument(
        "--every-h",
        type=_hours,
        default=1.0,
        metavar="H",
        help="refuse where the last drill ended less than H hours ago; default and least 1",
    )


def _hours(text: str) -> float:
    return bounded_number(text, MIN_EVERY_S / 3600, MAX_EVERY_H, "a number of hours, at least 1")


def main(args: argparse.Namespace) -> int:
    """Drill.

    Returns
    -------
    int
        0; 1 where a part fails; 2 where it is refused.
    """
    target = target_of(args)
    path = args.config or (Path(os.environ[CONFIG]) if os.environ.get(CONFIG) else None)
    if target.recovery is not None and path is None:
        raise SnapshotError("a flow needs its configuration: give CONFIG beside --recovery")
    parts = drill(target, _newest(target), path, args.every_h * 3600)
    print(table(("part", "s"), [(name, f"{seconds:.2f}") for name, seconds in parts.items()]))
    if target.recovery is None:
        print("no flow was resumed: --recovery DIR names the recovery store of the run")
    return 0


def _newest(target: Target) -> SnapshotName:
    names = target.snapshots.names("sqlite")
    if not names:
        raise SnapshotError(
            f"{target.snapshots.root}: there are no snapshots; `lumen snapshot` takes one"
        )
    return names[-1]


def drill(
    target: Target, name: SnapshotName, config: Path | None, every_s: float
) -> dict[str, float]:
    """Rehearse the restore of a snapshot; return the seconds of each part.

    Raises
    ------
    LumenError
        A part failed, or the drill was refused.
    """
    parts: dict[str, float] = {}
    folder = target.snapshots
    with (
        of_disk(),
        drilling(folder, every_s) as scratch,
        audited(folder.root, DRILL, str(name)) as entry,
    ):
        entry.details["parts"] = parts
        entry.hash = rehearse_store(folder, name, scratch, parts)
        recovery = target.recovery
        if recovery is not None and config is not None:
            timed(parts, "flow", lambda: rehearse_flow(config, recovery, scratch))
    return parts
