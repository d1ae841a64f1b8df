"""align: each member's lag against its signal's reference, searched, then tracked.

Members are read, lag not removed, on even grids (operators/align/even_series.py). While a pair has no lag, it
is searched each second, at all rates that both members can serve (operators/align/lag_search.py), over
windows that grow from 13 s to `window_s`; once these are full, at each hop. From then on only the
rate that won is read: each hop, new segments of the cross-spectrum go to the trend of the lag
(operators/align/lag_filter.py), beside the one peak of the window's correlation, which gives confidence.

Confidence is 0 where a window was searched and no lag is to be had (weak, ambiguous, too slow,
at the edge of the search, anti-correlated: an inverted channel is never used), and NaN where
there was nothing to search (too little data, or a constant). A lag once found stays in force
through either, ever less sure.

An estimate is dated by the first tick whose release waits for all that it was made from.

State: each member's series of one window, at each rate while a lag is searched, at one rate after
that, and its rows of one hop; a track a pair. Cost: 15 ms a second and pair while searched over
a minute; 60 numpy calls a hop, 150 a hop and pair, 30 a packet. Losses: none.

Source: Knapp & Carter, IEEE Trans. ASSP 24 (1976); more in the modules named.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from operator import attrgetter
from typing import Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta
from msgspec.structs import replace

from operators.align.coarse_grid import HALF
from operators.align.even_series import Rung
from operators.align.lag_filter import LagFilter, SeriesPair
from operators.align.lag_path import path_of
from operators.align.lag_search import MIN_COMMON_S, MIN_WINDOW_S, RATES_HZ, Ladder, agree, look
from operators.align.lag_trend import CORRECTED, FREE, Trend, motions
from operators.align.rate_noise import RateNoise
from operators.correlation import ROUNDING, SEGMENT, UNKNOWN, Lag
from operators.hindsight import Hindsight
from operators.plan import (
    ConfigPart,
    Hop,
    NotNegative,
    Plan,
    Positive,
    Profile,
    Rate,
    Signal,
    Span,
    Wait,
)
from operators.records import Block, LagReport, Packet
from operators.types import State

REFERENCE_RATE = 4.0
BAND_TOP_HZ = 1.5
PATIENCE_S = 1.1
"""For rows that come late: radios deliver by the second."""
SEARCH_S = 1.0
MEASURED = 4
"""Seconds from which the rate of a channel is known."""
MIN_ROWS = 1.9
"""Rows of the slower member a tick of a grid, at least: two, but for jitter and losses."""


class KalmanConfig(ConfigPart, frozen=True, kw_only=True):
    """How a lag wanders, `q` in s^2/s, and what 64 samples tell of it, `r` in s^2.

    `auto`: as the data have it. Walking by 1e-10, a lag is off by 0.25 ms after ten minutes.
    """

    q: Annotated[
        Literal["auto"] | NotNegative,
        Meta(
            description="Variance by which a lag drifts per second; `auto` estimates it.",
            examples=[1e-9],
            extra={"unit": "s^2/s"},
        ),
    ] = "auto"
    r: Annotated[
        Literal["auto"] | Positive,
        Meta(
            description="Variance of a lag measured from 64 samples; `auto` estimates it.",
            examples=[1e-6],
            extra={"unit": "s^2"},
        ),
    ] = "auto"


class AlignConfig(ConfigPart, frozen=True, kw_only=True):
    """How lags are searched and tracked; content up to 0.4 `search_hz` counts."""

    method: Annotated[
        Literal["xcorr_kalman"],
        Meta(
            description="Cross-correlation, tracked by a Kalman filter.",
            examples=["xcorr_kalman"],
        ),
    ] = "xcorr_kalman"
    max_lag_s: Annotated[
        Wait,
        Meta(
            description="Largest lag that is searched; less than half of `window_s`.",
            examples=[2.0],
        ),
    ] = 5.0
    window_s: Annotated[
        Span,
        Meta(
            description="Window of data in which a lag is searched.",
            examples=[30.0],
        ),
    ] = 60.0
    hop_s: Annotated[
        Hop,
        Meta(
            description="Time from one search to the next; at most half of `window_s`.",
            examples=[5.0],
        ),
    ] = 10.0
    wait_lag_s: Annotated[
        Literal["auto"] | Wait,
        Meta(
            description="Largest lag that a tick waits for; a later member has no weight."
            " `auto`: any lag, or none for `low_latency`.",
            examples=[0.02],
        ),
    ] = "auto"
    search_hz: Annotated[
        Literal["auto"] | Rate,
        Meta(
            description="Rate of the grid on which lags are searched; content up to 0.4 of it"
            " counts.",
            examples=[20.0],
        ),
    ] = "auto"
    kalman: Annotated[
        KalmanConfig,
        Meta(
            description="The lag filter.",
        ),
    ] = KalmanConfig()

    def rates(self) -> tuple[float, ...]:
        """Return the rates of the grids on which lags are searched (Hz), rising."""
        return RATES_HZ if self.search_hz == "auto" else (self.search_hz,)

    def least_window_s(self) -> float:
        """Return the shortest window in which a lag can be found (s)."""
        return max(MIN_WINDOW_S, math.ceil(SEGMENT / self.rates()[0]))

    def waits_for_lag(self, profile: Profile) -> float:
        """Return the largest lag that the release of a tick waits for (s)."""
        if self.wait_lag_s != "auto":
            return self.wait_lag_s
        return float("inf") if profile == "accurate" else 0.0


class _Edge(NamedTuple):
    """A member and its reference: their lanes, the reference's lag (s), the member's channel."""

    signal: int
    member: int
    one: int
    other: int
    base: float
    channel: str


class Align:
    """Lags, and each row's pace for the stations after."""

    def __init__(
        self,
        plan: Plan,
        config: AlignConfig,
        state: State | None = None,
        *,
        learn: bool = False,
        known: Hindsight | None = None,
    ) -> None:
        self.plan, self.config = plan, config
        rates = config.rates()
        # Seconds, or a tick where that is longer; hops are whole numbers of them since the epoch.
        self._step_s = max(1, round(SEARCH_S * rates[0])) / rates[0]
        self._hop = max(1, round(config.hop_s / self._step_s))
        patience_s = plan.wait_s + plan.decide_s + PATIENCE_S
        self.patience_s, self.delay_s = patience_s, HALF / rates[0] + patience_s
        self.dated_s = max(0.0, self.delay_s - plan.half_width_s - plan.wait_s)
        self._known, self._passed = known, 0
        self._coming: list[LagReport] | None = None
        self._learnt: dict[tuple[str, str], list[LagReport]] | None = {} if learn else None
        self._signals = [] if known else [s for s in plan.signals if _is_searched(s)]
        channels = list(dict.fromkeys(m.channel for s in self._signals for m in s.members))
        self._lane = {c: i for i, c in enumerate(channels)}
        self._reference = [_named(s) for s in self._signals]
        self._tracks = [[LagFilter() for _ in s.members] for s in self._signals]
        self._ladders = [[Ladder() for _ in s.members] for s in self._signals]
        self._won = [[0 for _ in s.members] for s in self._signals]
        self._sampled: dict[str, bool] = {}
        self._paces, self._announced = RateNoise(), False
        held = [plan.is_held(c) for c in channels]
        # A track begins from two segments, and goes on from those that a hop brings.
        most_s = [
            max(config.window_s, 1.5 * SEGMENT / hz + config.max_lag_s + config.hop_s)
            for hz in rates
        ]
        self._rungs = [
            Rung(hz, held, patience_s, math.ceil(s * hz))
            for hz, s in zip(rates, most_s, strict=True)
        ]
        self._stamped = [math.inf] * len(channels)
        # Sums over the seconds that were searched: how many, interval (s), noise density.
        self._noise, self._interval = np.zeros((3, len(channels))), np.zeros((2, len(channels)))
        self._next: int | None = None
        self._keen = True
        if state:
            self._paces = RateNoise(state["paces"])
            for rung, saved in zip(self._rungs, state["rungs"], strict=True):
                rung.restore(saved)
            self._tracks = [[LagFilter.revive(t) for t in tracks] for tracks in state["tracks"]]
            self._ladders = [[Ladder(x) for x in ladders] for ladders in state["ladders"]]
            self._won = [list(x) for x in state["won"]]
            self._reference, self._stamped = list(state["reference"]), list(state["stamped"])
            self._noise, self._interval = state["noise"].copy(), state["interval"].copy()
            self._announced, self._next = state["announced"], state["next"]
            self._passed, self._keen = state["passed"], state["keen"]

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "paces": self._paces.snapshot(),
            "rungs": [r.snapshot() for r in self._rungs],
            "tracks": [[t.snapshot() for t in tracks] for tracks in self._tracks],
            "ladders": [[x.snapshot() for x in ladders] for ladders in self._ladders],
            "won": [list(x) for x in self._won],
            "reference": list(self._reference),
            "stamped": list(self._stamped),
            "noise": self._noise.copy(),
            "interval": self._interval.copy(),
            "announced": self._announced,
            "passed": self._passed,
            "next": self._next,
            "keen": self._keen,
        }

    def update(self, packet: Packet) -> Packet:
        """Attach pace to the rows, and the lags that this packet completes."""
        for b in packet.blocks:
            if b.channel in self._lane:
                self._push(self._lane[b.channel], b)
        reports: list[LagReport] = []
        if self._known:
            reports += self._until(packet, self._known)
        elif not self._announced:
            self._announced = True
            reports += [_reference_report(s, c) for s in self.plan.signals if (c := _named(s))]
        # Of values near the largest that there are no squares exist: they have no lag.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            blocks = self._paced(packet.blocks)
            if self._lane and not math.isnan(packet.first_host):
                reports += self._hops(packet)
        if self._learnt is not None:
            for r in reports:
                self._learnt.setdefault((r.signal, r.channel), []).append(r)
        return replace(packet, blocks=blocks, lags=tuple(reports))

    def shown(self) -> State:
        """Return each member's lag as the whole recording shows it; see `Learner`."""
        found = [
            r for reports in (self._learnt or {}).values() for r in path_of(reports, self.dated_s)
        ]
        return {"lags": [list(r) for r in found]}

    def _until(self, packet: Packet, known: Hindsight) -> list[LagReport]:
        """Return the known reports that ticks due by now are the first to need."""
        if self._coming is None:
            lags = known.of(packet.rig, "align").get("lags", ())
            self._coming = sorted((LagReport(*r) for r in lags), key=attrgetter("known"))
        first, until = self._passed, np.inf if packet.end else packet.watermark
        self._passed = max(first, bisect_right(self._coming, until, key=attrgetter("known")))
        return self._coming[first : self._passed]

    def _push(self, lane: int, b: Block) -> None:
        for rung in self._rungs:
            rung.push(lane, b.host_time, b.value, b.watermark)
        if math.isinf(self._stamped[lane]) and b.stamped.any():
            late = np.maximum(b.host_time, b.watermark - self.patience_s)[b.stamped]
            self._stamped[lane] = float(late.min())

    def _paced(self, blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        """Return the blocks with the pace of their channels at each row."""
        ordered = [
            b.take(~b.straggler) if b.straggler.any() else b
            for b in blocks
            if self._is_sampled(b.channel)
        ]
        old = [self._paces.of(b.channel) for b in ordered]
        pace = self._paces.push([(b.channel, b.host_time, b.value) for b in ordered])
        edge = np.cumsum([0, *(len(b) for b in ordered)]).tolist()
        place = {b.channel: i for i, b in enumerate(ordered)}
        out = []
        for b in blocks:
            if b.channel not in place:
                nothing = np.full(len(b), np.nan)
                out.append(replace(b, spacing=nothing, noise=nothing))
                continue
            i = place[b.channel]
            mine = pace[:, edge[i] : edge[i + 1]]
            if ordered[i] is not b:
                # A straggler has the pace of the last row in order that was final before it was.
                at = np.searchsorted(ordered[i].watermark, b.watermark, "right")
                at[~b.straggler] = 1 + np.arange(len(ordered[i]))
                mine = np.column_stack((old[i], mine))[:, at]
            out.append(replace(b, spacing=mine[0], noise=mine[1]))
        return tuple(out)

    def _is_sampled(self, channel: str) -> bool:
        if channel not in self._sampled:
            self._sampled[channel] = not self.plan.is_held(channel)
        return self._sampled[channel]

    def _hops(self, packet: Packet) -> list[LagReport]:
        """Read the series up to each step that is complete by now, and measure."""
        if self._next is None:
            self._next = math.ceil(packet.first_host / self._step_s - 1e-9)
            for rung in self._rungs:
                rung.blank()
        reports: list[LagReport] = []
        for first, last, apart in self._stretches(packet):
            if apart:
                # A silence longer than what is kept: nothing can be found in its midst.
                self._next = first
                for rung in self._rungs:
                    rung.blank()
            for stop in range(first + 1, last + 1):
                if stop % self._hop == 0 or self._keen:
                    self._read(stop)
                    reports += self._measure(stop)
        return reports

    def _stretches(self, packet: Packet) -> Iterator[tuple[int, int, bool]]:
        """Yield the steps that are complete by now, as (after, to, whether others lie before).

        Of steps that the same arrival makes known, those are left out after which all that is
        kept and more follows: any cutting of the rows leaves out the same.
        """
        hz = self._rungs[0].hz
        ticks = round(hz * self._step_s)
        last_s = packet.watermark - self.delay_s
        if packet.end:
            last_s = max(last_s, packet.newest_host)
        times = np.append(packet.arrivals - self.delay_s, last_s)
        most = -(-self._rungs[0].most // ticks) + 1
        done = self._next or 0
        for last in np.unique((np.floor(times * hz + 1e-6) + 1) // ticks).tolist():
            if last > done:
                first = max(done, int(last) - most)
                yield first, int(last), first > done
                done = int(last)

    def _read(self, stop: int) -> None:
        """Read every series up to a step, and note how fast and how noisy the channels are."""
        first = self._next or 0
        for rung in self._rungs:
            ticks = round(rung.hz * self._step_s)
            rung.read(first * ticks, stop * ticks)
        self._next = stop
        if not self._keen:
            return
        quick, base = self._rungs[-1].coarse, self._rungs[0].coarse
        for lane in range(len(self._lane)):
            interval = quick.interval(lane)
            if math.isfinite(interval):
                self._interval[:, lane] += (1.0, interval)
            pace = base.noise(lane)
            if not all(self._reference) and math.isfinite(pace[0]):
                self._noise[:, lane] += (1.0, *pace)

    def _measure(self, stop: int) -> list[LagReport]:
        """Return what the windows that end before step `stop` hold of every lag."""
        c = self.config
        end_s = stop * self._step_s
        known = end_s + self.dated_s
        reports: list[LagReport] = []
        self._keen = not all(self._reference)
        for k, signal in enumerate(self._signals):
            if not self._reference[k]:
                self._reference[k] = self._choose(signal)
                if self._reference[k]:
                    report = _reference_report(signal, self._reference[k])
                    reports.append(report._replace(known=known))
        wanted: list[set[int]] = [set() for _ in self._rungs]
        for edge in self._edges():
            track = self._tracks[edge.signal][edge.member]
            sure = track.locked
            if sure and stop % self._hop:
                found = None
            elif sure:
                rung = self._rungs[self._won[edge.signal][edge.member]]
                pair = self._pair(edge, rung, rung.most, end_s)
                found = look(pair.a, pair.b, rung.hz, c.max_lag_s)
                self._follow(edge, track, pair, found, known)
            else:
                found = self._search(edge, end_s, known)
            if self._tracks[edge.signal][edge.member].locked:
                won = self._won[edge.signal][edge.member]
                wanted[won] |= {edge.one, edge.other}
            else:
                for rung, lanes in zip(self._rungs, wanted, strict=True):
                    if self._serves(edge, rung):
                        lanes |= {edge.one, edge.other}
            if found is not None:
                reports.append(self._report(edge, found, known))
        for k, signal in enumerate(self._signals):
            if not self._reference[k]:
                for lanes in wanted:
                    lanes |= {self._lane[m.channel] for m in signal.members}
        for rung, lanes in zip(self._rungs, wanted, strict=True):
            rung.need(lanes)
        return reports

    def _edges(self) -> Iterator[_Edge]:
        """Yield the members that are searched, once their reference is known."""
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

    def _serves(self, edge: _Edge, rung: Rung) -> bool:
        """Return whether both members are quick enough for a rung; the slowest serves any."""
        if rung is self._rungs[0]:
            return True
        times, total = self._interval[:, [edge.one, edge.other]]
        if times.min() < MEASURED:
            return True
        return bool((total / times).max() * rung.hz * MIN_ROWS <= 1)

    def _search(self, edge: _Edge, end_s: float, known: float) -> Lag | None:
        """Look for a lag at every rate; begin a track when it is confirmed.

        Nothing is returned before there is a window.
        """
        c = self.config
        best, length_s, counts = UNKNOWN, 0.0, []
        for n, rung in enumerate(self._rungs):
            if rung.series.shape[1] == 0 or not self._serves(edge, rung):
                continue
            pair = self._pair(edge, rung, round(c.window_s * rung.hz), end_s)
            common_s = min(pair.a.count, pair.b.count) / rung.hz
            if n == 0 and common_s < c.window_s - self._step_s:
                # The window still grows, or one of the two has just begun.
                self._keen |= common_s > 0 or len(pair.a.x) < round(c.window_s * rung.hz)
            if common_s < MIN_COMMON_S:
                continue
            found = look(pair.a, pair.b, rung.hz, c.max_lag_s)
            if n == 0 or found.confidence > np.nan_to_num(best.confidence):
                best, length_s = found, common_s
            if found.ok:
                counts.append((n, found))
        ladder = self._ladders[edge.signal][edge.member]
        if best.ok and ladder.confirms(best, end_s, length_s, c.window_s):
            self._begin(edge, [x for x in counts if agree(x[1], best)], end_s, known)
        read_s = self._rungs[0].series.shape[1] / self._rungs[0].hz
        return best if read_s >= MIN_WINDOW_S - 1e-9 else None

    def _begin(
        self, edge: _Edge, counts: list[tuple[int, Lag]], end_s: float, known: float
    ) -> None:
        """Begin a track at each rate that found the lag, and keep the one that knows it best."""
        k, i = edge.signal, edge.member
        least = math.inf
        for n, found in counts:
            rung, track = self._rungs[n], LagFilter()
            self._follow(edge, track, self._pair(edge, rung, rung.most, end_s), found, known)
            if track.locked and track.trend.var < least:
                least, self._tracks[k][i], self._won[k][i] = track.trend.var, track, n

    def _follow(
        self, edge: _Edge, track: LagFilter, pair: SeriesPair, found: Lag, known: float
    ) -> None:
        """Give a window to a track."""
        c = self.config.kalman
        end_s = (pair.first + len(pair.a.x)) / pair.hz
        stamped = max(self._stamped[edge.one], self._stamped[edge.other]) <= end_s
        kinds = motions(c.q, *(CORRECTED if stamped else FREE))
        track.update(pair, found, known, kinds, None if c.r == "auto" else c.r)

    def _report(self, edge: _Edge, found: Lag, known: float) -> LagReport:
        track = self._tracks[edge.signal][edge.member]
        hz = self._rungs[self._won[edge.signal][edge.member]].hz
        t: Trend = track.trend.moved(known)
        return LagReport(
            self._signals[edge.signal].name, edge.channel, known, edge.base + t.lag, t.var,
            t.growth, found.confidence, track.locked, found.note, t.at, t.rate, t.cross_var,
            t.rate_var, hz if track.locked else float("nan"), track.doubt,
        )  # fmt: skip

    def _choose(self, signal: Signal) -> str:
        """Return the reference when it is left to us: a quick ure member, else the cleanest."""
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
            times, interval_s, hiss = self._noise[:, lane].tolist()
            if not times:
                interval_s = hiss = times = math.inf
            if m.group == "ure" and interval_s * REFERENCE_RATE * BAND_TOP_HZ <= times:
                return m.channel
            hiss = hiss / times if math.isfinite(times) else math.inf
            ratio = max(float(np.var(x)) / max(hiss, 1e-300), 1e-300)
            if ratio > best_ratio:
                best, best_ratio = m.channel, ratio
        return best


def _is_searched(signal: Signal) -> bool:
    """Whether there is a lag to be found among the members."""
    return len(signal.members) > 1 and any(
        m.lag_s is None and m.channel != signal.reference for m in signal.members
    )


def _named(signal: Signal) -> str:
    """Return the reference that needs no choice, else nothing: a lone member is its own."""
    if signal.reference == "auto":
        return signal.members[0].channel if len(signal.members) == 1 else ""
    return signal.reference


def _reference_report(signal: Signal, channel: str) -> LagReport:
    given = next(m.lag_s for m in signal.members if m.channel == channel)
    return LagReport(signal.name, channel, -np.inf, given or 0.0, 0.0, 0.0, 1.0, True, "reference")
