"""The outputs of a configuration: result files, tape, pages, and messages to others."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from configs.dsn import EXPECTED, POSTGRES
from configs.files import AccessMode
from configs.forms import END, Address, HostName, Text
from configs.kafka_cluster import TapTopic
from operators.settings.config_part import ConfigPart

CONTROL = "control.sock"
"""The socket in the output folder of a live run that takes commands to the bridge."""
Size = Annotated[float, Meta(gt=0, le=1e6)]
"""Size of a file (MB)."""
SegmentCount = Annotated[int, Meta(ge=0, le=1_000_000)]
Keep = Annotated[
    SegmentCount,
    Meta(description="Newest segments to keep; 0 keeps all.", examples=[16]),
]


class ExporterConfig(ConfigPart, frozen=True, kw_only=True):
    """The HTTP server of metrics, pages and the read-only API.

    Without `token_file` and `allow` it is open to every client that can reach it. The Host header
    of a request must be a literal address, `localhost`, `host` or one of `allow_hosts`. Any other
    is refused (421): the request may come from a hostile web page.
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
    token_file: Annotated[
        Text | None,
        Meta(
            description="File with the bearer token of every request but `/healthz` and `/readyz`;"
            " readable by its owner alone.",
            examples=["secrets/exporter"],
        ),
    ] = None
    max_qps: Annotated[
        Annotated[float, Meta(ge=0.1, le=100_000)] | None,
        Meta(
            description="Requests a second of one address; more are refused (429).", examples=[20]
        ),
    ] = None
    allow: Annotated[
        list[str],
        Meta(
            max_length=256,
            description="Addresses or networks of clients; all where the list is empty, others"
            " are refused (403).",
            examples=[["10.0.0.0/8", "127.0.0.1"]],
        ),
    ] = []

    gate_file: Annotated[
        Text | None,
        Meta(
            description="File of `lumen gate --out`, shown at `/v1/gate`.",
            examples=["gate.json"],
        ),
    ] = None

    @property
    def guarded(self) -> bool:
        """Whether a token or a list of networks keeps other machines out."""
        return self.token_file is not None or bool(self.allow)


class EnergyConfig(ConfigPart, frozen=True, kw_only=True):
    """Energy, cost and heat among the metrics.

    A run has its share of the energy of the processor packages where the system shows that (RAPL,
    mostly for root alone); else CPU time x `watts_per_core`, marked `stated`.
    """

    watts_per_core: Annotated[
        Annotated[float, Meta(gt=0, le=1000)] | None,
        Meta(
            description="Power of a busy core, where RAPL cannot be read.",
            examples=[15],
            extra={"unit": "W"},
        ),
    ] = None
    price_per_kwh: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None,
        Meta(
            description="Price of a kilowatt-hour, in units of `currency`.",
            examples=[160],
        ),
    ] = None
    currency: Annotated[
        Annotated[
            str,
            Meta(
                pattern="^[A-Z]{3}" + END,
                extra={"expected": "a currency of three capital letters such as KRW"},
            ),
        ]
        | None,
        Meta(description="Currency of the price (ISO 4217).", examples=["KRW"]),
    ] = None


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
    format: Annotated[
        Literal["ndjson", "parquet"],
        Meta(
            description="Form of full segments that no resume reads; needs the extra columnar.",
            examples=["parquet"],
        ),
    ] = "ndjson"
    kafka: Annotated[
        TapTopic | None,
        Meta(description="The tape as a topic (`lumen record --to kafka`); a run sends nothing."),
    ] = None


OffsetMs = Annotated[
    float,
    Meta(
        ge=-1000,
        le=1000,
        description="Time from a tick of the bridge to its message; negative: before the tick.",
        examples=[-12],
    ),
]


class OscClockConfig(ConfigPart, frozen=True, kw_only=True):
    """The ticks of the bridge as OSC bundles: beat, rate (Hz), phase error (cycles), state."""

    address: Annotated[Text, Meta(description="Address of a tick.", examples=["/lumen/tick"])] = (
        "/lumen/tick"
    )
    offset_ms: OffsetMs = 0.0
    ahead_ms: Annotated[
        float,
        Meta(
            ge=0,
            le=10_000,
            description="Time from the sending of a bundle to its time tag, for receivers that"
            " obey time tags.",
            examples=[50],
        ),
    ] = 0.0

    @property
    def before_s(self) -> float:
        """Time from the sending to the tick (s); negative: after the tick."""
        return (self.ahead_ms - self.offset_ms) / 1000


class MidiClockConfig(ConfigPart, frozen=True, kw_only=True):
    """The ticks of the bridge as MIDI clock."""

    per_tick: Annotated[
        int, Meta(ge=1, le=96, description="Pulses (0xF8) of a tick.", examples=[6])
    ] = 6
    transport: Annotated[
        bool,
        Meta(
            description="Send Start at the first tick, and Stop where sending ends.",
            examples=[False],
        ),
    ] = True
    offset_ms: OffsetMs = 0.0

    @property
    def before_s(self) -> float:
        """Time from the sending to the tick (s); negative: after the tick."""
        return -self.offset_ms / 1000


class DestinationConfig(ConfigPart, frozen=True, tag_field="type", kw_only=True):
    """One destination of `send`."""

    name: Annotated[
        Text, Meta(description="Name of the destination, unique in the run.", examples=["sound"])
    ]
    loop: Annotated[
        bool,
        Meta(
            description="Allow a destination that this run receives itself; refused by default.",
            examples=[True],
        ),
    ] = False


class Destination(DestinationConfig, frozen=True, kw_only=True):
    """A destination to play with: an expression for each address or controller, and a clock."""

    map: Annotated[
        dict[str, str],
        Meta(
            description="Expression for each OSC address or MIDI controller; `{}` for a clock"
            " alone.",
            examples=[{"/stage/motion": "motion"}],
        ),
    ]
    rate_hz: Annotated[
        float, Meta(gt=0, le=1000, description="Largest rate of messages.", examples=[60.0])
    ] = 20.0


class OscDestination(Destination, frozen=True, tag="osc", kw_only=True):
    """An OSC receiver over UDP."""

    to: Annotated[
        Address, Meta(description="Address and port to send to.", examples=["127.0.0.1:9001"])
    ]
    clock: Annotated[
        OscClockConfig | None,
        Meta(description="Also send the ticks of the bridge; not by default."),
    ] = None


class MidiDestination(Destination, frozen=True, tag="midi", kw_only=True):
    """A MIDI output."""

    to: Annotated[
        Text, Meta(description="Name of the port, or a part of it.", examples=["FLUID Synth"])
    ]
    virtual: Annotated[
        bool,
        Meta(description="Create a port of this name, for others to connect to.", examples=[True]),
    ] = False
    clock: Annotated[
        MidiClockConfig | None,
        Meta(description="Also send the ticks of the bridge; not by default."),
    ] = None


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
    parts: Annotated[
        int,
        Meta(
            ge=1,
            le=64,
            description="Partitions of the output, for several processes: each rig is in one of"
            " them, each has its folder `part-N` and its `run.json`.",
            examples=[2],
        ),
    ] = 1
    mode: Annotated[
        AccessMode,
        Meta(
            description="Read access to results and tapes: the owner, the group, or all users.",
            examples=["group"],
        ),
    ] = "private"


class ShadowConfig(ConfigPart, frozen=True, kw_only=True):
    """Comparison of a candidate with the running flow (`lumen shadow`)."""

    wait_s: Annotated[
        float,
        Meta(
            ge=1,
            le=3600,
            description="Longest wait for the other side of a tick.",
            examples=[30],
        ),
    ] = 60.0
    settle_s: Annotated[
        float,
        Meta(
            ge=0,
            le=86_400,
            description="First part of each rig that is not counted.",
            examples=[300],
        ),
    ] = 120.0


class StoreConfig(ConfigPart, frozen=True, kw_only=True):
    """The history: an index of the result files in a database, written by a process of its own."""

    dsn: Annotated[
        Text,
        Meta(
            pattern=rf"^(sqlite:.+|{POSTGRES})$",
            description="`sqlite:PATH` or `postgresql://...`; `${NAME}` keeps a password out of"
            " the file.",
            examples=["sqlite:history/history.sqlite"],
            extra={"expected": f"sqlite:PATH or {EXPECTED}"},
        ),
    ]
    keep_d: Annotated[
        float,
        Meta(gt=0, le=36_500, description="Days that ticks and signals stay.", examples=[30]),
    ] = 30.0
    minutes_d: Annotated[
        float,
        Meta(
            gt=0,
            le=36_500,
            description="Days that minutes, sync reports, evidence and dead letters stay.",
            examples=[730],
        ),
    ] = 730.0
    spool_mb: Annotated[
        float,
        Meta(
            ge=0,
            le=1e6,
            description="Size of segments that may wait for the store against `output.keep` (MB).",
            examples=[4096],
        ),
    ] = 4096.0
    every_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Store one tick in so many seconds; 0 stores all. Minutes are made of all.",
            examples=[1],
        ),
    ] = 0.0
