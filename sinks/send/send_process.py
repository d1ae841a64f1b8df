"""The OSC worker in a process of its own, and the run's end of the pipe to it.

Each line on the pipe is a JSON object of the newest values by address. A line that does not fit
into the pipe is replaced by a newer one. For the reasons of a process see `child_process`.

Cost: 10 MiB, and one write a packet. State: the newest values.
"""

from __future__ import annotations

import json
import sys

from sinks.send.child_process import ChildProcess, begin_child
from sinks.send.destination import OutputDevice
from sinks.send.osc_tcp import SLIP, osc_output
from sinks.send.pipes import PipeReader
from sinks.send.send_worker import SendWorker


class SendProcess:
    """The run's end of the pipe.

    Parameters
    ----------
    name : str
    rate_hz : float
    to : str
        `host:port` or `tcp://host:port`.
    repeat_s : float
        As of `SendWorker`.
    framing : str
        Over TCP.
    """

    def __init__(
        self, name: str, rate_hz: float, to: str, repeat_s: float, framing: str = SLIP
    ) -> None:
        self.name = name
        self._child = ChildProcess(__name__, (name, repr(rate_hz), to, repr(repeat_s), framing))
        self._line = b""

    def start(self) -> None:
        """Start the process."""
        self._child.start()

    def put(self, values: dict[str, float]) -> None:
        """Replace the values to send next; never waits."""
        self._child.write(json.dumps(values).encode() + b"\n")

    def end_notes(self) -> None:
        """Do nothing: OSC has no notes."""

    def stop(self) -> None:
        """End the process; may be called twice."""
        self._child.stop()


class PipedWorker(SendWorker):
    """The worker at the other end: it waits on the pipe instead of a lock."""

    def __init__(
        self, name: str, rate_hz: float, device: OutputDevice, repeat_s: float, pipe: int
    ) -> None:
        super().__init__(name, rate_hz, device, repeat_s)
        self._pipe = PipeReader(pipe)
        self._rest = b""

    def _next(self, due: float, ends: float) -> dict[str, float] | None:
        self._wait(0.0)
        return super()._next(due, ends)

    def _wait(self, seconds: float) -> None:
        """Read the pipe, waiting at most this long (s); the worker stops at its end."""
        data = self._pipe.read(seconds)
        if data is None:
            return
        self._stopped = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self.put(json.loads(lines[-1]))


def main() -> None:
    """Send the newest line of standard input until its end."""
    begin_child()
    name, rate_hz, to, repeat_s, framing = sys.argv[1:]
    device = osc_output(to, framing)
    PipedWorker(name, float(rate_hz), device, float(repeat_s), sys.stdin.fileno()).run()


if __name__ == "__main__":
    main()
