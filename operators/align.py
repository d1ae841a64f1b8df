"""align: each member's lag against its signal's reference, tracked.

Members are read, lag not removed, on a grid of `search_hz`, or the output grid if slower
(operators/coarse.py). Each hop, the last window is searched for the one peak of the correlation
(operators/correlate.py), which gives confidence, and around it new segments of the
cross-spectrum go into a Kalman filter of the lag (operators/track.py). Windows grow from half
their length at the start.

Confidence is 0 where a window was searched and no lag is to be had (weak, ambiguous, too slow,
at the edge of the search, anti-correlated: an inverted channel is never used), and NaN where
there was nothing to search (too little data, or a constant). A lag once found stays in force
through either, ever less sure.

An estimate is dated by the first tick whose release waits for all that it was made from.

State: each member's coarse series of one window and its rows of one hop; a filter a pair.
Cost: about 60 numpy calls a hop, 100 a hop and pair, 30 a packet. Losses: none.

Source: Knapp & Carter, IEEE Trans. ASSP 24 (1976); more in the modules named.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from operator import attrgetter
from typing import Literal

import numpy as np
from msgspec.structs import replace

from operators.coarse import HALF, Coarse
from operators.correlate import ROUNDING, Series, lag_of
from operators.hindsight import Hindsight
from operators.lag_path import path_of
from operators.pace import Paces
from operators.plan import NotNegative, Plan, Positive, Profile, Signal, Strict
from operators.records import F64, I64, Block, LagReport, Packet, State
from operators.track import Pair, Track
from operators.trend import CORRECTED, FREE, motions

REFERENCE_RATE = 4.0
BAND_TOP_HZ = 1.5
PATIENCE_S = 1.1
"""For rows that come late: radios deliver by the second."""


class KalmanConfig(Strict, frozen=True, kw_only=True):
    """How a lag wanders, `q` in s^2/s, and what 64 samples tell of it, `r` in s^2.

    `auto`: as the data have it. Walking by 1e-10, a lag is off by 0.25 ms after ten minutes.
    """

    q: Literal["auto"] | NotNegative = "auto"
    r: Literal["auto"] | Positive = "auto"


class AlignConfig(Strict, frozen=True, kw_only=True):
    """How lags are searched and tracked; content up to 0.4 `search_hz` tells."""

    method: Literal["xcorr_kalman"] = "xcorr_kalman"
    max_lag_s: NotNegative = 5.0
    window_s: Positive = 60.0
    hop_s: Positive = 10.0
    wait_lag_s: Literal["auto"] | NotNegative = "auto"
    search_hz: Positive = 5.0
    kalman: KalmanConfig = KalmanConfig()

    def waits_for_lag(self, profile: Profile) -> float:
        """Return the largest lag that the release of a tick waits for (s)."""
        if self.wait_lag_s != "auto":
            return self.wait_lag_s
        return float("inf") if profile == "accurate" else 0.0


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
        self.hz = min(config.search_hz, plan.tick_hz)
        self._hop = max(1, round(config.hop_s * self.hz))
        self._most = round(config.window_s * self.hz)
        patience_s = plan.wait_s + plan.decide_s + PATIENCE_S
        self.delay_s = HALF / self.hz + patience_s
        self.dated_s = max(0.0, self.delay_s - plan.half_width_s - plan.wait_s)
        self._known, self._passed = known, 0
        self._coming: list[LagReport] | None = None
        self._learnt: dict[tuple[str, str], list[LagReport]] | None = {} if learn else None
        self._signals = [] if known else [s for s in plan.signals if _is_searched(s)]
        channels = list(dict.fromkeys(m.channel for s in self._signals for m in s.members))
        self._lane = {c: i for i, c in enumerate(channels)}
        self._reference = [_named(s) for s in self._signals]
        self._tracks = [[Track() for _ in s.members] for s in self._signals]
        self._sampled: dict[str, bool] = {}
        self._paces, self._announced = Paces(), False
        self._coarse = Coarse(self.hz, [plan.is_held(c) for c in channels], patience_s)
        self._stamped = [math.inf] * len(channels)
        self._series: F64 = np.empty((len(channels), 0))
        self._next: int | None = None
        if state:
            self._paces = Paces(state["paces"])
            self._coarse.restore(state["coarse"])
            self._tracks = [[Track.revive(t) for t in tracks] for tracks in state["tracks"]]
            self._reference, self._series = list(state["reference"]), state["series"]
            self._announced, self._next = state["announced"], state["next"]
            self._passed = state["passed"]
            self._stamped = list(state["stamped"])

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "paces": self._paces.snapshot(),
            "coarse": self._coarse.snapshot(),
            "tracks": [[t.snapshot() for t in tracks] for tracks in self._tracks],
            "reference": list(self._reference),
            "stamped": list(self._stamped),
            "series": self._series,
            "announced": self._announced,
            "passed": self._passed,
            "next": self._next,
        }

    def update(self, packet: Packet) -> Packet:
        """Attach pace to the rows, and the lags that this packet completes."""
        for b in packet.blocks:
            if b.channel in self._lane:
                lane = self._lane[b.channel]
                self._coarse.push(lane, b.host_time, b.value, b.before)
                if math.isinf(self._stamped[lane]) and b.stamped.any():
                    late = np.maximum(b.host_time, b.before - self._coarse.patience_s)[b.stamped]
                    self._stamped[lane] = float(late.min())
        reports: list[LagReport] = []
        if self._known:
            reports += self._until(packet, self._known)
        elif not self._announced:
            self._announced = True
            reports += [_reference_report(s, c) for s in self.plan.signals if (c := _named(s))]
        # Of values near the largest that there are no squares exist: their lags are not told.
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
        first, until = self._passed, np.inf if packet.end else packet.known
        self._passed = max(first, bisect_right(self._coming, until, key=attrgetter("known")))
        return self._coming[first : self._passed]

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
                at = np.searchsorted(ordered[i].before, b.before, "right")
                at[~b.straggler] = 1 + np.arange(len(ordered[i]))
                mine = np.column_stack((old[i], mine))[:, at]
            out.append(replace(b, spacing=mine[0], noise=mine[1]))
        return tuple(out)

    def _is_sampled(self, channel: str) -> bool:
        if channel not in self._sampled:
            self._sampled[channel] = not self.plan.is_held(channel)
        return self._sampled[channel]

    def _hops(self, packet: Packet) -> list[LagReport]:
        """Read the series up to each hop that is complete by now, and measure."""
        if self._next is None:
            self._next = math.ceil(packet.first_host * self.hz - 1e-9)
        until = packet.known - self.delay_s
        if packet.end:
            until = max(until, packet.newest_host)
        last = (math.floor(until * self.hz + 1e-6) + 1) // self._hop
        hops = np.arange(self._next // self._hop + 1, last + 1)
        reports: list[LagReport] = []
        for hop in self._worth(hops, packet):
            stop = hop * self._hop
            skipped = hop - 1 - self._next // self._hop
            if skipped:
                self._next = stop - self._hop
                self._series = np.full_like(self._series, np.nan)
            fresh = self._coarse.read(self._next, stop - self._next)
            self._series = np.concatenate((self._series, fresh), axis=1)[:, -self._most :]
            self._next = stop
            reports += self._measure(stop)
        return reports

    def _worth(self, hops: I64, packet: Packet) -> list[int]:
        """Return the hops but those in the midst of a silence, of which nothing can be told.

        Of hops that the same arrival makes known, those are left out after which a whole window
        and more follows: any cutting of the rows leaves out the same.
        """
        most = -(-self._most // self._hop) + 1
        if len(hops) > most:
            due = (hops * self._hop - 1 - 1e-6) / self.hz + self.delay_s
            by = np.searchsorted(packet.arrivals, due, "left")
            later = np.searchsorted(by, by, "right") - np.arange(len(by))
            hops = hops[later <= most]
        return [int(h) for h in hops]

    def _measure(self, stop: int) -> list[LagReport]:
        """Return what the window that ends before tick `stop` says of every lag."""
        c = self.config
        known = stop / self.hz + self.dated_s
        length = self._series.shape[1]
        reports: list[LagReport] = []
        if length < self._most / 2:
            return reports
        series = [Series(x) for x in self._series]
        r = None if c.kalman.r == "auto" else c.kalman.r
        for k, signal in enumerate(self._signals):
            if not self._reference[k]:
                self._reference[k] = self._choose(signal)
                if not self._reference[k]:
                    continue
                reports.append(_reference_report(signal, self._reference[k])._replace(known=known))
            reference = self._reference[k]
            base = next(m.lag_s or 0.0 for m in signal.members if m.channel == reference)
            for m, track in zip(signal.members, self._tracks[k], strict=True):
                if m.channel == reference or m.lag_s is not None:
                    continue
                pair = Pair(
                    series[self._lane[reference]], series[self._lane[m.channel]],
                    stop - length, self.hz,
                )  # fmt: skip
                found = lag_of(pair.a, pair.b, self.hz, c.max_lag_s)
                stamped = self._is_stamped(stop, reference, m.channel)
                kinds = motions(c.kalman.q, *(CORRECTED if stamped else FREE))
                track.update(pair, found, known, kinds, r)
                t = track.trend.moved(known)
                reports.append(LagReport(
                    signal.name, m.channel, known, base + t.lag, t.var, t.growth,
                    found.confidence, track.locked, found.note,
                    t.at, t.rate, t.cross_var, t.rate_var, self.hz,
                ))  # fmt: skip
        return reports

    def _is_stamped(self, stop: int, *channels: str) -> bool:
        """Return whether the clocks of all channels can be learnt, as known before a tick."""
        return all(self._stamped[self._lane[c]] <= stop / self.hz for c in channels)

    def _choose(self, signal: Signal) -> str:
        """Return the reference when it is left to us: a quick ure member, else the cleanest."""
        best, best_ratio = "", 0.0
        for m in signal.members:
            x = self._series[self._lane[m.channel]]
            x = x[np.isfinite(x)]
            if len(x) < 2 or not np.var(x) > ROUNDING * np.mean(x**2):
                continue
            interval_s, hiss = self._coarse.noise(self._lane[m.channel])
            if m.group == "ure" and interval_s * REFERENCE_RATE * BAND_TOP_HZ <= 1:
                return m.channel
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
