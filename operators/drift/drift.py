"""drift: source time to host time, source by source, and disorder put right.

All channels of a source share its clock (operators/drift/clock.py). A row is mapped with the clock as
it stood when the row came; rows in doubt, at most 32 stamps a source, wait until it is decided
whether they are delayed, wild or the first after a clock reset. Rows without stamps of their own
pass their arrival through. Markers end here, as lines.

A source whose rate no clock can have is held back (operators/drift/clock_rate.py). Stamps whose form cannot be
that of a clock are found on the way (operators/drift/timetags.py): those before keep their fate, later
rows go by their arrival, and the source has no clock from then on. So is the grain of each member's
stamps (operators/drift/stamp_grain.py); samples that share a coarse stamp are spread over the time to the next
(operators/drift/shared_stamps.py).

In the second of two passes a source's clock is known as a whole (operators/drift/clock_path.py), and no
row is in doubt.

Then rows leave in the order of host time. A row waits until the newest arrival is `settle_s`
past its host time, one that is older already leaves at once; where later ones of its channel have
left before, it is a *straggler*. One whose every tick has been released is late.

State: a clock a source, a grain and runs of one stamp a member, the rows in doubt, each channel's
rows of the last `settle_s`, and the host time of the last that left.
Cost: about 25 numpy calls for each second of a source, and a sort a block.
Losses: rejected (`wild_stamp`), late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.accounting import ended, letters, spread
from operators.drift.clock import Clock
from operators.drift.clock_path import ClockPath, Smoothed
from operators.drift.clock_rate import Rates, cause
from operators.drift.clock_reports import PathReports, report
from operators.drift.packet_rate import Packets
from operators.drift.shared_stamps import SharedStamps
from operators.drift.smoother import ClockLog
from operators.drift.stamp_grain import Grain
from operators.drift.timetags import Timetags
from operators.hindsight import Hindsight
from operators.lines import MarkerLine
from operators.plan import ConfigPart, Period, Plan, Wait
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
from operators.types import F64, Bool, State

AnyClock = Clock | ClockLog | Smoothed
_LAST = 1 << 60
"""Behind all rows."""
_COARSE = (
    "{} has coarse stamps, several samples to each: they are spread by their order, and the step"
    " over sqrt(12) is in the bound"
)


class DriftConfig(ConfigPart, frozen=True, kw_only=True):
    """What a clock and a network may do."""

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
        state: State | None = None,
        *,
        learn: bool = False,
        known: Hindsight | None = None,
    ) -> None:
        self.plan = plan
        self._learn, self._known = learn, known
        self._rig: str | None = None
        self._paths: dict[str, PathReports] = {}
        self._clocks: dict[str, AnyClock] = {}
        self._grains = {m.channel: Grain() for m in plan.members}
        sampled = (m.channel for m in plan.members if not plan.is_held(m.channel))
        self._packets = {channel: Packets() for channel in sampled}
        self._shared = {channel: SharedStamps() for channel in self._packets}
        self._tags = {source: Timetags() for source in plan.timetags}
        self._seen: dict[str, float] = {}
        self._doubtful: dict[str, list[Block]] = {}
        self._waiting: dict[str, Block] = {}
        self._gone: dict[str, float] = {}
        self._first = self._newest = float("nan")
        self._rates = Rates(plan.max_delay_s)
        if state:
            if state["rig"] is not None:
                self._look_up(state["rig"], state["passed"])
            self._clocks = {s: self._clock(s, c) for s, c in state["clocks"].items()}
            self._grains = {c: Grain(**g) for c, g in state["grains"].items()}
            self._packets = {c: Packets(**p) for c, p in state["packets"].items()}
            self._shared = {c: SharedStamps(**x) for c, x in state["shared"].items()}
            self._tags = {s: Timetags(t) for s, t in state["tags"].items()}
            self._doubtful = {s: [Block.revive(b) for b in x] for s, x in state["doubtful"].items()}
            self._waiting = {c: Block.revive(b) for c, b in state["waiting"].items()}
            self._gone = dict(state["gone"])
            self._first, self._newest = state["first"], state["newest"]
            self._rates.revive(state["rates"])

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "rig": self._rig,
            "passed": {s: c.passed for s, c in self._paths.items()},
            "clocks": {
                s: c.snapshot() for s, c in self._clocks.items() if not isinstance(c, ClockLog)
            },
            "grains": {c: g.snapshot() for c, g in self._grains.items()},
            "packets": {c: p.snapshot() for c, p in self._packets.items()},
            "shared": {c: x.snapshot() for c, x in self._shared.items()},
            "tags": {s: t.snapshot() for s, t in self._tags.items()},
            "doubtful": {s: [b.plain() for b in x] for s, x in self._doubtful.items()},
            "waiting": {c: b.plain() for c, b in self._waiting.items()},
            "gone": dict(self._gone),
            "first": self._first,
            "newest": self._newest,
            "rates": self._rates.snapshot(),
        }

    def update(self, packet: Packet) -> Packet:
        """Map the packet's rows and let go what is in order."""
        grains: list[GrainReport] = []
        if self._known and self._rig is None:
            self._look_up(packet.rig, {})
            seen = self._known.of(packet.rig, "drift").get("grains", {})
            grains += [GrainReport(channel, -np.inf, g) for channel, g in seen.items()]
        packet, formless = self._believed(packet)
        grains += self._grained(packet)
        packet, notes = self._spread(packet)
        if self._learn:
            self._seen = {r.channel: r.grain_s for r in grains} | self._seen
        by_source: dict[str, list[Block]] = {s: list(b) for s, b in self._doubtful.items()}
        blocks, held = self._rates.part(packet.blocks)
        for block in blocks:
            by_source.setdefault(block.source, []).append(block)
        self._doubtful = {}
        mapped: list[Block] = []
        until = np.inf if packet.end else packet.watermark
        clocks = [r for c in self._paths.values() for r in c.until(until)]
        ends, dead = list(packet.ends), list(packet.letters)
        for b, rate in held:
            before = spread(b.watermark, b.weight)
            ends += ended(b.source, b.channel, "rejected", before)
            dead += letters(
                self.plan, "drift", "wild_stamp", b.source, before, spread(b.line, b.weight),
                [f"{b.channel} ts={t:.6f}: {cause(r)}" for t, r in
                 zip(spread(b.source_time, b.weight).tolist(),
                     spread(rate, b.weight).tolist(), strict=True)],
            )  # fmt: skip
        for source, blocks in by_source.items():
            moment, last = formless.get(source, packet.watermark), source in formless or packet.end
            good, wild, reports = self._map(source, blocks, moment, last)
            mapped += good
            clocks += reports
            if source in formless and source in self._clocks:
                del self._clocks[source]
                none = NO_CLOCK._replace(source=source, offset_s=np.nan)
                clocks.append(none._replace(watermark=moment, known=moment))
            for b in wild:
                before = spread(b.watermark, b.weight)
                ends += ended(source, b.channel, "rejected", before)
                dead += letters(
                    self.plan, "drift", "wild_stamp", source, before, spread(b.line, b.weight),
                    [f"{b.channel} ts={t:.6f}" for t in spread(b.source_time, b.weight).tolist()],
                )  # fmt: skip
        markers = [b for b in mapped if b.text]
        rows = [b for b in mapped if not b.text]
        self._date(mapped)
        if packet.end:
            lines = ((s, c.finish()) for s, c in self._clocks.items() if s not in self._paths)
            clocks += [report(s, packet.watermark, self._newest, x) for s, x in lines if x]
        for b in markers:
            ends += ended(b.source, b.channel, "used", b.watermark)
        kept = []
        paces: list[PaceReport] = []
        for b in rows:
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
        return replace(
            packet,
            blocks=self._in_order(kept, packet.watermark, packet.end),
            clocks=tuple(clocks),
            grains=tuple(grains),
            paces=tuple(paces),
            notes=(*packet.notes, *self._formless_notes(formless), *notes),
            ends=tuple[Ends, ...](ends),
            letters=tuple[DeadLetter, ...](dead),
            markers=_lines(packet.rig, markers),
            first_host=self._first,
            newest_host=self._newest,
        )

    def shown(self) -> State:
        """Return each source's clock over the whole recording, and each channel's first grain."""
        logs = {s: c for s, c in self._clocks.items() if isinstance(c, ClockLog)}
        wrong = self._rates.wrong()
        paths = {s: log.path().plain() for s, log in logs.items() if s not in wrong}
        return {"paths": paths, "grains": self._seen, "rates": wrong}

    def _look_up(self, rig: str, passed: dict[str, int]) -> None:
        """Take the clocks of a rig from the findings; `passed`: reports so far, by source."""
        self._rig = rig
        found = self._known.of(rig, "drift") if self._known else {}
        paths, self._rates.known = found.get("paths", {}), found.get("rates", {})
        self._paths = {
            s: PathReports(s, ClockPath.revive(path), passed.get(s, 0)) for s, path in paths.items()
        }

    def _clock(self, source: str, state: State | None = None) -> AnyClock:
        """Return a source's clock, anew or from its snapshot."""
        if source in self._paths:
            return Smoothed(self._paths[source].path, state)
        if self._learn:
            return ClockLog(self.plan.max_delay_s)
        return Clock.revive(state) if state else Clock(self.plan.max_delay_s)

    def _map(
        self, source: str, blocks: list[Block], known: float, end: bool
    ) -> tuple[list[Block], list[Block], list[ClockReport]]:
        """Return the source's rows with host time, those that are wild, and its reports."""
        whole = blocks[0] if len(blocks) == 1 else Block.join(blocks)
        at, arrival, stamped = whole.source_time, whole.arrival, whole.stamped
        edge = np.cumsum([0, *(len(b) for b in blocks)])
        order = np.argsort(whole.row, kind="stable") if len(blocks) > 1 else np.arange(len(at))
        fed = order[stamped[order]]
        host, ok = arrival.copy(), np.ones(len(at), bool)
        waits = np.zeros(len(at), bool)
        before, row = whole.watermark.copy(), whole.row.copy()
        reports: list[ClockReport] = []
        if len(fed):
            clock = self._clocks.get(source) or self._clock(source)
            self._clocks[source] = clock
            new = np.ones(len(fed), bool)
            s, a = at[fed], arrival[fed]
            new[1:] = (s[1:] != s[:-1]) | (a[1:] != a[:-1])
            first, group = fed[new], np.cumsum(new) - 1
            judged = clock.feed(at[first], arrival[first], end)
            host[fed], ok[fed] = judged.host[group], judged.ok[group]
            waits[fed] = group >= judged.decided
            moment = np.append(before[first], known)
            before[fed] = np.maximum(before[fed], moment[judged.by][group])
            # Its place among rows of the same moment is that of what decided it.
            decided = np.append(row[first], _LAST)
            row[fed] = np.maximum(row[fed], decided[judged.by][group])
            if source not in self._paths:
                reports = [report(source, float(moment[by]), now, line)
                           for by, now, line in judged.turns]  # fmt: skip
        good: list[Block] = []
        wild: list[Block] = []
        for k, block in enumerate(blocks):
            mine = slice(int(edge[k]), int(edge[k + 1]))
            b = replace(block, row=row[mine], host_time=host[mine], watermark=before[mine],
                        straggler=np.zeros(len(block), bool))  # fmt: skip
            if ok[mine].all() and not waits[mine].any():
                good.append(b)
                continue
            if waits[mine].any():
                # Rows in doubt come before all of the next packet.
                held = block.take(waits[mine])
                held = replace(held, row=held.row - (1 << 40))
                self._doubtful.setdefault(source, []).append(held)
            good.append(b.take(ok[mine] & ~waits[mine]))
            wild.append(b.take(~ok[mine] & ~waits[mine]))
        return [b for b in good if len(b)], [b for b in wild if len(b)], reports

    def _believed(self, packet: Packet) -> tuple[Packet, dict[str, float]]:
        """Take away stamps that cannot be a clock's.

        Returns
        -------
        packet : Packet
        found : dict
            Sources whose stamps turned out to be none, with what was known then.
        """
        found: dict[str, float] = {}
        after: dict[str, int] = {}
        for source, tags in self._tags.items():
            if tags.form is not None:
                after[source] = -1
            elif not tags.done:
                mine = [b for b in packet.blocks if b.source == source and b.stamped.any()]
                if not mine:
                    continue
                row, ts, rx, before, stamped = (
                    np.concatenate(c)
                    for c in zip(*((b.row, b.source_time, b.arrival, b.watermark, b.stamped)
                                   for b in mine), strict=True)
                )  # fmt: skip
                order = np.argsort(row, kind="stable")
                order = order[stamped[order]]
                at = tags.feed(ts[order], rx[order])
                if at is not None:
                    after[source] = int(row[order[at]])
                    found[source] = float(before[order[at]])
        if not after:
            return packet, found
        blocks = tuple(
            _unstamped(b, b.row > after[b.source]) if b.source in after else b
            for b in packet.blocks
        )
        return replace(packet, blocks=blocks), found

    def _grained(self, packet: Packet) -> list[GrainReport]:
        """Return each change of the grain of a member's stamps."""
        reports: list[GrainReport] = []
        for b in packet.blocks:
            if b.channel in self._grains and not b.text:
                delay = np.where(b.stamped, b.arrival - b.source_time, np.nan)
                changes = self._grains[b.channel].feed(b.source_time, delay, b.watermark)
                reports += [GrainReport(b.channel, *change) for change in changes]
        return reports

    def _spread(self, packet: Packet) -> tuple[Packet, list[tuple[str, float, str]]]:
        """Return the packet, samples that share a stamp spread, and a note where it is the first.

        Of rows without an arrival of their own, that goes with the stamp.
        """
        notes: list[tuple[str, float, str]] = []
        blocks: list[Block] = []
        for b in packet.blocks:
            later = (
                self._shared[b.channel].feed(b.source_time) if b.channel in self._shared else None
            )
            if later is not None and later.any():
                shared = self._shared[b.channel]
                if not shared.stated:
                    shared.stated = True
                    first = float(b.watermark[np.flatnonzero(later)[0]])
                    notes.append((b.source, first, _COARSE.format(b.channel)))
                own = ~b.stamped & (b.arrival == b.source_time)
                b = replace(b, source_time=b.source_time + later,
                            arrival=b.arrival + np.where(own, later, 0.0))  # fmt: skip
            blocks.append(b)
        return replace(packet, blocks=tuple(blocks)), notes

    def _date(self, mapped: Iterable[Block]) -> None:
        """Note the host time of the first event, by the moment it was known, and the newest."""
        heads: list[tuple[float, int, float]] = []
        for b in mapped:
            self._newest = float(np.fmax(self._newest, np.max(b.host_time)))
            i = int(np.lexsort((b.row, b.watermark))[0]) if np.isnan(self._first) else 0
            heads.append((float(b.watermark[i]), int(b.row[i]), float(b.host_time[i])))
        if np.isnan(self._first) and heads:
            self._first = min(heads)[2]

    def _formless_notes(self, formless: dict[str, float]) -> Iterator[tuple[str, float, str]]:
        for source, moment in formless.items():
            form = self._tags[source].form
            yield source, moment, f"its timetags are {form}: its arrivals are used instead"

    def _late(self, block: Block, length_s: F64 | float) -> Bool:
        """Return which rows are too old for any tick; a held value serves all later ones.

        Ticks wait for packets of a length (s), but for low latency.
        """
        if self.plan.is_held(block.channel):
            return np.zeros(len(block), bool)
        late_s = self.plan.late_s + (0.0 if self.plan.eager else length_s)
        return np.asarray(block.watermark >= block.host_time + late_s, bool)

    def _in_order(self, blocks: list[Block], known: float, end: bool) -> tuple[Block, ...]:
        """Add rows to those that wait; return what may go, rising in host time."""
        for b in blocks:
            waiting = self._waiting.get(b.channel)
            b = replace(b, straggler=self._stragglers(b, waiting))
            self._waiting[b.channel] = Block.join((waiting, b)) if waiting else b
        out: list[Block] = []
        for channel, b in list(self._waiting.items()):
            if not len(b):
                continue
            go = b.straggler | (b.host_time + self.plan.settle_s <= known) | end
            if go.all():
                del self._waiting[channel]
            elif go.any():
                self._waiting[channel] = b.take(~go)
                b = b.take(go)
            else:
                continue
            if (b.host_time[1:] < b.host_time[:-1]).any():
                b = b.take(np.argsort(b.host_time, kind="stable"))
            self._gone[channel] = max(self._gone.get(channel, -np.inf), float(b.host_time[-1]))
            out.append(b)
        return tuple(out)

    def _stragglers(self, block: Block, waiting: Block | None) -> Bool:
        """Return which rows came when the channel's rows of later host time had been let go.

        Old rows alone are none: of a radio that delivers by the second, all are old.
        """
        host, settle_s = block.host_time, self.plan.settle_s
        straggler = block.watermark >= host + settle_s
        if not straggler.any():
            return straggler
        earlier = np.append(waiting.host_time, host) if waiting else host
        gone = self._gone.get(block.channel, -np.inf)
        ahead = np.maximum.accumulate(np.append(gone, earlier))[-len(host) - 1 : -1]
        straggler &= host < ahead
        first = len(earlier) - len(host)
        for i in np.flatnonzero(straggler & (host >= gone)).tolist():
            before = earlier[: first + i]
            let_go = before <= block.watermark[i] - settle_s
            straggler[i] = bool((let_go & (before > host[i])).any())
        return straggler


def _unstamped(block: Block, rows: Bool) -> Block:
    """Return a block in which some rows have their arrival for a stamp."""
    source_time = np.where(rows, block.arrival, block.source_time)
    return replace(block, source_time=source_time, stamped=block.stamped & ~rows)


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
