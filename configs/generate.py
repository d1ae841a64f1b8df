"""The shipped JSON Schemas and REFERENCE.md, made from the types: `python -m configs.generate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from configs.coherence import RIG
from configs.reference import reference
from configs.schema import Config

FOLDER = Path(__file__).with_name("schemas")
REFERENCE = Path(__file__).with_name("REFERENCE.md")
DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_NAME = 255
MAX_STAMP_S = 1e12

Name = Annotated[str, Meta(max_length=MAX_NAME)]
Stamp = Annotated[float, Meta(ge=-MAX_STAMP_S, le=MAX_STAMP_S)]


class EventMeta(msgspec.Struct):
    """Additions of a sender or a recorder; further keys are free."""

    rx: Annotated[
        Stamp | None,
        Meta(description="Arrival, s since the Unix epoch, on the clock of the receiving host."),
    ] = None
    seq: Annotated[
        int | None,
        Meta(
            description="The sender's sequence number: separates duplicates from repeated values."
        ),
    ] = None
    own_time: Annotated[
        bool | None,
        Meta(
            description="False where the sender gave no time: ts is then the arrival, the source"
            " has no clock, and none of its events is a duplicate."
        ),
    ] = None


class SensorEvent(msgspec.Struct):
    """One reading of one channel: a line of a recording, at most 1 MiB of it."""

    ts: Annotated[
        Stamp,
        Meta(
            description="Source time in s, stamped by the sender: of any epoch with meta.rx, else"
            " since the Unix epoch. Without meta.rx it is also the arrival."
        ),
    ]
    source: Annotated[Name, Meta(description="Source of the stamp; each source has one clock.")]
    key: Annotated[Name, Meta(description="The measured quantity; the channel is <source>:<key>.")]
    value: Annotated[
        float | str | Annotated[list[float], Meta(min_length=1)],
        Meta(
            description="A finite number. An array becomes the channels key[0], key[1], ...: a bad"
            " element is one rejected event, its neighbours live. A text is a marker: clock-"
            "corrected, never fused. Any other value is a dead letter."
        ),
    ]
    rig: Annotated[
        Annotated[str, Meta(pattern=RIG)] | None,
        Meta(description="Rig of the event; by default that of the configuration."),
    ] = None
    meta: EventMeta | None = None


def config_schema() -> dict[str, Any]:
    """Return the schema of a configuration: its keys and values, not how they fit together."""
    return _schema(Config, "Lumen Fusion configuration")


def event_schema() -> dict[str, Any]:
    """Return the schema of an event."""
    return _schema(SensorEvent, "Lumen Fusion event")


def shipped() -> dict[Path, str]:
    """Return the text of each generated file."""
    schemas = {"config": config_schema(), "event": event_schema()}
    texts = {
        FOLDER / f"{name}.schema.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    return texts | {REFERENCE: reference()}


def _schema(kind: type[msgspec.Struct], title: str) -> dict[str, Any]:
    made = msgspec.json.schema(kind)
    return {"$schema": DIALECT, "title": title, **made}


if __name__ == "__main__":
    for path, text in shipped().items():
        path.write_text(text, "utf-8")
