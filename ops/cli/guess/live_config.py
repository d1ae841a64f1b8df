"""A configuration for what listening found.

What has a rate makes signals; what is held is a fact. Where all is held, that is measured.
Constants are left out, and stand in a comment. For a stage there is more: low latency, the live
page, and everything back as OSC.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from math import inf

from configs.address import endpoint
from configs.inert import quoted
from configs.schema import MidiStream, OscStream
from operators.evidence import readable
from operators.plan import MIDI_KEY, Member, Plan, Signal
from ops.cli.guess.channel_survey import ChannelSurvey, SurveyedChannel, shown
from ops.cli.guess.config import signals
from ops.cli.guess.machine import addresses

MAX_MEMBERS = 64
"""Channels that are written down as members, or as facts, at most."""
BACK = 9010
"""Port of what makes the sound: that of `ops/examples` and `configs/stage.yaml`."""
_MAX_BACK = 4
_MAX_FACTS = 16
"""Facts that are sent back, and senders that they are sent to, at most."""
_ENVIRONMENT = "${"
"""What a configuration would put a variable for."""
_SEND_HZ = 60
_PRIVATE = "[127.0.0.0/8, 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]"
_TURNED = 1e-3
"""Relative spread of the size of a vector that only turns: of gravity, of a magnetic field."""
_STAGED = "A stage: what was received, fused with little delay, and sent back."
_GUESSED = "What was received. Which channels belong together is a guess."
_TAKEN = ("motion", "trust", "fader")
_FULL = {"pitch": 8192, "cc14": 16383, "nrpn": 16383}
"""Full scale of keys of MIDI; 127 of all others."""
_FADERS = ("cc/", "cc14/", "nrpn/")
_MAX_LINES = 16


@dataclass(frozen=True)
class StageGuess:
    """What a stage is sent to besides this machine: a port at the senders' addresses."""

    back: int = BACK


@dataclass(frozen=True)
class FoundSenders:
    """What there is to write down.

    Attributes
    ----------
    series, facts : tuple of Channel
        Members of signals; held channels beside them.
    vectors : frozenset of str
        Names among `series` that stand for an array by its size.
    constant : tuple of Channel
        Left out for want of any change.
    beyond : int
        Channels left out for want of room, or for a name that no configuration can hold.
    held : bool
        Whether the members are held.
    """

    series: tuple[SurveyedChannel, ...]
    facts: tuple[SurveyedChannel, ...]
    vectors: frozenset[str]
    constant: tuple[SurveyedChannel, ...]
    beyond: int
    held: bool

    def left_out(self) -> list[str]:
        """Return a line on each channel that is left out, or on many."""
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


def found(hearing: ChannelSurvey, now: float, vectors: bool) -> FoundSenders:
    """Return what is to be written down.

    Parameters
    ----------
    hearing : Hearing
    now : float
        Host time (s).
    vectors : bool
        Whether an array of three numbers is taken by its size, where that changes.
    """
    numbers = [c for c in hearing.channels.values() if c.is_number()]
    fit = [c for c in numbers if _ENVIRONMENT not in c.name]
    by_kind: dict[str, list[SurveyedChannel]] = {"sampled": [], "held": [], "constant": []}
    for channel in fit:
        by_kind[channel.kind(now)].append(channel)
    sizes = {c.name: c for c in hearing.vectors.values() if vectors and _has_size(c, now)}
    # Each in the place of what it was first received as; a vector once, for all its elements.
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
    what: FoundSenders,
    streams: Sequence[OscStream | MidiStream],
    hosts: Sequence[str],
    stage: StageGuess | None,
) -> str | None:
    """Return a configuration; None if there is no number that changes.

    Parameters
    ----------
    what : Found
    streams : sequence of OscStream or MidiStream
        Those that nothing is used of are left out.
    hosts : sequence of str
        Addresses of the senders.
    stage : Stage or None
    """
    if not what.series:
        return None
    names = [c.name for c in what.series]
    used = {_stream(c.name) for c in (*what.series, *what.facts)}
    kept = [s for s in streams if s.name in used]
    members = signals(names)
    if stage:
        members = {_stage_name(k, name): m for k, (name, m) in enumerate(_by_size(members))}
    lines = [f"# {_STAGED if stage else _GUESSED}"]
    lines += [f"# {line}" for line in what.left_out()]
    lines += ["version: 2", *(["rig: stage"] if stage else []), "streams:"]
    lines += [f"  - {_written(s, used, names, what, hosts if stage else ())}" for s in kept]
    set_up = [f"  {quoted(n)}: {{reduce: norm}}" for n in names if n in what.vectors]
    set_up += [f"  {quoted(n)}: {{kind: held}}" for n in names if what.held]
    lines += ["channels:", *set_up] if set_up else []
    lines.append("signals:")
    for name, channels in members.items():
        lines.append(f"  {name}:")
        # A value from the first tick on: of several members none need be compared to be chosen.
        lines += [f"    reference: {quoted(channels[0])}"] if stage else []
        lines.append("    members:")
        lines += [f"      {quoted(channel)}: {{group: sensors}}" for channel in channels]
    if what.facts:
        lines.append(f"facts: [{', '.join(quoted(c.name) for c in what.facts)}]")
    if stage:
        lines += _staged(what, streams, members, hosts, stage)
    lines.append("output: {dir: out}")
    return "\n".join(lines) + "\n"


def _staged(
    what: FoundSenders,
    streams: Sequence[OscStream | MidiStream],
    members: Mapping[str, Sequence[str]],
    hosts: Sequence[str],
    stage: StageGuess,
) -> list[str]:
    """Return the sections that make a stage of a configuration."""
    lines = [
        "resample: {target_hz: 100, profile: low_latency}",
        "# Ticks wait 20 ms for a later member; one that is later still has no weight.",
        "align: {max_lag_s: 0.5, wait_lag_s: 0.02, window_s: 20, hop_s: 2}",
        f"quality: {{signal: {next(iter(members))}, window_s: 30}}",
        "failover: {fallback: sensors_only, rejoin_after_s: 1.0}",
        "send:",
        "  # The first signal as 0 to 1 over the range that was received; its trust; what is held.",
    ]
    for name, place in destinations(streams, hosts, stage):
        lines += [
            f"  - name: {name}",
            "    type: osc",
            f"    to: {quoted(place)}"
            + (
                ""
                if name == "sound"
                else "  # the sender; the port must be the one at which its app receives"
            ),
            f"    rate_hz: {_SEND_HZ}",
            "    map:",
            *(f"      {address}: {quoted(text)}" for address, text in _map(what, members).items()),
        ]
    return [*lines, "exporter: {}"]


def destinations(
    streams: Sequence[OscStream | MidiStream], hosts: Sequence[str], stage: StageGuess
) -> list[tuple[str, str]]:
    """Return name and address of all that a stage is sent to: this machine, and the senders.

    Parameters
    ----------
    streams : sequence of OscStream or MidiStream
        On this machine, none of their ports is sent to.
    hosts : sequence of str
        Addresses of the senders.
    stage : Stage
    """
    ports = {endpoint(s.addr).port for s in streams if isinstance(s, OscStream)}
    free = next(port for port in range(BACK, BACK + len(ports) + 1) if port not in ports)
    here = {address for address, _ in addresses()}
    others = [h for h in hosts if "%" not in h and h not in here and not ip_address(h).is_loopback]
    places = [f"[{h}]:{stage.back}" if ":" in h else f"{h}:{stage.back}" for h in others]
    back = [(f"back_{k}", place) for k, place in enumerate(places[:_MAX_BACK], 1)]
    return [("sound", f"127.0.0.1:{free}"), *back]


def _map(what: FoundSenders, members: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return an expression for each address that is sent."""
    plan = Plan(
        rig="stage",
        signals=tuple(
            Signal(name, tuple(Member(name, c, "sensors") for c in channels), "auto")
            for name, channels in members.items()
        ),
        facts=tuple(c.name for c in what.facts),
    )
    of = {(column.kind, column.index): name for name, column in readable(plan).items()}
    by_name = {c.name: c for c in what.series}
    texts: dict[str, str] = {}
    for k, (signal, channels) in enumerate(members.items()):
        if ("signal", k) not in of:
            continue
        low = min(by_name[c].low for c in channels)
        high = max(by_name[c].high for c in channels)
        texts[f"/stage/{signal}"] = _scaled(of["signal", k], low, high)
        if k == 0:
            texts["/stage/trust"] = "clamp(sync_quality, 0, 1)"
    for k, fact in enumerate(what.facts[:_MAX_FACTS]):
        if ("fact", k) not in of:
            continue
        key, name = _key(fact), of["fact", k]
        if MIDI_KEY.fullmatch(key):
            text = f"{name} / {_FULL.get(key.partition('/')[0], 127)}"
        else:
            text = _scaled(name, fact.low, fact.high)
        if key.startswith(_FADERS) or (key.startswith("/") and len(fact.levels) > 2):
            texts.setdefault("/stage/fader", text)
        texts[f"/stage/{name}"] = text
    return texts


def _scaled(name: str, low: float, high: float) -> str:
    """Return an expression that is 0 at the lowest and 1 at the highest value received."""
    span = high - low
    if not 0 < span < inf or (low, high) == (0, 1):
        return name
    above = name if low == 0 else f"({name} {'-' if low > 0 else '+'} {abs(low):.4g})"
    return f"clamp({above} / {span:.4g}, 0, 1)"


def _stage_name(k: int, name: str) -> str:
    """Return what a signal is called: the first one, by which it can be found, `motion`."""
    return "motion" if k == 0 else name if name not in _TAKEN else f"{name}_{k + 1}"


def _by_size(members: Mapping[str, list[str]]) -> list[tuple[str, list[str]]]:
    """Return signals, those of most members first."""
    return sorted(members.items(), key=lambda item: -len(item[1]))


def _written(
    stream: OscStream | MidiStream,
    used: set[str],
    names: Sequence[str],
    what: FoundSenders,
    hosts: Sequence[str],
) -> str:
    """Return a stream as a flow mapping: open to private networks only, where no other is seen."""
    if isinstance(stream, MidiStream):
        return f"{{name: {stream.name}, type: midi, device: {quoted(stream.device)}}}"
    own = [c.name for c in (*what.series, *what.facts) if _stream(c.name) == stream.name]
    parts = [f"name: {stream.name}", "type: osc", f"addr: {quoted(str(stream.addr))}"]
    if any("@" in name.partition(":")[0] for name in own):
        parts.append("per_sender: true")
    if any({"*", "?"} & set(name) for name in own):
        parts.append("literal: true")
    if hosts and all("." in h and ip_address(h).is_private for h in hosts):
        parts.append(f"allow: {_PRIVATE}")
    return f"{{{', '.join(parts)}}}"


def _has_size(vector: SurveyedChannel, now: float) -> bool:
    """Whether a vector changes in more than its direction; names of patterns cannot be set up."""
    return (
        vector.kind(now) == "sampled"
        and vector.high - vector.low > _TURNED * vector.high
        and not {"*", "?"} & set(vector.name)
        and _ENVIRONMENT not in vector.name
    )


def _played(held: Sequence[SurveyedChannel]) -> tuple[list[SurveyedChannel], list[SurveyedChannel]]:
    """Return members and facts of controls alone: what moves through values, and what is struck."""
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
