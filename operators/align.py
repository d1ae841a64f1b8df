"""align: each member's lag against its signal's reference, tracked.

Members are read, lag not removed, on a grid of `search_hz`, or the output grid if slower. Each
hop, the last window gives a lag with its variance and confidence (operators/correlate.py); a
scalar Kalman filter follows it: q s^2/s of random walk, R doubled, since the spectrum's variance
is optimistic, and multiplied by window / hop for the overlap, a gate of 4 sigma, and a new start
after three rejects running. Windows grow from half their length at the start.

An estimate is dated by the first tick whose release waits for all that it was made from.

State: each member's coarse series of one window, its samples of one kernel, two numbers of the
filter. Cost: one coarse reading a sample and about 0.5 ms a member and hop. Losses: none.

Source: operators/correlate.py; Bar-Shalom, Estimation with Applications (2001) for the gate.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Literal

import numpy as np

from operators.correlate import Lag, lag_of
from operators.pace import Pace
from operators.plan import Member, NotNegative, Plan, Positive, Profile, Signal, Strict
from operators.records import F64, Block, LagReport, Packet, State
from operators.sampler import Sampler

HALF_WIDTH_TICKS = 5.0
OPTIMISM = 2.0
GATE = 4.0
REJECTS = 3
REFERENCE_RATE = 4.0
BAND_TOP_HZ = 1.5
ROUNDING = 1e-20
"""A constant, read through the kernel, varies by about this part of its square."""


class KalmanConfig(Strict, frozen=True, kw_only=True):
    """How a lag wanders: `q` in s^2/s; `r` in s^2, or `auto` from the spectrum."""

    q: NotNegative = 1e-9
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


@dataclass
class Track:
    """A lag and its variance: a random walk, observed at hops."""

    lag: float = float("nan")
    var: float = float("nan")
    rejects: int = 0

    def update(self, z: float, r: float, walk: float) -> bool:
        """Take a measurement in; `walk` is the variance gained since the last; return if used."""
        if np.isnan(self.lag):
            self.lag, self.var, self.rejects = z, r, 0
            return True
        self.var += walk
        innovation, s = z - self.lag, self.var + r
        if innovation**2 > GATE**2 * s:
            self.rejects += 1
            if self.rejects < REJECTS:
                return False
            self.lag, self.var, self.rejects = z, r, 0
            return True
        gain = self.var / s
        self.lag += gain * innovation
        self.var *= 1 - gain
        self.rejects = 0
        return True


@dataclass
class _Lane:
    member: Member
    sampler: Sampler
    series: F64 = field(default_factory=lambda: np.empty(0))
    track: Track = field(default_factory=Track)


class Align:
    """Lags, and each row's pace for the stations after."""

    def __init__(self, plan: Plan, config: AlignConfig, state: State | None = None) -> None:
        self.plan, self.config = plan, config
        self.hz = min(config.search_hz, plan.tick_hz)
        half = HALF_WIDTH_TICKS / self.hz
        self.delay_s = half + plan.wait_s
        self.dated_s = max(0.0, self.delay_s - plan.half_width_s - plan.wait_s)
        self._lanes = [
            [_Lane(m, Sampler(self.hz, half, plan.is_held(m.channel))) for m in s.members]
            for s in plan.signals
        ]
        self._paces: dict[str, Pace] = {}
        self._reference = [_named(s) for s in plan.signals]
        self._announced = False
        self._next: int | None = None
        if state:
            for saved, lane in zip(
                state["lanes"], (x for lanes in self._lanes for x in lanes), strict=True
            ):
                lane.sampler.restore(saved["sampler"])
                lane.series, lane.track = saved["series"], Track(**saved["track"])
            self._paces = {c: Pace(p) for c, p in state["paces"].items()}
            self._reference = list(state["reference"])
            self._announced, self._next = state["announced"], state["next"]

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "lanes": [
                {"sampler": x.sampler.snapshot(), "series": x.series, "track": asdict(x.track)}
                for lanes in self._lanes
                for x in lanes
            ],
            "paces": {c: p.snapshot() for c, p in self._paces.items()},
            "reference": list(self._reference),
            "announced": self._announced,
            "next": self._next,
        }

    def update(self, packet: Packet) -> Packet:
        """Attach pace to the rows, and the lags that this packet completes."""
        blocks = tuple(self._paced(b) for b in packet.blocks)
        by_channel = {b.channel: b for b in blocks}
        for lanes in self._lanes:
            for lane in lanes:
                block = by_channel.get(lane.member.channel)
                if block is not None and self._searched(lane.member):
                    lane.sampler.push(block, self._origin(packet))
        reports: list[LagReport] = []
        if not self._announced:
            self._announced = True
            reports += [
                _reference_report(s, r)
                for s, r in zip(self.plan.signals, self._reference, strict=True)
                if r
            ]
        if not np.isnan(packet.first_host) and any(
            self._searched(m) for s in self.plan.signals for m in s.members
        ):
            reports += self._hops(packet)
        return replace(packet, blocks=blocks, lags=tuple(reports))

    def _origin(self, packet: Packet) -> int:
        """Return the first coarse tick of the run."""
        return int(np.ceil(packet.first_host * self.hz - 1e-9))

    def _searched(self, member: Member) -> bool:
        """Whether the member takes part in a search: of its signal some lag is to be found."""
        signal = next(s for s in self.plan.signals if s.name == member.signal)
        return len(signal.members) > 1 and any(
            m.lag_s is None and m.channel != signal.reference for m in signal.members
        )

    def _paced(self, block: Block) -> Block:
        if self.plan.is_held(block.channel):
            nothing = np.full(len(block), np.nan)
            return replace(block, spacing=nothing, noise=nothing)
        pace = self._paces.setdefault(block.channel, Pace())
        if not block.straggler.any():
            spacing, noise = pace.push(block.host_time, block.value)
            return replace(block, spacing=spacing, noise=noise)
        # A straggler has the pace of the last row in order that was final before it was.
        ordered = block.take(~block.straggler)
        old = np.array([[pace.spacing], [pace.noise]])
        new = np.stack(pace.push(ordered.host_time, ordered.value))
        at = np.searchsorted(ordered.before, block.before, "right")
        at[~block.straggler] = 1 + np.arange(len(ordered))
        spacing, noise = np.concatenate((old, new), axis=1)[:, at]
        return replace(block, spacing=spacing, noise=noise)

    def _hops(self, packet: Packet) -> list[LagReport]:
        """Extend the coarse series; at each hop that they complete, measure."""
        hop = max(1, round(self.config.hop_s * self.hz))
        if self._next is None:
            self._next = self._origin(packet)
        until = packet.known - self.delay_s
        if packet.end:
            until = max(until, packet.newest_host)
        last = int(np.floor(until * self.hz + 1e-6))
        reports: list[LagReport] = []
        while self._next <= last:
            stop = min(last, (self._next // hop + 1) * hop - 1)
            self._extend(self._next, stop, packet)
            self._next = stop + 1
            if (stop + 1) % hop == 0:
                reports += self._measure((stop + 1) / self.hz)
        return reports

    def _extend(self, first: int, last: int, packet: Packet) -> None:
        most = round(self.config.window_s * self.hz)
        tick = np.arange(first, last + 1)
        due = tick / self.hz + self.delay_s
        if packet.end:
            due = np.where(due <= packet.known, due, np.inf)
        for lanes in self._lanes:
            for lane in lanes:
                if not self._searched(lane.member):
                    continue
                value, _, _ = lane.sampler.read(tick, 0.0, due)
                lane.series = np.concatenate((lane.series, value))[-most:]
                lane.sampler.drop_before(last - HALF_WIDTH_TICKS - 1)

    def _measure(self, now: float) -> list[LagReport]:
        """Return what this hop's windows say of every lag."""
        c = self.config
        known = now + self.dated_s
        reports: list[LagReport] = []
        for k, (signal, lanes) in enumerate(zip(self.plan.signals, self._lanes, strict=True)):
            longest = max((len(x.series) for x in lanes), default=0) / self.hz
            if longest < c.window_s / 2:
                continue
            if not self._reference[k]:
                self._reference[k] = self._choose(lanes)
                if not self._reference[k]:
                    continue
                reports.append(_reference_report(signal, self._reference[k])._replace(known=known))
            reference = next(x for x in lanes if x.member.channel == self._reference[k])
            base = reference.member.lag_s or 0.0
            for lane in lanes:
                m = lane.member
                if lane is reference or m.lag_s is not None:
                    continue
                found = lag_of(reference.series, lane.series, self.hz, c.max_lag_s)
                if found.ok:
                    found = found._replace(lag_s=found.lag_s + base)
                reports.append(self._track(signal, lane, found, known, longest))
        return reports

    def _track(
        self, signal: Signal, lane: _Lane, found: Lag, known: float, length_s: float
    ) -> LagReport:
        c, track = self.config, lane.track
        walk = c.kalman.q * c.hop_s
        if found.ok:
            r = found.var if c.kalman.r == "auto" else c.kalman.r
            track.update(found.lag_s, r * OPTIMISM * max(1.0, length_s / c.hop_s), walk)
        elif not np.isnan(track.lag):
            track.var += walk
        locked = not np.isnan(track.lag)
        return LagReport(
            signal.name, lane.member.channel, known, track.lag, track.var, c.kalman.q,
            found.confidence, locked, found.note,
        )  # fmt: skip

    def _choose(self, lanes: list[_Lane]) -> str:
        """Return the reference when it is left to us: a quick ure member, else the cleanest."""
        best, best_ratio = "", 0.0
        for lane in lanes:
            channel = lane.member.channel
            known = lane.series[np.isfinite(lane.series)]
            pace = self._paces.get(channel, Pace())
            if len(known) < 2 or not np.var(known) > ROUNDING * np.mean(known**2):
                continue
            if lane.member.group == "ure" and pace.spacing * REFERENCE_RATE * BAND_TOP_HZ <= 1:
                return channel
            noise = np.nan_to_num(pace.noise, nan=np.inf)
            ratio = float(np.var(known)) / max(noise, 1e-300) if np.isfinite(noise) else 1e-300
            if ratio > best_ratio:
                best, best_ratio = channel, ratio
        return best


def _named(signal: Signal) -> str:
    """Return the reference that needs no choice, else nothing: a lone member is its own."""
    if signal.reference == "auto":
        return signal.members[0].channel if len(signal.members) == 1 else ""
    return signal.reference


def _reference_report(signal: Signal, channel: str) -> LagReport:
    given = next(m.lag_s for m in signal.members if m.channel == channel)
    return LagReport(signal.name, channel, -np.inf, given or 0.0, 0.0, 0.0, 1.0, True, "reference")
