"""Two-way readings of all sources of a rig: pairing, the clocks they give, and their ends.

A source's rows are cut at each reading, so that a row is mapped with the readings before it. A
channel of readings that the configuration names goes the way of any other channel besides.

State: the clock of each source with readings. Losses: rejected (`schema`, `wild_stamp`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from operators.accounting import ended, letters
from operators.drift.clock import Clock, ClockLine
from operators.drift.clock_path import ClockPath, Smoothed, report
from operators.drift.clock_readings import ClockReading, ReadingPairs, ReadingRow
from operators.drift.host_axis import AnyClock
from operators.drift.read_path import LoggedReading, corrected
from operators.drift.smoother import ClockLog
from operators.drift.two_way import TwoWay
from operators.events import READING_KEY
from operators.records import Block, ClockReport, DeadLetter, Ends, Packet
from operators.settings.plan import Plan
from operators.types import Reason, State

_IN_FORCE = (
    "two-way readings of its clock are in force: a constant delay of its path is corrected, and"
    " the bound includes half the least round trip"
)
_ALONE = "a reading is an array of two numbers: host - source, and its largest error (s)"


class SourceReadings:
    """The readings of one rig's sources.

    Parameters
    ----------
    plan : Plan
    learn : bool
        First of two passes: the readings are kept.
    second : bool
        Second of two passes: the clocks are known.

    Attributes
    ----------
    now : dict
        The readings of the packet, by source.
    known : dict
        Findings of the first pass by source, in the second: why a reading is wild, by its number.
    """

    def __init__(self, plan: Plan, learn: bool = False, second: bool = False) -> None:
        self.plan = plan
        self._learn, self._second = learn, second
        self.known: dict[str, State] = {}
        self._log: dict[str, list[LoggedReading]] = {}
        self._wild: dict[str, dict[str, str]] = {}
        self._count: dict[str, int] = {}
        self._pairs = ReadingPairs()
        self._clocks: dict[str, TwoWay] = {}
        self._stated: list[str] = []
        self._notes: list[tuple[str, float, str]] = []
        self.now: dict[str, list[ClockReading]] = {}

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, second: bool = False) -> SourceReadings:
        """Return the readings of a snapshot, without `known`."""
        core = cls(plan, second=second)
        core._pairs = ReadingPairs.from_snapshot(state["pairs"])
        core._clocks = {s: TwoWay.from_snapshot(x) for s, x in state["clocks"].items()}
        core._stated = list(state["stated"])
        core._count = dict(state["count"])
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "pairs": self._pairs.snapshot(),
            "clocks": {s: x.snapshot() for s, x in self._clocks.items()},
            "stated": list(self._stated),
            "count": dict(self._count),
        }

    def clock(self, source: str) -> TwoWay | None:
        """Return the clock of a source's readings, None without one."""
        return self._clocks.get(source)

    def feed(self, packet: Packet, ends: list[Ends], dead: list[DeadLetter]) -> None:
        """Pair the readings of a packet, and append the losses."""
        self.now = {}
        if not packet.readings and not packet.end:
            return
        end = packet.watermark if packet.end else None
        self.now, lost = self._pairs.feed(packet.readings, self.plan.readings, end)
        for source, rows in lost.items():
            self._reject(source, rows, "schema", _ALONE, ends, dead)

    def pieces(
        self, source: str, blocks: list[Block]
    ) -> Iterator[tuple[list[Block], ClockReading | None]]:
        """Yield a source's rows before each reading with it, and the rest."""
        for reading in self.now.get(source, ()):
            head, blocks = _cut(blocks, reading.row)
            yield head, reading
        yield blocks, None

    def read(
        self,
        source: str,
        reading: ClockReading,
        clock: AnyClock | None,
        ends: list[Ends],
        dead: list[DeadLetter],
    ) -> tuple[ClockReport | None, Clock | None]:
        """Process a reading, with the clock of the arrivals at it.

        Returns
        -------
        ClockReport or None
            The clock in force, if it changed.
        Clock or None
            The clock of the arrivals from here on, if the source was restarted.
        """
        rows = reading.rows
        number = self._count[source] = self._count.get(source, -1) + 1
        if self._second:
            self._again(source, reading, number, ends, dead)
            return None, None
        two_way = self._clocks.setdefault(source, TwoWay(self.plan.max_delay_s))
        if not two_way.due(reading) or not all(row.stamped for row in rows):
            self._used(source, rows, ends)
            return None, None
        own = clock.clock if isinstance(clock, ClockLog) else clock
        assert not isinstance(own, Smoothed)
        result = two_way.read(reading, own)
        if result.why:
            why = f"{reading.offset:.6g} s: {result.why}"
            self._reject(source, rows, "wild_stamp", why, ends, dead)
            if self._learn:
                self._wild.setdefault(source, {})[str(number)] = why
            return None, None
        if result.moved and self._learn:
            stamps = clock.count if isinstance(clock, ClockLog) else 0
            self._log.setdefault(source, []).append(
                LoggedReading(stamps, reading.ts, reading.offset, reading.error, two_way.lines)
            )
        self._used(source, rows, ends)
        if not result.moved or own is None:
            return None, None
        if result.begins:
            self._state(source, rows[-1].watermark)
        if result.restart:
            own = Clock(own.max_delay_s, resets=own.resets, reset_at=own.reset_at)
        line = two_way.line(_line(own), result.stepped)
        known = reading.ts + line.offset + line.slope * (reading.ts - line.at)
        given = report(source, rows[-1].watermark, known, line)
        return given, own if result.restart else None

    def _again(
        self,
        source: str,
        reading: ClockReading,
        number: int,
        ends: list[Ends],
        dead: list[DeadLetter],
    ) -> None:
        """Append the ends of a reading of the second pass, as the first pass found them."""
        found = self.known.get(source, {})
        why = found.get("wild", {}).get(str(number))
        if why:
            self._reject(source, reading.rows, "wild_stamp", why, ends, dead)
            return
        self._used(source, reading.rows, ends)
        if found.get("in_force"):
            self._state(source, reading.rows[-1].watermark)

    def _state(self, source: str, watermark: float) -> None:
        """Add the note that readings are in force, once a source."""
        if source not in self._stated:
            self._stated.append(source)
            self._notes.append((source, watermark, _IN_FORCE))

    def shown(self) -> State:
        """Return the findings of a first pass by source."""
        return {
            source: {"wild": self._wild.get(source, {}), "in_force": source in self._log}
            for source in self._count
        }

    def corrected(self, source: str, path: ClockPath) -> ClockPath:
        """Return the clock of a whole recording, corrected by the readings of the first pass."""
        two_way = self._clocks.get(source)
        return corrected(path, self._log.get(source, ()), two_way.excess) if two_way else path

    def passed(self, source: str, line: ClockLine, known: float) -> tuple[float, ClockLine]:
        """Return a change of the line of arrivals as `TwoWay.passed`."""
        two_way = self._clocks.get(source)
        return two_way.passed(line, known) if two_way else (known, line)

    def notes(self) -> list[tuple[str, float, str]]:
        """Return the new notes: source, watermark, text."""
        notes, self._notes = self._notes, []
        return notes

    def _used(self, source: str, rows: Sequence[ReadingRow], ends: list[Ends]) -> None:
        """Append the ends of used rows."""
        for row in rows:
            if (channel := self._own(source, row)) is not None:
                ends += ended(source, channel, "used", np.array([row.watermark]))

    def _reject(
        self,
        source: str,
        rows: Sequence[ReadingRow],
        reason: Reason,
        why: str,
        ends: list[Ends],
        dead: list[DeadLetter],
    ) -> None:
        """Append the losses of rejected rows."""
        for row in rows:
            if (channel := self._own(source, row)) is not None:
                watermark = np.array([row.watermark])
                ends += ended(source, channel, "rejected", watermark)
                sample = f"{channel} ts={row.ts:.6f}: {why}"
                line = np.array([row.line])
                dead += letters(self.plan, "drift", reason, source, watermark, line, [sample])

    def _own(self, source: str, row: ReadingRow) -> str | None:
        """Return the channel of a row that ends here, None where it goes on."""
        channel = f"{source}:{READING_KEY}[{row.element}]"
        return None if channel in self.plan.used else channel


def _cut(blocks: list[Block], row: int) -> tuple[list[Block], list[Block]]:
    """Return the rows before a row of the packet, and those from it on."""
    head: list[Block] = []
    tail: list[Block] = []
    for b in blocks:
        n = int(np.searchsorted(b.row, row))
        if n:
            head.append(b.take(slice(0, n)) if n < len(b) else b)
        if n < len(b):
            tail.append(b.take(slice(n, None)) if n else b)
    return head, tail


def _line(clock: Clock) -> ClockLine:
    """Return what a clock of the arrivals gives besides its line."""
    return ClockLine(
        at=0.0,
        offset=0.0,
        slope=0.0,
        offset_var=0.0,
        cross_var=0.0,
        slope_var=0.0,
        jitter_p95=clock.jitter_p95,
        resets=clock.resets,
        reset_at=clock.reset_at,
        stepped=False,
        total=clock.total,
    )
