"""One run of a configuration in this process: locks, recovery store, engine."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from flows.folder_lock import FolderLock

if TYPE_CHECKING:
    from configs.load import Loaded
    from sinks.files.result_following import ResultFollowing

STOPPED = "Stopped on request: all received events are written; nothing is pending."
PAUSED = "Stopped on request: the same command resumes from here, without repetition."


def execute(
    config: Path | Loaded,
    recover: Path | None = None,
    snapshot_s: float = 10.0,
    *,
    progress: bool = True,
    from_earliest: bool = False,
) -> Path:
    """Run a configuration in this process, to its end or to Ctrl-C, which drains the flow.

    A run owns the process: signal handlers and standard error are replaced, and restored at the
    end.

    Parameters
    ----------
    config : Path or Loaded
        The YAML file, or its content.
    recover : Path, optional
        Folder of the recovery store: created if missing, else resumed from. A damaged store, or
        one that others may write to, is refused.
    snapshot_s : float
        Interval of snapshots (s).
    progress : bool
        Report the progress of a replay on standard error.
    from_earliest : bool
        Go on behind offsets of a topic that were deleted, and count them.

    Returns
    -------
    Path
        Folder of the results.

    Raises
    ------
    ConfigError, InUseError, RecordingsError, FirstPassError, TopicError
        The start was refused.
    FirstPassStoppedError, TopicStoppedError
        A stop was requested in the first of two passes, or before a topic was there.
    RunFailedError
        An error ended the run.
    """
    from bytewax._bytewax import cli_main
    from bytewax.recovery import RecoveryConfig

    from configs.files import ACCESS
    from configs.load import Loaded, load
    from flows.failure import watched
    from flows.fusion import build, followed
    from flows.store import Store
    from sources.host import stderr
    from sources.host.signal_shutdown import SignalShutdown

    loaded = config if isinstance(config, Loaded) else load(config)
    output = loaded.config.output
    folder = Path(output.dir)
    lock = FolderLock(folder, ACCESS[output.mode])
    shutdown, store, clean = SignalShutdown(), None, False
    followers: list[ResultFollowing] = []
    try:
        with watched(folder, ACCESS[output.mode], recover, shutdown):
            try:
                stderr.install()
                followers = followed(loaded.config)
                store = Store(recover) if recover is not None else None
                dataflow = build(
                    loaded,
                    shutdown,
                    progress=progress,
                    keep=store is not None,
                    store=store,
                    followers=followers,
                    from_earliest=from_earliest,
                )
                recovery = None
                if recover is not None:
                    recovery = RecoveryConfig(recover, datetime.timedelta(0))
                cli_main(
                    dataflow,
                    workers_per_process=1,
                    epoch_interval=datetime.timedelta(seconds=snapshot_s),
                    recovery_config=recovery,
                )
                clean = True
                if shutdown.requested():
                    print(STOPPED if recover is None else PAUSED, file=sys.stderr)
            finally:
                stderr.uninstall()
                shutdown.close()
                if store is not None:
                    store.release()
    finally:
        for follower in followers:
            follower.finish(clean=clean)
        lock.leave()
    return folder
