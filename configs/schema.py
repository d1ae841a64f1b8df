"""The configuration: the config types of the stations in one type.

Each key has its meaning and an example in `Meta`; the JSON Schema and REFERENCE.md are made from
them (`python -m configs.generate`).
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from configs.files import AccessMode, read_own
from configs.inert import inert
from operators.align import AlignConfig
from operators.collect import BlockRule, CollectConfig
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
"""The end of a text: `$` alone also matches before a final line feed."""
_URL = r"^https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?(/[!-\"$-~]*)?" + END
Size = Annotated[float, Meta(gt=0, le=1e6)]
"""Size of a file (MB)."""
SegmentCount = Annotated[int, Meta(ge=0, le=1_000_000)]
Text = Annotated[str, Meta(min_length=1)]
RunMode = Literal["causal", "hindsight"]
TimeUnit = Literal["s", "ms", "us", "ns"]
TAPE = "tape.json"
"""The file that marks a folder as a tape."""
MAX_MANIFEST = 64 << 20
"""Largest manifest of a tape (bytes)."""
Address = Annotated[
    str,
    Meta(
        pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]]+):[0-9]{1,5}" + END,
        extra={"expected": 'an address such as "192.168.1.7:9000" or "[::1]:9000"'},
    ),
]
Port = Annotated[int, Meta(ge=1, le=65535, extra={"expected": "a port from 1 to 65535"})]
Listening = (
    Port
    | Annotated[
        str,
        Meta(
            pattern=r"^(tcp://)?(\[[0-9A-Fa-f:.]+\]|[^:\s\[\]/]+)?:[0-9]{1,5}" + END,
            extra={
                "expected": "an address such as"
                ' ":9000", "192.168.1.5:9000", "[::]:9000" or "tcp://0.0.0.0:9000"'
            },
        ),
    ]
)
HostName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?" + END,
        extra={"expected": "a host name without a port, such as stage.local"},
    ),
]
StreamName = Annotated[
    str,
    Meta(
        min_length=1,
        pattern=r"^[^:\s]+" + END,
        description="Name of the stream, unique in the run; it is the source of live channels.",
        examples=["osc_1"],
        extra={"expected": "a name without colons and spaces, such as osc_1"},
    ),
]
Keep = Annotated[
    SegmentCount,
    Meta(description="Newest segments to keep; 0 keeps all.", examples=[16]),
]


class StreamConfig(ConfigPart, frozen=True, tag_field="type", kw_only=True):
    """One input."""

    name: StreamName
    frozen_after_s: Annotated[
        Period | None,
        Meta(
            description="Duration without any change of value after which the stream is stale.",
            examples=[5.0],
        ),
    ] = None


DELIMITED, PACKED = (".csv", ".tsv"), (".gz", ".zst")
"""Endings of names of delimited text, and of compressed files."""


class Columns(ConfigPart, frozen=True, kw_only=True):
    """Columns of delimited text by name: source times, arrivals, channels.

    Without a name, the time column is found by name or content, and each other column is a
    channel.
    """

    ts: Annotated[
        Text | None, Meta(description="Column of the source times.", examples=["time"])
    ] = None
    rx: Annotated[
        Text | None, Meta(description="Column of the arrival times.", examples=["received"])
    ] = None
    values: Annotated[
        list[str],
        Meta(
            description="Columns that become channels; all others where the list is empty.",
            examples=[["x", "y"]],
        ),
    ] = []


class FileStream(StreamConfig, frozen=True, tag="file", kw_only=True):
    """A recording: NDJSON, delimited text, XDF, or the folder of a tape.

    Beside live streams it is played at speed 1, by the host's clock: a rig has one time axis.
    """

    path: Annotated[
        Text,
        Meta(
            description="The file, or the folder of a tape.",
            examples=["configs/recordings/demo.ndjson.gz"],
        ),
    ]
    speed: Annotated[
        float,
        Meta(
            ge=0,
            le=1e6,
            description="Factor of the recorded speed; 0: as fast as the flow allows.",
            examples=[1.0],
        ),
    ] = 0.0
    follow: Annotated[
        bool,
        Meta(description="Wait at the end of the file for further lines.", examples=[True]),
    ] = False
    batch_lines: Annotated[
        int,
        Meta(ge=1, le=1_000_000, description="Lines per batch of the flow.", examples=[1000]),
    ] = 10_000
    ts_unit: Annotated[
        TimeUnit | None,
        Meta(
            description="Unit of the source times; by default seconds, in delimited text detected.",
            examples=["ms"],
        ),
    ] = None
    columns: Annotated[
        Columns | None, Meta(description="Columns of delimited text; detected by default.")
    ] = None


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
    """OSC over UDP, or over TCP with `tcp://`."""

    addr: Annotated[
        Listening,
        Meta(
            description="Port, or address and port, to receive at; a port alone is that port on"
            " all IPv4 interfaces.",
            examples=["192.168.1.5:9000"],
        ),
    ]
    literal: Annotated[
        bool,
        Meta(
            description="Addresses may contain `*` and `?` as plain characters, also in members"
            " and facts.",
            examples=[True],
        ),
    ] = False
    keys: Annotated[
        list[str],
        Meta(
            description="Addresses or patterns to receive; all where the list is empty.",
            examples=[["/accxyz", "/body/*"]],
        ),
    ] = []
    allow: Annotated[
        list[str],
        Meta(
            description="Peers or networks to accept; all where the list is empty.",
            examples=[["127.0.0.0/8", "192.168.1.7"]],
        ),
    ] = []
    interface: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(
            description="Interface on which a multicast group is joined; all by default.",
            examples=["eth0"],
        ),
    ] = None
    per_sender: Annotated[
        bool,
        Meta(
            description="Each peer is a source of its own, `<stream>@<ip>` (`-` for `:`), with its"
            " own clock; at most sixteen.",
            examples=[True],
        ),
    ] = False
    timetags: Annotated[
        Literal["auto", "use", "ignore"],
        Meta(
            description="Timetags of bundles: `auto` ignores those that cannot be of a clock,"
            " `use` accepts all, `ignore` none.",
            examples=["ignore"],
        ),
    ] = "auto"


class MidiStream(StreamConfig, frozen=True, tag="midi", kw_only=True):
    """A MIDI input."""

    device: Annotated[
        Text,
        Meta(description="Name of the port, or a part of it.", examples=["nanoKONTROL"]),
    ]
    virtual: Annotated[
        bool,
        Meta(description="Create a port of this name, for others to connect to.", examples=[True]),
    ] = False
    pair: Annotated[
        bool,
        Meta(
            description="Pairs of controllers also make numbers of 14 bits (`cc14/...`).",
            examples=[True],
        ),
    ] = False


class BasicAuth(ConfigPart, frozen=True, kw_only=True):
    """Name and password of a scrape; the password is in a file."""

    username: Annotated[
        str,
        Meta(
            min_length=1,
            pattern=r"^[^:\x00-\x1f\x7f]+" + END,
            description="User name.",
            examples=["lumen"],
            extra={"expected": "a user name without colons and control characters"},
        ),
    ]
    password_file: Annotated[
        Text, Meta(description="File with the password.", examples=["secrets/ure"])
    ]


class UreStream(StreamConfig, frozen=True, tag="ure", kw_only=True):
    """An endpoint that exposes Prometheus text.

    `https://` trusts the system's certificates. Credentials are in files, read for each scrape.
    """

    metrics_url: Annotated[
        str,
        Meta(
            pattern=_URL,
            description="URL to scrape, without name and password.",
            examples=["http://127.0.0.1:9305/metrics_ure"],
            extra={
                "expected": "a page such as http://127.0.0.1:9100/metrics or https://..., without"
                " name and password: basic_auth takes a username and a password_file"
            },
        ),
    ]
    pull_interval_s: Annotated[
        float,
        Meta(ge=0.1, le=86_400, description="Time from one scrape to the next.", examples=[0.5]),
    ] = 2.0
    timeout_s: Annotated[
        Period,
        Meta(description="Time limit of a scrape, at most `pull_interval_s`.", examples=[0.5]),
    ] = 1.0
    keys: Annotated[
        list[str],
        Meta(
            description="Series or patterns to read; all where the list is empty.",
            examples=[["ure_pulse", "ure_harmony_*"]],
        ),
    ] = []
    basic_auth: Annotated[
        BasicAuth | None, Meta(description="Name and password of the scrape.")
    ] = None
    bearer_token_file: Annotated[
        Text | None,
        Meta(description="File with a bearer token; excludes `basic_auth`.", examples=["token"]),
    ] = None


class ExporterConfig(ConfigPart, frozen=True, kw_only=True):
    """The HTTP server of metrics and pages, open to every client that can reach it.

    The Host header of a request must be a literal address, `localhost`, `host` or one of
    `allow_hosts`. Any other is refused (421): the request may come from a hostile web page.
    """

    host: Annotated[Text, Meta(description="Address to serve at.", examples=["0.0.0.0"])] = (
        "127.0.0.1"
    )
    http_port: Annotated[int, Meta(ge=1, le=65535, description="TCP port.", examples=[9310])] = 9310
    path: Annotated[
        str,
        Meta(
            pattern="^/[A-Za-z0-9._~/-]*" + END,
            description="Path of the metrics.",
            examples=["/metrics"],
            extra={"expected": "a path such as /metrics of letters, digits and . _ ~ / -"},
        ),
    ] = "/metrics_fusion"
    allow_hosts: Annotated[
        list[HostName],
        Meta(
            max_length=64,
            description="Further host names under which the pages are served.",
            examples=[["stage.local"]],
        ),
    ] = []


class TapConfig(ConfigPart, frozen=True, kw_only=True):
    """The tape: a live run's received rows, in their order."""

    dir: Annotated[Text, Meta(description="Folder of the tape.", examples=["tap"])]
    rotate_mb: Annotated[
        Size, Meta(description="Size at which a new segment begins.", examples=[64.0])
    ] = 256.0
    keep: Keep = 0
    zstd: Annotated[
        bool, Meta(description="Compress full segments with zstd.", examples=[True])
    ] = False


class Destination(ConfigPart, frozen=True, tag_field="type", kw_only=True):
    """One destination of `send`: an expression for each address or controller."""

    name: Annotated[
        Text, Meta(description="Name of the destination, unique in the run.", examples=["sound"])
    ]
    map: Annotated[
        dict[str, str],
        Meta(
            min_length=1,
            description="Expression for each OSC address or MIDI controller.",
            examples=[{"/stage/motion": "motion"}],
        ),
    ]
    rate_hz: Annotated[
        float, Meta(gt=0, le=1000, description="Largest rate of messages.", examples=[60.0])
    ] = 20.0
    loop: Annotated[
        bool,
        Meta(
            description="Allow a destination that this run receives itself; refused by default.",
            examples=[True],
        ),
    ] = False


class OscDestination(Destination, frozen=True, tag="osc", kw_only=True):
    """An OSC receiver over UDP."""

    to: Annotated[
        Address, Meta(description="Address and port to send to.", examples=["127.0.0.1:9001"])
    ]


class MidiDestination(Destination, frozen=True, tag="midi", kw_only=True):
    """A MIDI output."""

    to: Annotated[
        Text, Meta(description="Name of the port, or a part of it.", examples=["FLUID Synth"])
    ]
    virtual: Annotated[
        bool,
        Meta(description="Create a port of this name, for others to connect to.", examples=[True]),
    ] = False


class OutputConfig(ConfigPart, frozen=True, kw_only=True):
    """The result files."""

    dir: Annotated[Text, Meta(description="Output folder.", examples=["out"])] = "out"
    sync_every_s: Annotated[
        float,
        Meta(
            ge=0.01,
            le=86_400,
            description="Data time between two sync lines of a channel.",
            examples=[2.0],
        ),
    ] = 10.0
    aligned: Annotated[
        bool, Meta(description="Also write every used sample (`aligned.jsonl`).", examples=[True])
    ] = False
    rotate_mb: Annotated[
        Size, Meta(description="Size at which a new segment begins.", examples=[64.0])
    ] = 256.0
    keep: Keep = 0
    mode: Annotated[
        AccessMode,
        Meta(
            description="Read access to results and tapes: the owner, the group, or all users.",
            examples=["group"],
        ),
    ] = "private"


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
        list[FileStream | OscStream | MidiStream | UreStream],
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
    evidence: Annotated[EvidenceConfig | None, Meta(description="Rules; none by default.")] = None
    exporter: Annotated[
        ExporterConfig | None, Meta(description="Metrics and live page; none by default.")
    ] = None
    tap: Annotated[TapConfig | None, Meta(description="Tape of a live run; none by default.")] = (
        None
    )
    send: Annotated[
        list[OscDestination | MidiDestination],
        Meta(description="Destinations of OSC messages and MIDI; at most 64."),
    ] = []
    output: Annotated[OutputConfig, Meta(description="Result files.")] = OutputConfig()
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
        return not all(isinstance(s, FileStream) for s in self.streams)

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
        if self.live or any(s.follow for s in files):
            longest_s = 0.05 if self.resample.profile == "accurate" else 0.005
            return min(1 / self.resample.target_hz, longest_s)
        return "density" if all(s.speed == 0 for s in files) else 1.0

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
        # The replay of a tape equals its run; OSC sources are recognised by their keys.
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
