"""The inputs of a configuration: recordings, OSC, MIDI, and scraped endpoints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta

from configs.forms import END, URL, Listening, StreamName, Text
from configs.inert import inert
from operators.settings.config_part import ConfigPart, Period

TimeUnit = Literal["s", "ms", "us", "ns"]
StampUnit = Literal["s", "ms", "us", "ns", "iso"]
"""`iso`: dates with time; any other one is refused."""
TAPE = "tape.json"
"""The file that marks a folder as a tape."""
MAX_MANIFEST = 64 << 20
"""Largest manifest of a tape (bytes)."""


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
MCAP = ".mcap"


class Columns(ConfigPart, frozen=True, kw_only=True):
    """Columns of delimited text by name: source times, arrivals, channels.

    Without a name, the time column is found by name or content, and each other column is a
    channel. With `key` and `value` each row is an event.
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
    key: Annotated[
        Text | None,
        Meta(description="Column of the keys of events, one a row.", examples=["sensor"]),
    ] = None
    value: Annotated[
        Text | None,
        Meta(description="Column of the values of events, one a row.", examples=["reading"]),
    ] = None


class FileStream(StreamConfig, frozen=True, tag="file", kw_only=True):
    """A recording: NDJSON, delimited text, Parquet, Arrow, MCAP, XDF, or the folder of a tape.

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
        StampUnit | None,
        Meta(
            description="Unit of the source times; by default seconds, in delimited text detected."
            " `iso`: dates of delimited text.",
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


def is_mcap(path: str) -> bool:
    """Whether a recording is an MCAP file, by the ending of its name."""
    return path.lower().endswith(MCAP)


def stem(path: str) -> str:
    """Return the source of a table or MCAP file: its name without endings, colons and spaces."""
    name = Path(path).name
    for ending in (*PACKED, *DELIMITED, MCAP):
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
            pattern=URL,
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
