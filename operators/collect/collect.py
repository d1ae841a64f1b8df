"""collect: rows of all sources as one block per channel, cut at edges of arrival time.

A packet holds the rows whose *running arrival* (newest accepted arrival so far) lies in one
window, of a fixed width or of one by density (`density.py`). The cut depends on the rows alone,
not on their batches, so that every later station gets the same blocks in every replay. Two rules
close blocks early. Blocks no wider than a tick of the grid end just behind the moments at which
ticks are due. Blocks narrower than the longest silence also end at a tick of the host clock.

Events that the configuration does not use end here, as do duplicates (operators/collect/
duplicates.py). A command of a person is a tick of the host clock, and no event of the accounts.

State: the rows of the open block (at most MAX_ROWS, then it is cut early), and each channel's
rows of the last `max_disorder_s`. Cost: a copy of the columns for a batch that ends no block, about
ten numpy calls for one that does, and a dozen for each channel of a block. Losses: ignored,
duplicate, rejected (`wild_stamp`, and events that could not be decoded).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec.structs import replace

from operators.accounting import ended, letters
from operators.collect.collect_config import BlockRule
from operators.collect.density import CELL_S, Spans
from operators.collect.duplicates import Duplicates
from operators.collect.reject_losses import reject_losses
from operators.errors import LumenError
from operators.events import Batch, CommandRow, Reject, StreamStatus
from operators.records import Block, Control, DeadLetter, Ends, Packet
from operators.settings.plan import Plan
from operators.types import F64, I32, I64, Bool, State

MAX_ROWS = 65_536
"""Rows, or rejects, at which a block is cut early."""
MAX_SOURCES = 4_096
"""Sources of ignored events with a count of their own; all others count under `*`."""
IGNORED, TICK = -2, -1
SILENCE_S = 0.1
"""Silence after which the source sends a tick of the host clock (s)."""
_BEHIND_S = 0.001
"""A tick due at t is still released by this block if the arrival is at most t plus this (s)."""

_ELEMENT = re.compile(r"(.*)\[\d+\]", re.S)


class _Marker(NamedTuple):
    row: int
    text: str
    source: str
    channel: str


_TYPES = (np.int32, float, float, bool, bool, float, np.int64, np.int64, float, float)
"""Columns: lane, ts, rx, stamped, wild, value, seq, line, running arrival, block number."""
_QUARTER_S, _ZONE_OFF_S = 900.0, 30.0
"""Time zones differ by whole quarters of an hour; the clocks in them by at most this (s)."""
_MAX_SMALL_LANES = 1 << 14
"""Up to this many lanes are sorted as 16-bit numbers, which takes one pass."""


_MAX_HELD = 64
"""Batches that are kept apart: an array takes a hundred bytes beside its rows."""


class _Rows(NamedTuple):
    """The rows of a packet as columns (n,), and the watermark before each row (n + 1,).

    `missing` is the mask of rows without source time. `wild` and `missing` are None without one.
    """

    ts: F64
    rx: F64
    stamped: Bool
    wild: Bool | None
    value: F64
    seq: I64
    line: I64
    watermark: F64
    missing: Bool | None


class SharedRigError(LumenError, ValueError):
    """Two partitions of the source have rows of one rig."""

    def __init__(self, rig: str) -> None:
        super().__init__(
            f"rig {rig!r} is in recordings of two partitions; "
            "set output.parts to 1, or put each rig into one recording"
        )


class Collect:
    """One rig's rows as packets."""

    def __init__(self, plan: Plan, rule: BlockRule) -> None:
        self.plan = plan
        self._spans = Spans(plan) if rule == "density" else None
        self.block_s = CELL_S if rule == "density" else rule
        self._channels: list[tuple[str, str]] = []
        self._lane: dict[tuple[str, str], int] = {}
        self._sources: list[str] = ["*"]
        self._names: tuple[tuple[str, str], ...] = ()
        self._table: I32 = np.array([TICK], np.int32)
        self._rows: list[np.ndarray] = [np.empty(0, t) for t in _TYPES]
        self._held: list[tuple[np.ndarray, ...]] = []
        self._count = 0  # rows, held ones included
        self._last = float("-inf")
        self._markers: list[_Marker] = []
        self._rejects: list[Reject] = []
        self._turned: list[StreamStatus] = []
        self._controls: list[CommandRow] = []
        self._running = float("nan")
        self._duplicates = Duplicates(plan.max_disorder_s, MAX_ROWS)
        paced = self._spans is None and self.block_s <= 1 / plan.tick_hz
        self._phase_s = plan.base_delay_s + _BEHIND_S if paced else 0.0
        self._ticks = 0  # each ends a block and advances the block number
        self._part: int | None = None
        self._index_names()

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, rule: BlockRule) -> Collect:
        """Return the station of a snapshot."""
        core = cls(plan, rule)
        if core._spans is not None:
            core._spans = Spans.from_snapshot(state["spans"], plan)
        core._channels = [(s, c) for s, c in state["channels"]]
        core._sources = list(state["sources"])
        core._rows = list(state["rows"])
        core._count = len(core._rows[0])
        core._markers = [_Marker(*m) for m in state["markers"]]
        core._rejects = [Reject(*r) for r in state["rejects"]]
        core._turned = [StreamStatus(*t) for t in state["turned"]]
        core._controls = [CommandRow(*c) for c in state["controls"]]
        core._running = state["running"]
        core._ticks = state["ticks"]
        core._part = state["part"]
        core._duplicates = Duplicates.from_snapshot(state["tails"], plan.max_disorder_s, MAX_ROWS)
        core._index_names()
        return core

    def _index_names(self) -> None:
        """Index the channels and the sources of ignored events by name."""
        self._number = {c: k for k, c in enumerate(self._channels)}
        self._source = {s: IGNORED - k for k, s in enumerate(self._sources)}

    def snapshot(self) -> State:
        """Return the state as plain values."""
        self._join()
        return {
            "channels": [list(c) for c in self._channels],
            "sources": list(self._sources),
            "rows": list(self._rows),
            "markers": [list(m) for m in self._markers],
            "rejects": [list(msgspec.structs.astuple(r)) for r in self._rejects],
            "turned": [list(t) for t in self._turned],
            "controls": [list(c) for c in self._controls],
            "running": self._running,
            "ticks": self._ticks,
            "part": self._part,
            "tails": self._duplicates.snapshot(),
            "spans": self._spans.snapshot() if self._spans is not None else None,
        }

    def update(self, batch: Batch) -> list[Packet]:
        """Append a batch; return the packets of all blocks that are complete.

        Raises
        ------
        SharedRigError
            Two partitions of the source have rows of this rig: their order is not determined.
        """
        if self._part is None:
            self._part = batch.part
        elif self._part != batch.part:
            raise SharedRigError(batch.rig)
        columns = self._columns(batch)
        if self._may_wait(batch):
            self._hold(columns)
            return []
        self._held.append(columns)
        self._join()
        packets: list[Packet] = []
        while (cut := self._next_cut()) is not None:
            packets.append(self._packet(batch.rig, *cut, end=False))
        if packets:
            # Copies: the rest may wait long, and the rows before it are needed no more.
            self._rows = [c.copy() for c in self._rows]
        if batch.end:
            packets.append(
                self._packet(batch.rig, len(self._rows[0]), len(self._rejects), end=True)
            )
        return packets

    def _may_wait(self, batch: Batch) -> bool:
        """Whether a batch ends no block: its rows are only kept."""
        if batch.end or batch.rejects or self._count >= MAX_ROWS or self.block_s <= SILENCE_S:
            return False
        if not len(batch.rx):
            return True
        if np.count_nonzero(batch.wild):
            return False
        newest = float(np.fmax.reduce(batch.rx))
        return bool(np.floor((newest - self._phase_s) / self.block_s) <= self._last)

    def _hold(self, columns: tuple[np.ndarray, ...]) -> None:
        """Keep rows without a look at them, as copies: they may be parts of larger arrays."""
        if len(columns[0]):
            self._held.append((columns[0], *(c.copy() for c in columns[1:])))
        if len(self._held) >= _MAX_HELD:
            self._held = [tuple(map(np.concatenate, zip(*self._held, strict=True)))]

    def _columns(self, batch: Batch) -> tuple[np.ndarray, ...]:
        """Return the columns of a batch, by lane; keep all that is noted at its rows."""
        if batch.names is not self._names:
            self._names = batch.names
            self._table = np.array([self._lane_of(*n) for n in batch.names] + [TICK], np.int32)
        had = self._count
        self._count += len(batch.rx)
        for row, text in batch.markers:
            source, key = batch.names[batch.name[row]]
            self._markers.append(_Marker(had + row, text, source, f"{source}:{key}"))
        self._turned += [t._replace(row=had + t.row) for t in batch.turned]
        self._controls += [c._replace(row=had + c.row) for c in batch.controls]
        self._rejects += [msgspec.structs.replace(r, row=had + r.row) for r in batch.rejects]
        return (
            self._table[batch.name],
            batch.ts,
            batch.rx,
            batch.stamped,
            batch.wild,
            batch.value,
            batch.seq,
            batch.line,
        )

    def _join(self) -> None:
        """Append the held rows to the others, with their running arrival and block number."""
        if not self._held:
            return
        had = len(self._rows[0])
        held = self._held
        columns = list(held[0] if len(held) == 1 else map(np.concatenate, zip(*held, strict=True)))
        self._held = []
        lane, rx, wild = columns[0], columns[2], columns[4]
        running = _running(rx, wild, self._rows[-2][-1] if had else self._running)
        # Rows before the first arrival belong to the first block.
        number = np.floor((running - self._phase_s) / self.block_s)
        if self.block_s <= SILENCE_S:
            number += self._ticks
            is_tick = lane == TICK
            if n_ticks := int(np.count_nonzero(is_tick)):
                number += is_tick.cumsum() - is_tick
                self._ticks += n_ticks
        if len(number) and math.isnan(number[0]):
            number[np.isnan(number)] = -np.inf
        columns += [running, number]
        self._rows = [
            np.concatenate((a, b)) if had else b for a, b in zip(self._rows, columns, strict=True)
        ]

    def _lane_of(self, source: str, key: str) -> int:
        """Return the index of a used channel; else IGNORED or below, by source."""
        known = self._lane.get((source, key))
        if known is not None:
            return known
        channel = f"{source}:{key}"
        element = _ELEMENT.fullmatch(channel)
        if element and element[1] in self.plan.used and self.plan.channel(element[1]).reduce:
            channel = element[1]
        if channel in self.plan.admitted:
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
        """Return the numbers of rows and rejects of the next packet, None while it is open."""
        cut = None
        by_tick = False
        self._last = float("-inf")
        lane, number = self._rows[0], self._rows[-1]
        n = len(number)
        if n:
            started = int(number.searchsorted(-np.inf, "right"))
            if started < n:
                self._last = float(number[started])
                if self._spans is not None:
                    self._last = self._spans.last(self._last)
                later = int(number.searchsorted(self._last, "right"))
                by_tick = self.block_s <= SILENCE_S and lane[later - 1] == TICK
                cut = later if later < n or by_tick else None
            # An early cut needs the row after it: then all rejects before it are there.
            if (cut or n - 1) >= MAX_ROWS:
                by_tick &= cut == MAX_ROWS
                cut = MAX_ROWS
        if len(self._rejects) >= MAX_ROWS:
            row = self._rejects[MAX_ROWS - 1].row
            if cut is None or row + by_tick <= cut:
                return row, MAX_ROWS
        if cut is None:
            return None
        # Further rejects behind a tick may still arrive.
        return cut, sum(r.row + by_tick <= cut for r in self._rejects)

    def _packet(self, rig: str, n: int, n_rejects: int, *, end: bool) -> Packet:
        """Remove the first rows and rejects from the buffer; return them as a packet."""
        lane, ts, rx, stamped, wild, value, seq, line, running, _ = (c[:n] for c in self._rows)
        self._rows = [c[n:] for c in self._rows]
        self._count -= n
        if self._spans is not None:
            self._spans.count(n)
        watermark, arrivals = self._watermarks(running)
        taken = _Rows(
            ts=ts,
            rx=rx,
            stamped=stamped,
            wild=wild if np.count_nonzero(wild) else None,
            value=value,
            seq=seq,
            line=line,
            watermark=watermark,
            missing=missing if np.count_nonzero(missing := np.isnan(ts)) else None,
        )
        rejects = self._rejects[:n_rejects]
        self._rejects = [
            msgspec.structs.replace(r, row=r.row - n) for r in self._rejects[n_rejects:]
        ]
        markers = [m for m in self._markers if m.row < n]
        self._markers = [m._replace(row=m.row - n) for m in self._markers if m.row >= n]
        turned = tuple(
            (t.source, float(watermark[t.row + 1]), t.up) for t in self._turned if t.row < n
        )
        self._turned = [t._replace(row=t.row - n) for t in self._turned if t.row >= n]
        controls = tuple(
            Control(float(watermark[c.row + 1]), c.command, c.by)
            for c in self._controls
            if c.row < n
        )
        self._controls = [c._replace(row=c.row - n) for c in self._controls if c.row >= n]
        ends, dead = reject_losses(rejects, watermark, self.plan.sync_every_s)
        if markers:
            is_marker = np.zeros(n, bool)
            is_marker[[m.row for m in markers]] = True
        blocks: list[Block | None] = []
        readings: list[Block] = []
        for k, rows in self._by_lane(lane):
            if k == TICK:
                continue
            if markers:
                rows = rows[~is_marker[rows]]
            if k <= IGNORED:
                source = self._sources[IGNORED - k]
                ends += ended(source, "", "received", watermark[rows])
                ends += ended(source, "", "ignored", watermark[rows])
            else:
                block = self._block(taken, k, rows, ends, dead)
                if block and block.channel in self.plan.readings:
                    readings.append(block)
                    if block.channel not in self.plan.used:
                        continue
                    # Its arrival is no measure of the path: a receiver computes it.
                    block = replace(block, stamped=np.zeros(len(block), bool))
                blocks.append(block)
        blocks += [self._marker_block(taken, m, ends, dead) for m in markers]
        return Packet(
            rig=rig,
            watermark=float(watermark[n]),
            end=end,
            arrivals=arrivals,
            blocks=tuple(b for b in blocks if b),
            readings=tuple(readings),
            turned=turned,
            controls=controls,
            ends=tuple(ends),
            letters=tuple(dead),
        )

    def _watermarks(self, running: F64) -> tuple[F64, F64]:
        """Return the watermark before each row and after the last (n + 1,), and the new arrivals.

        `running` (n,) is the running arrival; its last value is kept for the next packet.
        """
        watermark = np.empty(len(running) + 1)
        watermark[0], watermark[1:] = self._running, running
        self._running = float(watermark[-1])
        if math.isnan(watermark[0]):
            running = running[~np.isnan(running)]
            # Rows before the first arrival are dated by it.
            watermark[np.isnan(watermark)] = running[0] if len(running) else 0.0
            rises = np.append(True, running[1:] > running[:-1])[: len(running)]
        else:
            rises = running > watermark[:-1]
        return watermark, running[rises]

    def _block(
        self, r: _Rows, lane: int, rows: I64, ends: list[Ends], dead: list[DeadLetter]
    ) -> Block | None:
        """Return a used channel's rows without wild ones and duplicates, None if none is left.

        Losses are appended to `ends` and `dead`.
        """
        source, channel = self._channels[lane]
        watermark = r.watermark[rows]
        ends += ended(source, channel, "received", watermark)
        if r.wild is not None and np.count_nonzero(wild := r.wild[rows]):
            lost, rows, watermark = rows[wild], rows[~wild], watermark[~wild]
            ends += ended(source, channel, "rejected", r.watermark[lost])
            stamps = zip(r.rx[lost].tolist(), r.watermark[1:][lost].tolist(), strict=True)
            samples = [f"{channel} rx={rx:.6f}{_zone(rx - newest)}" for rx, newest in stamps]
            dead += self._wild_letters(source, r.watermark[lost], r.line[lost], samples)
        if not len(rows):
            return None
        block = Block(
            source=source,
            channel=channel,
            row=rows,
            source_time=r.ts[rows],
            arrival=r.rx[rows],
            value=r.value[rows],
            watermark=watermark,
            stamped=r.stamped[rows],
            line=r.line[rows],
        )
        duplicate = self._duplicates.find(block, r.seq[rows])
        if duplicate is not None:
            ends += ended(source, channel, "duplicate", block.watermark[duplicate])
            block = block.take(~duplicate)
        if r.missing is not None:
            # After the search for duplicates: a row without source time is none.
            missing = r.missing[block.row]
            source_time = np.where(missing, block.arrival, block.source_time)
            block = replace(block, source_time=source_time)
        return block if len(block) else None

    def _marker_block(
        self, r: _Rows, m: _Marker, ends: list[Ends], dead: list[DeadLetter]
    ) -> Block | None:
        """Return a marker as a block of one row, None if its arrival is wild."""
        row = np.array([m.row])
        ends += ended(m.source, m.channel, "received", r.watermark[row])
        if r.wild is not None and r.wild[m.row]:
            ends += ended(m.source, m.channel, "rejected", r.watermark[row])
            sample = f"{m.channel} rx={r.rx[m.row]:.6f}"
            dead += self._wild_letters(m.source, r.watermark[row], r.line[row], [sample])
            return None
        source_time = r.rx[row] if np.isnan(r.ts[m.row]) else r.ts[row]
        return Block(
            source=m.source,
            channel=m.channel,
            row=row,
            source_time=source_time,
            arrival=r.rx[row],
            value=r.value[row],
            watermark=r.watermark[row],
            stamped=r.stamped[row],
            line=r.line[row],
            text=(m.text,),
        )

    def _wild_letters(
        self, source: str, watermark: F64, line: I64, samples: list[str]
    ) -> tuple[DeadLetter, ...]:
        return letters(self.plan, "collect", "wild_stamp", source, watermark, line, samples)

    def _by_lane(self, lane: I32) -> Iterator[tuple[int, I64]]:
        """Yield each lane that has rows, rising, with its rows."""
        key = lane.astype(np.int16) if len(self._channels) < _MAX_SMALL_LANES else lane
        order = np.argsort(key, kind="stable")
        key = key[order]
        edges = (np.flatnonzero(key[1:] != key[:-1]) + 1).tolist()
        for a, b in pairwise([0, *edges, len(lane)] if len(lane) else []):
            yield int(key[a]), order[a:b]


def _zone(away: float) -> str:
    """Return the remark on an arrival this far from the others (s): a time zone, or nothing."""
    quarters = round(away / _QUARTER_S) if np.isfinite(away) else 0
    if not 0 < abs(quarters) <= 56 or abs(away - quarters * _QUARTER_S) > _ZONE_OFF_S:
        return ""
    return f": {abs(quarters) / 4:g} h from the recording's other stamps: local time?"


def _running(rx: F64, wild: Bool, newest: float) -> F64:
    """Return the running arrival (n,): rows with a wild arrival do not count."""
    if np.count_nonzero(wild):
        rx = np.where(wild, np.nan, rx)
    return np.asarray(np.fmax(np.fmax.accumulate(rx), newest))
