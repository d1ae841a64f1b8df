"""The consumer that prints notices: notes of the stations, and streams that are mostly refused."""

from __future__ import annotations

import sys
import time

from configs.schema import Config
from operators.records import Packet
from operators.unusable import UnusableStreams
from sinks.advice.unusable_streams import AFTER_ARRIVAL, count


class Notices:
    """Lines on standard error while a run runs.

    Parameters
    ----------
    config : Config
    """

    missed = 0

    def __init__(self, config: Config) -> None:
        self._config = config
        self._refusals = UnusableStreams()

    def start(self, rig: str | None = None) -> None:
        """Do nothing."""

    def consume(self, packets: list[Packet]) -> None:
        """Print the notes of the packets; in a live run, also the streams that are refused."""
        for packet in packets:
            for source, _, note in packet.notes:
                print(f"lumen: {source}: {note}", file=sys.stderr)
        if self._config.live:
            self._report_refused(packets)

    def abort(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""

    def _report_refused(self, packets: list[Packet]) -> None:
        """Report streams whose events are mostly late or wild; the sources report the others."""
        now = time.monotonic()
        for packet in packets:
            count(self._refusals, packet, now, self._config.stream_of)
        for refusal in self._refusals.due(now):
            if refusal.reasons[0][0] in AFTER_ARRIVAL:
                print(f"lumen: {refusal.stream}: {refusal.text()}", file=sys.stderr)
