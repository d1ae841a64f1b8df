"""The run's side of the follower: a consumer that starts it, restarts it, and lets it finish.

The flow never waits for the follower, and no error of the follower ends the run. After the run, the
follower takes in the rest.

Cost: a look at the clock a batch, and one write in two seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from math import inf
from pathlib import Path

import msgspec

from configs.outputs import StoreConfig
from configs.schema import Config
from operators.records import Packet
from sinks.files.parts import part_folder
from sinks.files.progress import settle
from sinks.history.back_end import AwayError
from sinks.history.follower import FollowSettings
from sinks.history.open_store import opened
from sinks.send.child_process import ChildProcess

_BEAT_S = 2.0


def settings_of(config: Config, store: StoreConfig) -> FollowSettings:
    """Return the settings of the follower of a configuration."""
    folders = (part_folder(config.output, number) for number in range(config.output.parts))
    return FollowSettings(
        store.dsn,
        tuple(str(folder) for folder in folders),
        config.output.mode,
        store.keep_d,
        store.minutes_d,
        store.every_s,
    )


class Following:
    """The follower of one run.

    Parameters
    ----------
    config : Config
        With a store.
    store : StoreConfig

    Raises
    ------
    HistoryError
        The store is foreign, newer or damaged. One that is away is no error.
    """

    missed = 0

    def __init__(self, config: Config, store: StoreConfig) -> None:
        self._settings = settings_of(config, store)
        self._line = msgspec.json.encode(self._settings) + b"\n"
        self._process = ChildProcess("sinks.history.follow_process", (), packages=True, end_s=None)
        self._beat_at = -inf
        _check(store.dsn)

    def start(self, rig: str | None = None) -> None:
        """Start the process."""
        self._process.start()
        self._beat()

    def consume(self, packets: list[Packet]) -> None:
        """Start the process again if it was killed."""
        if time.monotonic() - self._beat_at >= _BEAT_S:
            self._beat()

    def abort(self) -> None:
        """Do nothing: the process ends with this one's end of the pipe."""

    def stop(self) -> None:
        """Do nothing: the rest is taken in after the files have ended."""

    def finish(self, *, clean: bool) -> None:
        """Wait until the follower has taken in the rest; Ctrl-C leaves it for the next run.

        Parameters
        ----------
        clean : bool
            The run ended without an error, and its last snapshot is stored.
        """
        if clean:
            for folder in self._settings.folders:
                settle(Path(folder))
        try:
            self._process.stop()
        except KeyboardInterrupt:
            if self._process.pid is not None:
                os.kill(self._process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.stop()
            print("lumen: store: the rest is left for the next run", file=sys.stderr)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._process.write(self._line)


def _check(dsn: str) -> None:
    """Refuse a file that is no store of this project, before anything starts."""
    if dsn.startswith("sqlite:") and Path(dsn.removeprefix("sqlite:")).exists():
        try:
            opened(dsn, read_only=True).close()
        except AwayError:
            return
