"""The announcer in a process of its own, and the run's end of the pipe to it.

Every host of a network can send multicast DNS. The work and memory that it costs are in this
process, so that no announcement of others can slow the flow. The process ends at the end of the
pipe, and withdraws its services first.

Cost: 30 MiB and a look every `LOOK_S`.
"""

from __future__ import annotations

import json
import signal
import sys

from sinks.discovery.service_record import ServiceRecord
from sinks.processes.child_process import ChildProcess
from sinks.processes.pipes import PipeReader

LOOK_S = 5.0
_END_S = 4.0
"""Time to withdraw the services: a second, and two more in the middle of an announcement."""


class AnnounceProcess:
    """The run's end of the pipe.

    Parameters
    ----------
    records : list of ServiceRecord
    server : str
        Host name to announce, without the domain.
    """

    def __init__(self, records: list[ServiceRecord], server: str) -> None:
        self._child = ChildProcess(
            __name__, (server, json.dumps(records)), packages=True, end_s=_END_S
        )

    def start(self) -> None:
        """Start the process."""
        self._child.start()

    def stop(self) -> None:
        """Withdraw the services, and end the process; may be called twice."""
        self._child.stop()


class RunPipe:
    """The announcer's end of the pipe, which carries nothing but its end."""

    def __init__(self, number: int) -> None:
        self._pipe = PipeReader(number)
        self.ended = False

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the run, at most this long (s); return whether it has ended."""
        if not self.ended:
            self.ended = self._pipe.read(seconds) == b""
        return self.ended


def main() -> None:
    """Announce until the end of standard input."""
    for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, signal.SIG_IGN)  # signals are for the run, which closes the pipe
    server, records = sys.argv[1:]
    pipe = RunPipe(sys.stdin.fileno())
    from sinks.discovery.announcer import Announcer  # an extra

    announcer = Announcer(
        [ServiceRecord(*record) for record in json.loads(records)],
        server,
        lambda line: print(f"lumen: discovery: {line}", file=sys.stderr, flush=True),
        lambda: pipe.wait(0.0),
    )
    try:
        while not pipe.ended:
            announcer.look()
            pipe.wait(LOOK_S)
    finally:
        announcer.close()


if __name__ == "__main__":
    main()
