"""Checks of MQTT destinations: topics, files, and no topic that this run receives itself."""

from __future__ import annotations

from configs.address import ip_of
from configs.connectors.mqtt import (
    EVIDENCE,
    STATE,
    MqttDestination,
    MqttStream,
    broker_of,
    is_topic,
    overlaps,
)
from configs.document import MAX_FAULTS, DataPath, Document
from configs.schema import Config
from configs.stream_checks import broker


def check_mqtt(
    document: Document, at: DataPath, config: Config, destination: MqttDestination
) -> None:
    """Report a destination that cannot be published to."""
    broker(document, at, destination)
    if not is_topic(destination.topic):
        message = f"the topic '{document.shown((*at, 'topic'), destination.topic)}'"
        expected = "levels with a name each, without + and #, such as lumen/hall"
        document.fault(document.place((*at, "topic")), f"{message}, expected {expected}")
    for name in destination.map:
        if len(document.faults) >= MAX_FAULTS:
            return  # further faults are not shown
        if not is_topic(name) or name in (STATE, EVIDENCE):
            message = f"the topic '{name}', expected a name such as motion, without + and #, other"
            place = document.key_place((*at, "map", name))
            document.fault(place, f"{message} than {STATE} and {EVIDENCE}")
    if not destination.loop:
        _loop(document, at, config, destination)


def _loop(document: Document, at: DataPath, config: Config, destination: MqttDestination) -> None:
    """Report a stream that subscribes to what is sent to the same broker."""
    for index, stream in enumerate(config.streams):
        if not isinstance(stream, MqttStream) or not _same(stream.broker, destination.broker):
            continue
        taken = (x for x in stream.topics if any(overlaps(x, y) for y in destination.filters))
        if (topic := next(taken, None)) is not None:
            topic = document.shown(("streams", index, "topics", stream.topics.index(topic)), topic)
            listener = document.shown(("streams", index, "name"), stream.name)
            message = f"the topics below '{document.shown((*at, 'topic'), destination.topic)}'"
            message += f" are received by stream '{listener}' with '{topic}'"
            expected = "another topic, or loop: true"
            document.fault(document.place((*at, "topic")), f"{message}, expected {expected}")


def _same(one: str, other: str) -> bool:
    """Whether two URLs are of one broker, without name resolution."""
    try:
        (host, *port), (other_host, *other_port) = broker_of(one), broker_of(other)
    except ValueError:  # a port out of range, reported before
        return False
    same_host = host == other_host or (ip_of(host) is not None and ip_of(host) == ip_of(other_host))
    return same_host and port == other_port
