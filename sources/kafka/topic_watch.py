"""Changes of a topic, as lines on standard error: brokers away and back, partitions added."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

_STEADY_S = 1.0
"""Clients of several partitions notice one fault one after the other."""


class TopicWatch:
    """What was printed about one topic.

    Parameters
    ----------
    topic : str
    clock : callable
        Monotonic seconds.
    """

    def __init__(self, topic: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._topic, self._clock = topic, clock
        self._down: dict[int, str] = {}
        self._shown = ""
        self._back_at: float | None = None
        self._expected = 0
        self._seen: set[int] = set()

    def turn(self, partition: int, up: bool, why: str = "") -> None:
        """Note whether the brokers of a partition answer, and why not."""
        if up:
            if self._down.pop(partition, None) is not None and not self._down:
                self._back_at = self._clock() + _STEADY_S
            return
        self._down[partition], self._back_at = why, None
        if why != self._shown:
            self._shown = why
            self._print(f"is down, and tried again: {why}")

    def look(self) -> None:
        """Print that the topic is there again, once that is so for a second."""
        if self._back_at is not None and self._clock() >= self._back_at:
            self._back_at, self._shown = None, ""
            self._print("is there again")

    def begin(self, count: int) -> None:
        """Note that the topic is there, with the partitions for which this run was started."""
        if self._shown:
            self._print("is there")
        self._down, self._shown, self._back_at = {}, "", None
        self._expected, self._seen = count, {count}

    def counted(self, count: int) -> None:
        """Note the number of partitions as one client knows it; each number is printed once.

        The clients of a topic notice another number one after the other.
        """
        if count not in self._seen:
            self._seen.add(count)
            rest = "rigs lie by the number at the start, and no other partition is read"
            self._print(f"has {count} partitions, and had {self._expected}: {rest}")

    def _print(self, text: str) -> None:
        print(f"lumen: topic {self._topic} {text}", file=sys.stderr)
