"""The output of a run: hands each packet to a list of consumers (files, notices, exporter, send).

Each part of the output feeds all consumers, in the order of its packets. They start in the order
of the list; packets and stops go in reverse, so that no note waits for a disk. The snapshot is that
of the files: the others begin anew when a run resumes. A rig is in one part, written by the process
that has its stations. Parts of one process share the consumers beside files and notices.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from configs.schema import Config
from operators.engine import route
from operators.records import Packet
from operators.snapshot import decode_state, encode_state
from operators.types import State
from sinks.advice.notices import Notices
from sinks.files import parts
from sinks.files.result_files import ResultFiles
from sinks.files.run_summary import RunSummary, no_remarks, none_lost


def preflight(config: Config) -> None:
    """Refuse an output folder in use, or with files that no run wrote, before anything starts.

    Raises
    ------
    FolderError
        The folder cannot be used. Nothing has been changed.
    """
    parts.check(config.output)


class Consumer(Protocol):
    """One destination of packets."""

    @property
    def missed(self) -> int:
        """Batches that it failed to take, with the run going on."""

    def start(self, rig: str | None = None) -> None:
        """Begin, before the first packet. `rig` is the run's only rig, else the configured one."""

    def consume(self, packets: list[Packet]) -> None:
        """Take one batch of packets. An exception ends the run."""

    def abort(self) -> None:
        """Prepare for an abort of the process; lasts under a second."""

    def stop(self) -> None:
        """End, after the last packet."""


class Output(FixedPartitionedSink[Packet, bytes]):
    """The output step of the flow.

    Parameters
    ----------
    config : Config
        Of the run.
    rigs : tuple of str
        Known before the run. If it is one, its files lie in `output.dir` itself; all others
        have a folder each.
    path : str or None
        The configuration's file.
    fingerprint : str
        Of the configuration.
    keep : bool
        Recovery is on.
    consumers : sequence of Consumer
        Consumers beside the files and the notices: the exporter, the destinations of `send`.
    remarks : callable
        Returns the remarks on a recording, given its path; a sentence each.
    messages_lost : callable
        Returns the number of messages that standard error did not accept, and the reason.
    topic : callable, optional
        Returns the topic of the run with its partitions, for `run.json`.
    """

    def __init__(
        self,
        config: Config,
        rigs: tuple[str, ...],
        path: str | None,
        fingerprint: str,
        keep: bool,
        consumers: Sequence[Consumer] = (),
        remarks: Callable[[str], list[str]] = no_remarks,
        messages_lost: Callable[[], tuple[int, str | None]] = none_lost,
        topic: Callable[[], Mapping[str, object]] | None = None,
    ) -> None:
        self.config = config
        self.rigs = rigs or (config.rig,)
        self.fingerprint = fingerprint
        self.keep = keep
        many = config.output.parts > 1
        self.consumers = [SharedConsumer(each) if many else each for each in consumers]
        self.summary = RunSummary(config, path, remarks, messages_lost, topic)
        self.parts: list[OutputPartition] = []

    def abort(self) -> None:
        """Mark the run as aborted in `run.json`, and end all notes."""
        for part in self.parts:
            part.abort()

    def list_parts(self) -> list[str]:
        """Return the constant names, in the order of the numbers."""
        count = self.config.output.parts
        return ["out"] if count == 1 else [f"out-{number:02d}" for number in range(count)]

    def part_fn(self, item_key: str) -> int:
        """Return the number of a rig's part, modulo the number of parts."""
        return route(item_key)

    def build_part(
        self, step_id: str, for_part: str, resume_state: bytes | None
    ) -> OutputPartition:
        """Begin anew, or resume from a snapshot."""
        state = None
        if resume_state is not None:
            state = decode_state(resume_state, "output", self.fingerprint)
        part = OutputPartition(self, self.list_parts().index(for_part), state)
        self.parts.append(part)
        return part


class SharedConsumer:
    """A consumer that several parts of one process share: it starts and stops once.

    Workers are threads: one part at a time has the consumer.
    """

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._users = 0
        self._lock = threading.Lock()

    @property
    def missed(self) -> int:
        """Batches that the consumer failed to take."""
        return self._consumer.missed

    def start(self, rig: str | None = None) -> None:
        """Begin with the first part."""
        with self._lock:
            self._users += 1
            if self._users == 1:
                self._consumer.start(rig)

    def consume(self, packets: list[Packet]) -> None:
        """Take one batch of packets of a part."""
        with self._lock:
            self._consumer.consume(packets)

    def abort(self) -> None:
        """Prepare for an abort of the process."""
        self._consumer.abort()

    def stop(self) -> None:
        """End with the last part."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._consumer.stop()


class OutputPartition(StatefulSinkPartition[Packet, bytes]):
    """All consumers of one part of the output while it runs."""

    def __init__(self, output: Output, number: int, state: State | None) -> None:
        self._keep, self._fingerprint = output.keep, output.fingerprint
        count = output.config.output.parts
        self.files = ResultFiles(
            output.config,
            [rig for rig in output.rigs if count == 1 or route(rig) % count == number],
            output.summary,
            part=number,
            durable=output.keep,
            resumed=state,
            batches_not_shown=lambda: sum(consumer.missed for consumer in output.consumers),
        )
        self._consumers: list[Consumer] = [self.files, Notices(output.config), *output.consumers]
        try:
            for consumer in self._consumers:
                consumer.start(self.files.home or output.config.rig)
        except BaseException:
            self.files.folder.release()
            raise

    def write_batch(self, values: list[Packet]) -> None:
        """Hand the packets to each consumer."""
        for consumer in reversed(self._consumers):
            consumer.consume(values)

    def snapshot(self) -> bytes:
        """Return the state of the files, once all earlier lines are on the disk."""
        state = self.files.snapshot()
        return encode_state(state, "output", self._fingerprint) if self._keep else b""

    def abort(self) -> None:
        """Abort each consumer, the files first."""
        for consumer in self._consumers:
            consumer.abort()

    def close(self) -> None:
        """Stop each consumer, the files last."""
        for consumer in reversed(self._consumers):
            consumer.stop()
