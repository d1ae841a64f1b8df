"""Types of the flow, in the order of its steps.

Times are seconds. *Source time* is the sender's stamp, *arrival* the stamp of the
receiving host, *host time* the common axis of all output. Arrays are contiguous and
read-only by convention: a station that changes values makes new arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

import msgspec
import numpy as np

from operators.lines import BridgeFrame, DeadLine, EvidenceRecord, MarkerLine, SyncReport
from operators.types import F64, I8, I64, Bool, BridgeState, End, Reason, State


class Ends(NamedTuple):
    """Events of one channel with the same end.

    `watermark` (k,) is the newest arrival of the rig when the end of each event was decided.
    An event is known at the release of tick g if `watermark < g + delay`.
    """

    source: str
    channel: str
    end: End
    watermark: F64


class DeadLetter(msgspec.Struct, frozen=True):
    """One loss of `count` events; `watermark` as in `Ends`."""

    watermark: float
    stage: str
    reason: Reason
    source: str
    where: str
    sample: str
    count: int = 1


_NONE: F64 = np.empty(0)


class Block(msgspec.Struct, frozen=True):
    """One channel's rows as columns.

    Attributes
    ----------
    source, channel : str
        `channel` is `<source>:<key>`.
    row : int64 (n,)
        Position of each row among all rows of the packet; rising until `drift`.
    source_time, arrival, value : float64 (n,)
        As received; values normalized from `normalize` on.
    watermark : float64 (n,)
        Newest arrival of the rig before this row; after `guard`: before the event that
        made this row final.
    stamped : bool (n,)
        The clock can be learnt from the row.
    line : int64 (n,)
        Rows of one array share it, over several channels.
    weight : int64 (n,) or None
        Number of events of each row; None means one each.
    text : tuple of str
        Texts of markers; their `value` is NaN.
    host_time : float64 (n,)
        Empty before `drift`; after it rising, except for stragglers.
    straggler : bool (n,)
        The row arrived after the release of rows with later host time; empty before `drift`.
    spacing, noise : float64 (n,)
        Median interval (s) and variance of white noise, as known at the row; NaN while unknown,
        empty before `align`.
    """

    source: str
    channel: str
    row: I64
    source_time: F64
    arrival: F64
    value: F64
    watermark: F64
    stamped: Bool
    line: I64
    weight: I64 | None = None
    text: tuple[str, ...] = ()
    host_time: F64 = _NONE
    straggler: Bool = np.empty(0, bool)
    spacing: F64 = _NONE
    noise: F64 = _NONE

    def __len__(self) -> int:
        return len(self.value)

    def take(self, index: I64 | Bool | slice) -> Block:
        """Return the rows at `index` (mask, positions or slice)."""
        text = self.text
        if text:
            text = tuple(np.array(text, dtype=object)[index].tolist())
        return Block(
            source=self.source,
            channel=self.channel,
            row=self.row[index],
            source_time=self.source_time[index],
            arrival=self.arrival[index],
            value=self.value[index],
            watermark=self.watermark[index],
            stamped=self.stamped[index],
            line=self.line[index],
            weight=None if self.weight is None else self.weight[index],
            text=text,
            host_time=self.host_time[index] if len(self.host_time) else self.host_time,
            straggler=self.straggler[index] if len(self.straggler) else self.straggler,
            spacing=self.spacing[index] if len(self.spacing) else self.spacing,
            noise=self.noise[index] if len(self.noise) else self.noise,
        )

    @staticmethod
    def join(blocks: Iterable[Block]) -> Block:
        """Return blocks of one channel as one."""
        parts = tuple(blocks)
        first = parts[0]
        weight = None
        if any(b.weight is not None for b in parts):
            weight = np.concatenate(
                [np.ones(len(b), np.int64) if b.weight is None else b.weight for b in parts]
            )
        columns = {
            name: np.concatenate(column) if any(map(len, column)) else column[0]
            for name, column in zip(_COLUMNS, zip(*map(_columns, parts), strict=True), strict=True)
        }
        text = sum((b.text for b in parts), ()) if first.text else ()
        return Block(
            source=first.source, channel=first.channel, weight=weight, text=text, **columns
        )

    def snapshot(self) -> State:
        """Return the block as plain values."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @classmethod
    def from_snapshot(cls, state: State) -> Block:
        """Return the block of a snapshot."""
        return cls(**{**state, "text": tuple(state["text"])})


_COLUMNS = (
    "row",
    "source_time",
    "arrival",
    "value",
    "watermark",
    "stamped",
    "line",
    "host_time",
    "straggler",
    "spacing",
    "noise",
)
_columns = attrgetter(*_COLUMNS)


class ClockReport(NamedTuple):
    """A source's clock from `known` on: host = source + offset_s at that moment.

    A NaN `offset_s` ends the clock of the source.

    `known` and `watermark` date it on the host axis and by arrival. At host time h the offset
    is `offset_s + slope * (h - at)` (slope in s/s), its variance
    `offset_var + 2 (h - at) cross_var + (h - at)^2 slope_var`.
    """

    source: str
    watermark: float
    known: float
    at: float
    offset_s: float
    slope: float
    offset_var: float
    cross_var: float
    slope_var: float
    jitter_p95_s: float
    resets: int
    reset_at: float
    """Host time of the first event after the last step, NaN without one."""
    stepped: bool
    """Whether the report is of the step itself."""


NO_CLOCK = ClockReport(
    source="",
    watermark=-np.inf,
    known=-np.inf,
    at=0.0,
    offset_s=0.0,
    slope=0.0,
    offset_var=0.0,
    cross_var=0.0,
    slope_var=0.0,
    jitter_p95_s=np.nan,
    resets=0,
    reset_at=np.nan,
    stepped=False,
)
"""In force before the first report of a source: zero offset without variance."""


class GrainReport(NamedTuple):
    """Grain of a channel's stamps: they lie on a grid of `grain_s` (s), 0 without a grid.

    `watermark` is that of the row that completed the estimate. It is known at the release of
    tick g if `watermark < g + delay`.
    """

    channel: str
    watermark: float
    grain_s: float


class PaceReport(NamedTuple):
    """Rate and packet length of a channel, from the row with this `watermark` on.

    `rate_hz` is samples over time; after `quiet_s` of silence (s) the channel is stale; a packet
    spans `length_s` (s).
    """

    channel: str
    watermark: float
    rate_hz: float
    quiet_s: float
    length_s: float


class LagReport(NamedTuple):
    """A member's lag from host time `known` on; it may be used if `locked`.

    At host time h the lag is `lag_s + rate * (h - at)` (rate in s/s), its variance
    `var + 2 (h - at) cross_var + (h - at)^2 rate_var + growth |h - at|` (growth in s^2/s).
    """

    signal: str
    channel: str
    known: float
    lag_s: float
    var: float
    growth: float
    confidence: float
    locked: bool
    note: str
    at: float = 0.0
    rate: float = 0.0
    cross_var: float = 0.0
    rate_var: float = 0.0
    search_hz: float = float("nan")
    """Rate of the searched series (Hz)."""
    doubt: float = 0.0
    """Additional variance (s^2) while the newest data contradict the lag."""


@dataclass(frozen=True, slots=True)
class Grid:
    """k released ticks x c channels: the members of all signals, then facts and others.

    Attributes
    ----------
    first : int
        Index of the first tick: its time is `first / tick_hz`.
    due : float64 (k,)
        Watermark at which the tick was due (s): earlier arrivals were known. inf for ticks
        released by the end of the data.
    released : float64 (k,)
        Arrival of the event that released the tick (s).
    state : int8 (k, c)
        Indexes STATES; a `live` channel is present.
    ramp : float64 (k, c)
        Part of its weight that a returned channel has, 0 to 1.
    lag_s, lag_var, confidence : float64 (k, c)
        Lag estimate in force at the tick, NaN without one.
    rate_hz : float64 (k, c)
        Effective rate, NaN while unknown.
    gaps : float64 (k, c)
        Number of silences so far that made the channel stale.
    gain, gain_var, level, level_var : float64 (k, c)
        Of the channel against its signal: value = m + level + gain (x - m), m the mean of the
        signal x; NaN while unknown.
    scale_state : int8 (k, c)
        Indexes SCALE_STATES.
    value, coverage : float64 (k, c)
        NaN where not covered; the part of the kernel's main lobe that samples fill, 0 to 1.
    noise_var : float64 (k, c)
        Variance of the value from its out-of-band residual, NaN while unknown.
    lag_rate, lag_rate_var, search_hz : float64 (k, c)
        Rate of the lag (s/s), its variance, and the rate of the searched series (Hz); NaN for a
        given lag, empty without a search.
    """

    first: int
    due: F64
    released: F64
    state: I8
    ramp: F64
    lag_s: F64
    lag_var: F64
    confidence: F64
    rate_hz: F64
    gaps: F64
    value: F64
    coverage: F64
    noise_var: F64
    gain: F64
    gain_var: F64
    level: F64
    level_var: F64
    scale_state: I8
    lag_rate: F64 = field(default_factory=lambda: np.empty((0, 0)))
    lag_rate_var: F64 = field(default_factory=lambda: np.empty((0, 0)))
    search_hz: F64 = field(default_factory=lambda: np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.due)


class Control(NamedTuple):
    """A command from a person: `bridge.release` or `bridge.rollback`.

    `arrival` is the newest arrival of the rig with the command itself. It is known at control step
    s if `arrival < s`.
    """

    arrival: float
    command: str
    by: str


class Indicators(NamedTuple):
    """The five measured indicators from tick `first` on, until the next; NaN where unknown."""

    first: int
    phase_diff: float
    coherence: float
    harmony: float
    sync_quality: float
    entropy_ratio: float


class Sparse(NamedTuple):
    """Members that the indicators leave out from tick `first` on, as a mask of all members.

    Their samples are too far apart for the movement.
    """

    first: int
    members: tuple[bool, ...]


INDICATORS = ("phase_diff", "coherence", "harmony", "sync_quality", "entropy_ratio")
BRIDGE_NAMES = (
    "bridge_phase_diff",
    "bridge_sync_quality",
    "bridge_tick_ms",
    "bridge_state",
    "safety_gain",
    "rollback_ratio_5m",
    "residual_stddev_10m",
)
"""Columns of `Fused.bridge`: cycles, 0 to 1, ms, 0 to 4, 0 to 1, 0 to 1, sd of the entropy."""


@dataclass(frozen=True, slots=True)
class FusedSignal:
    """One signal over the k ticks of a `Fused`.

    `sd` (k,) is the total standard deviation of `value` (k,). `systematic_sd` (k,) is its part from
    the members' disagreement, NaN until two origins have been compared.
    `weights` (k, members) adds up to 1 where `value` is finite; `channels` names its columns.
    `mode` (k,) indexes MODES; `live` (k,) counts present members. `aligned` (k, members) holds
    their values on the grid, NaN where not covered; it is empty if not provided.
    """

    name: str
    channels: tuple[str, ...]
    value: F64
    sd: F64
    systematic_sd: F64
    mode: I64
    live: I64
    weights: F64
    aligned: F64 = field(default_factory=lambda: np.empty((0, 0)))


@dataclass(frozen=True, slots=True)
class Fused:
    """k consecutive fused ticks.

    `ts`, `released`, `sync_bound_s`, `sync_estimate_bound_s` (k,) in s; the bounds are NaN with
    fewer than two compared members present (operators/fuse/sync_bound.py). `indicators`,
    `measured`, `reported` (k, 5) in the order of INDICATORS; `facts` (k, number of facts), NaN
    where null or stale. `sparse` (k, members of all signals): see `Sparse`. `bridge` (k, 7), in the
    order of BRIDGE_NAMES, is as of the last control step before the tick's release; empty without
    a bridge.
    """

    ts: F64
    released: F64
    mode: I64
    live: I64
    signals: tuple[FusedSignal, ...]
    indicators: F64
    measured: F64
    reported: F64
    facts: F64
    fact_names: tuple[str, ...]
    sync_bound_s: F64
    sync_estimate_bound_s: F64
    sparse: Bool = field(default_factory=lambda: np.empty((0, 0), bool))
    bridge: F64 = field(default_factory=lambda: np.empty((0, len(BRIDGE_NAMES))))

    def __len__(self) -> int:
        return len(self.ts)


class BridgeStatus(NamedTuple):
    """State of `bridge` after a packet, for metrics, pages and `lumen bridge status`.

    Rates in Hz, phases in cycles of a tick, times in s; NaN is unknown. Counts are since the start
    of the run: `slips`, `steps` and `locks` of the loop, `beats` by use (used, outlier, close),
    `transitions` by pair of states.
    """

    at: float
    """Control step of the status."""
    state: str
    since: float
    """Grid tick since which the state is in force."""
    lock: str
    tick_s: float
    reference_hz: float
    phase_error: float
    phase_sd: float
    phase_diff: float
    sync_quality: float
    entropy_ratio: float
    safety_gain: float
    hard_stop: bool
    rollback_ratio_5m: float
    residual_stddev_10m: float
    phase_diff_mean_5m: float
    sync_quality_p05_10m: float
    entropy_ratio_mean_10m: float
    kp: float
    ki: float
    kd: float
    loop_deviation: tuple[float, float, float]
    """Phase (cycles), rate and integral error (Hz), see `LoopDeviation`; NaN without a lock."""
    targets: dict[str, bool | None]
    """Whether `harmony` and `coherence` meet their targets; None where unknown."""
    slips: int
    steps: int
    locks: int
    beats: dict[str, int]
    transitions: dict[tuple[BridgeState, BridgeState], int]
    unmet: tuple[str, ...]
    """Sentences: each dwell that runs, and each condition that is unmet."""


class Packet(msgspec.Struct, frozen=True):
    """The unit of the flow: all rows of one block of arrival time, and the results from them.

    Attributes
    ----------
    watermark : float
        Newest accepted arrival of the rig up to the end of the block.
    arrivals : float64 (m,)
        The distinct accepted arrivals of this packet, rising; they release ticks.
    blocks : tuple of Block
        Rows; consumed by `resample`.
    readings : tuple of Block
        Two-way readings of the sources' clocks, one block for each element; end in `drift`.
    outliers : tuple of Block
        Rows that `guard` rejected; they count for presence only.
    grid, indicators, sparse, fused : results of `resample`, `quality`, `fuse`
    turned : tuple of (source, arrival, up)
        Streams that came up or went down.
    notes : tuple of (source, arrival, text)
        Findings about a source for the user, each once.
    clocks, grains, paces, lags : reports of `drift` and `align` made in this packet
    ends, letters : losses and counts from the stations
    sync, dead, markers, evidence : lines for the sinks
    beats : tuple of Block
        Rows of the reference of `bridge`, its transport included, in the order of host time.
    controls : tuple of Control
        Commands from persons.
    bridge, bridge_status : frames and newest counts of `bridge`
    aligned : tuple of (channel, ts, source_ts, arrival, value) columns, if configured
    first_host : float
        Host time of the rig's first event, NaN before it is known.
    newest_host : float
        Newest host time; the last tick of a finished run is at or before it.
    """

    rig: str
    watermark: float
    end: bool
    arrivals: F64
    blocks: tuple[Block, ...] = ()
    outliers: tuple[Block, ...] = ()
    turned: tuple[tuple[str, float, bool], ...] = ()
    notes: tuple[tuple[str, float, str], ...] = ()
    clocks: tuple[ClockReport, ...] = ()
    grains: tuple[GrainReport, ...] = ()
    paces: tuple[PaceReport, ...] = ()
    lags: tuple[LagReport, ...] = ()
    grid: Grid | None = None
    indicators: tuple[Indicators, ...] = ()
    sparse: tuple[Sparse, ...] = ()
    fused: Fused | None = None
    ends: tuple[Ends, ...] = ()
    letters: tuple[DeadLetter, ...] = ()
    sync: tuple[SyncReport, ...] = ()
    dead: tuple[DeadLine, ...] = ()
    markers: tuple[MarkerLine, ...] = ()
    aligned: tuple[tuple[str, F64, F64, F64, F64], ...] = ()
    evidence: tuple[EvidenceRecord, ...] = ()
    beats: tuple[Block, ...] = ()
    readings: tuple[Block, ...] = ()
    controls: tuple[Control, ...] = ()
    bridge: tuple[BridgeFrame, ...] = ()
    bridge_status: BridgeStatus | None = None
    first_host: float = float("nan")
    newest_host: float = float("-inf")
