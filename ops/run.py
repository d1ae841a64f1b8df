"""`lumen run`: one configuration from start to end, with a summary after it."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from pathlib import Path

from ops.summary import summary
from ops.turn import Turn

STOPPED = "Stopped on request: what had come by then is written, and nothing waits."
PAUSED = "Stopped on request: the same command goes on from here, and repeats nothing."


def execute(
    config: Path,
    recover: Path | None = None,
    snapshot_s: float = 10.0,
    *,
    progress: bool = True,
) -> Path:
    """Run a configuration in this process, to its end or to Ctrl-C, which drains.

    Parameters
    ----------
    config : Path
        The YAML file; faults in it end the process with code 2.
    recover : Path, optional
        Folder of the recovery store: made when missing, resumed from when there, refused where
        it is damaged or not this user's alone.
    snapshot_s : float
        Seconds between two snapshots.
    progress : bool
        Tell on standard error how far a replay has come.

    Returns
    -------
    Path
        Folder of the results.

    Raises
    ------
    SystemExit
        Code 2: something was refused before the run. Code 1: an error ended it. It has been
        reported in three lines.
    """
    from bytewax._bytewax import cli_main
    from bytewax.recovery import RecoveryConfig

    from configs.files import ACCESS
    from configs.load import load_or_exit
    from flows import store
    from flows.failure import watched
    from flows.fusion import flow
    from sources import stop

    output = load_or_exit(config).config.output
    folder = Path(output.dir)
    turn = Turn(folder, ACCESS[output.mode])
    try:
        with watched(folder, ACCESS[output.mode], recover):
            stop.set_recovering(recover is not None, recover)
            try:
                dataflow = flow(str(config), progress=progress)
                recovery = None
                if recover is not None:
                    recovery = RecoveryConfig(recover, datetime.timedelta(0))
                cli_main(
                    dataflow,
                    workers_per_process=1,
                    epoch_interval=datetime.timedelta(seconds=snapshot_s),
                    recovery_config=recovery,
                )
                if stop.requested():
                    print(STOPPED if recover is None else PAUSED, file=sys.stderr)
            finally:
                stop.reset()
                store.let_go()
    finally:
        turn.leave()
    return folder


def show(folder: Path) -> None:
    """Print what a run in `folder` came to; a reader who is gone is no fault of the run."""
    try:
        print(*summary(folder), sep="\n\n", flush=True)
    except BrokenPipeError:
        with Path(os.devnull).open("wb") as nowhere:  # what is left in the buffer goes at the exit
            os.dup2(nowhere.fileno(), sys.stdout.fileno())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `lumen run` takes."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="a YAML file")
    add_recovery(parser)


def add_recovery(parser: argparse.ArgumentParser) -> None:
    """Declare how a run is made resumable."""
    parser.add_argument(
        "--recover", type=Path, metavar="DIR",
        help="keep state here, and go on from it when started again; keep others out of it",
    )  # fmt: skip
    parser.add_argument(
        "--snapshot-s", type=float, default=10.0, metavar="S",
        help="seconds between two snapshots of it; default %(default)s",
    )  # fmt: skip


def add_mode(parser: argparse.ArgumentParser) -> None:
    """Declare the mode of a run over bare recordings."""
    modes = parser.add_mutually_exclusive_group()
    modes.add_argument(
        "--hindsight", dest="mode", action="store_const", const="hindsight",
        help="two passes: clocks and lags of the whole recording; default, but for tapes",
    )  # fmt: skip
    modes.add_argument(
        "--causal", dest="mode", action="store_const", const="causal",
        help="one pass: at each moment what a live run would have known by then",
    )  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Run a configuration and show the summary."""
    show(execute(args.config, args.recover, args.snapshot_s))
    return 0
