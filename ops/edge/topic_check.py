"""Whether the topics that a configuration sends to are there, for `lumen doctor`."""

from __future__ import annotations

from collections.abc import Iterator

from configs.connectors.kafka_out import KafkaDestination
from configs.extras import missing
from configs.inert import inert
from configs.kafka_cluster import SecurityFileError, TapTopic
from configs.schema import Config

_ANSWER_S = 3.0


def topics(config: Config) -> Iterator[tuple[bool, str, str]]:
    """Yield whether a topic is there, what was found, and the remedy."""
    targets: list[TapTopic | KafkaDestination] = []
    targets += [config.tap.kafka] if config.tap is not None and config.tap.kafka else []
    targets += [each for each in config.send if isinstance(each, KafkaDestination)]
    for target in targets:
        if remedy := missing("kafka"):
            yield False, f"{target.topic}: not looked for", remedy
        else:
            yield _answer(target)


def _answer(target: TapTopic | KafkaDestination) -> tuple[bool, str, str]:
    from sinks.kafka.producer import ClusterAwayError, TopicProducer  # an extra

    where = f"{target.topic} at {', '.join(target.brokers)}"
    file = target.security.file if target.security else None
    try:
        producer = TopicProducer(target.brokers, target.topic, file, "lumen-doctor")
    except SecurityFileError as error:
        return False, inert(str(error)), "a run is refused with it"
    try:
        count = producer.partitions(_ANSWER_S)
    except ClusterAwayError as error:
        todo = "nothing is lost: what is not sent waits on the disk"
        return False, f"{where}: {inert(str(error))}", todo
    finally:
        producer.close()
    return True, f"{where}: {count} partitions", ""
