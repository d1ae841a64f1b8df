"""A topic that has other partitions while a run reads it."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.load import load
from ops.fakes import kafka_broker
from ops.fakes.tcp_relay import TcpRelay
from sources.kafka.client import TopicLooks
from sources.kafka.topic_replay import TopicReplay
from sources.kafka.topic_watch import TopicWatch
from tests.support.topic_events import TOPIC, topic_stream, write_config
from tests.support.waiting import until

LINE = (
    f"lumen: topic {TOPIC} has 6 partitions, and had 4: rigs lie by the number at the start,"
    " and no other partition is read"
)


@pytest.mark.skipif(kafka_broker.program() is None, reason="no broker here")
def test_partitions_added_while_running_are_one_line_and_are_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The broker cannot add partitions: another one, with more of them, takes its address.
    printed: list[str] = []

    def looked() -> int:
        for part in parts:
            part.next_batch()
        printed.extend(capsys.readouterr().err.splitlines())
        return sum("partitions" in line for line in printed)

    with (
        TcpRelay() as relay,
        kafka_broker.serving(relay.port) as few,
        kafka_broker.serving(relay.port) as more,
    ):
        for broker, count in ((more, 6), (few, 4)):
            relay.to = broker.port
            broker.make_topic(TOPIC, count)
        stream = topic_stream(f"127.0.0.1:{relay.port}", follow=True)
        config = load(write_config(tmp_path / "t.yaml", [stream])).config
        replay = TopicReplay(config, looks=TopicLooks(50, 100))
        names = replay.list_parts()
        parts = [replay.build_part("receive", name, None) for name in names]
        try:
            assert looked() == 0
            relay.cut()
            relay.to = more.port
            relay.mend()
            until(looked, lambda: str(printed))
            for _ in range(20):
                looked()
        finally:
            for part in parts:
                part.close()
    assert [line for line in printed if "partitions" in line] == [LINE]
    assert (replay.count, replay.list_parts()) == (4, names)
    assert replay.shown()["partitions"] == 4


def test_clients_that_notice_another_number_one_after_the_other_print_it_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watch = TopicWatch(TOPIC)
    watch.begin(4)
    for count in (4, 6, 4, 6, 6):
        watch.counted(count)
    assert capsys.readouterr().err.splitlines() == [LINE]
