"""The run's side of a follower of its files: it starts, restarts it, and lets it finish.

The flow never waits for a follower, and no error of a follower ends the run. After the run, the
follower takes in the rest.

Cost: a look at the clock a batch, and one write in two seconds.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Sequence
from math import inf
from pathlib import Path

from operators.records import Packet
from sinks.files.progress import settle
from sinks.send.child_process import ChildProcess

_BEAT_S = 2.0


class ResultFollowing:
    """The follower of one run, a consumer of the output.

    Parameters
    ----------
    title : str
        Of the follower, for messages.
    module : str
        That runs as the follower.
    settings : bytes
        A line that the follower reads first.
    folders : sequence of str
        Output folders, one a part of the output.
    """

    missed = 0

    def __init__(self, title: str, module: str, settings: bytes, folders: Sequence[str]) -> None:
        self._title, self._line, self._folders = title, settings, folders
        self._process = ChildProcess(module, (), packages=True, end_s=None)
        self._beat_at = -inf

    def start(self, rig: str | None = None) -> None:
        """Start the process; where the machine has none left, later."""
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
            for folder in self._folders:
                settle(Path(folder))
        try:
            self._process.stop()
        except KeyboardInterrupt:
            if self._process.pid is not None:
                os.kill(self._process.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
            self._process.stop()
            print(f"lumen: {self._title}: the rest is left for the next run", file=sys.stderr)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        try:
            if self._process.pid is None:
                self._process.start()
            self._process.write(self._line)
        except OSError as error:
            message = f"lumen: {self._title}: the follower cannot be started: {error}"
            print(message, file=sys.stderr)
