"""A recording with every kind of event and fault, and the stations that process it."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from operators.align import AlignConfig
from operators.bridge import BridgeConfig
from operators.bridge.bridge_config import (
    PhaseConfig,
    ProtocolConfig,
    ReferenceConfig,
    SafetyConfig,
)
from operators.collect import BlockRule
from operators.conditions import Rule
from operators.events import Batch, CommandRow
from operators.hindsight import Hindsight
from operators.quality import QualityConfig
from operators.records import Packet
from operators.settings.channels import ChannelConfig
from operators.settings.groups import FailoverConfig
from operators.settings.plan import Plan
from operators.types import BRIDGE_COMMANDS
from tests.support.signals import STATIONS, Make, Source, every, makers, plan, studio, trace

BRIDGE = BridgeConfig(
    reference=ReferenceConfig(beat="osc_4:/beat"),
    phase=PhaseConfig(rebalance_window_s=6.0),
    safety=SafetyConfig(hard_stop_on=("coherence_level < 0.5",), hard_stop_keep_s=1.0),
    protocol=ProtocolConfig(idle_s=2.0, syncing_s=5.0, bridged_s=4.0, guard_s=3.0, calm_s=2.0),
    calibrate="apply",
)
PLAN = plan(
    ("ure:pulse", "osc_1:/pulse", "osc_1:/array", "osc_2:/pulse", "osc_3:/slow"),
    channels={
        "osc_1:/pulse": ChannelConfig(gain=2.0, offset=0.5, range=(-200.0, 200.0)),
        "osc_1:/array": ChannelConfig(reduce="mean"),
        "osc_2:/pulse": ChannelConfig(gain="auto", offset="auto"),
        "midi_1:cc/1/1": ChannelConfig(kind="held", stale_after_s=6.0),
    },
    facts=("ure:ure_coherence_level",),
    failover=FailoverConfig(min_streams=2, rejoin_after_s=4.0),
    reference="ure:pulse",
    aligned=True,
    beats=("midi_2:clock", "osc_4:/beat", "osc_2:/pulse"),
)
PLAN = replace(PLAN, bridge=True)
RULES = (
    Rule(name="weak", when="coherence < 0.9", for_s=2.0, keep_for_s=3.0),
    Rule(name="low", when="pulse < -0.5 or slope(pulse, 5s) > 0.1"),
    Rule(name="blurred", when="sync_bound_s > 0.01 and live >= 2"),
    Rule(name="slow", when="entropy_ratio > 0.02", for_s=1.0, apply=("decrease kp by 0.05",)),
    Rule(name="bridged", when="bridge_state == 2 and bridge_sync_quality > 0.9"),
)
SKEWED = {"offset_s": -3.214, "skew_ppm": 87.0, "resets": ((35.0, 0.5), (60.0, -0.8))}
STUDIO = (
    Source(source="ure", key="pulse", rate_hz=20.0, loss=0.02),
    Source(
        key="/pulse",
        lag_s=0.18,
        loss=0.02,
        outliers=0.01,
        duplicates=5,
        wild=3,
        wild_arrivals=2,
        far=2,
        delays=((20.0, 20.4, 0.35), (42.0, 42.2, 0.9), (50.0, 50.1, 6.0)),
        markers=((10.0, "verse"), (36.0, "chorus"), (65.0, "coda")),
        read_s=2.0,
        **SKEWED,
    ),
    Source(key="/array", rate_hz=10.0, lag_s=0.25, elements=3, **SKEWED),
    Source(
        source="osc_2",
        rate_hz=31.7,
        offset_s=7.905,
        skew_ppm=-140.0,
        lag_s=-0.42,
        silent=((44.0, 53.0),),
        delays=((15.0, 15.6, 0.2),),
        sequenced=False,
        grain_s=0.001,
    ),
    Source(source="osc_3", key="/slow", rate_hz=2.5, noise=0.02, read_s=3.0),
    Source(source="midi_1", key="cc/1/1", rate_hz=40.0, held=True, stamped=False),
    Source(source="ure", key="ure_coherence_level", rate_hz=0.5, value=lambda t: 0.9 + 0 * t),
    Source(source="osc_2", key="/unused", rate_hz=3.0),
    Source(source="midi_2", key="clock", rate_hz=30.0, stamped=False, loss=0.1),
    Source(
        source="osc_4",
        key="/beat",
        rate_hz=5.0,
        offset_s=4.25,
        duplicates=5,
        delays=((30.0, 31.0, 1.4),),
        silent=((55.0, 58.0),),
    ),
)
SECONDS = 75.0
BLOCKS: tuple[BlockRule, ...] = (0.05, 0.5, 10.0, "density")


ALIGN = AlignConfig(window_s=20.0, hop_s=5.0, max_lag_s=2.0)


def stations(
    p: Plan = PLAN, block_s: BlockRule = 1.0, known: Hindsight | None = None
) -> dict[str, Make]:
    return makers(
        p,
        block_s,
        align=ALIGN,
        quality=QualityConfig(window_s=20.0),
        rules=RULES if p.bridge else RULES[:3],
        bridge=BRIDGE,
        known=known,
    )


@lru_cache(maxsize=1)
def recording() -> Batch:
    batch = studio(*STUDIO, seconds=SECONDS, seed=3, ticks_s=0.5, rejects=4)
    ticks = np.flatnonzero(batch.name < 0)[3::20].tolist()
    controls = (CommandRow(row, BRIDGE_COMMANDS[row % 2], f"user {row}") for row in ticks)
    return replace(batch, controls=tuple(controls))


@lru_cache(maxsize=8)
def traced(block_s: BlockRule = 1.0) -> dict[str, list[Packet]]:
    """Return the output of each station for blocks by this rule."""
    return trace(stations(block_s=block_s), every(recording(), 997))


def into(station: str) -> list[Any]:
    """Return the input of a station: the batches, or the output of the previous station."""
    k = STATIONS.index(station)
    return list(traced()[STATIONS[k - 1]]) if k else every(recording(), 997)
