"""Client of one topic: the partitions that it has, and the messages of one of them.

librdkafka keeps the connection: it tries again after 0.5 to 5 s, and goes on at the next offset. No
group is joined. An offset that is not there is an error, never the end of the topic.

State: at most 4 MiB of messages a partition, and one larger one. Losses: none here.
"""

from __future__ import annotations

import json
import time
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from configs.connectors.kafka import KafkaStream
from configs.inert import inert
from configs.kafka_cluster import SecurityFileError, properties_of
from sources.kafka.faults import OffsetGoneError, TopicAwayError
from sources.kafka.topic_watch import TopicWatch

_QUEUE_KIB = 4096
_FETCH_BYTES = 1 << 20
_TAKEN = 500
"""Messages in one call."""
_COMMIT_S = 5.0
_ASK_S = 2.0
_AWAY = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TRANSPORT,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
    }
)
_REFUSED = frozenset(
    {
        KafkaError._AUTHENTICATION,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._SSL,
    }
)


class TopicLooks(NamedTuple):
    """Periods of looks at a topic; by default a partition that was added is seen within 40 s.

    Attributes
    ----------
    state_ms : int
        At the brokers and partitions that the client knows.
    topic_ms : int
        At the topic, by the brokers.
    """

    state_ms: int = 10_000
    topic_ms: int = 30_000


USUAL = TopicLooks()


class TopicClient:
    """A connection to the brokers of a topic.

    Parameters
    ----------
    stream : KafkaStream
    partition : int
    watch : TopicWatch
        Is given changes of the brokers and of the number of partitions.
    looks : TopicLooks

    Raises
    ------
    TopicAwayError
        The security file cannot be used, or has settings that librdkafka refuses.
    """

    def __init__(
        self,
        stream: KafkaStream,
        partition: int,
        watch: TopicWatch,
        looks: TopicLooks = USUAL,
    ) -> None:
        self.topic, self._partition, self._watch = stream.topic, partition, watch
        self._refused = ""
        self._committed = time.monotonic()
        self._stream = stream
        try:
            security = properties_of(stream.security.file) if stream.security else {}
            self._consumer = Consumer(security | self._settings(stream, looks))
        except SecurityFileError as error:
            raise TopicAwayError(str(error)) from error
        except KafkaException as error:
            # The text of librdkafka names a setting, never its value.
            raise TopicAwayError(inert(error.args[0].str())) from error

    def _settings(self, stream: KafkaStream, looks: TopicLooks) -> dict[str, Any]:
        return {
            "bootstrap.servers": ",".join(stream.brokers),
            "client.id": "lumen",
            "group.id": stream.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": _QUEUE_KIB,
            "fetch.message.max.bytes": _FETCH_BYTES,
            "reconnect.backoff.ms": 500,
            "reconnect.backoff.max.ms": 5000,
            "topic.metadata.refresh.interval.ms": looks.topic_ms,
            "statistics.interval.ms": looks.state_ms,
            "stats_cb": self._on_statistics,
            "error_cb": self._on_error,
            "log_level": 0,
        }

    def count(self) -> int:
        """Return the number of partitions of the topic.

        Raises
        ------
        TopicAwayError
            No broker answers within 2 s, or the topic is not there.
        """
        try:
            found = self._consumer.list_topics(self.topic, timeout=_ASK_S).topics[self.topic]
        except KafkaException as error:
            self._consumer.poll(0)  # for the reason behind it
            raise TopicAwayError(self._refused or self._reason(error.args[0])) from error
        if found.error is not None or not found.partitions:
            what = found.error.str() if found.error is not None else "it has no partition"
            raise TopicAwayError(inert(what))
        return len(found.partitions)

    def limits(self, partition: int) -> tuple[int, int]:
        """Return the earliest offset of a partition, and the one behind its newest message.

        Raises
        ------
        TopicAwayError
            No broker answers within 2 s.
        """
        try:
            low, high = self._consumer.get_watermark_offsets(
                TopicPartition(self.topic, partition), timeout=_ASK_S, cached=False
            )
        except KafkaException as error:
            raise TopicAwayError(self._refused or self._reason(error.args[0])) from error
        return low, high

    def newest(self) -> int:
        """Return the end of the partition, as the broker gave it with the newest messages."""
        place = TopicPartition(self.topic, self._partition)
        found: int = self._consumer.get_watermark_offsets(place, cached=True)[1]
        return found

    def begin(self, offset: int) -> None:
        """Read the partition from an offset on."""
        self._consumer.assign([TopicPartition(self.topic, self._partition, offset)])

    def messages(self) -> list[Message]:
        """Return the messages that are there, and the ends (`_PARTITION_EOF`) among them.

        Raises
        ------
        OffsetGoneError
            The next offset is not there any more.
        """
        taken: list[Message] = []
        for message in self._consumer.consume(_TAKEN, timeout=0):
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                taken.append(message)
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise OffsetGoneError(inert(error.str()))
            else:
                self._on_error(error)
        if taken:
            self._back()
        self._watch.look()
        return taken

    def commit(self, offset: int) -> None:
        """Commit the next offset to the group, for monitoring; at most once in 5 s."""
        now = time.monotonic()
        if now - self._committed < _COMMIT_S:
            return
        self._committed = now
        try:
            place = TopicPartition(self.topic, self._partition, offset)
            self._consumer.commit(offsets=[place], asynchronous=True)
        except KafkaException:  # a group that cannot be written to is no fault of the run
            return

    def close(self) -> None:
        """End the connection."""
        self._consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        reason = self._reason(error)
        if error.code() in _REFUSED:
            self._refused = reason
        if error.code() in _REFUSED or error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._watch.turn(self._partition, False, self._refused or reason)
        elif error.code() not in _AWAY:
            self._watch.turn(self._partition, False, reason)

    def _reason(self, error: KafkaError) -> str:
        """Return an error in words, without any setting."""
        brokers = ", ".join(self._stream.brokers)
        if error.code() in _REFUSED:
            file = self._stream.security.file if self._stream.security else "no security file"
            return f"{brokers}: access refused ({file})"
        if error.code() in _AWAY:
            return f"{brokers}: no answer"
        return inert(error.str())[:200]

    def _on_statistics(self, text: str) -> None:
        """Look at the brokers and the number of partitions."""
        found = json.loads(text)
        brokers = [b for b in found.get("brokers", {}).values() if b.get("nodeid", -1) >= 0]
        if any(b.get("state") == "UP" for b in brokers):
            self._back()
        topic = found.get("topics", {}).get(self.topic, {})
        known = [int(number) for number in topic.get("partitions", {}) if int(number) >= 0]
        if known:
            self._watch.counted(max(known) + 1)

    def _back(self) -> None:
        self._refused = ""
        self._watch.turn(self._partition, True)
