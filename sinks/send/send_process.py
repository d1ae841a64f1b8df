"""A player of OSC in a process of its own, and the run's end of the pipe to it.

A thread beside a flow gets the interpreter only when the flow's thread has the processor and lets
go; on a machine that is too busy that is too seldom for an even rhythm. A process of one thread
that mostly sleeps holds its rate where the flow falls behind: exactly where it may have real-time
priority (`ulimit -r`, as audio programs have it, or root), else as well as the scheduler lets it.

Each line on the pipe is a JSON object of the newest values by address. The pipe's end ends it, so
that it never outlives the run. A line that does not fit into the pipe replaces those that wait.

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
_AGAIN_S = 1.0
_END_S = 2.0
_READ = 1 << 16
_NICE = -10


class SendProcess:
    """The run's end.

    Parameters
    ----------
    name : str
    rate_hz : float
    to : str
        `host:port`.
    stands_s : float
        As of `SendWorker`.
    """

    def __init__(self, name: str, rate_hz: float, to: str, stands_s: float) -> None:
        self.name = name
        self._arguments = (name, repr(rate_hz), to, repr(stands_s))
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = -inf
        self._rest = b""
        self._line = b""

    def start(self) -> None:
        """Start the process."""
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            (sys.executable, "-S", "-P", "-m", __name__, *self._arguments),
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0,
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
        )  # fmt: skip
        assert self._process.stdin is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        self._rest = b""
        self._relay = threading.Thread(target=_relay, args=(self._process.stderr,), daemon=True)
        self._relay.start()

    def put(self, values: dict[str, float]) -> None:
        """Let these be what is played next; never waits."""
        if self._process is None:
            return
        self._line = json.dumps(values).encode() + b"\n"
        try:
            self._write()
        except OSError:  # it was ended by somebody else
            if time.monotonic() - self._begun >= _AGAIN_S:
                self._end()
                self.start()
                with suppress(OSError):
                    self._write()

    def _write(self) -> None:
        """Write the rest of a line that was begun, then the newest one, as far as there is room."""
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
        """End it; may be called twice."""
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
    """Pass the player's lines on: this process knows where its standard error is just now."""
    with lines:
        for line in lines:
            with suppress(OSError, ValueError):
                sys.stderr.write(line.decode("utf-8", "replace"))


class Piped(SendWorker):
    """The player at the other end: it waits on the pipe instead of a lock."""

    def __init__(self, name: str, rate_hz: float, to: str, stands_s: float, pipe: int) -> None:
        super().__init__(name, rate_hz, OscOutput(to), stands_s)
        self._pipe = pipe
        self._rest = b""

    def _next(self, due: float, ends: float) -> dict[str, float] | None:
        self._wait(0.0)
        return super()._next(due, ends)

    def _wait(self, seconds: float) -> None:
        """Read what the pipe has, for so long at most; its end is that of the player."""
        if not select.select([self._pipe], [], [], max(seconds, 0.0))[0]:
            return
        data = os.read(self._pipe, _READ)
        self._stopped = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self.put(json.loads(lines[-1]))


def _hurry() -> None:
    """Go before what is not urgent, as far as this machine allows it."""
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
        return
    with suppress(OSError, AttributeError):
        os.nice(_NICE)


def main() -> None:
    """Play the newest line of standard input until its end."""
    # A signal to the group or the unit means the run, which ends the pipe when it is done.
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)
    _hurry()
    name, rate_hz, to, stands_s = sys.argv[1:]
    Piped(name, float(rate_hz), to, float(stands_s), sys.stdin.fileno()).run()


if __name__ == "__main__":
    main()
