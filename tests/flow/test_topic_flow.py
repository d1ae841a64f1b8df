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
    assert run["topic"] == {"topic": TOPIC, "partitions": COUNT, "read": list(range(COUNT))}
    assert run["account"]["total"]["used"] == 6 * 2 * 1200
