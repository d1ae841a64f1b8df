"""Configuration of an MQTT input."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from configs.forms import END, Text
from configs.inputs import BasicAuth, StreamConfig

BROKER = r"^mqtts?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?" + END
PLAIN_PORT, TLS_PORT = 1883, 8883


class MqttStream(StreamConfig, frozen=True, tag="mqtt", kw_only=True):
    """Topics of an MQTT 5 broker. The topic is the key; needs the extra `mqtt`.

    A payload is a number, an event (`{"value": 1.5, "ts": 1700000000.0}`), or with `value` any
    JSON that has a number at that pointer.
    """

    broker: Annotated[
        str,
        Meta(
            pattern=BROKER,
            description="URL of the broker; `mqtts` for TLS.",
            examples=["mqtt://127.0.0.1:1883"],
            extra={"expected": "a broker such as mqtt://127.0.0.1:1883 or mqtts://broker.local"},
        ),
    ]
    topics: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=64,
            description="Topics, also with `+` for one level and `#` for all below.",
            examples=[["stage/+/temperature"]],
        ),
    ]
    qos: Annotated[
        Literal[0, 1],
        Meta(description="Quality of service: 0 at most once, 1 at least once.", examples=[1]),
    ] = 0
    value: Annotated[
        str | None,
        Meta(
            description="JSON Pointer of the number in a payload that is an object.",
            examples=["/sensor/celsius"],
        ),
    ] = None
    basic_auth: Annotated[BasicAuth | None, Meta(description="Name and password.")] = None
    ca_file: Annotated[
        Text | None,
        Meta(
            description="Certificates to trust with mqtts, instead of the system's.",
            examples=["certs/ca.pem"],
        ),
    ] = None


def broker_of(url: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is used."""
    parts = urlsplit(url)
    tls = parts.scheme == "mqtts"
    return parts.hostname or "", parts.port or (TLS_PORT if tls else PLAIN_PORT), tls


def is_filter(topic: str) -> bool:
    """Whether a text is a valid topic filter (MQTT 5, 4.7)."""
    levels = topic.split("/")
    sound = all(level in ("+", "#") or not set(level) & {"+", "#", "\0"} for level in levels)
    return bool(topic) and sound and "#" not in levels[:-1] and len(topic.encode()) <= 65_535


def covers(topic_filter: str, topic: str) -> bool:
    """Whether a topic filter matches a topic (MQTT 5, 4.7)."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("+", "#"):
        return False
    for place, level in enumerate(wanted):
        if level == "#":
            return True
        if place >= len(levels) or level not in ("+", levels[place]):
            return False
    return len(wanted) == len(levels)
