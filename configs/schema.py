"""The configuration: the stations' own config types, put together."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from configs.files import AccessMode
from configs.inert import inert
from operators.align import AlignConfig
from operators.collect import CollectConfig
from operators.drift import DriftConfig
from operators.evidence import EvidenceConfig
from operators.plan import (
    ChannelConfig,
    ConfigPart,
    FailoverConfig,
    Member,
    Period,
    Plan,
    Signal,
    SignalConfig,
    WeightsConfig,
)
from operators.quality import QualityConfig
from operators.resample import ResampleConfig

END = r"$(?!\n)"
"""The end of a text: `$` alone is before a last line feed, too."""
_URL = r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-\"$-~]*)?" + END
_PAGE = (
    "a page such as http://127.0.0.1:9100/metrics or https://..., without name and password:"
    " basic_auth takes a username and a password_file"
)
Size = Annotated[float, Meta(gt=0, le=1e6)]
"""Of a file (MB)."""
Kept = Annotated[int, Meta(ge=0, le=1_000_000)]
RunMode = Literal["causal", "hindsight"]
"""`hindsight`: recordings in two passes, estimates of the whole from the first tick on."""
TimeUnit = Literal["s", "ms", "us", "ns"]
TAPE = "tape.json"
"""What makes a folder a recording."""
Address = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):[0-9]{1,5}" + END,
        description="an address such as 192.168.1.7:9000 or [::1]:9000",
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, description="a port from 1 to 65535")]
Listening = (
    Port
    | Annotated[
        str,
        Meta(
            pattern=r"^(tcp://)?(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]/]+)?:[0-9]{1,5}" + END,
            description="an address such as 0.0.0.0:9000, [::]:9000, :9000 or tcp://0.0.0.0:9000",
        ),
    ]
)
HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?" + END,
        description="a host's name without port, such as stage.local",
    ),
]


class StreamConfig(ConfigPart, frozen=True, tag_field="type", kw_only=True):
    """One input."""

    name: Annotated[str, Meta(min_length=1, pattern=r"^[^:\s]+" + END)]
    frozen_after_s: Period | None = None


DELIMITED, PACKED = (".csv", ".tsv"), (".gz", ".zst")
"""How the names of files of delimited text end, and of packed ones."""


class Columns(ConfigPart, frozen=True, kw_only=True):
    """Columns of delimited text by their names: of times, of arrivals, and the channels.

    Where none is named, the time column is found by name or content, and each other column is a
    channel.
    """

    ts: Annotated[str, Meta(min_length=1)] | None = None
    rx: Annotated[str, Meta(min_length=1)] | None = None
    values: list[str] = []


class FileStream(StreamConfig, frozen=True, tag="file", kw_only=True):
    """A recording. `batch_lines` lines are handed on at a time.

    `ts_unit` is the unit of its source stamps, seconds where none is given; of delimited text it
    is found, too. `columns` are those of delimited text.
    Beside live streams it is played as it was recorded: one rig has one time axis.
    """

    path: Annotated[str, Meta(min_length=1)]
    speed: Annotated[float, Meta(ge=0, le=1e6)] = 0.0
    follow: bool = False
    batch_lines: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    ts_unit: TimeUnit | None = None
    columns: Columns | None = None


def is_delimited(path: str) -> bool:
    """Whether a recording is delimited text, by the ending of its name."""
    name = path.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return name.endswith(DELIMITED)


def stem(path: str) -> str:
    """Return the source of a delimited file: its name without endings, colons and spaces."""
    name = Path(path).name
    for ending in (*PACKED, *DELIMITED):
        if name.lower().endswith(ending):
            name = name[: -len(ending)]
    return inert(re.sub(r"[:\s]+", "_", name)) or "table"


class OscStream(StreamConfig, frozen=True, tag="osc", kw_only=True):
    """OSC over UDP, or over TCP as `tcp://`.

    `keys` are addresses or patterns, `allow` peers or networks; none: all. A multicast group is
    joined on `interface`, by default on all. With `per_sender` each peer is a source of its own,
    `<stream>@<ip>` (`-` for `:` in it), with a clock of its own; at most sixteen. `timetags` that
    cannot be a clock are found out (`auto`), believed all the same (`use`) or never read.
    `literal` senders have `*` and `?` in addresses that are names: members and facts may have, too.
    """

    addr: Listening
    literal: bool = False
    keys: list[str] = []
    allow: list[str] = []
    interface: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    per_sender: bool = False
    timetags: Literal["auto", "use", "ignore"] = "auto"


class MidiStream(StreamConfig, frozen=True, tag="midi", kw_only=True):
    """A MIDI input: the port that `device` fits; `virtual` makes one of that name.

    With `pair`, pairs of controllers are numbers of 14 bits too.
    """

    device: Annotated[str, Meta(min_length=1)]
    virtual: bool = False
    pair: bool = False


class BasicAuth(ConfigPart, frozen=True, kw_only=True):
    """Name and password of a scrape; the password stands in a file."""

    username: Annotated[str, Meta(min_length=1, pattern=r"^[^:\x00-\x1f\x7f]+" + END)]
    password_file: Annotated[str, Meta(min_length=1)]


class UreStream(StreamConfig, frozen=True, tag="ure", kw_only=True):
    """An endpoint that exposes Prometheus text. `keys` are series or patterns; none: all.

    `https://` trusts what the system trusts. Credentials stand in files, read for each pull.
    """

    metrics_url: Annotated[str, Meta(pattern=_URL, description=_PAGE)]
    pull_interval_s: Annotated[float, Meta(ge=0.1, le=86_400)] = 2.0
    timeout_s: Period = 1.0
    keys: list[str] = []
    basic_auth: BasicAuth | None = None
    bearer_token_file: Annotated[str, Meta(min_length=1)] | None = None


class ExporterConfig(ConfigPart, frozen=True, kw_only=True):
    """Where metrics and pages are served, to every client that can reach it.

    A request names a literal address, `localhost`, `host` or one of `allow_hosts` in its Host
    header; any other is refused (421), since it may come from a page of a stranger.
    """

    host: Annotated[str, Meta(min_length=1)] = "127.0.0.1"
    http_port: Annotated[int, Meta(ge=1, le=65535)] = 9310
    path: Annotated[str, Meta(pattern="^/[A-Za-z0-9._~/-]*" + END)] = "/metrics_fusion"
    allow_hosts: Annotated[list[HostName], Meta(max_length=64)] = []


class TapConfig(ConfigPart, frozen=True, kw_only=True):
    """Where a live run is recorded."""

    dir: Annotated[str, Meta(min_length=1)]
    rotate_mb: Size = 256.0
    keep: Kept = 0
    zstd: bool = False


class Destination(ConfigPart, frozen=True, tag_field="type", kw_only=True):
    """What is played to: an expression for each address or controller.

    One that this run listens to is refused, unless `loop` says that it is meant.
    """

    name: Annotated[str, Meta(min_length=1)]
    map: Annotated[dict[str, str], Meta(min_length=1)]
    rate_hz: Annotated[float, Meta(gt=0, le=1000)] = 20.0
    loop: bool = False


class OscDestination(Destination, frozen=True, tag="osc", kw_only=True):
    """An address over UDP."""

    to: Address


class MidiDestination(Destination, frozen=True, tag="midi", kw_only=True):
    """A MIDI output: the port that `to` fits; `virtual` makes one of that name."""

    to: Annotated[str, Meta(min_length=1)]
    virtual: bool = False


class OutputConfig(ConfigPart, frozen=True, kw_only=True):
    """Where and how results are written, and who may read them and tapes: `mode`."""

    dir: Annotated[str, Meta(min_length=1)] = "out"
    sync_every_s: Annotated[float, Meta(ge=0.01, le=86_400)] = 10.0
    aligned: bool = False
    rotate_mb: Size = 256.0
    keep: Kept = 0
    mode: AccessMode = "private"


class Config(ConfigPart, frozen=True, kw_only=True):
    """One run."""

    version: Literal[2]
    streams: Annotated[list[FileStream | OscStream | MidiStream | UreStream], Meta(min_length=1)]
    signals: Annotated[dict[str, SignalConfig], Meta(min_length=1)]
    rig: Annotated[str, Meta(min_length=1)] = "studio"
    max_rigs: Annotated[int, Meta(ge=1, le=1024)] = 64
    channels: dict[str, ChannelConfig] = {}
    facts: list[str] = []
    collect: CollectConfig = CollectConfig()
    drift: DriftConfig = DriftConfig()
    align: AlignConfig = AlignConfig()
    resample: ResampleConfig = ResampleConfig()
    quality: QualityConfig = QualityConfig()
    weights: WeightsConfig = WeightsConfig()
    failover: FailoverConfig = FailoverConfig()
    evidence: EvidenceConfig | None = None
    exporter: ExporterConfig | None = None
    tap: TapConfig | None = None
    send: list[OscDestination | MidiDestination] = []
    output: OutputConfig = OutputConfig()
    mode: RunMode = "causal"

    def stream_of(self, source: str) -> str:
        """Return the stream that a source is of: with `per_sender`, it is one of several."""
        stream = source.rpartition("@")[0]
        split = any(
            isinstance(s, OscStream) and s.per_sender and s.name == stream for s in self.streams
        )
        return stream if split else source

    @property
    def live(self) -> bool:
        """Whether there is a live stream."""
        return not all(isinstance(s, FileStream) for s in self.streams)

    def block_s(self) -> float:
        """Return the width of a block of arrival time (s)."""
        if self.collect.block_s != "auto":
            return self.collect.block_s
        files = [s for s in self.streams if isinstance(s, FileStream)]
        if len(files) == len(self.streams):
            return 10.0 if all(s.speed == 0 and not s.follow for s in files) else 1.0
        return (
            0.05 if self.resample.profile == "accurate" else min(1 / self.resample.target_hz, 0.05)
        )

    def plan(self) -> Plan:
        """Return what the stations share."""
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
        # A tape's replay gives what the run gave; that its sources are OSC is seen by their keys.
        taped = any(
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
            hindsight=self.mode == "hindsight",
        )
        timetags = {
            lane.source
            for lane in plan.lanes
            if self.stream_of(lane.source) in judged
            or (taped and lane.channel.partition(":")[2].startswith("/"))
        }
        return replace(plan, timetags=frozenset(timetags))
