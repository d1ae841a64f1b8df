"""Configuration of an MQTT input and of an MQTT destination."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta

from configs.forms import END, Text
from configs.inert import inert
from configs.inputs import BasicAuth, StreamConfig
from configs.outputs import DestinationConfig

BROKER = r"^mqtts?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?/?" + END
PLAIN_PORT, TLS_PORT = 1883, 8883
Broker = Annotated[
    str,
    Meta(
        pattern=BROKER,
        description="URL of the broker; `mqtts` for TLS.",
        examples=["mqtt://127.0.0.1:1883"],
        extra={"expected": "a broker such as mqtt://127.0.0.1:1883 or mqtts://broker.local"},
    ),
]
CaFile = Annotated[
    Text | None,
    Meta(
        description="Certificates to trust with mqtts, instead of the system's.",
        examples=["certs/ca.pem"],
    ),
]
STATUS, STATE, EVIDENCE = "status", "state", "evidence"
"""Last levels of the topics of a destination."""
_SHARED = "$share/"


class MqttStream(StreamConfig, frozen=True, tag="mqtt", kw_only=True):
    """Topics of an MQTT 5 broker. The topic is the key; needs the extra `mqtt`.

    A payload is a number, an event (`{"value": 1.5, "ts": 1700000000.0}`), or with `value` any
    JSON that has a number at that pointer.
    """

    broker: Broker
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
    ca_file: CaFile = None


class MqttDestination(DestinationConfig, frozen=True, tag="mqtt", kw_only=True):
    """Topics of an MQTT 5 broker for the results of each rig; needs the extra `mqtt`.

    `<topic>/<rig>/state` has the newest tick, retained, as in `fused.jsonl`;
    `<topic>/<rig>/evidence` each finding, not retained; `<topic>/status` is `online` or `offline`.
    """

    broker: Broker
    topic: Annotated[
        Text, Meta(description="First levels of all topics.", examples=["lumen/hall"])
    ] = "lumen"
    qos: Annotated[
        Literal[0, 1],
        Meta(description="Quality of service: 0 at most once, 1 at least once.", examples=[0]),
    ] = 1
    rate_hz: Annotated[
        float, Meta(gt=0, le=100, description="Largest rate of states of a rig.", examples=[10.0])
    ] = 1.0
    map: Annotated[
        dict[str, str],
        Meta(
            description="Expression for each further topic `<topic>/<rig>/<name>`, a number.",
            examples=[{"motion": "motion"}],
        ),
    ] = {}
    basic_auth: Annotated[BasicAuth | None, Meta(description="Name and password.")] = None
    ca_file: CaFile = None

    @property
    def filters(self) -> tuple[str, ...]:
        """Topic filters of all that is sent; the rigs are not known before."""
        names = (STATE, EVIDENCE, *self.map)
        return f"{self.topic}/{STATUS}", *(f"{self.topic}/+/{name}" for name in names)


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


def is_topic(topic: str) -> bool:
    """Whether a text is a topic to send to, with a name in each level, and none of the broker's."""
    levels = topic.split("/")
    plain = is_filter(topic) and not set(levels) & {"+", "#"} and inert(topic) == topic
    return plain and all(levels) and not topic.startswith("$")


def overlaps(one: str, other: str) -> bool:
    """Whether a topic exists that both topic filters match; of a shared subscription too."""
    ours, theirs = (_unshared(x).split("/") for x in (one, other))
    for a, b in ((ours, theirs), (theirs, ours)):
        if a[0].startswith("$") and b[0] in ("+", "#"):
            return False
    for level, other_level in zip(ours, theirs, strict=False):
        if "#" in (level, other_level):
            return True
        if level != other_level and "+" not in (level, other_level):
            return False
    more = ours[len(theirs) :] or theirs[len(ours) :]
    return more in ([], ["#"])  # `a/#` also matches `a`


def _unshared(topic_filter: str) -> str:
    """Return the filter of a shared subscription (MQTT 5, 4.8.2)."""
    if not topic_filter.startswith(_SHARED):
        return topic_filter
    return topic_filter.removeprefix(_SHARED).partition("/")[2]
