"""A topic as the input of whole runs: the bytes are those of its partitions as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.run import execute
from ops.fakes import kafka_broker
from tests.support.topic_events import (
    COUNT,
    TOPIC,
    Block,
    blocks,
    produce,
    results,
    topic_stream,
    write_config,
    write_files,
)

pytestmark = pytest.mark.skipif(kafka_broker.program() is None, reason="no broker here")


def test_a_run_over_a_topic_gives_the_bytes_of_its_partitions_as_files(tmp_path: Path) -> None:
    messages = blocks()
    paths = write_files(tmp_path, messages)
    files = [{"name": p.stem, "type": "file", "path": str(p)} for p in paths if p.stat().st_size]
    expected = results(execute(write_config(tmp_path / "files.yaml", files)))
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        produce(broker.address, messages)
        folder = execute(write_config(tmp_path / "topic.yaml", [topic_stream(broker.address)]))
    assert results(folder) == expected
    run = json.loads((folder / "run.json").read_text())
    assert run["balanced"]
    assert run["topic"] == {
        "topic": TOPIC,
        "partitions": COUNT,
        "read": list(range(COUNT)),
        "blocks_twice": 0,
    }
    assert run["account"]["total"]["used"] == 6 * 2 * 1200


def test_blocks_that_an_edge_sent_twice_are_read_once_and_counted(tmp_path: Path) -> None:
    messages = blocks(seconds=20)
    paths = write_files(tmp_path, messages)
    files = [{"name": p.stem, "type": "file", "path": str(p)} for p in paths if p.stat().st_size]
    expected = results(execute(write_config(tmp_path / "files.yaml", files)))
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        placed = list(enumerate(messages))
        _send_placed(broker.address, placed[:40])
        _send_placed(broker.address, placed[33:])
        folder = execute(write_config(tmp_path / "topic.yaml", [topic_stream(broker.address)]))
    assert results(folder) == expected
    run = json.loads((folder / "run.json").read_text())
    assert run["topic"]["blocks_twice"] == 7
    assert run["balanced"]


def _send_placed(brokers: str, placed: list[tuple[int, Block]]) -> None:
    """Send blocks with their places on one tape a rig, as an edge does."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "acks": "all"})
    for place, block in placed:
        rig = block.rig.encode()
        headers = [("tape", rig), ("place", b"%d" % place)]
        producer.produce(TOPIC, block.lines, rig, block.partition, headers=headers)
    assert producer.flush(60) == 0
