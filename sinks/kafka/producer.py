"""One topic of a Kafka cluster to write to: idempotent, acknowledged by all replicas.

The library tries a message again for as long as a broker is away, in order, so that nothing is
lost or doubled while the producer lives. A refused message is reported; an error that the library
cannot mend ends the producer, and its user opens another one at the last acknowledged place.

Cost: about 5 us a message. State: at most `MAX_WAITING` messages and 32 MiB.
Losses: none; a message that is over the limit of the broker is reported as refused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from configs.inert import inert
from configs.kafka_cluster import SecurityFileError, properties_of
from operators.errors import LumenError

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message, Producer

MAX_WAITING = 4096
"""Messages that wait for their acknowledgement."""
MAX_MESSAGE = 1_000_000
"""Largest message (bytes): the default limit of brokers is little more."""
_MAX_WAITING_KB = 32 << 10
_LIMITS = ("MSG_SIZE_TOO_LARGE", "RECORD_LIST_TOO_LARGE", "INVALID_RECORD", "INVALID_MSG_SIZE")

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
Delivered: TypeAlias = Callable[[str], None]
"""Gets the reason why a message was refused; empty where it was taken."""


class ClusterAwayError(LumenError):
    """No broker takes messages now, or the topic is not there: one line."""


class TopicProducer:
    """Sends messages to partitions of one topic.

    Parameters
    ----------
    brokers : sequence of str
    topic : str
    security_file : str or None
    name : str
        Of this client, for the logs of the brokers.

    Attributes
    ----------
    waiting : int
        Messages that are not acknowledged.
    why : str
        The newest report of the library on a broker; empty while there was none.

    Raises
    ------
    SecurityFileError
        The security file cannot be used, or the library refuses its content.
    """

    def __init__(
        self, brokers: list[str], topic: str, security_file: str | None, name: str
    ) -> None:
        from confluent_kafka import KafkaException, Producer  # an extra

        logger = logging.getLogger("lumen.kafka")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        settings: dict[str, Any] = {
            **(properties_of(security_file) if security_file else {}),
            "bootstrap.servers": ",".join(brokers),
            "client.id": name,
            "enable.idempotence": True,
            "acks": "all",
            "message.timeout.ms": 0,
            "message.max.bytes": MAX_MESSAGE,
            "queue.buffering.max.messages": MAX_WAITING,
            "queue.buffering.max.kbytes": _MAX_WAITING_KB,
            "reconnect.backoff.ms": 500,
            "reconnect.backoff.max.ms": 5000,
            "error_cb": self._note,
        }
        self.topic, self.waiting, self.why = topic, 0, ""
        self._broken = ""
        try:
            self._producer: Producer = Producer(settings, logger=logger)
        except KafkaException as error:
            where = security_file or topic
            raise SecurityFileError(f"{where}: {_text(error.args[0])}") from None

    def partitions(self, timeout_s: float) -> int:
        """Return the number of partitions of the topic, which is never made here.

        Raises
        ------
        ClusterAwayError
            No broker answers, or there is no such topic.
        """
        from confluent_kafka import KafkaException

        try:
            found = self._producer.list_topics(timeout=timeout_s).topics.get(self.topic)
        except KafkaException as error:
            with suppress(KafkaException):
                self._producer.poll(0)
            raise ClusterAwayError(self.why or _text(error.args[0])) from None
        if found is None or found.error is not None or not found.partitions:
            raise ClusterAwayError(f"the topic {self.topic} is not there")
        return len(found.partitions)

    def send(
        self,
        value: bytes,
        key: bytes,
        partition: int,
        headers: Headers,
        delivered: Delivered,
    ) -> bool:
        """Send a message; return False while too many wait.

        `delivered` is called in `poll` and `close`, unless the producer breaks before.

        Raises
        ------
        ClusterAwayError
            The producer is broken.
        """
        from confluent_kafka import KafkaException

        def report(error: KafkaError | None, message: Message) -> None:
            self.waiting -= 1
            if error is None:
                delivered("")
            elif error.name() in _LIMITS:
                delivered(_text(error))
            else:
                self._broken = self._broken or _text(error)

        if self._broken:
            raise ClusterAwayError(self._broken)
        try:
            self._producer.produce(
                self.topic, value, key, partition, headers=headers, on_delivery=report
            )
        except BufferError:
            return False
        except KafkaException as error:
            if error.args[0].name() not in _LIMITS:
                raise ClusterAwayError(_text(error.args[0])) from None
            delivered(_text(error.args[0]))
            return True
        self.waiting += 1
        return True

    def poll(self, timeout_s: float) -> None:
        """Take the acknowledgements that have arrived, waiting for one for so long (s).

        Raises
        ------
        ClusterAwayError
            The producer is broken.
        """
        self._producer.poll(timeout_s)
        if self._broken:
            raise ClusterAwayError(self._broken)

    def close(self, timeout_s: float = 0.0) -> None:
        """Wait for acknowledgements for so long (s), and give up the rest."""
        if self.waiting and timeout_s:
            self._producer.flush(timeout_s)
        self._producer.purge()
        self._producer.flush(1.0)

    def _note(self, error: KafkaError) -> None:
        """Note a report of the library; a fatal one breaks the producer."""
        self.why = _text(error)
        if error.fatal():
            self._broken = self._broken or self.why


def _text(error: KafkaError) -> str:
    return inert(error.str())[:300]
