"""Checks of the inputs: names, ports and devices of their own, files that exist."""

from __future__ import annotations

import re
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from configs.address import Listen, endpoint, overlap
from configs.connectors.kafka import KafkaStream, ranges
from configs.connectors.mqtt import MqttStream, is_filter
from configs.connectors.websocket import WebSocketStream
from configs.document import DataPath, Document
from configs.extras import missing
from configs.inputs import (
    DELIMITED,
    TAPE,
    FileStream,
    MidiStream,
    OscStream,
    UreStream,
    is_delimited,
    stem,
)
from configs.kafka_cluster import SecurityFileError, properties_of
from configs.schema import Config
from configs.token_file import TokenFileError, token_of

_POINTER = re.compile(r"(/[^/]*)+")
_ALSA_NUMBER = re.compile(r" \d+:\d+$")
"""Number of client and port, which changes with every connection."""


def check(document: Document, config: Config) -> None:
    """Report streams that cannot be received as they are written."""
    first: dict[str, int] = {}
    ports: dict[Listen, str] = {}
    devices: dict[tuple[str, bool], str] = {}
    stems: dict[str, str] = {}
    for index, stream in enumerate(config.streams):
        at = ("streams", index)
        if stream.name in first:
            line, _ = document.place(("streams", first[stream.name], "name"))
            name = document.shown((*at, "name"), stream.name)
            message = f"a second stream called '{name}', expected a name of its own"
            document.fault(document.place((*at, "name")), f"{message}: the first is on line {line}")
        first.setdefault(stream.name, index)
        if isinstance(stream, FileStream):
            file(document, (*at, "path"), stream.path, or_tape=True)
            if is_delimited(stream.path):
                source, path = stem(stream.path), document.shown((*at, "path"), stream.path)
                if (other := stems.setdefault(source, stream.path)) != stream.path:
                    message = f"{path} and {other} are both the source '{source}'"
                    document.fault(
                        document.place((*at, "path")), f"{message}, expected files of unlike names"
                    )
            if stream.columns is not None and not is_delimited(stream.path):
                message = "'columns' of a file without columns, expected a path that ends in"
                document.fault(
                    document.key_place((*at, "columns")), f"{message} {', '.join(DELIMITED)}"
                )
        elif why := missing(type(stream).__struct_config__.tag):
            document.fault(document.place((*at, "type")), why)
        elif isinstance(stream, OscStream):
            _port(document, at, stream, ports)
        elif isinstance(stream, MidiStream):
            _device(document, at, stream, devices)
        elif isinstance(stream, UreStream):
            _endpoint(document, at, stream)
        elif isinstance(stream, MqttStream):
            _broker(document, at, stream)
        elif isinstance(stream, WebSocketStream):
            _server(document, at, stream, ports)
        elif isinstance(stream, KafkaStream):
            _topic(document, at, stream, len(config.streams))


def _own_port(
    document: Document,
    at: DataPath,
    stream: OscStream | WebSocketStream,
    where: Listen,
    ports: dict[Listen, str],
) -> None:
    """Report a port out of range, or one that another stream has."""
    shown = document.shown(at, stream.addr)
    if not 1 <= where.port <= 65535:
        message = f"the address '{shown}', expected a port from 1 to 65535"
        document.fault(document.place(at), message)
    holder = next((name for other, name in ports.items() if overlap(where, other)), None)
    if holder is not None:
        message = f"the address '{shown}' is that of stream '{holder}', expected one of its own"
        document.fault(document.place(at), message)
    ports.setdefault(where, stream.name)


def _port(document: Document, at: DataPath, stream: OscStream, ports: dict[Listen, str]) -> None:
    where = endpoint(stream.addr)
    shown = document.shown((*at, "addr"), stream.addr)
    _own_port(document, (*at, "addr"), stream, where, ports)
    if where.group and where.tcp:
        message = f"the address '{shown}' is a multicast group, expected one without tcp://"
        document.fault(document.place((*at, "addr")), message)
    if stream.interface is not None and not where.group:
        message = f"an interface for '{shown}', expected it beside a multicast group only"
        document.fault(document.place((*at, "interface")), message)
    if stream.interface is None and where.needs_interface:
        message = f"the group '{shown}' is one of each link, expected an interface: interface: eth0"
        document.fault(document.place((*at, "addr")), message)
    networks(document, (*at, "allow"), stream.allow, "peer")


def networks(document: Document, at: DataPath, allow: list[str], noun: str) -> None:
    """Report texts of a list that are neither an address nor a network."""
    for i, allowed in enumerate(allow):
        try:
            ip_network(allowed, strict=False)
        except ValueError:
            place = (*at, i)
            message = f"the {noun} '{document.shown(place, allowed)}'"
            document.fault(
                document.place(place), f"{message}, expected an IP address or a network: 10.0.0.0/8"
            )


def _device(
    document: Document, at: DataPath, stream: MidiStream, devices: dict[tuple[str, bool], str]
) -> None:
    """Report a device that another stream has; aliases of one port are found by the run only."""
    name = _ALSA_NUMBER.sub("", stream.device)
    name = stream.device if stream.virtual else name.removesuffix("#1")
    holder = devices.setdefault((name, stream.virtual), stream.name)
    if holder != stream.name:
        shown = document.shown((*at, "device"), stream.device)
        message = f"the device '{shown}' is that of stream '{holder}', expected one of its own"
        second = "" if stream.virtual else f": the second port of that name is '{name}#2'"
        document.fault(document.place((*at, "device")), f"{message}{second}")


def _endpoint(document: Document, at: DataPath, stream: UreStream) -> None:
    try:
        sound = urlsplit(stream.metrics_url).port != 0
    except ValueError:
        sound = False
    if not sound:
        where = (*at, "metrics_url")
        message = f"the address '{document.shown(where, stream.metrics_url)}'"
        document.fault(
            document.place(where), f"{message}, expected a host, and a port from 1 to 65535"
        )
    if stream.basic_auth is not None:
        file(document, (*at, "basic_auth", "password_file"), stream.basic_auth.password_file)
    if stream.bearer_token_file is not None:
        file(document, (*at, "bearer_token_file"), stream.bearer_token_file)
        if stream.basic_auth is not None:
            message = "'bearer_token_file' beside 'basic_auth', expected one of the two"
            document.fault(document.key_place((*at, "bearer_token_file")), message)
    if stream.timeout_s > stream.pull_interval_s:
        # One pull must be over before the next is due.
        message = f"timeout_s is {stream.timeout_s:g}, expected at most pull_interval_s"
        place = document.place((*at, "timeout_s"))
        document.fault(place, f"{message} ({stream.pull_interval_s:g})")


def _broker(document: Document, at: DataPath, stream: MqttStream) -> None:
    """Report a port out of range, topics that are none, and files that are not there."""
    try:
        sound = urlsplit(stream.broker).port != 0
    except ValueError:
        sound = False
    if not sound:
        message = f"the broker '{stream.broker}', expected a port from 1 to 65535"
        document.fault(document.place((*at, "broker")), message)
    for i, topic in enumerate(stream.topics):
        if not is_filter(topic):
            shown = document.shown((*at, "topics", i), topic)
            message = f"the topic '{shown}', expected + and # as whole levels, # as the last one"
            document.fault(document.place((*at, "topics", i)), message)
    if stream.value is not None and not _POINTER.fullmatch(stream.value):
        shown = document.shown((*at, "value"), stream.value)
        message = f"the pointer '{shown}', expected one such as /sensor/celsius"
        document.fault(document.place((*at, "value")), message)
    if stream.basic_auth is not None:
        file(document, (*at, "basic_auth", "password_file"), stream.basic_auth.password_file)
    if stream.ca_file is not None:
        file(document, (*at, "ca_file"), stream.ca_file)
        if not stream.broker.startswith("mqtts:"):
            message = "certificates for a connection without TLS, expected an mqtts:// broker"
            document.fault(document.key_place((*at, "ca_file")), message)


def _server(
    document: Document, at: DataPath, stream: WebSocketStream, ports: dict[Listen, str]
) -> None:
    """Report a port out of range, or one of another server, and a token that is not there."""
    where = endpoint(stream.addr)._replace(tcp=True)
    _own_port(document, (*at, "addr"), stream, where, ports)
    if stream.token_file is not None:
        try:
            token_of(stream.token_file)
        except TokenFileError as error:
            place = (*at, "token_file")
            shown = document.shown(place, stream.token_file)
            document.fault(document.place(place), f"the token file {shown} {error}")


def _topic(document: Document, at: DataPath, stream: KafkaStream, streams: int) -> None:
    """Report a topic beside other streams, ranges without a partition, and faults of a file."""
    if streams > 1:
        # A rig would be in two partitions of the source, and their order is not determined.
        name = document.shown((*at, "name"), stream.name)
        message = f"the topic of '{name}' beside other streams, expected it alone"
        document.fault(document.place((*at, "type")), message)
    for i, broker in enumerate(stream.brokers):
        if not 1 <= endpoint(broker).port <= 65535:
            message = f"the broker '{document.shown((*at, 'brokers', i), broker)}'"
            message += ", expected a port from 1 to 65535"
            document.fault(document.place((*at, "brokers", i)), message)
    for first, last in ranges(stream.partitions) or []:
        if first > last:
            message = f"the partitions '{first}-{last}', expected the lower number first"
            document.fault(document.place((*at, "partitions")), message)
    if stream.security is not None:
        place = (*at, "security", "file")
        try:
            properties_of(stream.security.file)
        except SecurityFileError as error:
            document.fault(document.place(place), str(error))


def file(document: Document, at: DataPath, path: str, or_tape: bool = False) -> None:
    """Report a path at which there is no file."""
    if Path(path).is_file() or (or_tape and (Path(path) / TAPE).is_file()):
        return
    fault = "is not a file" if Path(path).exists() else "does not exist"
    message = f"{document.shown(at, path)} {fault}, expected a file"
    document.fault(document.place(at), message)
