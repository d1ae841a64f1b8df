"""A partition with an edge that sends a backlog beside one that is live."""

from __future__ import annotations

import json
from itertools import chain, zip_longest
from pathlib import Path

import pytest

from flows.run import execute
from operators.rig_partition import partition_of
from ops.fakes import kafka_broker
from tests.support.topic_events import (
    BEGIN,
    COUNT,
    TOPIC,
    blocks,
    produce,
    results,
    topic_stream,
    write_config,
)

pytestmark = pytest.mark.skipif(kafka_broker.program() is None, reason="no broker here")
LATE, LIVE = [f"rig{n}" for n in range(40) if partition_of(f"rig{n}", COUNT) == 0][:2]
AWAY_S = 300.0


def test_a_backlog_among_live_blocks_costs_no_event_and_no_byte(tmp_path: Path) -> None:
    late = blocks((LATE,), seconds=60, size=4)
    live = blocks((LIVE,), seconds=60, size=4, begin=BEGIN + AWAY_S)
    expected: dict[str, bytes] = {}
    for rig, tape in ((LATE, late), (LIVE, live)):
        path = tmp_path / f"{rig}.ndjson"
        path.write_bytes(b"".join(block.lines for block in tape))
        files = [{"name": rig, "type": "file", "path": str(path)}]
        alone = execute(write_config(tmp_path / f"{rig}.yaml", files, rig=rig))
        tape_results = results(alone)
        names = {name.removeprefix(f"{rig}/"): data for name, data in tape_results.items()}
        expected |= {f"{rig}/{name}": data for name, data in names.items()}
    pairs = zip_longest(late, live)
    messages = [block for block in chain.from_iterable(pairs) if block is not None]
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        produce(broker.address, messages)
        stream = topic_stream(broker.address, batch_lines=50)
        folder = execute(write_config(tmp_path / "topic.yaml", [stream]))
    run = json.loads((folder / "run.json").read_text())
    assert run["balanced"]
    assert run["account"]["total"]["rejected"] == 0
    assert run["account"]["total"]["used"] == 2 * 2 * 1200
    found = results(folder)
    assert {name: found[name] for name in expected} == expected
    assert expected[f"{LATE}/fused.jsonl"]
    assert expected[f"{LIVE}/fused.jsonl"]
