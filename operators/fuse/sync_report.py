"""The clocks known at each tick, and the sync lines.

Each channel has a line at each `sync_every_s` of data time, at each clock reset and change of
state, and at the end. Its counts are those known at the release of its tick.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from operators.accounting import LossCounter
from operators.lines import DeadLine, SyncReport
from operators.records import NO_CLOCK, ClockReport, Grid, Packet
from operators.settings.plan import Plan
from operators.types import F64, I64, SCALE_STATES, STATES, State, Why
from operators.weights.consensus import Force

MAX_HZ = 100_000.0
"""Largest plausible rate of a channel; audio has half of it."""
GIVEN = SCALE_STATES.index("given")
_COLUMNS = tuple(f.name for f in fields(Grid) if f.name != "first")


class MemberScales(NamedTuple):
    """Levels and slopes of members: columns of the grid, estimates by stretch, ticks of each."""

    columns: slice
    force: Force
    size: I64


class ScaledGrid:
    """Ticks as received, with gain and level of members whose scale is given.

    These are written only when they are read: few ticks have a line. `ts` (k,) in s.
    """

    def __init__(self, ticks: Grid, tick_hz: float) -> None:
        self.ticks = ticks
        self.ts: F64 = (ticks.first + np.arange(len(ticks))) / tick_hz
        self.scales: list[MemberScales] = []

    def __len__(self) -> int:
        return len(self.ticks)

    @cached_property
    def grid(self) -> Grid:
        """The grid with all gains and levels."""
        own = ("gain", "gain_var", "level", "level_var")
        grid = replace(self.ticks, **{name: getattr(self.ticks, name).copy() for name in own})
        for columns, f, size in self.scales:
            given = grid.scale_state[:, columns] == GIVEN
            for column, mine in (
                (grid.gain, np.exp(f.slope)),
                (grid.gain_var, f.slope_var),
                (grid.level, f.level),
                (grid.level_var, f.level_var),
            ):
                np.copyto(column[:, columns], np.repeat(mine, size, axis=1).T, where=given)
        return grid


class _ClockTerms(NamedTuple):
    """Terms of the variance (4, sources, 1) that hold from `begin` until before `end` (s)."""

    sources: tuple[str, ...]
    begin: float
    end: float
    terms: F64


class Clocks:
    """Clock reports by source, newest last. State: reports that a tick may still need."""

    def __init__(self) -> None:
        self._reports: dict[str, list[ClockReport]] = {}
        self._held: _ClockTerms | None = None

    @classmethod
    def from_snapshot(cls, state: State) -> Clocks:
        """Return the clocks of a snapshot."""
        clocks = cls()
        clocks._reports = {s: [ClockReport(*r) for r in reports] for s, reports in state.items()}
        return clocks

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {s: [list(r) for r in x] for s, x in self._reports.items()}

    def add(self, reports: tuple[ClockReport, ...]) -> None:
        """Add the clock reports of a packet."""
        for r in reports:
            mine = self._reports.setdefault(r.source, [])
            known = max(r.known, mine[-1].known) if mine else r.known
            mine.append(r._replace(known=known))
        if reports:
            self._held = None

    def forget(self, time: float) -> None:
        """Drop reports that no tick from `time` on needs."""
        for x in self._reports.values():
            while len(x) > 1 and x[1].known <= time:
                x.pop(0)

    def since(self, source: str) -> float:
        """Return the host time from which a source has a clock, inf without one."""
        reports = self._reports.get(source)
        return reports[0].known if reports else math.inf

    def at(self, source: str, time: float) -> ClockReport | None:
        """Return the report in force at a host time."""
        found = None
        for r in self._reports.get(source, ()):
            if r.known > time:
                break
            found = r
        return found if found is not None and math.isfinite(found.offset_s) else None

    def variance(self, sources: tuple[str, ...], time: F64) -> F64:
        """Return the variance of the offset (s^2) at host times (sources, k), 0 without a clock.

        offset_var + dt (2 cross_var + dt slope_var), dt = time - at.
        """
        if not self._reports:
            return np.zeros((len(sources), 1))
        at, offset, cross, slope = self._in_force(sources, time)
        dt = time - at
        return np.asarray(offset + dt * (cross + dt * slope))

    def _in_force(self, sources: tuple[str, ...], time: F64) -> F64:
        """Return the terms of the variance (4, sources, k) at rising times, or one column."""
        first, last = float(time[0]), float(time[-1])
        held = self._held
        if held and held.sources == sources and held.begin <= first and last < held.end:
            return held.terms
        each = [[NO_CLOCK, *self._reports.get(source, ())] for source in sources]
        at = [sum(r.known <= first for r in reports) - 1 for reports in each]
        end = min(
            (r[i + 1].known for r, i in zip(each, at, strict=True) if i + 1 < len(r)),
            default=math.inf,
        )
        if last < end:
            now = [r[i] for r, i in zip(each, at, strict=True)]
            terms = np.array([(r.at, r.offset_var, 2 * r.cross_var, r.slope_var) for r in now])
            self._held = _ClockTerms(sources, max(r.known for r in now), end, terms.T[:, :, None])
            return self._held.terms
        rows = [r for reports in each for r in reports]
        edges = np.searchsorted(time, [r.known for r in rows]).tolist()
        edges.append(0)
        size = [b - a for a, b in pairwise(edges)]
        end = 0
        for reports in each:
            end += len(reports)
            size[end - 1] += len(time)
        columns = [(r.at, r.offset_var, 2 * r.cross_var, r.slope_var) for r in rows]
        return np.repeat(np.array(columns).T, size, axis=1).reshape(4, len(each), -1)


class Reporter:
    """Builder of the sync lines. State: counts, open dead lines, the last tick."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.clocks = Clocks()
        self.losses = LossCounter(plan.sync_every_s)
        # A channel of two signals is reported in the first.
        names = [m.channel for m in plan.lanes]
        self._columns = [i for i, n in enumerate(names) if n not in names[:i]]
        self._state = [0] * len(names)
        self._resets: list[ClockReport] = []
        self._last: ScaledGrid | None = None

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Reporter:
        """Return the reporter of a snapshot."""
        reporter = cls(plan)
        reporter.clocks = Clocks.from_snapshot(state["clocks"])
        reporter.losses = LossCounter.from_snapshot(state["losses"], plan.sync_every_s)
        reporter._state = list(state["state"])
        reporter._resets = [ClockReport(*r) for r in state["resets"]]
        if state["last"]:
            reporter._last = ScaledGrid(Grid(**state["last"]), plan.tick_hz)
        return reporter

    def snapshot(self) -> State:
        """Return the state as plain values."""
        last = self._last.grid if self._last else None
        return {
            "clocks": self.clocks.snapshot(),
            "losses": self.losses.snapshot(),
            "state": list(self._state),
            "resets": [list(r) for r in self._resets],
            "last": last
            and {
                "first": last.first + len(last) - 1,
                **{n: getattr(last, n)[-1:].copy() for n in _COLUMNS},
            },
        }

    def add(self, packet: Packet) -> None:
        """Add the clock reports and losses of a packet."""
        reports = tuple(self._dated(r) for r in packet.clocks)
        self.clocks.add(reports)
        self.losses.add(packet.ends, packet.letters)
        self._resets += [r for r in reports if r.stepped]

    def _dated(self, report: ClockReport) -> ClockReport:
        """Return a report of late rows, dated after the ticks released without it."""
        least = math.nextafter(report.watermark - self.plan.base_delay_s, math.inf)
        return report._replace(known=max(report.known, least))

    def lines(
        self, rig: str, scaled: ScaledGrid | None, end: bool
    ) -> tuple[tuple[SyncReport, ...], tuple[DeadLine, ...]]:
        """Return the lines of the ticks of a grid, in order of time."""
        sync: list[SyncReport] = []
        dead: list[DeadLine] = []
        if scaled is not None:
            grid, ts = scaled.ticks, scaled.ts
            due = self._due(grid, ts)
            for i, (tick, time, column, why, reset) in enumerate(due):
                if not i or tick != due[i - 1][0]:
                    dead += self.losses.advance(rig, float(grid.due[tick]))
                sync.append(self._line(rig, scaled.grid, tick, time, column, why, reset))
            if self.losses.waits:
                dead += self.losses.advance(rig, float(grid.due[-1]))
            self._last = scaled
            self.clocks.forget(float(ts[-1]))
        if end:
            # The last packet may release no tick.
            dead += self.losses.advance(rig, float("inf"))
            if self._last is not None:
                last, tick = self._last.grid, len(self._last) - 1
                time = (last.first + tick) / self.plan.tick_hz
                sync += [self._line(rig, last, tick, time, c, "end", None) for c in self._columns]
        return tuple(sync), tuple(dead)

    def _due(self, grid: Grid, ts: F64) -> list[tuple[int, float, int, Why, ClockReport | None]]:
        """Return (tick, time, column, why, report) of each line except the final ones, in order."""
        out: list[tuple[int, float, int, Why, ClockReport | None]] = []
        for t in self._hops(grid.first, grid.first + len(grid)):
            out += [(t, float(ts[t]), c, "hop", None) for c in self._columns]
        if grid.state.tobytes() != bytes(self._state) * len(grid):
            previous = np.vstack((self._state, grid.state[:-1]))
            self._state = grid.state[-1].tolist()
            for t, c in np.argwhere(grid.state != previous).tolist():
                if c in self._columns:
                    out.append((t, float(ts[t]), c, "state", None))
        if not self._resets and not out:
            return out
        waiting = []
        for r in self._resets:
            t = int(np.searchsorted(ts, r.known))
            if t >= len(ts):
                waiting.append(r)
                continue
            mine = [c for c in self._columns if self.plan.lanes[c].source == r.source]
            out += [(t, r.known, c, "reset", r) for c in mine]
        self._resets = waiting
        # A reset precedes the hop of its tick.
        rank = {"reset": 0, "state": 1, "hop": 2}
        out.sort(key=lambda x: (x[0], rank[x[3]], x[1], x[2]))
        return out

    def _hops(self, first: int, stop: int) -> list[int]:
        """Return the ticks at the end of each `sync_every_s`, counted from `first` on."""
        # By tick index: a difference of stamps would depend on the beginning of the packet.
        every = self.plan.sync_every_s * self.plan.tick_hz
        out = []
        for n in range(math.ceil((first - 1) / every), math.ceil((stop - 1) / every)):
            tick = max(math.floor(n * every) - 1, first)
            while tick / every <= n:
                tick += 1
            out.append(tick - first)
        return out

    def _line(
        self,
        rig: str,
        grid: Grid,
        tick: int,
        time: float,
        column: int,
        why: Why,
        reset: ClockReport | None,
    ) -> SyncReport:
        m = self.plan.lanes[column]
        # The final line reports the newest clock.
        clock = reset or self.clocks.at(m.source, math.inf if why == "end" else time)
        count = self.losses.of(m.channel)
        row = (tick, column)
        offset = offset_sd = skew = skew_sd = jitter = reset_at = None
        resets, searched = 0, grid.lag_rate.size > 0
        if clock:
            dt = time - clock.at
            variance = clock.offset_var + 2 * dt * clock.cross_var + dt * dt * clock.slope_var
            offset, offset_sd = clock.offset_s + clock.slope * dt, math.sqrt(max(variance, 0.0))
            skew, skew_sd = -1e6 * clock.slope, 1e6 * math.sqrt(clock.slope_var)
            jitter, resets = _number(clock.jitter_p95_s), clock.resets
            reset_at = _number(clock.reset_at)
        elif searched and math.isfinite(grid.lag_rate[row]):
            # Without arrival stamps the skew is that of the lag, relative to the reference.
            skew = 1e6 * float(grid.lag_rate[row])
            skew_sd = 1e6 * math.sqrt(float(grid.lag_rate_var[row]))
        fused = bool(m.signal)
        return SyncReport(
            ts=time,
            rig=rig,
            channel=m.channel,
            why=why,
            state=STATES[int(grid.state[row])],
            offset_s=offset,
            offset_sd_s=offset_sd,
            skew_ppm=skew,
            skew_sd_ppm=skew_sd,
            clock_resets=resets,
            reset_at=reset_at,
            lag_s=_number(grid.lag_s[row]) if fused else None,
            lag_sd_s=_number(np.sqrt(grid.lag_var[row])) if fused else None,
            confidence=_number(grid.confidence[row]) if fused else None,
            search_hz=_number(grid.search_hz[row]) if searched else None,
            rate_hz=_rate(grid.rate_hz[row]),
            jitter_p95_s=jitter,
            **_scale(grid, row) if fused else {},
            hindsight=self.plan.hindsight,
            received=count["received"],
            used=count["used"],
            outliers=count["outliers"],
            late=count["late"],
            duplicate=count["duplicate"],
            rejected=count["rejected"],
            gaps=int(grid.gaps[row]),
        )


def _scale(grid: Grid, row: tuple[int, int]) -> dict[str, Any]:
    """Return gain and level of a member with sd, and the state of its scale."""
    return {
        "gain": _number(grid.gain[row]),
        "gain_sd": _number(np.sqrt(grid.gain_var[row])),
        "level": _number(grid.level[row]),
        "level_sd": _number(np.sqrt(grid.level_var[row])),
        "scale_state": SCALE_STATES[int(grid.scale_state[row])],
    }


def _rate(x: float) -> float | None:
    """Return a rate, None if implausible: constant stamps have no rate."""
    return float(x) if x <= MAX_HZ else None


def _number(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None
