"""Settings shared by all stations of a run: channels and signals, grid, delays.

A plan is derived from the configuration once and never changes. Settings of a single station are
in the config type of that station.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from operators.settings.channels import MIDI_KEY, ChannelConfig, is_pattern, resolve
from operators.settings.groups import FAILOVER, PRIOR, FailoverConfig, Group, WeightsConfig
from operators.topic_place import shown


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
    scale: str = "consensus"
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
    topic : str
        The topic, whose lines have places of messages; empty: recordings.
    hindsight : bool
        Second of two passes: estimates are of the whole recording.
    beats : tuple of str
        Channels of the reference of `bridge`: used, neither guarded nor on the grid.
    bridge : bool
        Whether there is a bridge, with or without a reference.
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
    topic: str = ""
    hindsight: bool = False
    beats: tuple[str, ...] = ()
    bridge: bool = False

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
        """Return `file:offset` (bytes), or `topic@offset:byte`, of a row's `line`."""
        if self.topic:
            return shown(self.topic, line)
        n = len(self.files)
        return f"{self.files[line % n]}:{line // n}" if n else ""

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """All members of all signals."""
        return tuple(m for s in self.signals for m in s.members)

    @cached_property
    def used(self) -> frozenset[str]:
        """The channels named in the configuration."""
        exact = {name for name, _ in self.patterns if not is_pattern(name)}
        named = {m.channel for m in self.members} | {*self.facts, *self.beats}
        return frozenset(named | exact)

    @cached_property
    def lanes(self) -> tuple[Member, ...]:
        """The columns of the grid: members of all signals, then facts and other used channels.

        Other channels have no signal and no lag.
        """
        others = self.used - {m.channel for m in self.members} - {*self.facts, *self.beats}
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
        return resolve(self.patterns, name)

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
        """Whether the channel sends on change only: as configured, a fact, a beat, or MIDI.

        A beat channel that is also a member is treated as that member.
        """
        kind = self.channel(name).kind
        if kind:
            return kind != "sampled"
        if name in self.facts or MIDI_KEY.fullmatch(name.partition(":")[2]):
            return True
        return name in self.beats and all(name != m.channel for m in self.members)


def _member(signal: str, channel: str | Member) -> Member:
    if isinstance(channel, Member):
        return channel
    return Member(signal, channel, "ure" if channel.startswith("ure:") else "sensors")
