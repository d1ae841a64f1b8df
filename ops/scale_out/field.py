"""A field of rigs: messages of a topic, and its partitions as files of the same lines.

Each rig has one of a few simulated recordings, under its own name and at its own place in the
stream. A message is a block of whole lines of one rig, keyed by it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from operators.engine import route
from operators.rig_partition import partition_of
from ops.simulate.recording import make
from ops.simulate.scenario import Scenario, Sensor

TOPIC = "lumen.events"
BLOCK_LINES = 64
_NAME = "rig-000000"
"""The name in a pattern; names of rigs have its length."""
_RATES_HZ = (20.0, 25.0, 31.7, 50.0, 64.0)
SIGNALS = {
    "pulse": {
        "members": {f"s{i}:pulse": {"group": "sensors" if i else "ure"} for i in range(5)},
    }
}
_SEND_S = 120.0


def scenario(seconds: float, faults: bool) -> Scenario:
    """Return five streams, 190 events/s, each with a lag; with faults of clocks and lines."""
    sensors = tuple(
        Sensor(
            f"s{i}",
            "pulse",
            hz,
            "sensors" if i else "ure",
            offset_s=1.7 * i,
            skew_ppm=40.0 * i,
            lag_s=0.05 * i,
            noise=0.05,
            loss=0.02 if faults and i else 0.0,
            duplicates=3 if faults and i == 1 else 0,
            resets=((seconds / 2, 0.5),) if faults and i == 2 else (),
            outliers=0.01 if faults and i == 3 else 0.0,
            silent=((seconds / 3, seconds / 3 + 2.0),) if faults and i == 4 else (),
        )
        for i, hz in enumerate(_RATES_HZ)
    )
    return Scenario(seconds=seconds, sensors=sensors, rig=_NAME)


def even_names(rigs: int, partitions: int, processes: int = 1) -> list[str]:
    """Return names of rigs that deal evenly to partitions, and to the engine's processes."""
    room = dict.fromkeys(
        itertools.product(range(partitions), range(processes)),
        -(-rigs // (partitions * processes)),
    )
    names: list[str] = []
    for number in itertools.count():
        name = f"rig-{number:06d}"
        place = partition_of(name, partitions), route(name) % processes
        if room[place]:
            room[place] -= 1
            names.append(name)
        if len(names) == rigs:
            return names
    raise AssertionError


@dataclass
class RigField:
    """Rigs and their messages.

    Attributes
    ----------
    names : sequence of str
        Of the rigs, each `rig-` and six digits.
    partitions : int
    seconds : float
        Length of each recording.
    patterns : int
        Different recordings; rigs take them by turns.
    faults : bool
        The recordings have resets, losses, duplicates, outliers and silences.
    """

    names: Sequence[str]
    partitions: int
    seconds: float
    patterns: int = 8
    faults: bool = False
    lines: int = 0
    _blocks: list[list[bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for seed in range(min(self.patterns, len(self.names))):
            recording = make(scenario(self.seconds, self.faults), seed)
            lines = [f"{text}\n" for _, text in recording.lines()]
            blocks = ("".join(block) for block in _cut(lines, BLOCK_LINES))
            self._blocks.append([block.encode() for block in blocks])
        counts = [sum(block.count(b"\n") for block in blocks) for blocks in self._blocks]
        self.lines = sum(counts[n % len(counts)] for n in range(len(self.names)))

    def messages(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield rig, partition and lines of each message, rigs by turns."""
        rigs = [
            (name, partition_of(name, self.partitions), self._blocks[n % len(self._blocks)])
            for n, name in enumerate(self.names)
        ]
        for number in range(max(map(len, self._blocks))):
            for name, partition, blocks in rigs:
                if number < len(blocks):
                    yield name, partition, blocks[number].replace(_NAME.encode(), name.encode())

    def write(self, folder: Path) -> list[Path]:
        """Write each partition as a file; return their paths."""
        paths = [folder / f"{number:03d}.ndjson" for number in range(self.partitions)]
        files = [path.open("wb") for path in paths]
        try:
            for _, partition, lines in self.messages():
                files[partition].write(lines)
        finally:
            for file in files:
                file.close()
        return paths

    def send(self, brokers: str, topic: str = TOPIC) -> int:
        """Send all messages and wait for their acknowledgements; return their number.

        Raises
        ------
        RuntimeError
            A message was not acknowledged.
        """
        from confluent_kafka import Producer

        failed: list[object] = []

        def note(error: object, _: object) -> None:
            if error is not None:
                failed.append(error)

        producer = Producer(
            {"bootstrap.servers": brokers, "acks": "all", "linger.ms": 5, "log_level": 0}
        )
        count = 0
        for name, partition, lines in self.messages():
            while True:
                try:
                    producer.produce(topic, lines, name.encode(), partition, on_delivery=note)
                    break
                except BufferError:
                    producer.poll(0.05)
            count += 1
            producer.poll(0)
        if producer.flush(_SEND_S) or failed:
            raise RuntimeError(f"messages were not sent: {failed[:1]}")
        return count


def configuration(
    streams: Sequence[dict[str, Any]], out: Path, rigs: int, parts: int = 1
) -> dict[str, Any]:
    """Return the configuration of a run over a field."""
    return {
        "version": 2,
        "max_rigs": max(rigs, 64),
        "streams": list(streams),
        "signals": SIGNALS,
        "output": {"dir": str(out), "parts": parts},
    }


def file_streams(paths: Sequence[Path]) -> list[dict[str, Any]]:
    """Return the streams of the files that have lines."""
    return [
        {"name": f"p{path.stem}", "type": "file", "path": str(path)}
        for path in paths
        if path.stat().st_size
    ]


def topic_stream(
    brokers: str, partitions: str = "all", topic: str = TOPIC, batch_lines: int = 10_000
) -> dict[str, Any]:
    """Return the stream of the topic, which ends where it ends at the start."""
    named = brokers.split(",")
    stream = {"name": "field", "type": "kafka", "brokers": named, "topic": topic}
    return stream | {"partitions": partitions, "follow": False, "batch_lines": batch_lines}


def ranges(partitions: int, shards: int) -> list[str]:
    """Return the partitions of each shard, such as `0-3`, `4-7`."""
    edges = [round(n * partitions / shards) for n in range(shards + 1)]
    return [f"{a}-{b - 1}" for a, b in itertools.pairwise(edges)]


def _cut(lines: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (lines[at : at + size] for at in range(0, len(lines), size))
