"""Settings shared by all stations of a run: channels and signals, grid, delays.

A plan is derived from the configuration once and never changes. Settings of a single station are
in the config type of that station.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0, le=1e15)]
NotNegative = Annotated[float, Meta(ge=0, le=1e15)]
Number = Annotated[float, Meta(ge=-1e300, le=1e300)]
Span = Annotated[float, Meta(gt=0, le=3600)]
"""Length of a window, or distance (s); its data are in memory."""
Hop = Annotated[float, Meta(ge=0.1, le=3600)]
"""Interval of a repeated computation (s); each run costs the same."""
Wait = Annotated[float, Meta(ge=0, le=3600)]
"""Waiting time (s); its data are in memory."""
Rate = Annotated[float, Meta(gt=0, le=1000)]
Period = Annotated[float, Meta(gt=0, le=86_400)]
Rest = Annotated[float, Meta(ge=0, le=86_400)]
"""Time span (s) without data in memory."""
Group = Literal["ure", "sensors"]
Kind = Literal["sampled", "held"]
Reduce = Literal["norm", "sum", "mean"]
Profile = Literal["accurate", "low_latency"]
_CHANNEL, _DATA = r"(?:[1-9]|1[0-6])", r"(?:\d\d?|1[01]\d|12[0-7])"
_14_BITS = r"(?:\d{1,4}|1[0-5]\d{3}|16[0-2]\d\d|163[0-7]\d|1638[0-3])"
MIDI_PLAYED = re.compile(
    rf"(?:note|cc)/{_CHANNEL}/{_DATA}|pressure/{_CHANNEL}(?:/{_DATA})?|(?:pitch|program)/{_CHANNEL}"
)
"""Keys of played MIDI messages."""
MIDI_KEY = re.compile(
    rf"{MIDI_PLAYED.pattern}|cc14/{_CHANNEL}/(?:[12]?\d|3[01])|nrpn/{_CHANNEL}/{_14_BITS}"
)
"""Keys that a MIDI device sends on change; only its clock has a rate."""


class ConfigPart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the configuration: immutable, unknown keys refused."""


class ChannelConfig(ConfigPart, frozen=True, kw_only=True):
    """Conversion of the values of channels that match a name or pattern.

    A `gain` or `offset` of `auto` is learnt against the members of the channel's signal. `unit` is
    that of the values after `gain` and `offset`, or before a learnt gain; it is for display only.
    """

    @property
    def learnt(self) -> bool:
        """Whether a part of the conversion is learnt."""
        return "auto" in (self.gain, self.offset)

    @property
    def given_offset(self) -> float:
        """The configured offset, 0 where it is absent or learnt."""
        return self.offset if isinstance(self.offset, float | int) else 0.0

    @property
    def conversion(self) -> tuple[float, float]:
        """Gain and offset to apply in `normalize`: 1 and 0 before a learnt gain."""
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
    """A channel as a member of a signal; with `lag_s`, its lag is given and not searched.

    A lag given without `lag_sd_s` is used but not compared: no bound covers it.

    Members of one `origin` share a fault: they have one vote on level and slope. `sd` is an
    independently known systematic standard deviation.
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

    `scale` defines its level and slope: the members' consensus, or one member.
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
    """Prior weight of each group, before estimates from data."""

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
    """Limits of presence, and the fallback of a signal."""

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
        """The source that stamps it."""
        return self.channel.partition(":")[0]

    @property
    def origin(self) -> str:
        """Label shared by members with common systematic faults."""
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
    """Settings shared by the stations.

    Attributes
    ----------
    rig : str
        Rig of events without one.
    signals, facts : tuple
        Fused quantities; held channels read by rules and indicators.
    patterns : tuple of (name or pattern, config)
        In the order of the configuration; `channel` applies them.
    tick_hz, half_width_s, wait_s, wait_lag_s : float
        The grid; the kernel's half-width; additional waiting time for late rows; the largest lag
        with a waiting time.
    eager : bool
        Low latency: no sample waits for its successors.
    max_disorder_s, max_delay_s : float
        Disorder that is sorted; the largest plausible delay.
    weights, failover : prior and presence
    sync_every_s : float
        Data time between two sync lines of a channel.
    stream_stale_s : dict
        Staleness limit by source where the stream sets it (three pulls of a scraped one).
    scrape_s : dict
        Period by source of the scraped ones (s).
    frozen_after_s : dict
        By source: time without a change of value after which it is stale.
    timetags : frozenset of str
        Sources whose stamps are ignored once they cannot come from a clock.
    aligned : bool
        Whether to write every used sample.
    files : tuple of str
        The recordings; their order defines the numbers of lines.
    hindsight : bool
        Second of two passes: estimates are of the whole recording.
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

    @staticmethod
    def of(*, tick_hz: float = 5.0, rig: str = "studio", **signals: Sequence[str | Member]) -> Plan:
        """Return a plan with the defaults of a configuration.

        Parameters
        ----------
        tick_hz : float
            Rate of the grid (Hz). The kernel is 20 ticks long.
        rig : str
        **signals : sequence of str or Member
            By the name of the quantity: its channels, `<source>:<key>`. The channels of a source
            `ure` belong to the group `ure`, all others to `sensors`.
        """
        return Plan(
            rig=rig,
            signals=tuple(
                Signal(name, tuple(_member(name, channel) for channel in channels), "auto")
                for name, channels in signals.items()
            ),
            tick_hz=tick_hz,
            half_width_s=10.0 / tick_hz,
        )

    def where(self, line: int) -> str:
        """Return `file:offset` (bytes) of a row's `line`."""
        n = len(self.files)
        return f"{self.files[line % n]}:{line // n}" if n else ""

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """All members of all signals."""
        return tuple(m for s in self.signals for m in s.members)

    @cached_property
    def used(self) -> frozenset[str]:
        """The channels named in the configuration."""
        exact = {name for name, _ in self.patterns if not _is_pattern(name)}
        return frozenset({m.channel for m in self.members} | set(self.facts) | exact)

    @cached_property
    def lanes(self) -> tuple[Member, ...]:
        """The columns of the grid: members of all signals, then facts and other used channels.

        Other channels have no signal and no lag.
        """
        others = self.used - {m.channel for m in self.members} - set(self.facts)
        rest = (*self.facts, *sorted(others))
        return (*self.members, *(Member("", c, "ure", lag_s=0.0) for c in rest))

    @property
    def base_delay_s(self) -> float:
        """Waiting time of a tick without lags (s)."""
        return self.half_width_s + self.wait_s

    @property
    def settle_s(self) -> float:
        """Disorder (s) beyond which a row is a straggler."""
        return min(self.max_disorder_s, self.wait_s)

    @property
    def decide_s(self) -> float:
        """Longest look-ahead of the guard beyond a sample (s)."""
        return 0.0 if self.eager else self.half_width_s / 4

    @property
    def late_s(self) -> float:
        """Lateness (s) beyond which all ticks of a row have been released."""
        return 2 * self.half_width_s + self.wait_s

    def channel(self, name: str) -> ChannelConfig:
        """Return a channel's configuration: exact beats pattern, later beats earlier."""
        return _resolve(self.patterns, name)

    def unit(self, signal: str) -> str | None:
        """Return the unit of a signal: that of its scale or reference member, else of the first.

        Members with a learnt gain and members without a unit are skipped.
        """
        found = next((s for s in self.signals if s.name == signal), None)
        if found is None:
            return None
        first = (found.scale, found.reference)
        members = sorted((m.channel for m in found.members), key=lambda name: name not in first)
        units = (c.unit for c in map(self.channel, members) if c.gain != "auto")
        return next(filter(None, units), None)

    def is_held(self, name: str) -> bool:
        """Whether the channel sends on change only: as configured, a fact, or MIDI."""
        kind = self.channel(name).kind
        if kind:
            return kind == "held"
        return name in self.facts or bool(MIDI_KEY.fullmatch(name.partition(":")[2]))


def _member(signal: str, channel: str | Member) -> Member:
    if isinstance(channel, Member):
        return channel
    return Member(signal, channel, "ure" if channel.startswith("ure:") else "sensors")


def matches(pattern: str, name: str) -> bool:
    """Whether a name equals the pattern, or matches its wildcards."""
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
