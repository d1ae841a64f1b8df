"""A configuration for the channels found by `lumen listen`.

Sampled channels are members of signals; held channels are facts. If all are held, they are the
members. Constant channels are left out and listed in a comment. A stage adds low latency, the live
page, and the results as OSC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf

from configs.address import endpoint
from configs.connectors.lsl import LslStream
from configs.connectors.mqtt import MqttStream
from configs.connectors.websocket import WebSocketStream
from configs.inert import quoted
from configs.inputs import MidiStream, OscStream
from configs.schema import LiveStream
from operators.conditions import readable
from operators.settings.channels import MIDI_KEY
from operators.settings.plan import Member, Plan, Signal
from ops.cli.guess.channel_survey import ChannelSurvey, SurveyedChannel, shown
from ops.cli.guess.config import signals
from ops.cli.guess.machine import addresses

MAX_MEMBERS = 64
"""Members, and facts, written at most."""
BACK = 9010
"""Port of the sound program, as in `ops/examples` and `configs/stage.yaml`."""
_MAX_BACK = 4
_MAX_FACTS = 16
"""Facts sent back, at most; `_MAX_BACK`: senders as destinations, at most."""
_ENVIRONMENT = "${"
"""Text that a configuration replaces by a variable."""
_SEND_HZ = 60
_PRIVATE = "[127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]"
_MIN_SPREAD = 1e-3
"""Relative spread of the size of a vector; below, it only turns (gravity, magnetic field)."""
_STAGED = "A stage: received channels, fused with low latency, and sent back."
_GUESSED = "Received channels. The members of each signal are a guess."
_RESERVED_NAMES = ("motion", "trust", "fader")
_FULL_SCALE = {"pitch": 8192, "cc14": 16383, "nrpn": 16383}
"""Full scale of MIDI keys; 127 for all others."""
_FADERS = ("cc/", "cc14/", "nrpn/")
_MAX_LINES = 16


@dataclass(frozen=True)
class StageGuess:
    """Destination of a stage besides this machine: a port at the addresses of the senders."""

    back: int = BACK


@dataclass(frozen=True)
class FoundSenders:
    """Content of the configuration.

    Attributes
    ----------
    series, facts : tuple of SurveyedChannel
        Members of signals; held channels besides.
    vectors : frozenset of str
        Names among `series` that are arrays, used by their size.
    constant : tuple of SurveyedChannel
        Left out: constant channels.
    beyond : int
        Number of channels left out for the limits, or for an unusable name.
    held : bool
        True if the members are held.
    """

    series: tuple[SurveyedChannel, ...]
    facts: tuple[SurveyedChannel, ...]
    vectors: frozenset[str]
    constant: tuple[SurveyedChannel, ...]
    beyond: int
    held: bool

    def left_out(self) -> list[str]:
        """Return a line for each channel left out, and for the rest."""
        lines = [
            f"left out: {shown(c.name)} is constant: {c.low:g} in {c.events} events"
            for c in self.constant[:_MAX_LINES]
        ]
        if len(self.constant) > _MAX_LINES:
            lines.append(f"left out: {len(self.constant) - _MAX_LINES} more are constant")
        if self.beyond:
            lines.append(
                f"left out: {self.beyond} further channels (at most {MAX_MEMBERS} members and"
                f" {MAX_MEMBERS} facts, and no name with '{_ENVIRONMENT}')"
            )
        return lines


def found(survey: ChannelSurvey, now: float, vectors: bool) -> FoundSenders:
    """Return the content of the configuration.

    Parameters
    ----------
    survey : ChannelSurvey
    now : float
        Host time (s).
    vectors : bool
        Use the size of an array of three numbers, if it changes.
    """
    numbers = [c for c in survey.channels.values() if c.is_number()]
    fit = [c for c in numbers if _ENVIRONMENT not in c.name]
    by_kind: dict[str, list[SurveyedChannel]] = {"sampled": [], "held": [], "constant": []}
    for channel in fit:
        by_kind[channel.kind(now)].append(channel)
    sizes = {c.name: c for c in survey.vectors.values() if vectors and _has_size(c, now)}
    # In order of the first event; a vector once, in place of its elements.
    named = {c.name: c for c in (sizes.get(_array(c.name), c) for c in by_kind["sampled"])}
    series = list(named.values())
    facts, constant = (
        [c for c in by_kind[kind] if _array(c.name) not in named] for kind in ("held", "constant")
    )
    held = not series
    if held:
        series, facts = _played(facts) if vectors else (facts, [])
    beyond = len(numbers) - len(fit)
    beyond += sum(max(0, len(group) - MAX_MEMBERS) for group in (series, facts))
    return FoundSenders(
        tuple(series[:MAX_MEMBERS]),
        tuple(facts[:MAX_MEMBERS]),
        frozenset(sizes),
        tuple(constant),
        beyond,
        held,
    )


def written(
    senders: FoundSenders,
    streams: Sequence[LiveStream],
    hosts: Sequence[str],
    stage: StageGuess | None,
) -> str | None:
    """Return a configuration; None if no number changes.

    Parameters
    ----------
    senders : FoundSenders
    streams : sequence of LiveStream
        Streams without a used channel are left out.
    hosts : sequence of str
        Addresses of the senders.
    stage : StageGuess or None
    """
    if not senders.series:
        return None
    names = [c.name for c in senders.series]
    used = {_stream(c.name) for c in (*senders.series, *senders.facts)}
    kept = [s for s in streams if s.name in used]
    members = signals(names)
    if stage:
        members = {_stage_name(k, name): m for k, (name, m) in enumerate(_by_size(members))}
    lines = [f"# {_STAGED if stage else _GUESSED}"]
    lines += [f"# {line}" for line in senders.left_out()]
    lines += ["version: 2", *(["rig: stage"] if stage else []), "streams:"]
    lines += [f"  - {_written(s, used, names, senders, hosts if stage else ())}" for s in kept]
    channels = [f"  {quoted(n)}: {{reduce: norm}}" for n in names if n in senders.vectors]
    channels += [f"  {quoted(n)}: {{kind: held}}" for n in names if senders.held]
    lines += ["channels:", *channels] if channels else []
    lines.append("signals:")
    for name, channels in members.items():
        lines.append(f"  {name}:")
        # An explicit reference gives a value from the first tick on, without a comparison.
        lines += [f"    reference: {quoted(channels[0])}"] if stage else []
        lines.append("    members:")
        lines += [f"      {quoted(channel)}: {{group: sensors}}" for channel in channels]
    if senders.facts:
        lines.append(f"facts: [{', '.join(quoted(c.name) for c in senders.facts)}]")
    if stage:
        lines += _staged(senders, streams, members, hosts, stage)
    lines.append("output: {dir: out}")
    return "\n".join(lines) + "\n"


def _staged(
    senders: FoundSenders,
    streams: Sequence[LiveStream],
    members: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    stage: StageGuess,
) -> list[str]:
    """Return the sections of a stage."""
    lines = [
        "resample: {target_hz: 100, profile: low_latency}",
        "# Ticks wait 20 ms for a late member; a later one has no weight.",
        "align: {max_lag_s: 0.5, wait_lag_s: 0.02, window_s: 20, hop_s: 2}",
        f"quality: {{signal: {next(iter(members))}, window_s: 30}}",
        "failover: {fallback: sensors_only, rejoin_after_s: 1.0}",
        "send:",
        "  # The first signal as 0 to 1 over its received range; its trust; the held channels.",
    ]
    for name, place in destinations(streams, hosts, stage):
        lines += [
            f"  - name: {name}",
            "    type: osc",
            f"    to: {quoted(place)}"
            + ("" if name == "sound" else "  # the sender; use the port at which its app receives"),
            f"    rate_hz: {_SEND_HZ}",
            "    map:",
            *(
                f"      {address}: {quoted(text)}"
                for address, text in _map(senders, members).items()
            ),
        ]
    return [*lines, "exporter: {}"]


def destinations(
    streams: Sequence[LiveStream], hosts: Sequence[str], stage: StageGuess
) -> list[tuple[str, str]]:
    """Return name and address of each destination: this machine, and the senders.

    Parameters
    ----------
    streams : sequence of LiveStream
        Their ports are no destinations on this machine.
    hosts : sequence of str
        Addresses of the senders.
    stage : StageGuess
    """
    ports = {endpoint(s.addr).port for s in streams if isinstance(s, OscStream)}
    free = next(port for port in range(BACK, BACK + len(ports) + 1) if port not in ports)
    here = {address for address, _ in addresses()}
    others = [h for h in hosts if "%" not in h and h not in here and not ip_address(h).is_loopback]
    places = [f"[{h}]:{stage.back}" if ":" in h else f"{h}:{stage.back}" for h in others]
    back = [(f"back_{k}", place) for k, place in enumerate(places[:_MAX_BACK], 1)]
    return [("sound", f"127.0.0.1:{free}"), *back]


def _map(senders: FoundSenders, members: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the expression of each address sent."""
    plan = Plan(
        rig="stage",
        signals=tuple(
            Signal(name, tuple(Member(name, c, "sensors") for c in channels), "auto")
            for name, channels in members.items()
        ),
        facts=tuple(c.name for c in senders.facts),
    )
    of = {(column.kind, column.index): name for name, column in readable(plan).items()}
    by_name = {c.name: c for c in senders.series}
    texts: dict[str, str] = {}
    for k, (signal, channels) in enumerate(members.items()):
        if ("signal", k) not in of:
            continue
        low = min(by_name[c].low for c in channels)
        high = max(by_name[c].high for c in channels)
        texts[f"/stage/{signal}"] = _scaled(of["signal", k], low, high)
        if k == 0:
            texts["/stage/trust"] = "clamp(sync_quality, 0, 1)"
    for k, fact in enumerate(senders.facts[:_MAX_FACTS]):
        if ("fact", k) not in of:
            continue
        key, name = _key(fact), of["fact", k]
        if MIDI_KEY.fullmatch(key):
            text = f"{name} / {_FULL_SCALE.get(key.partition('/')[0], 127)}"
        else:
            text = _scaled(name, fact.low, fact.high)
        if key.startswith(_FADERS) or (key.startswith("/") and len(fact.levels) > 2):
            texts.setdefault("/stage/fader", text)
        texts[f"/stage/{name}"] = text
    return texts


def _scaled(name: str, low: float, high: float) -> str:
    """Return an expression: 0 at the lowest received value, 1 at the highest."""
    span = high - low
    if not 0 < span < inf or (low, high) == (0, 1):
        return name
    above = name if low == 0 else f"({name} {'-' if low > 0 else '+'} {abs(low):.4g})"
    return f"clamp({above} / {span:.4g}, 0, 1)"


def _stage_name(k: int, name: str) -> str:
    """Return the name of a signal; the first is `motion`, for receivers to rely on."""
    return "motion" if k == 0 else name if name not in _RESERVED_NAMES else f"{name}_{k + 1}"


def _by_size(members: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Return the signals, sorted by number of members, largest first."""
    return sorted(members.items(), key=lambda item: -len(item[1]))


def _written(
    stream: LiveStream,
    used: set[str],
    names: Sequence[str],
    senders: FoundSenders,
    hosts: Sequence[str],
) -> str:
    """Return a stream as a flow mapping, for private networks only if all senders are private."""
    if isinstance(stream, MidiStream):
        return f"{{name: {stream.name}, type: midi, device: {quoted(stream.device)}}}"
    if isinstance(stream, MqttStream):
        topics = ", ".join(map(quoted, stream.topics))
        return f"{{name: {stream.name}, type: mqtt, broker: {stream.broker}, topics: [{topics}]}}"
    if isinstance(stream, WebSocketStream):
        return f"{{name: {stream.name}, type: websocket, addr: {quoted(stream.addr)}}}"
    if isinstance(stream, LslStream):
        given = {"stream": stream.stream, "source_id": stream.source_id}
        asked = "".join(f", {key}: {quoted(text)}" for key, text in given.items() if text)
        return f"{{name: {quoted(stream.name)}, type: lsl{asked}}}"
    assert isinstance(stream, OscStream)
    own = [c.name for c in (*senders.series, *senders.facts) if _stream(c.name) == stream.name]
    parts = [f"name: {stream.name}", "type: osc", f"addr: {quoted(str(stream.addr))}"]
    if any("@" in name.partition(":")[0] for name in own):
        parts.append("per_sender: true")
    if any({"*", "?"} & set(name) for name in own):
        parts.append("literal: true")
    if hosts and all("." in h and ip_address(h).is_private for h in hosts):
        parts.append(f"allow: {_PRIVATE}")
    return f"{{{', '.join(parts)}}}"


def _has_size(vector: SurveyedChannel, now: float) -> bool:
    """Return whether the size of a vector changes, and its name is no pattern."""
    return (
        vector.kind(now) == "sampled"
        and vector.high - vector.low > _MIN_SPREAD * vector.high
        and not {"*", "?"} & set(vector.name)
        and _ENVIRONMENT not in vector.name
    )


def _played(held: Sequence[SurveyedChannel]) -> tuple[list[SurveyedChannel], list[SurveyedChannel]]:
    """Return members and facts of controls alone: continuous controls, and notes."""
    moved = [c for c in held if not _key(c).startswith(("note/", "program/"))]
    if not moved:
        return list(held), []
    return moved, [c for c in held if c not in moved]


def _key(channel: SurveyedChannel) -> str:
    return channel.name.partition(":")[2]


def _array(name: str) -> str:
    return name.rpartition("[")[0] if name.endswith("]") else name


def _stream(name: str) -> str:
    return name.partition(":")[0].partition("@")[0]
