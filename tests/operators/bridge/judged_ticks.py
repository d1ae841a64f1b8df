"""Judged ticks and protocols in a given state, for tests of the bridge."""

from __future__ import annotations

from typing import Any

from operators.bridge.bridge_config import ProtocolConfig, SafetyConfig
from operators.bridge.protocol import RELEASE, ROLLBACK, Change, Judged, Protocol

NAN = float("nan")
GOOD = Judged(present=True, sync=0.9, phase=0.01, entropy=0.1, residual=0.02, ratio=0.0)
UNKNOWN = Judged(True, NAN, NAN, NAN, NAN, NAN)
SAFETY = SafetyConfig()
CONFIG = ProtocolConfig()


def judged(**given: Any) -> Judged:
    """Return a tick at which all is good but what is given."""
    return GOOD._replace(**given)


class Fed:
    """A protocol, its ticks counted."""

    def __init__(self, config: ProtocolConfig = CONFIG, tick_hz: float = 5.0) -> None:
        self.core = Protocol(config, SAFETY, tick_hz)
        self.tick_hz = tick_hz
        self.at = 1_000_000

    @classmethod
    def in_state(cls, state: str, config: ProtocolConfig = CONFIG, tick_hz: float = 5.0) -> Fed:
        """Return a protocol whose newest tick or command led into a state."""
        fed = cls(config, tick_hz)
        if state != "E0":
            fed.core.command(ROLLBACK, fed.ts)
        if state in ("E1", "E2", "E3"):
            fed.core.command(RELEASE, fed.ts)
        if state in ("E2", "E3"):
            fed.feed(1)
        while state == "E3" and fed.core.state != "E3":
            fed.feed(1, entropy=0.2)
        assert fed.core.state == state
        return fed

    @property
    def ts(self) -> float:
        """Time of the newest tick (s)."""
        return self.at / self.tick_hz

    def tick(self, each: Judged) -> Change | None:
        """Judge the next tick."""
        self.at += 1
        return self.core.tick(self.ts, each)

    def feed(self, count: int, **given: Any) -> list[Change]:
        """Return the changes in so many ticks, all good but what is given."""
        found = (self.tick(judged(**given)) for _ in range(count))
        return [change for change in found if change]
