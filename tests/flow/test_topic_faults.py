"""Faults of a topic in whole runs: brokers away, offsets gone, rigs astray, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from operators.rig_partition import partition_of
from ops.fakes import kafka_broker
from ops.fakes.kafka_broker import KafkaBroker
from ops.fakes.ports import free_port
from ops.fakes.tcp_relay import TcpRelay
from tests.support.json_lines import json_lines
from tests.support.topic_events import (
    BEGIN,
    COUNT,
    RIGS,
    TOPIC,
    Block,
    blocks,
    event,
    produce,
    results,
    topic_stream,
    write_config,
    write_files,
)
from tests.support.waiting import HUNG_S, until

ROOT = Path(__file__).parents[2]
needs_broker = pytest.mark.skipif(kafka_broker.program() is None, reason="no broker here")


class Run:
    """A run in a process of its own, with its standard error in a file."""

    def __init__(self, config: Path, *options: str) -> None:
        self.out, self._said = config.with_suffix(".out"), config.with_suffix(".err")
        with self._said.open("w") as file:
            command = [sys.executable, "-m", "ops", "run", str(config), *options]
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=file
            )

    def errors(self) -> str:
        """Return standard error so far."""
        return self._said.read_text()

    def until_said(self, text: str, times: int = 1) -> None:
        """Wait until standard error has a text so many times."""
        until(lambda: self.errors().count(text) >= times, self.errors, self.process)

    def ended(self) -> int:
        """Wait for the end; return the exit code."""
        return self.process.wait(HUNG_S)

    def run_json(self) -> dict:
        """Return the account."""
        return json.loads((self.out / "run.json").read_text())


@contextmanager
def running(config: Path, *options: str) -> Iterator[Run]:
    """Run a configuration; a run that is left is ended."""
    run = Run(config, *options)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.wait()


def _expected(folder: Path, messages: list[Block], **config_part: object) -> dict[str, bytes]:
    """Return the results of the partitions as files."""
    paths = write_files(folder, messages)
    files = [{"name": p.stem, "type": "file", "path": str(p)} for p in paths if p.stat().st_size]
    config = write_config(folder / "files.yaml", files, **config_part)
    command = [sys.executable, "-m", "ops", "run", str(config)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return dict(results(config.with_suffix(".out")))


@needs_broker
def test_a_run_waits_for_a_broker_that_is_not_there_yet(tmp_path: Path) -> None:
    port = free_port()
    config = write_config(tmp_path / "t.yaml", [topic_stream(f"127.0.0.1:{port}")])
    with running(config) as run:
        run.until_said(f"topic {TOPIC} is down, and tried again: 127.0.0.1:{port}: no answer")
        broker = KafkaBroker(port)
        try:
            run.until_said("is down", 2)  # no answer, then no topic
            broker.make_topic(TOPIC, COUNT)
            run.until_said(f"topic {TOPIC} is there")
            assert run.ended() == 0, run.errors()
        finally:
            broker.stop()


def test_a_stop_ends_a_run_that_waits_for_its_topic(tmp_path: Path) -> None:
    stream = topic_stream(f"127.0.0.1:{free_port()}")
    with running(write_config(tmp_path / "t.yaml", [stream])) as run:
        run.until_said("is down")
        run.process.terminate()
        assert run.ended() == 0, run.errors()
        assert "the topic was not there yet, nothing was read" in run.errors()
        assert "bug" not in run.errors()


@needs_broker
def test_a_broker_lost_in_mid_fetch_costs_no_event(tmp_path: Path) -> None:
    messages = blocks(seconds=40)
    half = len(messages) // 2
    with TcpRelay() as relay, kafka_broker.serving(relay.port) as broker:
        relay.to = broker.port
        broker.make_topic(TOPIC, COUNT)
        produce(broker.address, messages[:half])
        stream = topic_stream(f"127.0.0.1:{relay.port}", follow=True)
        blocks_s = {"block_s": 0.05}
        config = write_config(tmp_path / "t.yaml", [stream], collect=blocks_s)
        with running(config, "--snapshot-s", "0.2") as run:
            until(lambda: any(run.out.glob("*/fused.jsonl")), process=run.process)
            relay.cut()
            run.until_said("is down, and tried again")
            relay.mend()
            run.until_said("is there again")
            produce(f"127.0.0.1:{relay.port}", messages[half:])
            wanted = [sum(b.partition == n for b in messages) for n in range(COUNT)]
            until(lambda: _committed(broker.address) == wanted, run.errors, run.process, 0.2)
            run.process.send_signal(signal.SIGINT)
            assert run.ended() == 0, run.errors()
    assert run.run_json()["balanced"]
    assert run.errors().count("is down") == 1
    assert results(run.out) == _expected(tmp_path, messages, collect=blocks_s)


def _committed(brokers: str) -> list[int]:
    """Return the offsets that the run committed for monitoring."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": "lumen"})
    places = [TopicPartition(TOPIC, n) for n in range(COUNT)]
    found = [place.offset for place in consumer.committed(places, 30)]
    consumer.close()
    return found


@needs_broker
def test_a_killed_run_goes_on_at_the_next_offset_with_the_same_bytes(tmp_path: Path) -> None:
    messages = blocks(seconds=40)
    narrow = {"block_s": 1}
    expected = _expected(tmp_path, messages, collect=narrow)
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        produce(broker.address, messages)
        config = write_config(
            tmp_path / "t.yaml", [topic_stream(broker.address, batch_lines=40)], collect=narrow
        )
        command = [sys.executable, "-m", "bytewax.run", f"tests.flow.killed:flow({str(config)!r})"]
        command += ["-r", str(tmp_path / "store"), "-s", "0", "-b", "0"]
        for point in ("write 3", "snapshot 7", "torn 9", "write 20", "write 2"):
            killed = subprocess.run(
                command, cwd=ROOT, capture_output=True, env=os.environ | {"LUMEN_KILL": point}
            )
            assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert results(config.with_suffix(".out")) == expected


def test_a_deleted_offset_stops_a_start_and_earliest_counts_the_gap(tmp_path: Path) -> None:
    messages = blocks(("stage",), seconds=10)
    filler = b', "x": "' + b"y" * 500_000 + b'"}\n'
    large = Block("stage", event(BEGIN + 9, "/z", 1.0, "stage").rstrip()[:-1] + filler)
    with kafka_broker.mock_brokers() as brokers:
        produce(brokers, messages)
        stream = topic_stream(brokers, partitions=large.partition, follow=True)
        config = write_config(tmp_path / "t.yaml", [stream], rig="stage")
        store = ("--recover", str(tmp_path / "store"), "--snapshot-s", "0.1")
        with running(config, *store) as run:
            until(lambda: (run.out / "stage/fused.jsonl").exists(), process=run.process)
            run.process.terminate()
            assert run.ended() == 0, run.errors()
        produce(brokers, [large] * 30)
        with running(config, *store) as run:
            assert run.ended() == 2, run.errors()
            line = run.errors()
            for part in (f"topic {TOPIC}, partition {large.partition}: offset", "the earliest is",
                         "--from earliest goes on"):  # fmt: skip
                assert part in line
            assert "bug" not in line
        with running(config, *store, "--from", "earliest") as run:
            produce(brokers, blocks(("stage",), seconds=10, begin=BEGIN + 20))
            until(lambda: json_lines(run.out / "stage/dead.jsonl"), run.errors, process=run.process)
            run.process.terminate()
            assert run.ended() == 0, run.errors()
        (gap,) = json_lines(run.out / "stage/dead.jsonl")
        assert gap["reason"] == "offset_gone"
        account = run.run_json()
        assert account["account"]["total"]["rejected"] == gap["count"] > 0


@needs_broker
def test_a_topic_made_anew_with_fewer_partitions_is_refused(tmp_path: Path) -> None:
    messages = blocks(seconds=10)
    config, store = tmp_path / "t.yaml", ("--recover", str(tmp_path / "store"))
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        produce(broker.address, messages)
        with running(write_config(config, [topic_stream(broker.address)]), *store) as run:
            assert run.ended() == 0, run.errors()
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, 2)
        with running(write_config(config, [topic_stream(broker.address)]), *store) as run:
            assert run.ended() == 2, run.errors()
            assert f"topic {TOPIC} has 2 partitions, and had 4 in this run" in run.errors()


@needs_broker
def test_a_partition_that_the_topic_lacks_is_refused(tmp_path: Path) -> None:
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        stream = topic_stream(broker.address, partitions="2-7")
        with running(write_config(tmp_path / "t.yaml", [stream])) as run:
            assert run.ended() == 2, run.errors()
            assert f"topic {TOPIC} has 4 partitions, and no partition 7" in run.errors()


@needs_broker
def test_bad_messages_are_dead_letters_and_the_rest_gives_the_same_bytes(tmp_path: Path) -> None:
    messages = blocks(seconds=20)
    expected = _expected(tmp_path, messages)
    stranger = next(rig for rig in RIGS if partition_of(rig, COUNT) != 0)
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        half = len(messages) // 2
        produce(broker.address, messages[:half])
        _produce_bad(broker.address, stranger)
        produce(broker.address, messages[half:])
        config = write_config(tmp_path / "t.yaml", [topic_stream(broker.address)])
        with running(config) as run:
            assert run.ended() == 0, run.errors()
        account = run.run_json()
    found = results(run.out)
    home = next(row["rig"] for path in run.out.glob("*/dead.jsonl") for row in json_lines(path))
    assert partition_of(home, COUNT) == 0
    reasons = {row["reason"]: row["count"] for row in json_lines(run.out / home / "dead.jsonl")}
    # A value without lines, three broken lines, two events of a rig that lies elsewhere.
    assert reasons == {"value": 1, "json": 2, "foreign_partition": 2, "too_long": 1}
    assert account["balanced"]
    assert account["account"]["total"]["rejected"] == 6
    own = {name: data for name, data in found.items() if not name.startswith(home)}
    assert own == {name: data for name, data in expected.items() if not name.startswith(home)}


def _produce_bad(brokers: str, stranger: str) -> None:
    """Send to partition 0 what is no block of its rigs."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": brokers, "message.max.bytes": 4 << 20})
    astray = event(BEGIN + 10, "/a", 1.0, stranger, rx=BEGIN + 10)
    whole = event(BEGIN + 10, "/a", 2.0, stranger)
    for key, value in (
        (b"x", None),
        (b"", astray),
        (None, astray),
        (b"x", whole[:30] + b"\n" + whole[30:]),
        (b"x", b" " * ((1 << 20) + 1)),
    ):
        producer.produce(TOPIC, value, key, 0)
    assert producer.flush(60) == 0


@needs_broker
def test_refused_access_is_one_line_that_names_the_file_and_no_secret(tmp_path: Path) -> None:
    secrets = tmp_path / "kafka.properties"
    secrets.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
        "sasl.username=stage\nsasl.password=not-this-one\n"
    )
    secrets.chmod(0o600)
    with kafka_broker.serving() as broker:
        broker.make_topic(TOPIC, COUNT)
        stream = topic_stream(broker.address, security={"file": str(secrets)})
        with running(write_config(tmp_path / "t.yaml", [stream])) as run:
            run.until_said(f"access refused ({secrets})")
            run.process.terminate()
            assert run.ended() == 0, run.errors()
            assert "not-this-one" not in run.errors()
