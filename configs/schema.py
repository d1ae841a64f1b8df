"""The configuration: the config types of inputs, stations and outputs in one type.

Each key has its meaning and an example in `Meta`; the JSON Schema and REFERENCE.md are made from
them (`python -m configs.generate`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from configs.connectors.kafka import KafkaStream
from configs.connectors.kafka_out import KafkaDestination
from configs.connectors.lsl import LslDestination, LslStream
from configs.connectors.mqtt import MqttDestination, MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.discovery import DiscoveryConfig
from configs.files import read_own
from configs.forms import Text
from configs.inert import inert
from configs.inputs import MAX_MANIFEST, TAPE, FileStream, MidiStream, OscStream, UreStream
from configs.outputs import (
    EnergyConfig,
    ExporterConfig,
    MidiDestination,
    OscDestination,
    OutputConfig,
    ShadowConfig,
    StoreConfig,
    TapConfig,
)
from configs.processes import ClusterConfig
from configs.signals import SignalConfig
from operators.align import AlignConfig
from operators.bridge.bridge_config import BridgeConfig, LoopConfig
from operators.collect import BlockRule, CollectConfig
from operators.drift import DriftConfig
from operators.evidence import EvidenceConfig
from operators.quality import QualityConfig
from operators.resample import ResampleConfig
from operators.settings.channels import ChannelConfig
from operators.settings.config_part import ConfigPart
from operators.settings.groups import FailoverConfig, WeightsConfig
from operators.settings.plan import Member, Plan, Signal

LiveStream: TypeAlias = (
    OscStream | MidiStream | UreStream | MqttStream | WebSocketStream | LslStream
)
AnyDestination: TypeAlias = (
    OscDestination | MidiDestination | MqttDestination | LslDestination | KafkaDestination
)
RecordedStream: TypeAlias = FileStream | KafkaStream
"""Inputs that can be read again: arrivals and host ticks lie in them."""
RunMode = Literal["causal", "hindsight"]


class _Taped(msgspec.Struct):
    """The key of `tape.json` that a replay needs before it opens the tape."""

    block_s: BlockRule | None = None


def _rule_of_tape(folder: Path) -> BlockRule | None:
    """Return the blocks of the run that wrote a tape; None without one."""
    with suppress(OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return msgspec.json.decode(read_own(folder / TAPE, MAX_MANIFEST), type=_Taped).block_s
    return None


class Config(ConfigPart, frozen=True, kw_only=True):
    """One run."""

    version: Annotated[Literal[2], Meta(description="Version of the format.", examples=[2])]
    streams: Annotated[
        list[RecordedStream | LiveStream],
        Meta(min_length=1, description="The inputs."),
    ]
    signals: Annotated[
        dict[str, SignalConfig],
        Meta(
            min_length=1,
            description="Fused quantities by name; each has the channels that measure it.",
        ),
    ]
    rig: Annotated[
        Text,
        Meta(description="Rig of the events that name none.", examples=["stage"]),
    ] = "studio"
    max_rigs: Annotated[
        int, Meta(ge=1, le=16_384, description="Rigs beyond this number are refused.", examples=[8])
    ] = 64
    channels: Annotated[
        dict[str, ChannelConfig],
        Meta(description="Conversion of the channels that match a name or pattern."),
    ] = {}
    facts: Annotated[
        list[str],
        Meta(
            description="Channels that rules and indicators read; held, not fused.",
            examples=[["midi_1:cc/1/1"]],
        ),
    ] = []
    collect: Annotated[CollectConfig, Meta(description="Order of arrival.")] = CollectConfig()
    drift: Annotated[DriftConfig, Meta(description="Clock offsets.")] = DriftConfig()
    align: Annotated[AlignConfig, Meta(description="Lags.")] = AlignConfig()
    resample: Annotated[ResampleConfig, Meta(description="The output grid.")] = ResampleConfig()
    quality: Annotated[QualityConfig, Meta(description="The indicators.")] = QualityConfig()
    weights: Annotated[WeightsConfig, Meta(description="Prior weights.")] = WeightsConfig()
    failover: Annotated[FailoverConfig, Meta(description="Presence and fallback.")] = (
        FailoverConfig()
    )
    bridge: Annotated[BridgeConfig | None, Meta(description="The beat clock; none by default.")] = (
        None
    )
    evidence: Annotated[EvidenceConfig | None, Meta(description="Rules; none by default.")] = None
    exporter: Annotated[
        ExporterConfig | None, Meta(description="Metrics and live page; none by default.")
    ] = None
    energy: Annotated[
        EnergyConfig | None,
        Meta(description="Energy, cost and heat among the metrics; none by default."),
    ] = None
    tap: Annotated[TapConfig | None, Meta(description="Tape of a live run; none by default.")] = (
        None
    )
    send: Annotated[
        list[AnyDestination],
        Meta(description="Destinations of results, OSC messages and MIDI; at most 64."),
    ] = []
    output: Annotated[OutputConfig, Meta(description="Result files.")] = OutputConfig()
    shadow: Annotated[
        ShadowConfig, Meta(description="Comparison of a candidate with the running flow.")
    ] = ShadowConfig()
    store: Annotated[StoreConfig | None, Meta(description="The history; none by default.")] = None
    discovery: Annotated[
        DiscoveryConfig | None,
        Meta(description="Announcement of OSC on the network, and OSCQuery; none by default."),
    ] = None
    cluster: Annotated[ClusterConfig, Meta(description="Several processes with one run.")] = (
        ClusterConfig()
    )
    mode: Annotated[
        RunMode,
        Meta(
            description="`hindsight`: recordings in two passes, with estimates of the whole"
            " recording from the first tick on.",
            examples=["hindsight"],
        ),
    ] = "causal"

    def stream_of(self, source: str) -> str:
        """Return the stream of a source; with `per_sender`, several sources have one stream."""
        stream = source.rpartition("@")[0]
        split = any(
            isinstance(s, OscStream) and s.per_sender and s.name == stream for s in self.streams
        )
        return stream if split else source

    @property
    def live(self) -> bool:
        """Whether there is a live stream."""
        return not all(isinstance(s, RecordedStream) for s in self.streams)

    @property
    def topic(self) -> KafkaStream | None:
        """The topic that is the run's only stream, if there is one."""
        return next((s for s in self.streams if isinstance(s, KafkaStream)), None)

    def block_s(self) -> BlockRule:
        """Return the width of a block of arrival time (s), or `density`.

        The replay of a tape has the blocks of its run, and so its bytes.
        """
        if self.collect.block_s != "auto":
            return self.collect.block_s
        files = [s for s in self.streams if isinstance(s, FileStream)]
        if not self.live:
            for taped in (_rule_of_tape(Path(s.path)) for s in files):
                if taped is not None:
                    return taped
        topic = self.topic
        if self.live or any(s.follow for s in files) or (topic is not None and topic.follow):
            return self._live_block_s
        return "density" if all(s.speed == 0 for s in files) else 1.0

    @property
    def _live_block_s(self) -> float:
        # An accurate tick waits for two seconds: blocks below 0.05 s bring it nothing.
        accurate = self.resample.profile == "accurate"
        return 0.05 if accurate else min(1 / self.resample.target_hz, 0.005)

    def lead_s(self) -> float:
        """Return the time from the decision of a bridge tick to the tick (s), as in a live run."""
        block_s = self.collect.block_s
        loop = self.bridge.loop if self.bridge else LoopConfig()
        return loop.lead_s(self._live_block_s if isinstance(block_s, str) else block_s)

    def plan(self) -> Plan:
        """Return the plan that the stations share."""
        signals = tuple(
            Signal(
                name,
                tuple(
                    Member(name, channel, m.group, m.lag_s, m.lag_sd_s, m.origin or "", m.sd)
                    for channel, m in s.members.items()
                ),
                s.reference,
                s.scale,
            )
            for name, s in self.signals.items()
        )
        scraped = [s for s in self.streams if isinstance(s, UreStream)]
        judged = {s.name for s in self.streams if isinstance(s, OscStream) and s.timetags == "auto"}
        # The replay of a tape, or of its topic, equals its run; OSC sources are recognised by
        # their keys.
        taped = self.topic is not None or any(
            isinstance(s, FileStream) and (Path(s.path) / TAPE).is_file() for s in self.streams
        )
        frozen = {s.name: s.frozen_after_s for s in self.streams if s.frozen_after_s}
        plan = Plan(
            rig=self.rig,
            signals=signals,
            facts=tuple(self.facts),
            patterns=tuple(self.channels.items()),
            tick_hz=self.resample.target_hz,
            half_width_s=self.resample.half_width_s(),
            wait_s=self.resample.waits(),
            wait_lag_s=self.align.waits_for_lag(self.resample.profile),
            eager=self.resample.profile == "low_latency",
            max_disorder_s=self.drift.max_disorder_s,
            max_delay_s=self.drift.max_delay_s,
            weights=self.weights,
            failover=self.failover,
            sync_every_s=self.output.sync_every_s,
            stream_stale_s={s.name: 3 * s.pull_interval_s for s in scraped},
            scrape_s={s.name: s.pull_interval_s for s in scraped},
            frozen_after_s=frozen,
            aligned=self.output.aligned,
            files=()
            if self.live
            else tuple(inert(s.path) for s in self.streams if isinstance(s, FileStream)),
            topic=self.topic.topic if self.topic is not None else "",
            hindsight=self.mode == "hindsight",
            beats=self.bridge.channels if self.bridge else (),
            bridge=self.bridge is not None,
        )
        named = [c.partition(":") for c in (*(lane.channel for lane in plan.lanes), *plan.beats)]
        timetags = {
            source
            for source, _, key in named
            if self.stream_of(source) in judged or (taped and key.startswith("/"))
        }
        return replace(plan, timetags=frozenset(timetags))
