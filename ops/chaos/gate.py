"""A fault on live messages, without sockets and clocks: each message is held, changed or dropped.

Outside the window a message is due at once, byte for byte. Held messages beyond 8 MiB are dropped
and counted.

State: 8 MiB of messages.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from ops.chaos.fault import DELAY_S, JITTER_S, LOSS, Disturbance

MAX_HELD = 8 << 20
"""Bytes of held messages, with what each takes beside its data."""
OVERHEAD = 128


@dataclass
class GateCounts:
    """Numbers of messages; `overflow`: dropped because too many were held."""

    received: int = 0
    forwarded: int = 0
    changed: int = 0
    removed: int = 0
    overflow: int = 0


@dataclass
class Gate:
    """Messages of one proxy.

    Attributes
    ----------
    fault : Disturbance
        Its window is in seconds after the start of the proxy.
    counts : GateCounts
    held : int
        Bytes of held messages.
    """

    fault: Disturbance
    counts: GateCounts = field(default_factory=GateCounts)
    held: int = 0
    _waiting: list[tuple[float, int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.fault.seed, 15])
        self._order = count()

    def active(self, now: float) -> bool:
        """Return whether a time (s after the start) is in the window."""
        return self.fault.at_s <= now < self.fault.end_s

    def delay(self, now: float) -> float:
        """Return for how long to hold a message that comes now (s); infinite: it is lost."""
        mode = self.fault.mode
        if not self.active(now):
            return 0.0
        if mode == "stop" or (mode == "loss" and self.rng.random() < LOSS):
            return float("inf")
        if mode == "jitter":
            return float(self.rng.uniform(*JITTER_S))
        return DELAY_S if mode == "delay" else 0.0

    def put(self, now: float, data: bytes, faulty: bool = True) -> None:
        """Take a message; without `faulty` the fault is not on it."""
        self.counts.received += 1
        delay = self.delay(now) if faulty else 0.0
        if delay == float("inf"):
            self.counts.removed += 1
            return
        if not self.room(len(data)):
            return
        self.counts.changed += delay > 0
        heapq.heappush(self._waiting, (now + delay, next(self._order), data))

    def room(self, size: int) -> bool:
        """Reserve the room of a message; count it as dropped where there is none."""
        if self.held + size + OVERHEAD > MAX_HELD:
            self.counts.overflow += 1
            return False
        self.held += size + OVERHEAD
        return True

    def free(self, size: int) -> None:
        """Return the room of a message."""
        self.held -= size + OVERHEAD

    def due(self, now: float) -> list[bytes]:
        """Take the messages that are due, in order."""
        found = []
        while self._waiting and self._waiting[0][0] <= now:
            data = heapq.heappop(self._waiting)[2]
            self.free(len(data))
            found.append(data)
        self.counts.forwarded += len(found)
        return found

    def wait_s(self, now: float) -> float:
        """Return the time until the next message is due (s); infinite where none waits."""
        return max(self._waiting[0][0] - now, 0.0) if self._waiting else float("inf")
