"""The messages of a topic as they arrive, by partition."""

from __future__ import annotations

from collections.abc import Iterator

from confluent_kafka import Consumer, Message, TopicPartition


class TopicMessages:
    """Reads a topic from its beginning."""

    def __init__(self, address: str, topic: str, partitions: int) -> None:
        settings = {"bootstrap.servers": address, "group.id": "tests", "enable.auto.commit": False}
        self._consumer = Consumer({**settings, "auto.offset.reset": "earliest"})
        self._consumer.assign([TopicPartition(topic, n, 0) for n in range(partitions)])
        self.messages: dict[int, list[Message]] = {n: [] for n in range(partitions)}

    def read(self) -> list[Message]:
        """Take what has arrived; return all messages, by partition and offset."""
        for message in self._consumer.consume(500, 0.05):
            if message.error() is None:
                self.messages[message.partition()].append(message)
        return [each for found in self.messages.values() for each in found]

    def kept(self) -> Iterator[Message]:
        """Yield the messages without those that were sent twice, as a consumer of an edge does."""
        for found in self.messages.values():
            newest: dict[bytes, int] = {}
            for message in found:
                headers = dict(message.headers() or [])
                place = int(headers["place"])
                if place > newest.get(headers["tape"], -1):
                    newest[headers["tape"]] = place
                    yield message

    def lines(self, rig: str | None = None) -> list[bytes]:
        """Return the lines of the kept messages, of one rig or all."""
        found = (m for m in self.kept() if rig is None or m.key() == rig.encode())
        return [line for m in found for line in m.value().splitlines(keepends=True)]

    def close(self) -> None:
        """End the consumer."""
        self._consumer.close()
