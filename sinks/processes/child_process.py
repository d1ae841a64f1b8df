"""A process beside the flow that sends in its own time, and the run's end of the pipe to it.

A thread beside the flow gets the interpreter only when the flow's thread releases it. On an
overloaded machine that is too seldom for an even rhythm. A process of one thread that mostly
sleeps holds its rhythm where the flow falls behind. The rhythm is exact with real-time priority
(`ulimit -r`, as audio programs have it, or root); else it depends on the scheduler.

The process ends at the end of the pipe, so that it never outlives the run.

Cost: 10 MiB, and one write a line.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import IO

from sinks.processes.pipes import PipeWriter

_ROOT = Path(__file__).resolve().parents[__name__.count(".")]
"""The folder that the package lies in: the checkout, or `site-packages`."""
_RESTART_S = 1.0
_END_S = 2.0
_NICE = -10


class ChildProcess:
    """The run's end of the pipe.

    Parameters
    ----------
    module : str
        Started by `python -m`.
    arguments : tuple of str
    reports : callable, optional
        Gets each line that the process writes to its standard output, in a thread.
    ended : callable, optional
        Called after the last report of a killed process, before it is started again.
    packages : bool
        Installed packages can be imported; else the standard library alone, which starts faster.
    end_s : float or None
        The process is killed if it does not end so long after the end of the pipe (s).
    """

    def __init__(
        self,
        module: str,
        arguments: tuple[str, ...],
        reports: Callable[[bytes], None] | None = None,
        ended: Callable[[], None] | None = None,
        packages: bool = False,
        end_s: float | None = _END_S,
    ) -> None:
        options = ("-P",) if packages else ("-S", "-P")
        self._command = (sys.executable, *options, "-m", module, *arguments)
        self._reports, self._ended, self._end_s = reports, ended, end_s
        self._process: subprocess.Popen[bytes] | None = None
        self._relays: list[threading.Thread] = []
        self._begun = -inf
        self._rest = b""

    @property
    def pid(self) -> int | None:
        """Process id, None where there is none."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process."""
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=None if self._reports is None else subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        assert self._process.stdin is not None
        self._pipe = PipeWriter(self._process.stdin.fileno(), self._process.stdin.close)
        self._rest = b""
        self._relays = [_relayed(self._process.stderr, _to_stderr)]
        if self._reports is not None:
            self._relays.append(_relayed(self._process.stdout, self._reports))

    def write(self, line: bytes) -> bool:
        """Write a line after the rest of the one before; never waits.

        Returns
        -------
        bool
            Whether the line was begun: a full pipe takes none. A killed process is started again.
        """
        if self._process is None:
            return False
        try:
            return self._write(line)
        except OSError:  # the process was killed
            if time.monotonic() - self._begun < _RESTART_S:
                return False
            self._end()
            if self._ended is not None:
                self._ended()
            self.start()
            with suppress(OSError):
                return self._write(line)
            return False

    def _write(self, line: bytes) -> bool:
        if self._rest:
            self._rest = self._rest[self._pipe.write(self._rest) :]
        if self._rest:
            return False
        written = self._pipe.write(line)
        if not written:
            return False
        self._rest = line[written:]
        return True

    def stop(self) -> None:
        """End the process; may be called twice."""
        if self._process is not None:
            self._end()
            self._process = None

    def _end(self) -> None:
        process = self._process
        assert process is not None
        with suppress(OSError):
            self._pipe.close()
        try:
            process.wait(self._end_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for relay in self._relays:
            relay.join()


def _relayed(lines: IO[bytes] | None, to: Callable[[bytes], None]) -> threading.Thread:
    thread = threading.Thread(target=_relay, args=(lines, to), daemon=True)
    thread.start()
    return thread


def _relay(lines: IO[bytes], to: Callable[[bytes], None]) -> None:
    with lines:
        for line in lines:
            to(line)


def _to_stderr(line: bytes) -> None:
    """Copy a line of the process to this one's standard error, which may be replaced."""
    with suppress(OSError, ValueError):
        sys.stderr.write(line.decode("utf-8", "replace"))


def begin_child() -> None:
    """Prepare a process of its own: signals are for the run, the priority is raised.

    A signal to the process group or unit is for the run, which closes the pipe at its end.
    """
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return
    with suppress(OSError, AttributeError):
        os.nice(_NICE)
