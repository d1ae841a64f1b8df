"""Every type that flows, in the order in which an event becomes it.

Times are seconds. *Source time* is the sender's stamp, *arrival* the stamp of the
receiving host, *host time* the one axis of all output. Arrays are contiguous and
read-only by convention: a station that changes values makes new arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

import msgspec
import numpy as np

from operators.lines import DeadLine, EvidenceRecord, MarkerLine, SyncReport
from operators.types import F64, I8, I64, Bool, End, Reason, State


class Ends(NamedTuple):
    """Events of one channel that met the same end.

    `watermark` (k,) is, for each, the newest arrival of the rig when its end was decided:
    what was known when tick g was released is what has `before < g + delay`.
    """

    source: str
    channel: str
    end: End
    watermark: F64


class DeadLetter(msgspec.Struct, frozen=True):
    """One loss. `watermark` as in `Ends`; `count` events share the letter."""

    watermark: float
    stage: str
    reason: Reason
    source: str
    where: str
    sample: str
    count: int = 1


class Block(msgspec.Struct, frozen=True):
    """One channel's rows as columns.

    Attributes
    ----------
    source, channel : str
        `channel` is `<source>:<key>`.
    row : int64 (n,)
        Place of each row among all rows of the packet; rises until `drift`.
    source_time, arrival, value : float64 (n,)
        As received; values normalized from `normalize` on.
    watermark : float64 (n,)
        Newest arrival of the rig before this row; after `guard`: before the event that
        made this row final.
    stamped : bool (n,)
        The clock can be learnt from the row.
    line : int64 (n,)
        Rows of several channels that share it came as one array.
    weight : int64 (n,) or None
        Events that each row stands for; None means one each.
    text : tuple of str
        The rows are markers with these texts; `value` is NaN.
    host_time : float64 (n,)
        Empty before `drift`; rising after it, but for stragglers.
    straggler : bool (n,)
        The row came after rows of later host time had to be let go; empty before `drift`.
    spacing, noise : float64 (n,)
        Median interval (s) and variance of white noise as known at the row; NaN while unknown,
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
    host_time: F64 = msgspec.field(default_factory=lambda: np.empty(0))
    straggler: Bool = msgspec.field(default_factory=lambda: np.empty(0, bool))
    spacing: F64 = msgspec.field(default_factory=lambda: np.empty(0))
    noise: F64 = msgspec.field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return len(self.value)

    def take(self, index: I64 | Bool | slice) -> Block:
        """Return the rows at `index` (mask, positions or slice)."""
        text = self.text
        if text:
            text = tuple(np.array(text, dtype=object)[index].tolist())
        return Block(
            self.source, self.channel, self.row[index], self.source_time[index],
            self.arrival[index], self.value[index], self.watermark[index], self.stamped[index],
            self.line[index], None if self.weight is None else self.weight[index], text,
            self.host_time[index] if len(self.host_time) else self.host_time,
            self.straggler[index] if len(self.straggler) else self.straggler,
            self.spacing[index] if len(self.spacing) else self.spacing,
            self.noise[index] if len(self.noise) else self.noise,
        )  # fmt: skip

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
        row, source_time, arrival, value, before, stamped, line, *rest = (
            np.concatenate(c) if any(map(len, c)) else c[0]
            for c in zip(*map(_COLUMNS, parts), strict=True)
        )
        text = sum((b.text for b in parts), ()) if first.text else ()
        return Block(
            first.source, first.channel, row, source_time, arrival, value, before, stamped, line,
            weight, text, *rest,
        )  # fmt: skip

    def snapshot(self) -> State:
        """Return the block as plain values."""
        return {name: getattr(self, name) for name in self.__struct_fields__}

    @classmethod
    def from_snapshot(cls, state: State) -> Block:
        """Return the block of a snapshot."""
        return cls(**{**state, "text": tuple(state["text"])})


_COLUMNS = attrgetter(
    "row", "source_time", "arrival", "value", "watermark", "stamped", "line", "host_time",
    "straggler", "spacing", "noise",
)  # fmt: skip


class ClockReport(NamedTuple):
    """A source's clock from `known` on: host = source + offset_s at that moment.

    Where `offset_s` is NaN, the source has no clock from then on.

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
    """Host time of the first event after the last step, NaN before there was one."""
    stepped: bool
    """The report is of the step itself."""


NO_CLOCK = ClockReport(
    "", -np.inf, -np.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, np.nan, 0, np.nan, False
)  # fmt: skip
"""In force before a source has any: nothing to be wrong about."""


class GrainReport(NamedTuple):
    """A channel's stamps lie on a grid of `grain_s` (s), 0 where on none.

    Known by the rows up to one whose `watermark` is this: a tick g released by `g + delay` knows
    it where `before < g + delay`.
    """

    channel: str
    watermark: float
    grain_s: float


class PaceReport(NamedTuple):
    """How a channel's samples come, from the row on whose `watermark` this is.

    `rate_hz` is samples over time; after `quiet_s` of silence (s) the channel is stale; a packet
    spans `length_s` (s).
    """

    channel: str
    watermark: float
    rate_hz: float
    quiet_s: float
    length_s: float


class LagReport(NamedTuple):
    """A member's lag from host time `known` on; `locked` says whether it may be used.

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
    """Rate of the series on which the lag was found (Hz)."""
    doubt: float = 0.0
    """Variance to add (s^2) while the newest data contradict the lag."""


@dataclass(frozen=True, slots=True)
class Grid:
    """k released ticks x c channels: the members of all signals, then facts and others.

    Attributes
    ----------
    first : int
        Index of the first tick: its time is `first / tick_hz`.
    due : float64 (k,)
        The newest arrival that the tick waited for (s): what came before it was known. inf
        where the end of the data released it.
    released : float64 (k,)
        Arrival of the event that released the tick (s).
    state : int8 (k, c)
        Indexes STATES; `live` is what is called present.
    ramp : float64 (k, c)
        Share of its weight that a channel has which came back, 0 to 1.
    lag_s, lag_var, confidence : float64 (k, c)
        Of the lag estimate in force at the tick, NaN without one.
    rate_hz : float64 (k, c)
        Effective rate, NaN while unknown.
    gaps : float64 (k, c)
        Silences so far that made the channel stale.
    gain, gain_var, level, level_var : float64 (k, c)
        Of the channel against its signal: value = m + level + gain (x - m), m the mean of the
        signal x; NaN while unknown.
    scale_state : int8 (k, c)
        Indexes SCALE_STATES.
    value, coverage : float64 (k, c)
        NaN where not covered; the part of the kernel's main lobe that samples fill, 0 to 1.
    noise_var : float64 (k, c)
        Variance of the value as its own out-of-band residual tells it, NaN when unknown.
    lag_rate, lag_rate_var, search_hz : float64 (k, c)
        The lag's rate (s/s), the variance of that, and the rate of the series on which the lag
        was found (Hz); NaN where it was given, empty where nobody searched.
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


class Indicators(NamedTuple):
    """The measured five from tick `first` on, held until the next; NaN where unknown."""

    first: int
    phase_diff: float
    coherence: float
    harmony: float
    sync_quality: float
    entropy_ratio: float


class Sparse(NamedTuple):
    """From tick `first` on: of each member of all signals, whether the indicators leave it out,
    since its samples are too far apart for the movement.
    """

    first: int
    members: tuple[bool, ...]


INDICATORS = ("phase_diff", "coherence", "harmony", "sync_quality", "entropy_ratio")


@dataclass(frozen=True, slots=True)
class FusedSignal:
    """One signal over the k ticks of a `Fused`.

    `sd` (k,) is the total standard deviation of `value` (k,), `systematic_sd` (k,) the part of
    it that the members' disagreement shows, NaN until two origins have been compared.
    `weights` (k, members) adds up to 1 where `value` is finite; `channels` names its columns.
    `mode` (k,) indexes MODES; `live` (k,) counts present members. `aligned` (k, members) holds
    their values on the grid, NaN where not covered, and is empty where nobody handed it on.
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
    """k consecutive ticks, ready to be written.

    `ts`, `released`, `sync_bound_s`, `sync_estimate_bound_s` (k,) in s, the bounds NaN where
    fewer than two compared members are present (operators/fuse/sync_bound.py); `indicators`, `measured`,
    `reported` (k, 5) in the order of INDICATORS; `facts` (k, number of facts), NaN where null or
    stale. `sparse` (k, members of all signals): see `Sparse`.
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

    def __len__(self) -> int:
        return len(self.ts)


class Packet(msgspec.Struct, frozen=True):
    """What travels: all that one edge of arrival time brought, and what became of it.

    Attributes
    ----------
    watermark : float
        Newest accepted arrival of the rig up to this edge.
    arrivals : float64 (m,)
        The distinct accepted arrivals of this packet, rising: who releases ticks.
    blocks : tuple of Block
        Rows on their way; consumed by `resample`.
    outliers : tuple of Block
        Rows that `guard` took out: they are used no more, but show that their channel lives.
    grid, indicators, sparse, fused : results of `resample`, `quality`, `fuse`
    turned : tuple of (source, arrival, up)
        Streams that came up or went down.
    notes : tuple of (source, arrival, text)
        What a station found out of a source, each once, for people to read.
    clocks, grains, paces, lags : reports of `drift` and `align` made in this packet
    ends, letters : losses and counts that the stations add on the way
    sync, dead, markers, evidence : lines for the sinks
    aligned : tuple of (channel, ts, source_ts, arrival, value) columns when asked for
    first_host : float
        Host time of the rig's first event, NaN before it is known.
    newest_host : float
        Newest host time seen; the last tick of a finished run is at or before it.
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
    first_host: float = float("nan")
    newest_host: float = float("-inf")
