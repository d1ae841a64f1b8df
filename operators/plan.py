"""What every station knows of a run: its channels and signals, its grid, its delay.

A plan is worked out from the configuration once and never changes. It is what the stations
share; what only one of them needs is in that station's own config type.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e15)]
NotNegative = Annotated[float, Meta(ge=0, le=1e15)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Span = Annotated[float, Meta(gt=0, le=3600)]
"""What is looked over, or apart (s): its data are in memory."""
Hop = Annotated[float, Meta(ge=0.1, le=3600)]
"""From one look to the next (s): each costs the same."""
Wait = Annotated[float, Meta(ge=0, le=3600)]
"""What is waited for (s): its data are in memory."""
Rate = Annotated[float, Meta(gt=0, le=1000)]
Period = Annotated[float, Meta(gt=0, le=86_400)]
Rest = Annotated[float, Meta(ge=0, le=86_400)]
"""Times (s) in which nothing is kept."""
Group = Literal["ure", "sensors"]
Kind = Literal["sampled", "held"]
Reduce = Literal["norm", "sum", "mean"]
Profile = Literal["accurate", "low_latency"]
_CHANNEL, _DATA = r"(?:[1-9]|1[0-6])", r"(?:\d\d?|1[01]\d|12[0-7])"
_14_BITS = r"(?:\d{1,4}|1[0-5]\d{3}|16[0-2]\d\d|163[0-7]\d|1638[0-3])"
MIDI_PLAYED = re.compile(
    rf"(?:note|cc)/{_CHANNEL}/{_DATA}|pressure/{_CHANNEL}(?:/{_DATA})?|(?:pitch|program)/{_CHANNEL}"
)
"""What a message of MIDI is for."""
MIDI_KEY = re.compile(
    rf"{MIDI_PLAYED.pattern}|cc14/{_CHANNEL}/(?:[12]?\d|3[01])|nrpn/{_CHANNEL}/{_14_BITS}"
)
"""What comes from a MIDI device when it changes; only its clock has a rate."""


class ConfigPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the configuration: immutable, unknown keys refused."""


class ChannelConfig(ConfigPart, frozen=True, kw_only=True):
    """How the values of the channels that match a name or pattern are to be read.

    A `gain` or `offset` of `auto` is learnt against the members of the channel's signal. `unit` is
    that of the values after `gain` and `offset`, before them where a gain is learnt; it is shown.
    """

    @property
    def learnt(self) -> bool:
        """Whether a part of the conversion is to be learnt."""
        return "auto" in (self.gain, self.offset)

    @property
    def given_offset(self) -> float:
        """The offset that is given, 0 where it is left out or learnt."""
        return self.offset if isinstance(self.offset, float | int) else 0.0

    @property
    def conversion(self) -> tuple[float, float]:
        """Gain and offset to apply at once: none of them before a learnt gain."""
        if self.gain == "auto":
            return 1.0, 0.0
        return 1.0 if self.gain is None else self.gain, self.given_offset

    kind: Annotated[
        Kind | None,
        Meta(
            description="`sampled` at a rate, or `held` until the next change; by default held for"
            " facts and MIDI, sampled otherwise.",
            examples=["held"],
        ),
    ] = None
    gain: Annotated[
        Number | Literal["auto"] | None,
        Meta(
            description="Factor applied to each value; `auto` learns it against the other members.",
            examples=[0.007874],
        ),
    ] = None
    offset: Annotated[
        Number | Literal["auto"] | None,
        Meta(
            description="Added after the gain; `auto` learns it against the other members.",
            examples=[-5.0],
        ),
    ] = None
    range: Annotated[
        tuple[Number, Number] | None,
        Meta(
            description="Smallest and largest accepted value, after gain and offset.",
            examples=[[0.0, 1.0]],
        ),
    ] = None
    reduce: Annotated[
        Reduce | None,
        Meta(
            description="Reduces the numbers of one message to one value.",
            examples=["norm"],
        ),
    ] = None
    stale_after_s: Annotated[
        Period | None,
        Meta(
            description="Silence after which the channel is stale; by default that of `failover`.",
            examples=[1.0],
        ),
    ] = None
    unit: Annotated[
        Annotated[str, Meta(min_length=1, max_length=32)] | None,
        Meta(
            description="Unit of the values after gain and offset, before them where a gain is"
            " learnt; for display.",
            examples=["g"],
        ),
    ] = None


class MemberConfig(ConfigPart, frozen=True, kw_only=True):
    """A channel as a member of a signal; with `lag_s`, its lag is known and not searched.

    A lag given without `lag_sd_s` is used but not compared: no bound covers it.

    Members of one `origin` share a fault: they have one vote on level and slope. `sd` is a
    systematic standard deviation known from elsewhere.
    """

    group: Annotated[
        Group,
        Meta(
            description="Group of the prior weight and of the mode.",
            examples=["ure"],
        ),
    ] = "sensors"
    origin: Annotated[
        Annotated[str, Meta(min_length=1)] | None,
        Meta(
            description="Members of one origin share a fault: one vote on level and slope. By"
            " default the source.",
            examples=["phone"],
        ),
    ] = None
    sd: Annotated[
        Positive | None,
        Meta(
            description="Systematic standard deviation, known from elsewhere, in units of the"
            " signal.",
            examples=[0.05],
        ),
    ] = None
    lag_s: Annotated[
        Annotated[float, Meta(ge=-3600, le=3600)] | None,
        Meta(
            description="Known lag; searched where it is left out.",
            examples=[0.0],
        ),
    ] = None
    lag_sd_s: Annotated[
        Wait | None,
        Meta(
            description="Standard deviation of `lag_s`; without it the member is used but not"
            " compared.",
            examples=[0.01],
        ),
    ] = None


class SignalConfig(ConfigPart, frozen=True, kw_only=True):
    """A quantity and the channels that measure it.

    Its level and slope are those of the members' consensus, or of one member: `scale`.
    """

    members: Annotated[
        dict[str, MemberConfig],
        Meta(min_length=1, description="Channels that measure the signal, as `<source>:<key>`."),
    ]
    reference: Annotated[
        str,
        Meta(
            description="Member to which lags are relative; `auto` chooses one.",
            examples=["ure:pulse"],
        ),
    ] = "auto"
    scale: Annotated[
        str,
        Meta(
            description="Level and slope of the signal: the `consensus` of the members, or one"
            " member.",
            examples=["ure:pulse"],
        ),
    ] = "consensus"


class WeightsConfig(ConfigPart, frozen=True, kw_only=True):
    """The prior: how much each group counts before the data have spoken."""

    ure: Annotated[
        NotNegative,
        Meta(
            description="Prior weight of the group `ure`.",
            examples=[0.5],
        ),
    ] = 0.7
    sensors: Annotated[
        NotNegative,
        Meta(
            description="Prior weight of the group `sensors`.",
            examples=[0.5],
        ),
    ] = 0.3


class FailoverConfig(ConfigPart, frozen=True, kw_only=True):
    """When a channel counts as gone, and what a signal falls back to."""

    min_streams: Annotated[
        int,
        Meta(
            ge=1,
            le=65_536,
            description="Present sensor streams that mode `fused` requires; fewer trigger the"
            " fallback.",
            examples=[2],
        ),
    ] = 1
    fallback: Annotated[
        Literal["ure_only", "sensors_only", "degrade"],
        Meta(
            description="Group that a signal falls back to; `degrade` keeps all present members.",
            examples=["sensors_only"],
        ),
    ] = "ure_only"
    stale_after_s: Annotated[
        Literal["auto"] | Period,
        Meta(
            description="Silence after which a channel is stale; `auto` follows its rate.",
            examples=[1.0],
        ),
    ] = "auto"
    rejoin_after_s: Annotated[
        Rest,
        Meta(
            description="Upper limit of the time for which a returned channel rejoins: as long as"
            " its absence.",
            examples=[1.0],
        ),
    ] = 10.0


PRIOR, FAILOVER = WeightsConfig(), FailoverConfig()


@dataclass(frozen=True, slots=True)
class Member:
    """One channel in one signal; `given_origin` is empty where it is the source."""

    signal: str
    channel: str
    group: Group
    lag_s: float | None = None
    lag_sd_s: float | None = None
    given_origin: str = ""
    sd: float | None = None

    @property
    def source(self) -> str:
        """Who stamps it."""
        return self.channel.partition(":")[0]

    @property
    def origin(self) -> str:
        """What its systematic faults are shared with."""
        return self.given_origin or self.source


@dataclass(frozen=True, slots=True)
class Signal:
    """A quantity, its members in the order of the configuration, and its reference."""

    name: str
    members: tuple[Member, ...]
    reference: str
    """A member's channel, or `auto`."""
    scale: Annotated[
        str,
        Meta(
            description="Level and slope of the signal: the `consensus` of the members, or one"
            " member.",
            examples=["ure:pulse"],
        ),
    ] = "consensus"
    """A member's channel, or `consensus`."""


@dataclass(frozen=True)
class Plan:
    """What the stations share.

    Attributes
    ----------
    rig : str
        Of events that name none.
    signals, facts : tuple
        Fused quantities; held channels that rules and indicators read.
    patterns : tuple of (name or pattern, config)
        As configured, in order; `channel` applies them.
    tick_hz, half_width_s, wait_s, wait_lag_s : float
        The grid; the kernel's half-width; what is waited beyond it for late rows; the largest
        lag that is waited for.
    eager : bool
        Nothing waits for what follows it: low latency.
    max_disorder_s, max_delay_s : float
        Disorder that is put right; the largest delay that is believed.
    weights, failover : prior and presence
    sync_every_s : float
        Data time between two sync lines of a channel.
    stream_stale_s : dict
        Staleness by source where the stream sets it (a scraped one: three pulls).
    scrape_s : dict
        Period by source of the scraped ones (s).
    frozen_after_s : dict
        By source: no value changed for so long counts as stale.
    timetags : frozenset of str
        Sources whose stamps are ignored once their form cannot be that of a clock.
    aligned : bool
        Every used sample is to be written.
    files : tuple of str
        The recordings, in the order by which their lines are numbered.
    hindsight : bool
        Estimates are of the whole recording: the second of two passes.
    """

    rig: str
    signals: tuple[Signal, ...]
    facts: tuple[str, ...] = ()
    patterns: tuple[tuple[str, ChannelConfig], ...] = ()
    tick_hz: float = 5.0
    half_width_s: float = 2.0
    wait_s: float = 0.1
    wait_lag_s: float = float("inf")
    eager: bool = False
    max_disorder_s: float = 0.5
    max_delay_s: float = 30.0
    weights: WeightsConfig = PRIOR
    failover: FailoverConfig = FAILOVER
    sync_every_s: float = 10.0
    stream_stale_s: dict[str, float] | None = None
    scrape_s: dict[str, float] | None = None
    frozen_after_s: dict[str, float] | None = None
    timetags: frozenset[str] = frozenset()
    aligned: bool = False
    files: tuple[str, ...] = ()
    hindsight: bool = False

    def where(self, line: int) -> str:
        """Return file and byte offset of a row's `line`, as its source numbers them."""
        n = len(self.files)
        return f"{self.files[line % n]}:{line // n}" if n else ""

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """All members of all signals."""
        return tuple(m for s in self.signals for m in s.members)

    @cached_property
    def used(self) -> frozenset[str]:
        """The channels that the configuration uses by name."""
        exact = {name for name, _ in self.patterns if not _is_pattern(name)}
        return frozenset({m.channel for m in self.members} | set(self.facts) | exact)

    @cached_property
    def lanes(self) -> tuple[Member, ...]:
        """The columns of the grid: members of all signals, then facts and other used channels.

        The latter have no signal and no lag of their own.
        """
        others = self.used - {m.channel for m in self.members} - set(self.facts)
        rest = (*self.facts, *sorted(others))
        return (*self.members, *(Member("", c, "ure", lag_s=0.0) for c in rest))

    @property
    def base_delay_s(self) -> float:
        """How long a tick without lags waits (s)."""
        return self.half_width_s + self.wait_s

    @property
    def settle_s(self) -> float:
        """How long a row may be overtaken before it counts as a straggler (s)."""
        return min(self.max_disorder_s, self.wait_s)

    @property
    def decide_s(self) -> float:
        """How far beyond a sample the guard looks at most (s)."""
        return 0.0 if self.eager else self.half_width_s / 4

    @property
    def late_s(self) -> float:
        """Behind the newest arrival by this much, every tick that a row serves has left (s)."""
        return 2 * self.half_width_s + self.wait_s

    def channel(self, name: str) -> ChannelConfig:
        """Return what is configured for a channel: exact beats pattern, later beats earlier."""
        return _resolve(self.patterns, name)

    def unit(self, signal: str) -> str | None:
        """Return the unit of a signal: that of the member with its scale, else of the first one.

        Members whose gain is learnt are converted to it, and those without a unit pass it by.
        """
        found = next((s for s in self.signals if s.name == signal), None)
        if found is None:
            return None
        first = (found.scale, found.reference)
        members = sorted((m.channel for m in found.members), key=lambda name: name not in first)
        units = (c.unit for c in map(self.channel, members) if c.gain != "auto")
        return next(filter(None, units), None)

    def is_held(self, name: str) -> bool:
        """Whether the channel speaks only when it changes: as configured, a fact, or MIDI."""
        kind = self.channel(name).kind
        if kind:
            return kind == "held"
        return name in self.facts or bool(MIDI_KEY.fullmatch(name.partition(":")[2]))


def matches(pattern: str, name: str) -> bool:
    """Whether a name is the one said, or fits the pattern said."""
    return bool(_compile(pattern).fullmatch(name)) if _is_pattern(pattern) else pattern == name


def _is_pattern(name: str) -> bool:
    return "*" in name or "?" in name


@lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile("".join({"*": ".*", "?": "."}.get(c, re.escape(c)) for c in pattern), re.S)


def _resolve(patterns: tuple[tuple[str, ChannelConfig], ...], name: str) -> ChannelConfig:
    merged: dict[str, object] = {}
    matching = [p for p in patterns if _is_pattern(p[0]) and _compile(p[0]).fullmatch(name)]
    for _, config in matching + [p for p in patterns if p[0] == name]:
        merged |= {f: v for f in config.__struct_fields__ if (v := getattr(config, f)) is not None}
    return msgspec.convert(merged, ChannelConfig)
