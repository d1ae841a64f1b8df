"""bridge: a beat clock in rate and phase with a reference, and the states in which it plays."""

from __future__ import annotations

from operators.bridge.bridge_config import BridgeConfig
from operators.evidence import Rule
from operators.records import Packet
from operators.settings.plan import Plan
from operators.types import State


class Bridge:
    """The station; without a configuration, packets pass."""

    def __init__(
        self,
        plan: Plan,
        config: BridgeConfig | None,
        lead_s: float = 0.2,
        rules: tuple[Rule, ...] = (),
    ) -> None:
        self._config = config

    @classmethod
    def from_snapshot(
        cls,
        state: State,
        plan: Plan,
        config: BridgeConfig | None,
        lead_s: float = 0.2,
        rules: tuple[Rule, ...] = (),
    ) -> Bridge:
        """Return the station of a snapshot."""
        return cls(plan, config, lead_s, rules)

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {}

    def update(self, packet: Packet) -> Packet:
        """Return the packet with its frames."""
        return packet
