"""Packets of a band whose pad is struck at 5 Hz, and the bridge that follows it."""

from __future__ import annotations

from dataclasses import replace as with_fields
from typing import Any

import numpy as np

from flows.pipeline import makers
from flows.stations import Settings
from operators.bridge import Bridge, BridgeConfig
from operators.bridge.bridge_config import (
    PhaseConfig,
    ProtocolConfig,
    ReferenceConfig,
    SafetyConfig,
)
from operators.conditions import Rule
from operators.events import Batch
from operators.records import Packet
from operators.settings.plan import Plan
from tests.support.signals import feed

START = 1_730_000_000.0
PROTOCOL = ProtocolConfig(idle_s=2.0, guard_s=2.0, calm_s=2.0)
CONFIG = BridgeConfig(
    reference=ReferenceConfig(beat="pad:note/1/36"),
    phase=PhaseConfig(rebalance_window_s=8.0),
    protocol=PROTOCOL,
    safety=SafetyConfig(
        hard_stop_on=("level > 5",), hard_stop_keep_s=3.0, rollback_ratio_5m_max=0.5
    ),
)
PLAN = Plan.of(pulse=["ure:pulse", "osc_1:/pulse"], tick_hz=5.0)


def movement(t: Any) -> Any:
    return np.sin(0.7 * t) + np.sin(1.9 * t + 1) + np.sin(3.1 * t + 0.001 * t * t)


def packets(
    config: BridgeConfig = CONFIG,
    seconds: float = 60.0,
    level: Any = None,
    beats: Any = None,
    block_s: float = 1.0,
) -> list[Packet]:
    """Return the packets that reach the station: two members, a fact, and taps of a pad at 5 Hz."""
    t = np.arange(0, seconds, 0.05)
    t2 = np.arange(0, seconds, 0.5)
    taps = np.arange(0, seconds, 0.2) if beats is None else beats
    ends = taps + 0.07
    plan = with_fields(PLAN, beats=config.channels, bridge=True, facts=("desk:level",))
    settings = Settings(plan=plan, block_s=block_s, bridge=config, lead_s=0.2)
    strikes = np.concatenate((taps, ends))
    batch = Batch.of(
        {
            "ure:pulse": (START + t, START + t, movement(t)),
            "osc_1:/pulse": (START + t, START + t + 0.003, movement(t)),
            "desk:level": (None, START + t2, np.zeros(len(t2)) if level is None else level(t2)),
            "pad:note/1/36": (
                None,
                START + strikes,
                np.concatenate((np.full(len(taps), 90.0), np.zeros(len(ends)))),
            ),
        }
    )
    items: list[Any] = [batch]
    for name, make in makers(settings).items():
        if name == "bridge":
            return items
        items = feed(make(None), items)
    raise AssertionError("no bridge")


def station(config: BridgeConfig = CONFIG, rules: tuple[Rule, ...] = ()) -> Bridge:
    plan = with_fields(PLAN, beats=config.channels, bridge=True, facts=("desk:level",))
    return Bridge(plan, config, 0.2, rules)
