"""Events of several rigs, as messages of a topic and as files of its partitions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

from operators.rig_partition import partition_of

BEGIN = 1_730_000_000.0
COUNT = 4
TOPIC = "lumen.events"
RIGS = ("stage", "foyer", "studio", "loft", "cellar", "yard")
SIGNALS = {"level": {"reference": "pad:/a", "members": {"pad:/a": {}, "pad:/b": {}}}}


class Block(NamedTuple):
    """One message: its rig and lines."""

    rig: str
    lines: bytes

    @property
    def partition(self) -> int:
        """The partition of the rig."""
        return partition_of(self.rig, COUNT)


def event(ts: float, key: str, value: object, rig: str | None, **meta: object) -> bytes:
    """Return a line."""
    row: dict[str, object] = {"ts": ts, "source": "pad", "key": key, "value": value}
    if rig is not None:
        row["rig"] = rig
    if meta:
        row["meta"] = meta
    return json.dumps(row).encode() + b"\n"


def blocks(
    rigs: Iterable[str] = RIGS, seconds: float = 60.0, size: int = 16, begin: float = BEGIN
) -> list[Block]:
    """Return blocks of rigs by turns: two channels of one movement, with ticks of the host."""
    made: list[Block] = []
    for n, rig in enumerate(rigs):
        lines: list[tuple[float, bytes]] = []
        for i in range(int(seconds * 20)):
            t = i / 20 + 0.003 * n
            value = math.sin(0.7 * t + n) + math.sin(1.9 * t) + math.sin(3.1 * t + 0.001 * t * t)
            for key, late in (("/a", 0.004), ("/b", 0.011)):
                at = begin + t + late
                lines.append((at, event(begin + t, key, value, rig, rx=round(at, 6))))
            if i % 4 == 3:
                at = round(begin + t + 0.02, 6)
                lines.append((at, json.dumps({"tick": at, "rig": rig}).encode() + b"\n"))
        lines.sort()
        parts = [lines[a : a + size] for a in range(0, len(lines), size)]
        made += [Block(rig, b"".join(line for _, line in part)) for part in parts]
    order = {id(block): json.loads(block.lines.split(b"\n")[0]) for block in made}
    return sorted(
        made, key=lambda b: order[id(b)].get("meta", {}).get("rx", order[id(b)].get("tick"))
    )


def produce(brokers: str, messages: Iterable[Block], topic: str = TOPIC) -> None:
    """Send messages, each to the partition of its rig, and wait for all acknowledgements."""
    from confluent_kafka import Producer

    failed: list[object] = []
    producer = Producer({"bootstrap.servers": brokers, "acks": "all", "linger.ms": 5})
    for block in messages:
        while True:
            try:
                producer.produce(
                    topic,
                    block.lines,
                    block.rig.encode(),
                    block.partition,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0
    assert not failed, failed[0]


def write_files(folder: Path, messages: Iterable[Block]) -> list[Path]:
    """Write each partition as a file; return the paths by number."""
    paths = [folder / f"partition-{n}.ndjson" for n in range(COUNT)]
    parts: list[list[bytes]] = [[] for _ in paths]
    for block in messages:
        parts[block.partition].append(block.lines)
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(b"".join(part))
    return paths


def write_config(path: Path, streams: list[dict[str, object]], **more: object) -> Path:
    """Write a configuration of streams; return its path."""
    config = {
        "version": 2,
        "streams": streams,
        "signals": SIGNALS,
        "align": {"window_s": 30, "hop_s": 5, "max_lag_s": 2.0},
        "output": {"dir": str(path.with_suffix(".out"))},
    } | more
    path.write_text(yaml.safe_dump(config))
    return path


def topic_stream(brokers: str, **more: object) -> dict[str, object]:
    """Return a stream of the topic that ends."""
    stream = {"name": "field", "type": "kafka", "brokers": brokers.split(","), "topic": TOPIC}
    return stream | {"follow": False} | more


def results(folder: Path) -> Mapping[str, bytes]:
    """Return the result files of all rigs, with dead letters without their places."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.glob("**/*.jsonl")):
        data = path.read_bytes()
        if path.stem == "dead":
            rows = [json.loads(line) for line in data.splitlines()]
            for row in rows:
                row.pop("where", None)
            data = json.dumps(rows).encode()
        found[path.relative_to(folder).as_posix()] = data
    return found
