"""The clocks known at each tick, and the sync lines.

Each channel has a line at each `sync_every_s` of data time, at each clock reset and change of
state, and at the end. Its counts are those known at the release of its tick.
"""

from __future__ import annotations

import math
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np

from operators.accounting import LossCounter
from operators.lines import DeadLine, SyncReport
from operators.plan import Plan
from operators.records import NO_CLOCK, ClockReport, Grid, Packet
from operators.types import F64, SCALE_STATES, STATES, State, Why

MAX_HZ = 100_000.0
"""Largest plausible rate of a channel; audio has half of it."""
_COLUMNS = tuple(f.name for f in fields(Grid) if f.name != "first")


class Clocks:
    """Clock reports by source, newest last. State: reports that a tick may still need."""

    def __init__(self) -> None:
        self._reports: dict[str, list[ClockReport]] = {}

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
        if not any(s in self._reports for s in sources):
            return np.zeros((len(sources), 1))
        rows: list[ClockReport] = []
        ends: list[int] = []
        for source in sources:
            rows += (NO_CLOCK, *self._reports.get(source, ()))
            ends.append(len(rows))
        edges = np.searchsorted(time, [r.known for r in rows]).tolist()
        edges.append(0)
        size = [b - a for a, b in pairwise(edges)]
        for end in ends:
            size[end - 1] += len(time)
        terms = [(r.at, r.offset_var, 2 * r.cross_var, r.slope_var) for r in rows]
        at, offset, cross, slope = np.repeat(np.array(terms).T, size, axis=1)
        dt = np.tile(time, len(sources)) - at
        found = offset + dt * (cross + dt * slope)
        return np.asarray(found.reshape(len(sources), -1))


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
        self._last: Grid | None = None

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Reporter:
        """Return the reporter of a snapshot."""
        reporter = cls(plan)
        reporter.clocks = Clocks.from_snapshot(state["clocks"])
        reporter.losses = LossCounter.from_snapshot(state["losses"], plan.sync_every_s)
        reporter._state = list(state["state"])
        reporter._resets = [ClockReport(*r) for r in state["resets"]]
        reporter._last = Grid(**state["last"]) if state["last"] else None
        return reporter

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "clocks": self.clocks.snapshot(),
            "losses": self.losses.snapshot(),
            "state": list(self._state),
            "resets": [list(r) for r in self._resets],
            "last": self._last
            and {
                "first": self._last.first + len(self._last) - 1,
                **{n: getattr(self._last, n)[-1:].copy() for n in _COLUMNS},
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
        self, rig: str, grid: Grid | None, end: bool
    ) -> tuple[tuple[SyncReport, ...], tuple[DeadLine, ...]]:
        """Return the lines of the ticks of a grid, in order of time."""
        sync: list[SyncReport] = []
        dead: list[DeadLine] = []
        if grid is not None and len(grid):
            ts = (grid.first + np.arange(len(grid))) / self.plan.tick_hz
            due = self._due(grid, ts)
            for i, (tick, time, column, why, reset) in enumerate(due):
                if not i or tick != due[i - 1][0]:
                    dead += self.losses.advance(rig, float(grid.due[tick]))
                sync.append(self._line(rig, grid, tick, time, column, why, reset))
            if self.losses.waits:
                dead += self.losses.advance(rig, float(grid.due[-1]))
            self._state = grid.state[-1].tolist()
            self._last = grid
            self.clocks.forget(float(ts[-1]))
        if end:
            # The last packet may release no tick.
            dead += self.losses.advance(rig, float("inf"))
            if self._last is not None:
                tick = len(self._last) - 1
                time = (self._last.first + tick) / self.plan.tick_hz
                sync += [
                    self._line(rig, self._last, tick, time, c, "end", None) for c in self._columns
                ]
        return tuple(sync), tuple(dead)

    def _due(self, grid: Grid, ts: F64) -> list[tuple[int, float, int, Why, ClockReport | None]]:
        """Return (tick, time, column, why, report) of each line except the final ones, in order."""
        out: list[tuple[int, float, int, Why, ClockReport | None]] = []
        for t in self._hops(grid.first, grid.first + len(grid)):
            out += [(t, float(ts[t]), c, "hop", None) for c in self._columns]
        if (grid.state != self._state).any():
            previous = np.vstack((self._state, grid.state[:-1]))
            for t, c in np.argwhere(grid.state != previous).tolist():
                if c in self._columns:
                    out.append((t, float(ts[t]), c, "state", None))
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
