"""The OSC worker in a process of its own, and the run's end of the pipe to it.

A thread beside the flow gets the interpreter only when the flow's thread releases it. On an
overloaded machine that is too seldom for an even rhythm. A process of one thread that mostly
sleeps holds its rate where the flow falls behind. The rate is exact with real-time priority
(`ulimit -r`, as audio programs have it, or root); else it depends on the scheduler.

Each line on the pipe is a JSON object of the newest values by address. The process ends at the
end of the pipe, so that it never outlives the run. A line that does not fit into the pipe replaces
the waiting one.

Cost: 10 MiB, and one write a packet. State: the newest values.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import IO

from sinks.send.destination import OscOutput
from sinks.send.send_worker import SendWorker

_ROOT = Path(__file__).resolve().parents[__name__.count(".")]
"""The folder that the package lies in: the checkout, or `site-packages`."""
_RESTART_S = 1.0
_END_S = 2.0
_READ = 1 << 16
_NICE = -10


class SendProcess:
    """The run's end of the pipe.

    Parameters
    ----------
    name : str
    rate_hz : float
    to : str
        `host:port`.
    repeat_s : float
        As of `SendWorker`.
    """

    def __init__(self, name: str, rate_hz: float, to: str, repeat_s: float) -> None:
        self.name = name
        self._arguments = (name, repr(rate_hz), to, repr(repeat_s))
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = -inf
        self._rest = b""
        self._line = b""

    def start(self) -> None:
        """Start the process."""
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            (sys.executable, "-S", "-P", "-m", __name__, *self._arguments),
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._rest = b""
        self._relay = threading.Thread(target=_relay, args=(self._process.stderr,), daemon=True)
        self._relay.start()

    def put(self, values: dict[str, float]) -> None:
        """Replace the values to send next; never waits."""
        if self._process is None:
            return
        self._line = json.dumps(values).encode() + b"\n"
        try:
            self._write()
        except OSError:  # the process was killed
            if time.monotonic() - self._begun >= _RESTART_S:
                self._end()
                self.start()
                with suppress(OSError):
                    self._write()

    def _write(self) -> None:
        """Write the rest of a begun line, then the newest one, as far as the pipe has room."""
        assert self._process is not None
        assert self._process.stdin is not None
        while data := self._rest or self._line:
            written = self._process.stdin.write(data)
            if not written:
                return
            if not self._rest:
                self._line = b""
            self._rest = data[written:]

    def stop(self) -> None:
        """End the process; may be called twice."""
        if self._process is not None:
            self._end()
            self._process = None

    def _end(self) -> None:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with suppress(OSError):
            process.stdin.close()
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._relay.join()


def _relay(lines: IO[bytes]) -> None:
    """Copy the worker's lines to this process's standard error, which may be replaced."""
    with lines:
        for line in lines:
            with suppress(OSError, ValueError):
                sys.stderr.write(line.decode("utf-8", "replace"))


class PipedWorker(SendWorker):
    """The worker at the other end: it waits on the pipe instead of a lock."""

    def __init__(self, name: str, rate_hz: float, to: str, repeat_s: float, pipe: int) -> None:
        super().__init__(name, rate_hz, OscOutput(to), repeat_s)
        self._pipe = pipe
        self._rest = b""

    def _next(self, due: float, ends: float) -> dict[str, float] | None:
        self._wait(0.0)
        return super()._next(due, ends)

    def _wait(self, seconds: float) -> None:
        """Read the pipe, waiting at most this long (s); the worker stops at its end."""
        if not select.select([self._pipe], [], [], max(seconds, 0.0))[0]:
            return
        data = os.read(self._pipe, _READ)
        self._stopped = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self.put(json.loads(lines[-1]))


def _raise_priority() -> None:
    """Raise this process's priority, as far as the system allows it."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return
    with suppress(OSError, AttributeError):
        os.nice(_NICE)


def main() -> None:
    """Send the newest line of standard input until its end."""
    # A signal to the process group or unit is for the run, which closes the pipe at its end.
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    _raise_priority()
    name, rate_hz, to, repeat_s = sys.argv[1:]
    PipedWorker(name, float(rate_hz), to, float(repeat_s), sys.stdin.fileno()).run()


if __name__ == "__main__":
    main()
