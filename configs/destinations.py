"""Checks of `send`: valid addresses and controllers, valid expressions, and no destination that
this run receives itself."""

from __future__ import annotations

import re
import socket
from ipaddress import ip_address

from configs.address import endpoint, ip_of, same_server
from configs.connectors.kafka import KafkaStream
from configs.connectors.kafka_out import KafkaDestination
from configs.connectors.lsl import LslDestination, LslStream
from configs.connectors.mqtt import MqttDestination
from configs.document import MAX_FAULTS, DataPath, Document, Place
from configs.extras import missing
from configs.inputs import MidiStream, OscStream
from configs.outputs import MidiDestination, OscClockConfig, OscDestination
from configs.published import check_mqtt
from configs.rulefiles import refuse_expression
from configs.schema import Config
from configs.stream_checks import plain_texts
from operators.bridge.bridge_config import MARGIN_S
from operators.conditions import names
from operators.conditions.expression import ExpressionError, compile_expression
from operators.settings.channels import MIDI_PLAYED

MAX_DESTINATIONS = 64
"""Each destination is a thread."""
_ADDRESS = re.compile(r"/[!-~]{1,254}")
_RESERVED = re.compile(r"[#*,?\[\]{}]")
_BESIDE_NAME = re.compile(r" \d+:\d+$|#\d+$")
"""The number that ALSA appends to a name, or the index among equal names."""
_LENGTH = "/length"


def check(document: Document, config: Config) -> None:
    """Report destinations that cannot be sent to."""
    if not config.send:
        return
    if len(config.send) > MAX_DESTINATIONS:
        message = f"{len(config.send)} destinations, expected at most {MAX_DESTINATIONS}"
        document.fault(document.place(("send",)), message)
    readable = names(config.plan())
    first: dict[str, int] = {}
    for index, destination in enumerate(config.send[:MAX_DESTINATIONS]):
        at: DataPath = ("send", index)
        if destination.name in first:
            line, _ = document.place(("send", first[destination.name], "name"))
            shown = document.shown((*at, "name"), destination.name)
            message = f"a second destination called '{shown}', expected a name of its own"
            document.fault(document.place((*at, "name")), f"{message}: the first is on line {line}")
        first.setdefault(destination.name, index)
        if why := missing(type(destination).__struct_config__.tag):
            document.fault(document.place((*at, "type")), why)
        match destination:
            case OscDestination() | MidiDestination():
                _played(document, at, config, destination)
            case MqttDestination():
                check_mqtt(document, at, config, destination)
            case LslDestination():
                _streamed(document, at, config, destination)
            case KafkaDestination():
                _written(document, at, config, destination)
        if isinstance(destination, OscDestination | MidiDestination | MqttDestination):
            for key, text in destination.map.items():
                if len(document.faults) >= MAX_FAULTS:
                    return  # further faults are not shown
                _expression(document, (*at, "map", key), text, readable)


def _streamed(
    document: Document, at: DataPath, config: Config, destination: LslDestination
) -> None:
    """Report an input that may take the stream of a rig."""
    plain_texts(document, at, destination)
    for index, stream in enumerate(config.streams):
        if destination.loop or not isinstance(stream, LslStream):
            continue
        if destination.sends_to(stream):
            listener = document.shown(("streams", index, "name"), stream.name)
            shown = document.shown((*at, "name"), destination.name)
            message = f"streams of '{shown}' are taken by stream '{listener}'"
            place = document.place((*at, "name"))
            document.fault(place, f"{message}, expected another name, or loop: true")


def _written(
    document: Document, at: DataPath, config: Config, destination: KafkaDestination
) -> None:
    """Report a topic that this run reads from the same brokers."""
    for index, stream in enumerate(config.streams):
        if destination.loop or not isinstance(stream, KafkaStream):
            continue
        if stream.topic != destination.topic:
            continue
        theirs = [endpoint(broker) for broker in stream.brokers]
        ours = [endpoint(broker) for broker in destination.brokers]
        if any(same_server(x, y) for x in theirs for y in ours):
            reader = document.shown(("streams", index, "name"), stream.name)
            shown = document.shown((*at, "topic"), destination.topic)
            message = f"the topic '{shown}' is read by stream '{reader}'"
            place = document.place((*at, "topic"))
            document.fault(place, f"{message}, expected another topic, or loop: true")


def _played(
    document: Document,
    at: DataPath,
    config: Config,
    destination: OscDestination | MidiDestination,
) -> None:
    """Report addresses, controllers, clocks and ports that cannot be played to."""
    if not destination.map and destination.clock is None:
        message = "nothing to send, expected at least one address or controller, or a clock"
        document.fault(document.place((*at, "map")), message)
    _clock(document, (*at, "clock"), config, destination)
    for key in destination.map:
        if len(document.faults) >= MAX_FAULTS:
            return
        _key(document, (*at, "map", key), key, destination)
    _loop(document, (*at, "to"), config, destination)


def _clock(
    document: Document,
    at: DataPath,
    config: Config,
    destination: OscDestination | MidiDestination,
) -> None:
    clock = destination.clock
    if clock is None:
        return
    if config.bridge is None or config.bridge.reference is None:
        message = "a clock without ticks, expected bridge.reference beside it"
        document.fault(document.key_place(at), message)
        return
    latest_ms = (config.lead_s() - MARGIN_S) * 1000
    if clock.before_s * 1000 > latest_ms:
        message = f"ticks sent {clock.before_s * 1000:g} ms before their time"
        why = f"at most {latest_ms:g}: lead_ms less {MARGIN_S * 1000:g}"
        document.fault(document.place(at), f"{message}, expected {why}")
    if not isinstance(clock, OscClockConfig):
        return
    where = (*at, "address")
    _address(document, document.place(where), clock.address)
    if clock.address in destination.map:
        message = f"the address '{clock.address}' of the clock is in 'map' too"
        document.fault(document.place(where), f"{message}, expected another address")


def _address(document: Document, place: Place, address: str) -> None:
    if not _ADDRESS.fullmatch(address) or _RESERVED.search(address):
        message = f"the address '{address}', expected one such as /ure/velocity, without #*,?[]{{}}"
        document.fault(place, message)


def _key(
    document: Document, at: DataPath, key: str, destination: OscDestination | MidiDestination
) -> None:
    if isinstance(destination, OscDestination):
        _address(document, document.key_place(at), key)
        return
    note = key.removesuffix(_LENGTH)
    if not MIDI_PLAYED.fullmatch(note) or (note != key and not key.startswith("note/")):
        message = f"'{key}', expected note/1/60, note/1/60/length, cc/1/74, pitch/1, pressure/1"
        document.fault(document.key_place(at), f"{message} or program/1")
    elif note != key and note not in destination.map:
        message = f"the length of '{note}', which is not sent, expected '{note}' beside it"
        document.fault(document.key_place(at), message)


def _expression(document: Document, at: DataPath, text: str, readable: tuple[str, ...]) -> None:
    try:
        compile_expression(text, readable, logical=False)
    except ExpressionError as error:
        refuse_expression(document, at, text, error, "a number over known names")


def _loop(
    document: Document,
    at: DataPath,
    config: Config,
    destination: OscDestination | MidiDestination,
) -> None:
    shown = document.shown(at, destination.to)
    if isinstance(destination, OscDestination):
        port = int(destination.to.rpartition(":")[2])
        if not 1 <= port <= 65535:
            message = f"the address '{shown}', expected a port from 1 to 65535"
            document.fault(document.place(at), message)
            return
        _framing(document, at, destination)
    if destination.loop:
        return
    for index, stream in enumerate(config.streams):
        match stream, destination:
            case OscStream(), OscDestination():
                received = _reaches(destination.to, stream.addr)
            case MidiStream(), MidiDestination():
                ours, theirs = _bare(destination.to), _bare(stream.device)
                received = ours in theirs or theirs in ours
            case _:
                received = False
        if received:
            listener = document.shown(("streams", index, "name"), stream.name)
            message = f"'{shown}' is the address of stream '{listener}'"
            document.fault(
                document.place(at), f"{message}, expected another destination, or loop: true"
            )


def _framing(document: Document, at: DataPath, destination: OscDestination) -> None:
    """Report a framing of datagrams, and a connection to a group."""
    where = endpoint(destination.to)
    if where.tcp and where.group:
        message = (
            f"the address '{destination.to}' is a multicast group, expected one without tcp://"
        )
        document.fault(document.place(at), message)
    if destination.framing is not None and not where.tcp:
        message = f"a framing for '{destination.to}', expected it beside tcp:// only"
        document.fault(document.place((*at[:-1], "framing")), message)


def _reaches(to: str, addr: str | int) -> bool:
    """Whether messages to one address arrive at the other, without name resolution."""
    ours, theirs = endpoint(to), endpoint(addr)
    if (ours.tcp, ours.port) != (theirs.tcp, theirs.port):
        return False
    host, own = ip_of(ours.host), ip_of(theirs.host)
    if ours.host == theirs.host or (host is not None and (host == own or host.is_unspecified)):
        return True
    return own is not None and own.is_unspecified and host is not None and _is_here(str(host))


def _is_here(host: str) -> bool:
    """Whether an IP address belongs to this machine. Names are not resolved."""
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except (ValueError, OSError):
        return False
    return True


def _bare(port: str) -> str:
    return _BESIDE_NAME.sub("", port)
