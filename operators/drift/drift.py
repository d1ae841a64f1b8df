"""drift: source time to host time, source by source, in the order of host time.

All channels of a source share its clock (operators/drift/clock.py). A row is mapped with the
clock in force at its arrival. Rows in doubt, at most 32 stamps a source, wait for a decision:
delayed, wild, or the first after a clock reset. Rows without stamps of their own keep their
arrival as host time. Markers end here, as lines.

The stamps themselves are checked first (operators/drift/stamp_checks.py). A source whose rate is
impossible for a clock is held back (operators/drift/clock_rate.py).

In the second of two passes a source's clock is known as a whole (operators/drift/clock_path.py),
and no row is in doubt.

Rows then leave in the order of host time (operators/drift/reorder_buffer.py). A row is late when
all of its ticks have been released.

State: a clock per source, the state of the stamp checks, the rows in doubt, the reorder buffer.
Cost: 50 us for each second of a source. Few rows of a channel take 25 numpy calls, most of them
views and assignments: their figures are plain numbers, equal to those of the arrays bit for bit.
More rows take about 200 a block, and a sort where they are out of order.
Losses: rejected (`wild_stamp`), late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.accounting import ended, letters, spread
from operators.drift.clock import NOT_BEGUN, Clock
from operators.drift.clock_path import ClockPath, Smoothed, report
from operators.drift.clock_rate import Rates, cause
from operators.drift.clock_readings import ClockReading
from operators.drift.clock_reports import PathReports
from operators.drift.host_axis import AnyClock, every_row, few_rows
from operators.drift.packet_rate import Packets
from operators.drift.reorder_buffer import ReorderBuffer
from operators.drift.smoother import ClockLog
from operators.drift.source_readings import SourceReadings
from operators.drift.stamp_checks import StampChecks
from operators.hindsight import Hindsight
from operators.limits import MAX_FEW
from operators.lines import MarkerLine
from operators.records import (
    NO_CLOCK,
    Block,
    ClockReport,
    DeadLetter,
    Ends,
    GrainReport,
    PaceReport,
    Packet,
)
from operators.settings.config_part import ConfigPart, Period, Wait
from operators.settings.plan import Plan
from operators.types import F64, Bool, State

_HELD_ROWS = 1 << 40
"""Offset that puts held rows before all rows of the next packet."""


class DriftConfig(ConfigPart, frozen=True, kw_only=True):
    """Limits of disorder and delay between sender and host."""

    max_disorder_s: Annotated[
        Wait,
        Meta(
            description="Disorder of arrival that is sorted.",
            examples=[1.0],
        ),
    ] = 0.5
    max_delay_s: Annotated[
        Period,
        Meta(
            description="Largest plausible delay of arrival; a larger one is a step of the clock.",
            examples=[10.0],
        ),
    ] = 30.0


class Drift:
    """Host time for every row, in order."""

    def __init__(
        self,
        plan: Plan,
        *,
        learn: bool = False,
        known: Hindsight | None = None,
    ) -> None:
        self.plan = plan
        self._learn, self._known = learn, known
        self._rig: str | None = None
        self._paths: dict[str, PathReports] = {}
        self._clocks: dict[str, AnyClock] = {}
        sampled = (m.channel for m in plan.members if not plan.is_held(m.channel))
        self._packets = {channel: Packets() for channel in sampled}
        self._stamps = StampChecks(plan)
        self._seen: dict[str, float] = {}
        self._doubtful: dict[str, list[Block]] = {}
        self._buffer = ReorderBuffer(plan.settle_s)
        self._held: dict[str, bool] = {}
        self._first = self._newest = float("nan")
        self._rates = Rates(plan.max_delay_s)
        self._readings = SourceReadings(plan, learn, known is not None)

    @classmethod
    def from_snapshot(
        cls,
        state: State,
        plan: Plan,
        *,
        learn: bool = False,
        known: Hindsight | None = None,
    ) -> Drift:
        """Return the station of a snapshot."""
        core = cls(plan, learn=learn, known=known)
        core._rates = Rates.from_snapshot(state["rates"], plan.max_delay_s)
        core._readings = SourceReadings.from_snapshot(state["readings"], plan, known is not None)
        if state["rig"] is not None:
            core._look_up(state["rig"], state["passed"])
        for s, clock in state["clocks"].items():
            path = core._paths.get(s)
            core._clocks[s] = (
                Smoothed.from_snapshot(clock, path.path) if path else Clock.from_snapshot(clock)
            )
        core._packets = {c: Packets.from_snapshot(x) for c, x in state["packets"].items()}
        core._stamps = StampChecks.from_snapshot(state["stamps"], plan)
        core._doubtful = {
            s: [Block.from_snapshot(b) for b in blocks] for s, blocks in state["doubtful"].items()
        }
        core._buffer = ReorderBuffer.from_snapshot(state["buffer"], plan.settle_s)
        core._first, core._newest = state["first"], state["newest"]
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "rig": self._rig,
            "passed": {s: c.passed for s, c in self._paths.items()},
            "clocks": {
                s: c.snapshot() for s, c in self._clocks.items() if not isinstance(c, ClockLog)
            },
            "packets": {c: p.snapshot() for c, p in self._packets.items()},
            "stamps": self._stamps.snapshot(),
            "doubtful": {s: [b.snapshot() for b in x] for s, x in self._doubtful.items()},
            "buffer": self._buffer.snapshot(),
            "first": self._first,
            "newest": self._newest,
            "rates": self._rates.snapshot(),
            "readings": self._readings.snapshot(),
        }

    def update(self, packet: Packet) -> Packet:
        """Map the packet's rows to host time; release those that are in order."""
        grains: list[GrainReport] = []
        if self._known and self._rig is None:
            self._look_up(packet.rig, {})
            seen = self._known.of(packet.rig, "drift").get("grains", {})
            grains += [GrainReport(channel, -np.inf, g) for channel, g in seen.items()]
        packet, formless = self._stamps.without_false(packet)
        grains += self._stamps.grain_changes(packet)
        packet, notes = self._stamps.spread(packet)
        if self._learn:
            self._seen = {r.channel: r.grain_s for r in grains} | self._seen
        ends, dead = list(packet.ends), list(packet.letters)
        blocks, held = self._rates.part(packet.blocks)
        for b, rate in held:
            causes = [f": {cause(r)}" for r in spread(rate, b.weight).tolist()]
            self._reject(b, causes, ends, dead)
        self._readings.feed(packet, ends, dead)
        mapped, clocks = self._mapped(packet, blocks, formless, ends, dead)
        notes += self._readings.notes()
        self._date(mapped)
        if packet.end:
            lines = ((s, c.finish()) for s, c in self._clocks.items() if s not in self._paths)
            clocks += [
                report(s, packet.watermark, *self._readings.passed(s, x, self._newest))
                for s, x in lines
                if x
            ]
        markers = [b for b in mapped if b.text]
        for b in markers:
            ends += ended(b.source, b.channel, "used", b.watermark)
        kept, paces = self._without_late([b for b in mapped if not b.text], ends)
        return replace(
            packet,
            blocks=self._buffer.release(kept, packet.watermark, packet.end),
            clocks=tuple(clocks),
            grains=tuple(grains),
            paces=tuple(paces),
            notes=(*packet.notes, *self._stamps.form_notes(formless), *notes),
            ends=tuple[Ends, ...](ends),
            letters=tuple[DeadLetter, ...](dead),
            readings=(),
            markers=_lines(packet.rig, markers) if markers else (),
            first_host=self._first,
            newest_host=self._newest,
        )

    def _mapped(
        self,
        packet: Packet,
        blocks: list[Block],
        formless: dict[str, float],
        ends: list[Ends],
        dead: list[DeadLetter],
    ) -> tuple[list[Block], list[ClockReport]]:
        """Return all sources' rows on the host axis, and the clock reports.

        `formless`: sources that lose their clock in this packet, with the watermark of that. Wild
        rows are appended to `ends` and `dead`.
        """
        by_source: dict[str, list[Block]] = {s: list(b) for s, b in self._doubtful.items()}
        for block in blocks:
            by_source.setdefault(block.source, []).append(block)
        for source in self._readings.now:
            by_source.setdefault(source, [])
        self._doubtful = {}
        mapped: list[Block] = []
        until = np.inf if packet.end else packet.watermark
        clocks = [r for c in self._paths.values() for r in c.until(until)]
        for source, parts in by_source.items():
            watermark = formless.get(source, packet.watermark)
            last = source in formless or packet.end
            for rows, reading in self._readings.pieces(source, parts):
                piece = self._doubtful.pop(source, []) + rows
                if piece:
                    end = last and reading is None
                    good, wild, reports = self._map(source, piece, watermark, end)
                    mapped += good
                    clocks += reports
                    for b in wild:
                        self._reject(b, None, ends, dead)
                if reading:
                    clocks += self._read(source, reading, ends, dead)
            if source in formless and source in self._clocks:
                del self._clocks[source]
                none = NO_CLOCK._replace(source=source, offset_s=np.nan)
                clocks.append(none._replace(watermark=watermark, known=watermark))
        return mapped, clocks

    def _read(
        self, source: str, reading: ClockReading, ends: list[Ends], dead: list[DeadLetter]
    ) -> list[ClockReport]:
        """Process a two-way reading; return the clock report of it."""
        clock = self._clocks.get(source)
        changed, new = self._readings.read(source, reading, clock, ends, dead)
        if new and isinstance(clock, ClockLog):
            clock.restart(new)
        elif new:
            self._clocks[source] = new
        return [changed] if changed else []

    def _reject(
        self, b: Block, causes: list[str] | None, ends: list[Ends], dead: list[DeadLetter]
    ) -> None:
        """Append the losses of wild rows; `causes`: the end of each event's sample."""
        watermark = spread(b.watermark, b.weight)
        times = spread(b.source_time, b.weight).tolist()
        causes = causes or [""] * len(times)
        samples = [f"{b.channel} ts={t:.6f}{c}" for t, c in zip(times, causes, strict=True)]
        ends += ended(b.source, b.channel, "rejected", watermark)
        dead += letters(
            self.plan,
            "drift",
            "wild_stamp",
            b.source,
            watermark,
            spread(b.line, b.weight),
            samples,
        )

    def _without_late(
        self, blocks: list[Block], ends: list[Ends]
    ) -> tuple[list[Block], list[PaceReport]]:
        """Return the rows that are not late, and the pace reports; append the late ones."""
        kept = []
        paces: list[PaceReport] = []
        for b in blocks:
            if self._in_time(b):
                kept.append(b)
                continue
            length_s: F64 | float = 0.0
            if b.channel in self._packets:
                length_s, found = self._packets[b.channel].feed(b.arrival, b.host_time, b.watermark)
                paces += [PaceReport(b.channel, *pace) for pace in found]
            late = self._late(b, length_s)
            if late.any():
                lost = b.take(late)
                ends += ended(b.source, b.channel, "late", spread(lost.watermark, lost.weight))
                b = b.take(~late)
            kept.append(b)
        return kept, paces

    def shown(self) -> State:
        """Return each source's clock over the whole recording, and each channel's first grain."""
        logs = {s: c for s, c in self._clocks.items() if isinstance(c, ClockLog)}
        wrong = self._rates.wrong()
        paths = {
            s: self._readings.corrected(s, log.path()).snapshot()
            for s, log in logs.items()
            if s not in wrong
        }
        shown = {"paths": paths, "grains": self._seen, "rates": wrong}
        return shown | {"readings": self._readings.shown()}

    def _look_up(self, rig: str, passed: dict[str, int]) -> None:
        """Take a rig's clocks from the first pass; `passed`: reports so far, by source."""
        self._rig = rig
        found = self._known.of(rig, "drift") if self._known else {}
        paths, self._rates.known = found.get("paths", {}), found.get("rates", {})
        self._readings.known = found.get("readings", {})
        self._paths = {
            s: PathReports(s, ClockPath.from_snapshot(path), passed.get(s, 0))
            for s, path in paths.items()
        }

    def _new_clock(self, source: str) -> AnyClock:
        """Return the clock of a source at its first stamps."""
        if source in self._paths:
            return Smoothed(self._paths[source].path)
        return ClockLog(self.plan.max_delay_s) if self._learn else Clock(self.plan.max_delay_s)

    def _map(
        self, source: str, blocks: list[Block], watermark: float, end: bool
    ) -> tuple[list[Block], list[Block], list[ClockReport]]:
        """Return the source's rows with host time, its wild rows, and its clock reports.

        Rows in doubt are kept for the next packet.
        """
        begun, two_way = NOT_BEGUN, self._readings.clock(source)
        if sum(map(len, blocks)) <= MAX_FEW:
            begun, mapped, reports = few_rows(source, self._clocks.get(source), blocks, two_way)
            if mapped:
                return mapped, [], reports
        whole = blocks[0] if len(blocks) == 1 else Block.join(blocks)
        clock = self._clocks.get(source)
        if clock is None and whole.stamped.any():
            clock = self._clocks[source] = self._new_clock(source)
        rows, reports = every_row(source, clock, whole, watermark, end, begun, two_way)
        good: list[Block] = []
        wild: list[Block] = []
        last = 0
        for block in blocks:
            mine = slice(last, last + len(block))
            last = mine.stop
            ok, doubtful = rows.ok[mine], rows.doubtful[mine]
            b = replace(
                block,
                row=rows.row[mine],
                host_time=rows.host[mine],
                watermark=rows.watermark[mine],
                straggler=np.zeros(len(block), bool),
            )
            if ok.all() and not doubtful.any():
                good.append(b)
                continue
            if doubtful.any():
                held = block.take(doubtful)
                held = replace(held, row=held.row - _HELD_ROWS)
                self._doubtful.setdefault(source, []).append(held)
            good.append(b.take(ok & ~doubtful))
            wild.append(b.take(~ok & ~doubtful))
        return [b for b in good if len(b)], [b for b in wild if len(b)], reports

    def _date(self, mapped: Iterable[Block]) -> None:
        """Keep the host time of the first event, by watermark, and the newest host time."""
        heads: list[tuple[float, int, float]] = []
        for b in mapped:
            newest = max(b.host_time.tolist()) if len(b) <= MAX_FEW else float(b.host_time.max())
            if newest > self._newest or math.isnan(self._newest):
                self._newest = newest
            if not math.isnan(self._first):
                continue
            i = int(np.lexsort((b.row, b.watermark))[0])
            heads.append((float(b.watermark[i]), int(b.row[i]), float(b.host_time[i])))
        if heads:
            self._first = min(heads)[2]

    def _in_time(self, block: Block) -> bool:
        """Process the arrivals of few rows if none is late and no pace is due.

        False otherwise; then nothing is processed.
        """
        if len(block) > MAX_FEW:
            return False
        packets = self._packets.get(block.channel)
        host = block.host_time.tolist()
        if not self._is_held(block.channel):
            late_s = float(self._late_s(packets.numbers[2] if packets else 0.0))
            marks = block.watermark.tolist()
            if max(marks) >= min(host) + late_s and any(
                watermark >= h + late_s for watermark, h in zip(marks, host, strict=True)
            ):
                return False
        return packets is None or packets.passes(block.arrival.tolist(), host)

    def _late(self, block: Block, length_s: F64 | float) -> Bool:
        """Return which rows are too old for any tick; a held value is never late."""
        if self._is_held(block.channel):
            return np.zeros(len(block), bool)
        return np.asarray(block.watermark >= block.host_time + self._late_s(length_s), bool)

    def _late_s(self, length_s: F64 | float) -> F64 | float:
        """Return the lateness (s) of a row without a tick left.

        Ticks wait for packets of this length (s), except in the low-latency profile.
        """
        return self.plan.late_s + (0.0 if self.plan.eager else length_s)

    def _is_held(self, channel: str) -> bool:
        held = self._held.get(channel)
        if held is None:
            held = self._held[channel] = self.plan.is_held(channel)
        return held


def _lines(rig: str, blocks: list[Block]) -> tuple[MarkerLine, ...]:
    rows = [
        (
            b.watermark[i],
            b.row[i],
            b.channel,
            float(b.host_time[i]),
            float(b.source_time[i]),
            b.text[i],
        )
        for b in blocks
        for i in range(len(b))
    ]
    return tuple(
        MarkerLine(ts=host, source_ts=at, rig=rig, channel=channel, value=text)
        for _, _, channel, host, at, text in sorted(rows)
    )
