"""What waits for an MQTT broker: the newest tick and values of each rig, and findings in order.

A state has its time in it and replaces the one before; it is kept, so that a broker that has lost
it gets it again. Values are of now and are not kept. Findings wait for a broker that is away; of
more than `MAX_FINDINGS` the oldest are dropped and counted.

The flow's thread puts, the destination's takes: what is put is only stored, and made into bytes
when it is taken. State: one packet of ticks and one line a rig, `MAX_FINDINGS` lines.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from operators.lines import EvidenceRecord
from operators.records import Fused
from sinks.send.mqtt_topics import (
    evidence_payload,
    evidence_topic,
    state_payload,
    state_topic,
    value_payload,
    value_topic,
)

MAX_FINDINGS = 4096


class Outgoing(NamedTuple):
    """One message."""

    topic: str
    payload: bytes
    retain: bool = False
    finding: bool = False


class MqttOutbox:
    """The messages of one destination.

    Parameters
    ----------
    prefix : str
        First levels of all topics.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._newest: dict[str, tuple[Fused, dict[str, float]]] = {}
        self._kept: dict[str, Outgoing] = {}
        self._findings: deque[Outgoing] = deque()
        self.dropped = 0

    def put_ticks(self, rig: str, fused: Fused, values: dict[str, float]) -> None:
        """Replace the ticks of a rig, and its values at the newest of them."""
        with self._lock:
            self._newest[rig] = fused, values

    def put_finding(self, record: EvidenceRecord) -> None:
        """Append a finding."""
        topic = evidence_topic(self._prefix, record.rig)
        message = Outgoing(topic, evidence_payload(record), finding=True)
        with self._lock:
            self._findings.append(message)
            self._bound()

    def take_newest(self) -> list[Outgoing]:
        """Return the states and values that have come since the last call."""
        with self._lock:
            newest, self._newest = self._newest, {}
        found = []
        for rig, (fused, values) in newest.items():
            topic = state_topic(self._prefix, rig)
            self._kept[topic] = Outgoing(topic, state_payload(fused, rig), retain=True)
            found.append(self._kept[topic])
            for name, value in values.items():
                found.append(Outgoing(value_topic(self._prefix, rig, name), value_payload(value)))
        return found

    def kept(self) -> list[Outgoing]:
        """Return the states so far, for a new connection."""
        return list(self._kept.values())

    def next_finding(self) -> Outgoing | None:
        """Return the oldest finding that waits, which no longer does."""
        with self._lock:
            return self._findings.popleft() if self._findings else None

    def put_back(self, messages: Iterable[Outgoing]) -> None:
        """Put findings that were not delivered before those that wait."""
        with self._lock:
            self._findings.extendleft(reversed([x for x in messages if x.finding]))
            self._bound()

    def waiting(self) -> int:
        """Return the number of findings that wait."""
        return len(self._findings)

    def _bound(self) -> None:
        while len(self._findings) > MAX_FINDINGS:
            self._findings.popleft()
            self.dropped += 1
