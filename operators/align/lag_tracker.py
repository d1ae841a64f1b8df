"""The lags of one rig's members against their references: search, tracking, choice of reference.

Series of all members are read on even grids (operators/align/even_series.py), lag not removed.
A pair without a lag is searched each second, at all rates that both members support
(operators/align/lag_search.py). The windows grow from 13 s to `window_s`; full windows are
searched at each hop. Once a lag is found, only the rate that won is read: at each hop, new
segments of the cross-spectrum update the trend of the lag (operators/align/lag_filter.py). The
peak of the window's correlation gives the confidence.

Confidence is 0 where a window was searched without result: weak, ambiguous, too slow, at the
edge of the search, or anti-correlated (an inverted channel is never used). It is NaN where there
was nothing to search: too little data, or a constant. A lag once found stays in force through
either, with rising variance.

A report is dated by the first tick whose release waits for all data of the estimate.

State: each member's series of one window, at each rate while a lag is searched, at one rate
afterwards; its rows of one hop; a lag filter per pair. Cost: 2 ms a second and pair while
searched over a minute; 30 numpy calls a hop, 150 a hop and pair. Losses: none.

Source: Knapp & Carter, IEEE Trans. ASSP 24 (1976); more in the modules named.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from operators.align.align_config import AlignConfig
from operators.align.coarse_grid import HALF_WIDTH
from operators.align.even_series import Rung
from operators.align.lag_filter import LagFilter, SeriesPair
from operators.align.lag_search import MIN_COMMON_S, MIN_WINDOW_S, Ladder, agree, look
from operators.align.lag_trend import CORRECTED, FREE, Trend, motions
from operators.numeric.correlation import ROUNDING, SEGMENT, UNKNOWN, Lag
from operators.records import Block, LagReport, Packet
from operators.settings.plan import Plan, Signal
from operators.types import State

REFERENCE_RATE = 4.0
BAND_TOP_HZ = 1.5
PATIENCE_S = 1.1
"""Wait for late rows: radios deliver in packets of a second."""
SEARCH_S = 1.0
MIN_MEASURED_S = 4
"""Seconds after which the rate of a channel counts as measured."""
MIN_ROWS = 1.9
"""Rows of the slower member per tick of a grid, at least: two, less jitter and losses."""


class _Edge(NamedTuple):
    """A member and its reference: their lanes, the reference's lag (s), the member's channel."""

    signal: int
    member: int
    one: int
    other: int
    base: float
    channel: str


class LagTracker:
    """Lags of the members of all searched signals.

    Attributes
    ----------
    patience_s : float
        A row counts if its watermark is at most this much past its cell (s).
    delay_s : float
        A step is read when the watermark is this much past its end (s).
    dated_s : float
        By how much the date of a report lies behind the data of the estimate (s).
    """

    def __init__(self, plan: Plan, config: AlignConfig) -> None:
        self.config = config
        rates = config.rates()
        # A step is a second, or a tick where that is longer; a hop is a whole number of steps.
        self._step_s = max(1, round(SEARCH_S * rates[0])) / rates[0]
        self._hop = max(1, round(config.hop_s / self._step_s))
        patience_s = plan.wait_s + plan.decide_s + PATIENCE_S
        self.patience_s, self.delay_s = patience_s, HALF_WIDTH / rates[0] + patience_s
        self.dated_s = max(0.0, self.delay_s - plan.half_width_s - plan.wait_s)
        self._signals = [s for s in plan.signals if _is_searched(s)]
        channels = list(dict.fromkeys(m.channel for s in self._signals for m in s.members))
        self._lane = {c: i for i, c in enumerate(channels)}
        self._reference = [fixed_reference(s) for s in self._signals]
        self._filters = [[LagFilter() for _ in s.members] for s in self._signals]
        self._ladders = [[Ladder() for _ in s.members] for s in self._signals]
        self._won = [[0 for _ in s.members] for s in self._signals]
        self._held = [plan.is_held(c) for c in channels]
        # A filter starts from two segments, and continues with those of each hop.
        spans_s = [
            max(config.window_s, 1.5 * SEGMENT / hz + config.max_lag_s + config.hop_s)
            for hz in rates
        ]
        self._ticks = [math.ceil(s * hz) for hz, s in zip(rates, spans_s, strict=True)]
        self._rungs = [
            Rung(hz, self._held, patience_s, ticks)
            for hz, ticks in zip(rates, self._ticks, strict=True)
        ]
        self._stamped = [math.inf] * len(channels)
        # Sums over the searched seconds: their number, interval (s), noise density (per Hz).
        self._noise, self._interval = np.zeros((3, len(channels))), np.zeros((2, len(channels)))
        self._next: int | None = None
        self._searching = True

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, config: AlignConfig) -> LagTracker:
        """Return the tracker of a snapshot."""
        core = cls(plan, config)
        core._rungs = [
            Rung.from_snapshot(saved, hz, core._held, core.patience_s, ticks)
            for saved, hz, ticks in zip(state["rungs"], config.rates(), core._ticks, strict=True)
        ]
        core._filters = [[LagFilter.from_snapshot(x) for x in row] for row in state["filters"]]
        core._ladders = [[Ladder.from_snapshot(x) for x in row] for row in state["ladders"]]
        core._won = [list(row) for row in state["won"]]
        core._reference, core._stamped = list(state["reference"]), list(state["stamped"])
        core._noise, core._interval = state["noise"].copy(), state["interval"].copy()
        core._next, core._searching = state["next"], state["searching"]
        return core

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "rungs": [r.snapshot() for r in self._rungs],
            "filters": [[x.snapshot() for x in row] for row in self._filters],
            "ladders": [[x.snapshot() for x in row] for row in self._ladders],
            "won": [list(row) for row in self._won],
            "reference": list(self._reference),
            "stamped": list(self._stamped),
            "noise": self._noise.copy(),
            "interval": self._interval.copy(),
            "next": self._next,
            "searching": self._searching,
        }

    def push(self, b: Block) -> None:
        """Take in the rows of a channel; those of a channel that is not searched are ignored."""
        lane = self._lane.get(b.channel)
        if lane is None:
            return
        for rung in self._rungs:
            rung.push(lane, b.host_time, b.value, b.watermark)
        if math.isinf(self._stamped[lane]) and b.stamped.any():
            late = np.maximum(b.host_time, b.watermark - self.patience_s)[b.stamped]
            self._stamped[lane] = float(late.min())

    def hops(self, packet: Packet) -> list[LagReport]:
        """Read the series up to each step that the packet completes, and return the reports."""
        if not self._lane or math.isnan(packet.first_host):
            return []
        if self._next is None:
            self._next = math.ceil(packet.first_host / self._step_s - 1e-9)
            for rung in self._rungs:
                rung.blank()
        reports: list[LagReport] = []
        for first, last, skips in self._stretches(packet):
            if skips:
                # Inside a silence longer than the kept series there is nothing to find.
                self._next = first
                for rung in self._rungs:
                    rung.blank()
            for stop in range(first + 1, last + 1):
                if stop % self._hop == 0 or self._searching:
                    self._read(stop)
                    reports += self._measure(stop)
        return reports

    def _stretches(self, packet: Packet) -> Iterator[tuple[int, int, bool]]:
        """Yield the completed steps, as (after, to, whether steps before them are skipped).

        Of the steps that one arrival completes, those older than the kept series are skipped.
        The result does not depend on how rows are cut into packets.
        """
        hz = self._rungs[0].hz
        ticks = round(hz * self._step_s)
        last_s = packet.watermark - self.delay_s
        if packet.end:
            last_s = max(last_s, packet.newest_host)
        done = self._next or 0
        max_steps = -(-self._rungs[0].max_ticks // ticks) + 1
        # Step of each time: floor((floor(time hz) + 1) / ticks a step). Arrivals rise.
        newest = last_s
        if len(packet.arrivals):
            newest = max(newest, packet.arrivals.item(-1) - self.delay_s)
        if math.isfinite(newest):
            to = (math.floor(newest * hz + 1e-6) + 1) // ticks
            if to <= done + max_steps:
                # Too few steps for a silence among them.
                if to > done:
                    yield done, to, False
                return
        times = np.append(packet.arrivals - self.delay_s, last_s)
        for last in np.unique((np.floor(times * hz + 1e-6) + 1) // ticks).tolist():
            if last > done:
                first = max(done, int(last) - max_steps)
                yield first, int(last), first > done
                done = int(last)

    def _read(self, stop: int) -> None:
        """Read every series up to a step; add the channels' intervals and noise to the sums."""
        first = self._next or 0
        for rung in self._rungs:
            ticks = round(rung.hz * self._step_s)
            rung.read(first * ticks, stop * ticks)
        self._next = stop
        if not self._searching:
            return
        quick, base = self._rungs[-1].coarse, self._rungs[0].coarse
        for lane in range(len(self._lane)):
            interval = quick.interval(lane)
            if math.isfinite(interval):
                self._interval[:, lane] += (1.0, interval)
            if all(self._reference):
                continue
            pace = base.noise(lane)
            if math.isfinite(pace[0]):
                self._noise[:, lane] += (1.0, *pace)

    def _measure(self, stop: int) -> list[LagReport]:
        """Return the lag reports of the windows that end before step `stop`."""
        end_s = stop * self._step_s
        known = end_s + self.dated_s
        self._searching = not all(self._reference)
        reports = self._choose_references(known)
        needed: list[set[int]] = [set() for _ in self._rungs]
        for edge in self._edges():
            found = self._update(edge, stop, end_s, known)
            if self._filters[edge.signal][edge.member].locked:
                needed[self._won[edge.signal][edge.member]] |= {edge.one, edge.other}
            else:
                for rung, lanes in zip(self._rungs, needed, strict=True):
                    if self._supports(edge, rung):
                        lanes |= {edge.one, edge.other}
            if found is not None:
                reports.append(self._report(edge, found, known))
        for k, signal in enumerate(self._signals):
            if not self._reference[k]:
                for lanes in needed:
                    lanes |= {self._lane[m.channel] for m in signal.members}
        for rung, lanes in zip(self._rungs, needed, strict=True):
            rung.need(lanes)
        return reports

    def _choose_references(self, known: float) -> list[LagReport]:
        """Choose the references that are still open; return a report of each new one."""
        reports: list[LagReport] = []
        for k, signal in enumerate(self._signals):
            if not self._reference[k]:
                self._reference[k] = self._best_reference(signal)
                if self._reference[k]:
                    report = reference_report(signal, self._reference[k])
                    reports.append(report._replace(known=known))
        return reports

    def _update(self, edge: _Edge, stop: int, end_s: float, known: float) -> Lag | None:
        """Search or track one pair; return the correlation's lag, None between two hops."""
        lag_filter = self._filters[edge.signal][edge.member]
        if not lag_filter.locked:
            return self._search(edge, end_s, known)
        if stop % self._hop:
            return None
        rung = self._rungs[self._won[edge.signal][edge.member]]
        pair = self._pair(edge, rung, rung.max_ticks, end_s)
        found = look(pair.a, pair.b, rung.hz, self.config.max_lag_s)
        self._follow(edge, lag_filter, pair, found, known)
        return found

    def _edges(self) -> Iterator[_Edge]:
        """Yield the searched members of each signal whose reference is chosen."""
        for k, signal in enumerate(self._signals):
            reference = self._reference[k]
            base = next((m.lag_s or 0.0 for m in signal.members if m.channel == reference), 0.0)
            for i, m in enumerate(signal.members):
                if reference and m.channel != reference and m.lag_s is None:
                    one, other = self._lane[reference], self._lane[m.channel]
                    yield _Edge(k, i, one, other, base, m.channel)

    def _pair(self, edge: _Edge, rung: Rung, ticks: int, end_s: float) -> SeriesPair:
        """Return the last ticks of a member and its reference."""
        a, b = rung.view(edge.one, ticks), rung.view(edge.other, ticks)
        return SeriesPair(a, b, round(end_s * rung.hz) - len(a.x), rung.hz)

    def _supports(self, edge: _Edge, rung: Rung) -> bool:
        """Return whether both members are fast enough for a rung; the slowest rung suits any."""
        if rung is self._rungs[0]:
            return True
        sums = [self._interval[:, lane].tolist() for lane in (edge.one, edge.other)]
        if min(times for times, _ in sums) < MIN_MEASURED_S:
            return True
        return bool(max(total / times for times, total in sums) * rung.hz * MIN_ROWS <= 1)

    def _search(self, edge: _Edge, end_s: float, known: float) -> Lag | None:
        """Search a lag at every rate; start a filter when the lag is confirmed.

        None while there is no window yet.
        """
        c = self.config
        best, length_s, counts = UNKNOWN, 0.0, []
        for n, rung in enumerate(self._rungs):
            if rung.series.shape[1] == 0 or not self._supports(edge, rung):
                continue
            pair = self._pair(edge, rung, round(c.window_s * rung.hz), end_s)
            common_s = min(pair.a.count, pair.b.count) / rung.hz
            if n == 0 and common_s < c.window_s - self._step_s:
                # The window still grows, or one of the two channels has just started.
                self._searching |= common_s > 0 or len(pair.a.x) < round(c.window_s * rung.hz)
            if common_s < MIN_COMMON_S:
                continue
            found = look(pair.a, pair.b, rung.hz, c.max_lag_s)
            if n == 0 or found.confidence > np.nan_to_num(best.confidence):
                best, length_s = found, common_s
            if found.ok:
                counts.append((n, found))
        ladder = self._ladders[edge.signal][edge.member]
        if best.ok and ladder.confirms(best, end_s, length_s, c.window_s):
            self._start(edge, [x for x in counts if agree(x[1], best)], end_s, known)
        read_s = self._rungs[0].series.shape[1] / self._rungs[0].hz
        return best if read_s >= MIN_WINDOW_S - 1e-9 else None

    def _start(
        self, edge: _Edge, counts: list[tuple[int, Lag]], end_s: float, known: float
    ) -> None:
        """Start a filter at each rate that found the lag; keep the one of the least variance."""
        k, i = edge.signal, edge.member
        least_var = math.inf
        for n, found in counts:
            rung, new = self._rungs[n], LagFilter()
            pair = self._pair(edge, rung, rung.max_ticks, end_s)
            self._follow(edge, new, pair, found, known)
            if new.locked and new.trend.var < least_var:
                least_var, self._filters[k][i], self._won[k][i] = new.trend.var, new, n

    def _follow(
        self, edge: _Edge, lag_filter: LagFilter, pair: SeriesPair, found: Lag, known: float
    ) -> None:
        """Update a filter with a window."""
        c = self.config.kalman
        end_s = (pair.first + len(pair.a.x)) / pair.hz
        stamped = max(self._stamped[edge.one], self._stamped[edge.other]) <= end_s
        kinds = motions(c.q, *(CORRECTED if stamped else FREE))
        lag_filter.update(pair, found, known, kinds, None if c.r == "auto" else c.r)

    def _report(self, edge: _Edge, found: Lag, known: float) -> LagReport:
        lag_filter = self._filters[edge.signal][edge.member]
        hz = self._rungs[self._won[edge.signal][edge.member]].hz
        t: Trend = lag_filter.trend.moved(known)
        return LagReport(
            signal=self._signals[edge.signal].name,
            channel=edge.channel,
            known=known,
            lag_s=edge.base + t.lag,
            var=t.var,
            growth=t.growth,
            confidence=found.confidence,
            locked=lag_filter.locked,
            note=found.note,
            at=t.at,
            rate=t.rate,
            cross_var=t.cross_var,
            rate_var=t.rate_var,
            search_hz=hz if lag_filter.locked else float("nan"),
            doubt=lag_filter.doubt,
        )

    def _best_reference(self, signal: Signal) -> str:
        """Return the reference of a signal on `auto`: a fast ure member, else the cleanest.

        The cleanest has the highest ratio of signal variance to noise density.
        """
        best, best_ratio = "", 0.0
        series = self._rungs[0].series
        if series.shape[1] < round(MIN_WINDOW_S * self._rungs[0].hz):
            return best
        for m in signal.members:
            lane = self._lane[m.channel]
            x = series[lane]
            x = x[np.isfinite(x)]
            if len(x) < 2 or not np.var(x) > ROUNDING * np.mean(x**2):
                continue
            times, interval_s, noise = self._noise[:, lane].tolist()
            if not times:
                interval_s = noise = times = math.inf
            if m.group == "ure" and interval_s * REFERENCE_RATE * BAND_TOP_HZ <= times:
                return m.channel
            noise = noise / times if math.isfinite(times) else math.inf
            ratio = max(float(np.var(x)) / max(noise, 1e-300), 1e-300)
            if ratio > best_ratio:
                best, best_ratio = m.channel, ratio
        return best


def _is_searched(signal: Signal) -> bool:
    """Return whether a member's lag has to be found."""
    return len(signal.members) > 1 and any(
        m.lag_s is None and m.channel != signal.reference for m in signal.members
    )


def fixed_reference(signal: Signal) -> str:
    """Return the reference that needs no choice, else "": a lone member is its own reference."""
    if signal.reference == "auto":
        return signal.members[0].channel if len(signal.members) == 1 else ""
    return signal.reference


def reference_report(signal: Signal, channel: str) -> LagReport:
    """Return the report of a signal's reference, dated -inf."""
    given = next(m.lag_s for m in signal.members if m.channel == channel)
    return LagReport(
        signal=signal.name,
        channel=channel,
        known=-np.inf,
        lag_s=given or 0.0,
        var=0.0,
        growth=0.0,
        confidence=1.0,
        locked=True,
        note="reference",
    )
