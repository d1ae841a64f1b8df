"""The live state of one rig: newest values, counts, presence of its streams, objectives.

Sources that are not configured count under `*`, those without a name under `?`.

State: the newest ticks and sync lines, counts by source, the history. Cost: see `LiveState`.
"""

from __future__ import annotations

from typing import NamedTuple, get_args

import numpy as np

from operators.bridge.bridge_config import LoopConfig
from operators.lines import SyncReport
from operators.quality import QualityConfig
from operators.records import BridgeStatus, Fused, Packet
from operators.settings.plan import Plan
from operators.types import ENDED, ENDS, MODES, End, Reason
from operators.unusable import UnusableStreams
from sinks.advice.unusable_streams import count
from sinks.exporter.history import RigHistory
from sinks.exporter.slo import Judge

MAX_WAITING = 2_048
"""Ticks held until they are judged."""
MAX_BEHIND_S = 86_400.0
"""A larger difference of clocks is a clock that was set, not lateness (s)."""
OTHERS, NAMELESS = "*", "?"
LATENESS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper edges of the histogram's buckets."""
DISCARDED: dict[End, tuple[str, str]] = {
    "late": ("drift", "late"),
    "duplicate": ("collect", "duplicate"),
    "outliers": ("guard", "outlier"),
    "dropped": ("receive", "dropped"),
}
"""Stage and reason of losses without a dead letter."""
_LETTERS = (
    *(
        ("receive", reason)
        for reason in get_args(Reason)
        if reason not in (*ENDED, "wild_stamp", "out_of_range")
    ),
    ("collect", "wild_stamp"),
    ("drift", "wild_stamp"),
    ("normalize", "out_of_range"),
)
"""Stage and reason of every possible dead letter."""

DEFAULT_QUALITY = QualityConfig()


class NumberedFinding(NamedTuple):
    """A line of evidence with its number; numbers rise by one."""

    number: int
    ts: float
    line: bytes


class RigState:
    """One rig.

    Attributes
    ----------
    expected : dict
        Whether a source is expected to send all the time, not only at a change. A recording
        that has ended is not.
    ends : dict
        Counts of events by source and end.
    last_event : dict
        Time of a source's last event here (s, monotonic); at first, the start.
    newest : dict
        Newest arrival known at a source's newest event (s).
    last_any : float
        Time of the last event of any source here (s, monotonic).
    up : dict
        Whether a source is up: by its status, else by whether it has sent an event.
    played : set
        Sources of recordings that have ended: down, and no loss.
    discarded : dict
        Counts of losses by (stage, reason).
    fused : Fused or None
        The newest ticks; the last of them is the current one.
    last_tick : float
        Time at which the newest tick was received here (s, monotonic).
    sync : dict
        The newest report of each channel.
    behind_s : float
        Delay of the newest tick after the arrival that released it (s); 0 in a replay.
    late, late_s : int64 (edges + 1,), float
        Ticks by lateness, and its sum.
    history : RigHistory
        Earlier values and changes.
    quality : QualityConfig
        Settings of the indicators.
    bridge : BridgeStatus or None
        The newest status of the bridge, None without one.
    loop : LoopConfig or None
        Settings of a bridge that follows a reference.
    refusals : UnusableStreams
        The streams whose events are mostly unusable.
    units, signal_units : dict
        Units of the channels that have sync lines, and of the signals; None without a unit.
    """

    def __init__(
        self,
        expected: dict[str, bool],
        started: float,
        tick_hz: float,
        quality: QualityConfig = DEFAULT_QUALITY,
        plan: Plan | None = None,
        recordings: frozenset[str] = frozenset(),
        live: frozenset[str] = frozenset(),
        loop: LoopConfig | None = None,
    ) -> None:
        self._constant = expected
        self._recordings, self._recorded = recordings, frozenset(expected) - live
        self.played: set[str] = set()
        self.sources = tuple(expected)
        names = (*self.sources, OTHERS, NAMELESS)
        self.ends = {source: dict.fromkeys(ENDS, 0) for source in names}
        self.last_event = dict.fromkeys(self.sources, started)
        self.newest: dict[str, float] = {}
        self.last_any = -np.inf
        self.up = dict.fromkeys(self.sources, False)
        self._turned: set[str] = set()
        self.discarded = dict.fromkeys((*DISCARDED.values(), *_LETTERS), 0)
        self.ticks = np.zeros(len(MODES), np.int64)
        self.fused: Fused | None = None
        self.last_tick = -np.inf
        self.sync: dict[str, SyncReport] = {}
        self.late = np.zeros(len(LATENESS_S) + 1, np.int64)
        self.late_s = 0.0
        self.behind_s = 0.0
        self.quality = quality
        self.bridge: BridgeStatus | None = None
        self.loop = loop
        self.slo = Judge(quality.signal)
        self.history = RigHistory(tick_hz)
        self.refusals = UnusableStreams({source for source, steady in expected.items() if steady})
        self._plan = plan
        self.units: dict[str, str | None] = {}
        self.signal_units = {s.name: plan.unit(s.name) for s in plan.signals} if plan else {}
        self._waiting: list[tuple[Fused, float | None]] = []
        self._held = 0
        self.ended = False

    @property
    def expected(self) -> dict[str, bool]:
        """See the class."""
        return {s: steady and s not in self.played for s, steady in self._constant.items()}

    def refused(self, stream: str) -> str | None:
        """Return the unusable share of a stream with its reason, None where most is usable."""
        refusal = self.refusals.standing.get(stream)
        return refusal.text() if refusal else None

    def _counted_as(self, source: str) -> str:
        stream = self.stream_of(source)
        return stream if stream in self.ends else OTHERS if source else NAMELESS

    def _of_interest(self, source: str) -> str | None:
        stream = self.stream_of(source)
        return stream if stream in self._constant else None

    def stream_of(self, source: str) -> str:
        """Return the stream of a source; one sender of several is `<stream>@<ip>`."""
        return source if source in self.sources else source.rpartition("@")[0] or source

    def count(self, packet: Packet, now: float) -> None:
        """Count received and lost events."""
        alive: dict[str, float] = {}
        for source, channel, end, watermark in packet.ends:
            name = source if source in self.ends else self._counted_as(source)
            self.ends[name][end] += len(watermark)
            if end == "used":
                continue  # half of the ends of a live packet
            if end in DISCARDED:
                self.discarded[DISCARDED[end]] += len(watermark)
            # An event that cannot be decoded has no channel: a failed scrape is no sign of life.
            elif ((end == "received" and channel) or end == "ignored") and name in self.last_event:
                alive[name] = max(watermark.item(-1), alive.get(name, -np.inf))
        for name, newest in alive.items():
            self.played.discard(name)
            self.last_event[name] = self.last_any = now
            self.newest[name] = max(newest, self.newest.get(name, -np.inf))
            self.up[name] |= name not in self._turned
        for letter in packet.letters:
            self.discarded[letter.stage, letter.reason] += letter.count
        count(self.refusals, packet, now, self._of_interest)
        self.refusals.due(now)
        for source, _, up in packet.turned:
            if source in self.up:
                self.up[source] = up
                self._turned.add(source)
            if source in self._recordings and not up:
                # The sources of a recording go down before it, each with its own status.
                self.played |= {s for s in self._turned if s in self._recorded and not self.up[s]}

    def show(self, packet: Packet, now: float, wall: float | None, number: int) -> None:
        """Update values with a packet.

        Parameters
        ----------
        packet : Packet
        now : float
            s, monotonic.
        wall : float or None
            Host time (s); None in a replay, whose ticks are never late.
        number : int
            The version of the live state.
        """
        self.history.turned(packet)
        if packet.bridge_status is not None:
            self.bridge = packet.bridge_status
        for report in packet.sync:
            self.history.report(report, self.sync.get(report.channel), number)
            if report.channel not in self.sync and self._plan is not None:
                self.units[report.channel] = self._plan.channel(report.channel).unit
            self.sync[report.channel] = report
        self.ended = packet.end
        fused = packet.fused
        if fused is None or not (k := len(fused)):
            return
        self.fused, self.last_tick = fused, now
        self.history.mode(fused)
        self.history.ticks(fused, number)
        self._waiting.append((fused, wall))
        self._held += k
        if self._held >= MAX_WAITING:
            self.settle()
        if wall is not None:
            newest = max(0.0, wall - float(fused.released[-1]))
            self.behind_s = newest if newest <= MAX_BEHIND_S else 0.0

    def settle(self) -> None:
        """Count and judge the waiting ticks."""
        if not self._waiting:
            return
        parts, walls = zip(*self._waiting, strict=True)
        self._waiting, self._held = [], 0
        self.slo.add(*parts)
        mode = np.concatenate([part.mode for part in parts])
        self.ticks += np.bincount(mode, minlength=len(MODES))
        if walls[0] is not None:
            released = np.concatenate([part.released for part in parts])
            late = np.fmax(np.repeat(walls, [len(part) for part in parts]) - released, 0.0)
            bucket = np.searchsorted(LATENESS_S, late)
            self.late += np.bincount(bucket, minlength=len(self.late))
            for each in late.tolist():  # one by one: the sum is that of any cutting
                self.late_s += each
