"""Fields of rigs, and the ways to run them: one hash a rig."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from operators.engine import route
from operators.rig_partition import partition_of
from ops.__main__ import main
from ops.engine_runs import RunError
from ops.fakes import kafka_broker
from ops.results.folder import run_json
from ops.scale_out import proof as proofs
from ops.scale_out.field import RigField, even_names, ranges
from ops.scale_out.proof import (
    NO_BROKER,
    PARTITIONS,
    PROCESSES,
    proof,
    ran,
    topic_of,
    ways_over_files,
    ways_over_topic,
)
from ops.scale_out.ways import rig_digests, spent

needs_broker = pytest.mark.skipif(kafka_broker.program() is None, reason="no broker here")


@pytest.fixture
def made() -> RigField:
    return RigField(even_names(16, PARTITIONS, PROCESSES), PARTITIONS, 20.0, patterns=2)


def test_names_deal_evenly_to_partitions_and_processes() -> None:
    names = even_names(32, PARTITIONS, PROCESSES)
    for number in range(PARTITIONS):
        assert sum(partition_of(name, PARTITIONS) == number for name in names) == 4
    assert sum(route(name) % PROCESSES for name in names) == 16


def test_ranges_cover_all_partitions_once() -> None:
    assert ranges(8, 2) == ["0-3", "4-7"]
    assert ranges(8, 3) == ["0-2", "3-4", "5-7"]
    assert ranges(4, 4) == ["0-0", "1-1", "2-2", "3-3"]


def test_messages_are_whole_lines_of_the_rig_in_its_partition(made: RigField) -> None:
    lines = 0
    for name, partition, block in made.messages():
        rows = [json.loads(line) for line in block.splitlines()]
        assert {row["rig"] for row in rows} == {name}
        assert partition == partition_of(name, PARTITIONS)
        lines += len(rows)
    assert lines == made.lines > 16 * 20 * 150


def test_files_in_shards_and_in_a_cluster_have_one_hash_a_rig(
    tmp_path: Path, made: RigField
) -> None:
    rows = [ran(way, tmp_path) for way in ways_over_files(tmp_path, made)]
    assert sorted(rows[0].digests) == sorted(made.names)
    assert [row.digests for row in rows] == [rows[0].digests] * 3


def test_a_shard_that_dies_takes_only_its_rigs_along(tmp_path: Path, made: RigField) -> None:
    one, shards, _ = ways_over_files(tmp_path, made)
    spent(one)
    expected = rig_digests(one.outs())
    half = type(shards)("half", shards.configs[:1])
    spent(half)
    found = rig_digests(half.outs())
    assert 0 < len(found) < len(expected)
    assert found.items() < expected.items()


def test_a_rig_in_two_shards_is_no_proof(tmp_path: Path, made: RigField) -> None:
    one = ways_over_files(tmp_path, made)[0]
    spent(one)
    with pytest.raises(RunError, match="results twice"):
        rig_digests(one.outs() * 2)


@needs_broker
def test_a_topic_in_shards_and_in_a_cluster_has_the_hashes_of_its_files(
    tmp_path: Path, made: RigField
) -> None:
    expected = ran(ways_over_files(tmp_path, made)[0], tmp_path).digests
    with topic_of(made, "") as (address, topic):
        ways = ways_over_topic(tmp_path, made, address, topic)
        for way in ways:
            assert ran(way, tmp_path).digests == expected
    shards = [run_json(out)["topic"] for out in ways[1].outs()]
    assert [shard["partitions"] for shard in shards] == [PARTITIONS] * 2
    assert [shard["read"] for shard in shards] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    for number in range(PROCESSES):
        part = json.loads((ways[2].outs()[0] / f"part-{number}" / "run.json").read_bytes())
        assert part["topic"]["partitions"] == PARTITIONS


@needs_broker
def test_kills_leave_the_hashes_as_they_are() -> None:
    rows = list(proof("", 20.0, 2, seed=1))
    assert [row.name for row in rows if row.name.endswith("killed")] == [
        "files shards, killed",
        "files cluster, killed",
        "topic shards, killed",
        "topic cluster, killed",
    ]
    assert {json.dumps(row.digests, sort_keys=True) for row in rows} == {
        json.dumps(rows[0].digests, sort_keys=True)
    }


def test_the_command_names_a_missing_broker(monkeypatch, capsys) -> None:
    monkeypatch.setattr(kafka_broker, "program", lambda: None)
    assert main(["verify", "--kafka"]) == 1
    assert capsys.readouterr().err == f"lumen: {NO_BROKER}\n"


def test_the_command_names_a_missing_extra(monkeypatch, capsys) -> None:
    monkeypatch.setattr(proofs, "missing", lambda type_: f"type {type_} needs its extra")
    assert main(["verify", "--kafka"]) == 1
    assert capsys.readouterr().err == "lumen: type kafka needs its extra\n"
    assert main(["verify"]) == 2
    assert "needs a FILE, or --kafka" in capsys.readouterr().err
