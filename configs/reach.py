"""Checks of settings that can never take effect: channels that no stream can have, members that no
tick waits for, a fallback to a missing group."""

from __future__ import annotations

import math
import re

from configs.connectors.mqtt import MqttStream, covers
from configs.connectors.websocket import WebSocketStream
from configs.document import DataPath, Document
from configs.inputs import MidiStream, OscStream, UreStream
from configs.schema import Config, LiveStream, RecordedStream
from configs.typed import did_you_mean, one_of
from operators.settings.channels import MIDI_KEY, matches
from operators.settings.groups import Group

_ELEMENT = re.compile(r"\[\d+\]\Z")
"""Index behind an address: one number of a message with several."""
_SERIES = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{(?P<labels>.*)\})?", re.S)
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\]|\\.)*")\s*(?:,|$)', re.S)
_MIDI_KEYS = "note/1/60, cc/1/74, pitch/1, pressure/1, program/1, transport or clock"
_GROUPS: dict[str, Group] = {"ure_only": "ure", "sensors_only": "sensors"}


def channels(document: Document, config: Config) -> None:
    """Report members and facts whose key no stream of that name can have."""
    roles: list[tuple[DataPath, str, str]] = [
        (("signals", name, "members", member), member, "member")
        for name, signal in config.signals.items()
        for member in signal.members
    ]
    roles += [(("facts", index), fact, "fact") for index, fact in enumerate(config.facts)]
    streams = {s.name: s for s in config.streams if not isinstance(s, RecordedStream)}
    for at, channel, role in roles:
        source, _, key = channel.partition(":")
        stream = streams.get(source)
        if stream is None or not key:
            continue
        wanted = _form(stream, key) or (_wanted(document, stream, key) if role == "fact" else "")
        if wanted:
            shown = channel if role == "member" else document.shown(at, channel)
            message = f"no stream has the {role} '{shown}', expected"
            document.fault(document.key_place(at), f"{message} {wanted}")


def unwanted(config: Config) -> list[str]:
    """Return the members and beat channels that `keys` of their own stream leave out."""
    streams = {s.name: s for s in config.streams if not isinstance(s, RecordedStream)}
    plan = config.plan()
    parts = {c: c.partition(":") for c in (*(m.channel for m in plan.members), *plan.beats)}
    return [
        channel
        for channel, (source, _, key) in parts.items()
        if source in streams and not _passes(streams[source], key)
    ]


def lags(document: Document, config: Config) -> None:
    """Report members whose given lag exceeds the wait of every tick."""
    longest = config.plan().wait_lag_s
    if math.isinf(longest):
        return
    for name, signal in config.signals.items():
        for member, settings in signal.members.items():
            if settings.lag_s is None or settings.lag_s <= longest:
                continue
            at = ("signals", name, "members", member, "lag_s")
            message = (
                f"the lag of '{member}' is {settings.lag_s:g} s, and no tick waits for more than"
            )
            todo = f"expected align.wait_lag_s of at least {settings.lag_s:g}"
            why = "it would never have a weight"
            document.fault(document.place(at), f"{message} {longest:g} s: {why}, {todo}")


def fallback(document: Document, config: Config) -> None:
    """Report a written (not default) fallback to a group that no signal has."""
    at = ("failover", "fallback")
    group = _GROUPS.get(config.failover.fallback)
    if at not in document.places or group is None:
        return
    groups = {m.group for signal in config.signals.values() for m in signal.members.values()}
    if group not in groups:
        shown = document.shown(at, config.failover.fallback)
        known = [name for name, other in _GROUPS.items() if other in groups]
        message = f"the fallback '{shown}', and no signal has a member of group {group}"
        document.fault(
            document.place(at), f"{message}, expected {' or '.join([*known, 'degrade'])}"
        )


def _form(stream: LiveStream, key: str) -> str:
    """Return the expected form of a stream's keys; empty where `key` has it."""
    match stream:
        case OscStream():
            return "" if key.startswith("/") else f"an address: '{stream.name}:/{key}'"
        case MidiStream():
            if key != "clock" and not MIDI_KEY.fullmatch(key):
                return f"{_MIDI_KEYS} behind '{stream.name}:', channels 1 to 16"
            if key.startswith(("cc14/", "nrpn/")) and not stream.pair:
                return f"'pair: true' on the stream '{stream.name}' for numbers of 14 bits"
            return ""
        case UreStream():
            return _series(stream.name, key)
        case MqttStream() | WebSocketStream():
            return ""


def _series(name: str, key: str) -> str:
    """Return the canonical form of a series (labels sorted by name); empty where `key` has it."""
    found = _SERIES.fullmatch(key)
    if found is None:
        return f'a series such as {name}:up or {name}:up{{job="a"}}'
    labels, at = found["labels"], 0
    if labels is None:
        return ""
    pairs: list[tuple[str, str]] = []
    while at < len(labels):
        label = _LABEL.match(labels, at)
        if label is None:
            return f'labels as in {name}:up{{a="b",c="d"}}'
        pairs.append((label[1], label[2]))
        at = label.end()
    text = ",".join(f"{label}={value}" for label, value in sorted(pairs) if value != '""')
    metric = key[: found.start("labels") - 1]
    right = f"{metric}{{{text}}}" if text else metric
    return "" if right == key else f"'{name}:{right}', as its labels are sorted"


def _passes(stream: LiveStream, key: str) -> bool:
    if isinstance(stream, MqttStream):
        return any(covers(wanted, _ELEMENT.sub("", key)) for wanted in stream.topics)
    if isinstance(stream, MidiStream | WebSocketStream) or not stream.keys:
        return True
    names = {key, _ELEMENT.sub("", key)} if isinstance(stream, OscStream) else {key}
    return any(matches(wanted, name) for wanted in stream.keys for name in names)


def _wanted(document: Document, stream: LiveStream, key: str) -> str:
    if isinstance(stream, MidiStream | WebSocketStream) or _passes(stream, key):
        return ""
    if isinstance(stream, MqttStream):
        return f"{one_of(stream.topics)} of the stream's topics to cover '{key}'"
    near = did_you_mean(document, key, stream.keys)
    return f"{one_of(stream.keys)} of the stream's keys{near}, or '{key}' among them"
