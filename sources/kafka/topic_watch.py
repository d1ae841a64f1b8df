"""Changes of a topic, as lines on standard error: brokers away and back, partitions added."""

from __future__ import annotations

import sys


class TopicWatch:
    """What was printed about one topic.

    Parameters
    ----------
    topic : str
    """

    def __init__(self, topic: str) -> None:
        self._topic = topic
        self._down: dict[int, str] = {}
        self._expected = self._seen = 0

    def turn(self, partition: int, up: bool, why: str) -> None:
        """Note whether the brokers of a partition answer; -1 stands for the topic as a whole."""
        if up:
            if self._down.pop(partition, None) is not None and not self._down:
                self._print("is there again" if self._expected else "is there")
            return
        new = why not in self._down.values()
        self._down[partition] = why
        if new:
            self._print(f"is down, and tried again: {why}")

    def expect(self, count: int) -> None:
        """Note the number of partitions for which this run was started."""
        self._expected = self._seen = count

    def counted(self, count: int) -> None:
        """Note the number of partitions as it is now."""
        if count != self._seen:
            self._seen = count
            if count != self._expected:
                rest = "rigs lie by the number at the start, and no other partition is read"
                self._print(f"has {count} partitions, and had {self._expected}: {rest}")

    def _print(self, text: str) -> None:
        print(f"lumen: topic {self._topic} {text}", file=sys.stderr)
