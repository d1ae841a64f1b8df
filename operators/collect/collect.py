"""collect: rows of all sources into one block a channel, cut at edges of arrival time.

A packet holds the rows whose *running arrival* (the newest arrival accepted so far) lies in one
window of `block_s`. The cut depends on the rows alone, never on how they came in batches, so
that every later station sees the same blocks in every replay. Blocks no wider than a tick of
the grid end just behind the moments at which ticks are due, so that none waits for the next
edge; and where they are narrower than the longest silence, a tick of the host clock ends its
block, since nothing else will. Events that the configuration
does not use end here, as do duplicates: same channel, source time, value and, where both carry
it, sequence number, within `max_disorder_s` of arrival; the first stays.

State: the rows of the block under way (at most MAX_ROWS, then it is cut early), and each
channel's rows of the last `max_disorder_s`. Cost: about ten numpy calls a batch and a dozen
for each channel of a block. Losses: ignored, duplicate, rejected (`wild_stamp` and what could
not be decoded).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.accounting import ended, letters
from operators.collect.duplicates import Duplicates
from operators.events import Batch, Reject, StreamStatus
from operators.limits import MAX_SAMPLE
from operators.plan import ConfigPart, Plan
from operators.records import Block, DeadLetter, Ends, Packet
from operators.types import ENDED, F64, I32, I64, Bool, End, Reason, State

MAX_ROWS = 65_536
"""A block is cut early when it has so many rows, or so many rejects."""
MAX_SOURCES = 4_096
"""Sources of ignored events that are told apart; the rest count under `*`."""
IGNORED, TICK = -2, -1
SILENCE_S = 0.1
"""After so long a tick of the host clock is told."""
_BEHIND_S = 0.001
"""What releases a tick may come so much later than it is due, and be in the block still."""

_ELEMENT = re.compile(r"(.*)\[\d+\]", re.S)


class CollectConfig(ConfigPart, frozen=True, kw_only=True):
    """Width of a block of arrival time (s); buys latency or speed, never another answer."""

    block_s: Annotated[
        Literal["auto"] | Annotated[float, Meta(ge=1e-4, le=3600)],
        Meta(
            description="Width of a block of arrival time: latency against speed, with equal"
            " results. `auto`: 10 s for recordings, 1 s with a speed, at most 0.05 s live.",
            examples=[0.05],
        ),
    ] = "auto"


class _Marker(NamedTuple):
    row: int
    text: str
    source: str
    channel: str


_TYPES = (np.int32, float, float, bool, bool, float, np.int64, np.int64, float, float)
"""Of lane, ts, rx, stamped, wild, value, seq, line, running arrival, number of the block."""
_QUARTER_S, _ZONE_OFF_S = 900.0, 30.0
"""Zones of time differ by whole quarters of an hour; clocks in them by so much at most (s)."""
_MIN_COUNT = 1 << 14
"""So many lanes are put in order as 16 bits, which takes one pass instead of a sort."""


class Collect:
    """One rig's rows as packets."""

    def __init__(self, plan: Plan, block_s: float, state: State | None = None) -> None:
        self.plan, self.block_s = plan, block_s
        self._channels: list[tuple[str, str]] = []
        self._lane: dict[tuple[str, str], int] = {}
        self._sources: list[str] = ["*"]
        self._names: tuple[tuple[str, str], ...] = ()
        self._table: I32 = np.array([TICK], np.int32)
        self._rows: list[np.ndarray] = [np.empty(0, t) for t in _TYPES]
        self._markers: list[_Marker] = []
        self._rejects: list[Reject] = []
        self._turned: list[StreamStatus] = []
        self._run = float("nan")
        self._repeats = Duplicates(plan.max_disorder_s, MAX_ROWS, state and state["tails"])
        self._phase_s = plan.base_delay_s + _BEHIND_S if block_s <= 1 / plan.tick_hz else 0.0
        self._ticks = 0  # since each ends a block, they count as one
        if state:
            self._channels = [(s, c) for s, c in state["channels"]]
            self._sources = list(state["sources"])
            self._rows = list(state["rows"])
            self._markers = [_Marker(*m) for m in state["markers"]]
            self._rejects = [Reject(*r) for r in state["rejects"]]
            self._turned = [StreamStatus(*t) for t in state["turned"]]
            self._run = state["run"]
            self._ticks = state["ticks"]
        self._number = {c: k for k, c in enumerate(self._channels)}
        self._source = {s: IGNORED - k for k, s in enumerate(self._sources)}

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "channels": [list(c) for c in self._channels],
            "sources": list(self._sources),
            "rows": list(self._rows),
            "markers": [list(m) for m in self._markers],
            "rejects": [list(msgspec.structs.astuple(r)) for r in self._rejects],
            "turned": [list(t) for t in self._turned],
            "run": self._run,
            "ticks": self._ticks,
            "tails": self._repeats.snapshot(),
        }

    def update(self, batch: Batch) -> list[Packet]:
        """Take in a batch; return the packets whose edge has been passed."""
        self._append(batch)
        packets: list[Packet] = []
        while (cut := self._next_cut()) is not None:
            packets.append(self._packet(batch.rig, *cut, end=False))
        if batch.end:
            packets.append(
                self._packet(batch.rig, len(self._rows[0]), len(self._rejects), end=True)
            )
        return packets

    def _append(self, batch: Batch) -> None:
        had = len(self._rows[0])
        if batch.names is not self._names:
            self._names = batch.names
            self._table = np.array([self._lane_of(*n) for n in batch.names] + [TICK], np.int32)
        lane = self._table[batch.name]
        newest = self._rows[-2][-1] if had else self._run
        run = _running(batch.rx, batch.wild, newest)
        # What came before anything had arrived belongs to the first block.
        number = np.floor((run - self._phase_s) / self.block_s)
        if self.block_s <= SILENCE_S:
            is_tick = lane == TICK
            number += self._ticks + is_tick.cumsum() - is_tick
            self._ticks += int(is_tick.sum())
        number[np.isnan(number)] = -np.inf
        columns: tuple[np.ndarray, ...] = (
            lane, batch.ts, batch.rx, batch.stamped, batch.wild, batch.value, batch.seq, batch.line,
            run, number,
        )  # fmt: skip
        self._rows = [
            np.concatenate((a, b)) if had else b for a, b in zip(self._rows, columns, strict=True)
        ]
        for row, text in batch.markers:
            source, key = batch.names[batch.name[row]]
            self._markers.append(_Marker(had + row, text, source, f"{source}:{key}"))
        self._turned += [t._replace(row=had + t.row) for t in batch.turned]
        self._rejects += [msgspec.structs.replace(r, row=had + r.row) for r in batch.rejects]

    def _lane_of(self, source: str, key: str) -> int:
        """Return the index of a channel that is used, or IGNORED and below, by source."""
        known = self._lane.get((source, key))
        if known is not None:
            return known
        channel = f"{source}:{key}"
        element = _ELEMENT.fullmatch(channel)
        if element and element[1] in self.plan.used and self.plan.channel(element[1]).reduce:
            channel = element[1]
        if channel in self.plan.used:
            lane = self._number.setdefault((source, channel), len(self._channels))
            if lane == len(self._channels):
                self._channels.append((source, channel))
            self._lane[source, key] = lane
            return lane
        lane = self._source.get(source, IGNORED)
        if lane == IGNORED and len(self._sources) <= MAX_SOURCES and source != self._sources[0]:
            lane = self._source[source] = IGNORED - len(self._sources)
            self._sources.append(source)
        return lane

    def _next_cut(self) -> tuple[int, int] | None:
        """Return how many rows and rejects the next packet takes, None while it is open."""
        cut = None
        by_tick = False
        lane, number = self._rows[0], self._rows[-1]
        n = len(number)
        if n:
            started = int(number.searchsorted(-np.inf, "right"))
            if started < n:
                later = int(number.searchsorted(number[started], "right"))
                by_tick = self.block_s <= SILENCE_S and lane[later - 1] == TICK
                cut = later if later < n or by_tick else None
            # Cut early only when the row after has come, and so all rejects before it.
            if (cut or n - 1) >= MAX_ROWS:
                by_tick &= cut == MAX_ROWS
                cut = MAX_ROWS
        if len(self._rejects) >= MAX_ROWS:
            row = self._rejects[MAX_ROWS - 1].row
            if cut is None or row + by_tick <= cut:
                return row, MAX_ROWS
        if cut is None:
            return None
        # What was rejected behind a tick may have yet to come.
        return cut, sum(r.row + by_tick <= cut for r in self._rejects)

    def _packet(self, rig: str, n: int, n_rejects: int, *, end: bool) -> Packet:
        """Take the first rows and rejects out and make them a packet."""
        lane, ts, rx, stamped, wild, value, seq, line, run, _ = (c[:n] for c in self._rows)
        self._rows = [c[n:] for c in self._rows]
        before_end = np.concatenate(([self._run], run))
        told, self._run = self._run, float(before_end[n])
        if np.isnan(before_end[0]):
            run = run[~np.isnan(run)]
            # What came before anything had arrived is dated by the first arrival.
            before_end[np.isnan(before_end)] = run[0] if len(run) else 0.0
        rises = np.ones(len(run), bool)
        rises[:1] = ~(run[:1] <= told)
        np.greater(run[1:], run[:-1], out=rises[1:])
        arrivals = run[rises]
        before = before_end[:n]
        timeless = np.isnan(ts)
        some_timeless = np.count_nonzero(timeless)
        markers = [m for m in self._markers if m.row < n]
        self._markers = [m._replace(row=m.row - n) for m in self._markers if m.row >= n]
        turned = tuple(
            (t.source, float(before_end[t.row + 1]), t.up) for t in self._turned if t.row < n
        )
        self._turned = [t._replace(row=t.row - n) for t in self._turned if t.row >= n]
        rejects = self._rejects[:n_rejects]
        self._rejects = [
            msgspec.structs.replace(r, row=r.row - n) for r in self._rejects[n_rejects:]
        ]
        ends, dead = _refused(rejects, before_end, self.plan.sync_every_s)
        if markers:
            is_text = np.zeros(n, bool)
            is_text[[m.row for m in markers]] = True
        some_wild = np.count_nonzero(wild)
        blocks: list[Block] = []
        for k, rows in self._by_lane(lane):
            if k == TICK:
                continue
            if k <= IGNORED:
                rows = rows[~is_text[rows]] if markers else rows
                source = self._sources[IGNORED - k]
                ends += ended(source, "", "received", before[rows])
                ends += ended(source, "", "ignored", before[rows])
                continue
            source, channel = self._channels[k]
            rows = rows[~is_text[rows]] if markers else rows
            received = before[rows]
            ends += ended(source, channel, "received", received)
            if some_wild:
                bad = wild[rows]
                lost, rows, received = rows[bad], rows[~bad], received[~bad]
                ends += ended(source, channel, "rejected", before[lost])
                dead += letters(
                    self.plan, "collect", "wild_stamp", source, before[lost], line[lost],
                    [f"{channel} rx={x:.6f}{_zone(x - r)}" for x, r in
                     zip(rx[lost].tolist(), before_end[1:][lost].tolist(), strict=True)],
                )  # fmt: skip
            if not len(rows):
                continue
            block = Block(
                source, channel, rows, ts[rows], rx[rows], value[rows], received, stamped[rows],
                line[rows],
            )  # fmt: skip
            twice = self._repeats.among(block, seq[rows])
            if twice is not None:
                ends += ended(source, channel, "duplicate", received[twice])
                block = block.take(~twice)
            if some_timeless:
                # Only now: what has no source time is no duplicate.
                lacks = np.isnan(block.source_time)
                source_time = np.where(lacks, block.arrival, block.source_time)
                block = replace(block, source_time=source_time)
            if len(block):
                blocks.append(block)
        for m in markers:
            row = np.array([m.row])
            ends += ended(m.source, m.channel, "received", before[row])
            if wild[m.row]:
                ends += ended(m.source, m.channel, "rejected", before[row])
                dead += letters(
                    self.plan, "collect", "wild_stamp", m.source, before[row], line[row],
                    [f"{m.channel} rx={rx[m.row]:.6f}"],
                )  # fmt: skip
                continue
            blocks.append(
                Block(
                    m.source, m.channel, row, rx[row] if timeless[m.row] else ts[row], rx[row],
                    value[row], before[row], stamped[row], line[row], text=(m.text,),
                )
            )  # fmt: skip
        return Packet(
            rig, float(before_end[n]), end, arrivals, tuple(blocks), turned=turned,
            ends=tuple(ends), letters=tuple(dead),
        )  # fmt: skip

    def _by_lane(self, lane: I32) -> Iterator[tuple[int, I64]]:
        """Yield the lanes that have rows, rising, and their rows."""
        key = lane.astype(np.int16) if len(self._channels) < _MIN_COUNT else lane
        order = np.argsort(key, kind="stable")
        key = key[order]
        edges = (np.flatnonzero(key[1:] != key[:-1]) + 1).tolist()
        for a, b in pairwise([0, *edges, len(lane)] if len(lane) else []):
            yield int(key[a]), order[a:b]


def _refused(
    rejects: list[Reject], before: F64, window_s: float
) -> tuple[list[Ends], list[DeadLetter]]:
    """Return what becomes of rejects; `before` is the running arrival before each row.

    Those of one kind share a dead letter within a window, as `Ledger.add` would join them.
    """
    moments: dict[tuple[str, End], list[Reject]] = {}
    kinds: dict[tuple[float, Reason, str], list[Reject]] = {}
    window = np.floor(before / window_s).tolist()
    for r in rejects:
        end = ENDED.get(r.reason, "rejected")
        moments.setdefault((r.source, end), []).append(r)
        if end == "rejected":
            kinds.setdefault((window[r.row], r.reason, r.source), []).append(r)
    ends: list[Ends] = []
    for (source, end), some in moments.items():
        moment = np.repeat(before[[r.row for r in some]], [r.count for r in some])
        ends += ended(source, "", "received", moment)
        ends += ended(source, "", end, moment)
    dead: list[DeadLetter] = []
    for (_, reason, source), some in kinds.items():
        ts = float(min(before[[r.row for r in some]]))
        first = [r for r in some if before[r.row] == ts]
        where, sample = min(
            (r.where, r.sample[:MAX_SAMPLE].decode("utf-8", "replace")) for r in first
        )
        count = sum(r.count for r in some)
        dead.append(DeadLetter(ts, "receive", reason, source, where, sample, count))
    return ends, dead


def _zone(away: float) -> str:
    """Return the remark on an arrival so far from the others (s): a zone of time, or nothing."""
    quarters = round(away / _QUARTER_S) if np.isfinite(away) else 0
    if not 0 < abs(quarters) <= 56 or abs(away - quarters * _QUARTER_S) > _ZONE_OFF_S:
        return ""
    return f": {abs(quarters) / 4:g} h from the recording's other stamps: local time?"


def _running(rx: F64, wild: Bool, newest: float) -> F64:
    """Return the newest accepted arrival up to and with each row."""
    if np.count_nonzero(wild):
        rx = np.where(wild, np.nan, rx)
    return np.asarray(np.fmax(np.fmax.accumulate(rx), newest))
