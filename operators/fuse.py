"""fuse: members to one value with its sd, a mode, the indicators as exported, the sync lines.

- Mode: `fused` while every configured group has a present member and at least `min_streams`
  sensor streams do; else by `fallback`. A signal of one group is `fused` while that is present.
- Weights (operators/weights.py): three-cornered hat over a running minute, renewed each second
  of data time, shrunk to the prior; with fewer than three present the last hat, grown 10 % a
  minute; without one the channels' own out-of-band residual; else the prior. A member's weight
  falls smoothly to 0 as its coverage falls from 0.99 to 0.9.
- value = sum w y; sd^2 = sum w^2 v, with v the variances behind the weights, so that it covers
  what the members show of noise and misalignment; null while none is known.
- Where the engine reports an indicator as a fact, the exported one is
  (w_ure reported + w_sensors measured) / (w_ure + w_sensors), or the one that there is.
- sync_bound_s: the largest over present members of 2 sqrt(var(offset) + var(lag)).

State: pair tables a signal, clock reports, counts. Cost: about 60 us a second of data and
signal. Losses: none.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from operators.plan import Plan, Signal
from operators.presence import LIVE
from operators.records import (
    F64,
    I64,
    INDICATORS,
    MODES,
    Bool,
    Fused,
    FusedSignal,
    Grid,
    Indicators,
    Packet,
    State,
)
from operators.sampler import LEAST_COVERAGE
from operators.sync import Reporter
from operators.weights import Hat, weigh

FULL_COVERAGE = 0.99
RENEW_S = 1.0
INDEPENDENT_HZ = 5.0
FUSED, URE_ONLY, SENSORS_ONLY, DEGRADED, NONE = range(len(MODES))
REPORTED = {
    "ure_phase_diff_mean": "phase_diff",
    "ure_coherence_level": "coherence",
    "ure_harmony_index": "harmony",
    "ure_residual_entropy_last": "entropy_ratio",
}
"""The engine's own indicators, by the key under which it exposes them."""


@dataclass
class _Mix:
    """One signal's columns of the grid and its running differences."""

    signal: Signal
    columns: list[int]
    hat: Hat
    total: F64 = field(default_factory=lambda: np.empty(0))
    count: F64 = field(default_factory=lambda: np.empty(0))


class Fuse:
    """One signal, with what it is worth."""

    def __init__(self, plan: Plan, state: State | None = None) -> None:
        self.plan = plan
        self._every = max(1, round(RENEW_S * plan.tick_hz))
        self._mixes = []
        for s in plan.signals:
            columns = [i for i, m in enumerate(plan.lanes) if m.signal == s.name]
            m = len(columns)
            self._mixes.append(_Mix(s, columns, Hat(m), np.zeros((m, m)), np.zeros((m, m))))
        self._facts = [plan.lanes.index(m) for m in plan.lanes if not m.signal][: len(plan.facts)]
        self._told = any(n.partition(":")[2] in REPORTED for n in plan.facts)
        names = [m.channel for m in plan.members]
        self._members = [i for i, n in enumerate(names) if n not in names[:i]]
        self._measured = [float("nan")] * len(INDICATORS)
        self._coming: list[Indicators] = []
        self._reporter = Reporter(plan, state and state["reporter"])
        if state:
            for mix, saved in zip(self._mixes, state["mixes"], strict=True):
                mix.hat = Hat(**saved["hat"])
                mix.total, mix.count = saved["total"], saved["count"]
            self._measured = list(state["measured"])
            self._coming = [Indicators(*i) for i in state["coming"]]

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "mixes": [
                {"hat": x.hat.snapshot(), "total": x.total, "count": x.count} for x in self._mixes
            ],
            "measured": list(self._measured),
            "coming": [list(i) for i in self._coming],
            "reporter": self._reporter.snapshot(),
        }

    def update(self, packet: Packet) -> Packet:
        """Fuse the packet's grid; put the sync and dead lines together."""
        self._reporter.add(packet)
        self._coming += packet.indicators
        grid = packet.grid
        fused = self._fused(grid) if grid is not None and len(grid) else None
        sync, dead = self._reporter.lines(packet.rig, grid, packet.end)
        return replace(
            packet, fused=fused, sync=sync, dead=dead, grid=None, clocks=(), lags=(),
            indicators=(),
        )  # fmt: skip

    def _fused(self, grid: Grid) -> Fused:
        ts = (grid.first + np.arange(len(grid))) / self.plan.tick_hz
        live = grid.state == LIVE
        signals = tuple(self._mix(mix, grid, ts, live[:, mix.columns].T) for mix in self._mixes)
        facts = np.where(live[:, self._facts], grid.value[:, self._facts], np.nan)
        measured, reported = self._indicators(grid), self._reports(facts)
        exported = measured
        if self._told:
            w = self.plan.weights
            both = (w.ure * reported + w.sensors * measured) / (w.ure + w.sensors)
            one = np.where(np.isnan(reported), measured, reported)
            exported = np.where(np.isnan(both), one, both)
        return Fused(
            ts, grid.released, np.max([s.mode for s in signals], axis=0),
            live[:, self._members].sum(axis=1), signals, exported, measured, reported, facts,
            self.plan.facts, self._bound(grid, ts, live),
        )  # fmt: skip

    def _mix(self, mix: _Mix, grid: Grid, ts: F64, live: Bool) -> FusedSignal:
        """Return one signal's ticks; `live` (m, k) says which of its members are there."""
        columns = mix.columns
        value, coverage = grid.value[:, columns].T, grid.coverage[:, columns].T
        start = np.flatnonzero(np.append(True, (live[:, 1:] != live[:, :-1]).any(axis=0)))
        size = np.diff(start, append=live.shape[1])
        mode, allowed = self._mode(mix.signal, live[:, start])
        prior = np.repeat(self._prior(mix.signal, live[:, start]), size, axis=1)
        there = live & np.isfinite(value)
        kept = there & np.repeat(allowed, size, axis=1)
        # Later than is waited for: what there is of it would be cut off.
        kept &= ~(self.plan.wait_lag_s < grid.lag_s[:, columns].T)
        variance, samples = self._variances(mix, grid.first, ts, np.where(there, value, np.nan))
        variance = np.where(np.isnan(variance), grid.noise_var[:, columns].T, variance)
        share = grid.ramp[:, columns].T
        if (coverage < FULL_COVERAGE).any():
            fade = (coverage - LEAST_COVERAGE) / (FULL_COVERAGE - LEAST_COVERAGE)
            fade = np.clip(fade, 1e-6, 1.0)
            share = share * fade * fade * (3 - 2 * fade)
        weights = weigh(prior, variance, samples, share, kept)
        some = weights.any(axis=0)
        fused = np.where(some, (weights * np.where(kept, value, 0.0)).sum(axis=0), np.nan)
        sd = np.sqrt(np.where(weights > 0, weights * weights * variance, 0.0).sum(axis=0))
        names = tuple(m.channel for m in mix.signal.members)
        return FusedSignal(
            mix.signal.name, names, fused, np.where(some, sd, np.nan), np.repeat(mode, size),
            live.sum(axis=0), weights.T,
        )  # fmt: skip

    def _mode(self, signal: Signal, live: Bool) -> tuple[I64, Bool]:
        """Return the mode (k,), and which members it lets speak (m, k)."""
        is_ure = np.array([m.group == "ure" for m in signal.members])
        ure, sensors = live[is_ure].any(axis=0), live[~is_ure].any(axis=0)
        if is_ure.all() or not is_ure.any():
            return np.where(ure | sensors, FUSED, NONE), np.ones_like(live)
        sources = [m.source for m in signal.members]
        streams = np.sum([
            (live & ~is_ure[:, None])[[s == name for s in sources]].any(axis=0)
            for name in dict.fromkeys(sources)
        ], axis=0)  # fmt: skip
        good = ure & (streams >= self.plan.failover.min_streams)
        fallback = self.plan.failover.fallback
        if fallback == "degrade":
            fallen = np.where(ure | sensors, DEGRADED, NONE)
        else:
            first, second = (ure, sensors) if fallback == "ure_only" else (sensors, ure)
            codes = (URE_ONLY, SENSORS_ONLY) if fallback == "ure_only" else (SENSORS_ONLY, URE_ONLY)
            fallen = np.where(first, codes[0], np.where(second, codes[1], NONE))
        mode = np.where(good, FUSED, fallen)
        return mode, np.where(is_ure[:, None], mode != SENSORS_ONLY, mode != URE_ONLY)

    def _prior(self, signal: Signal, live: Bool) -> F64:
        """Return each present member's equal part of its group's weight (m, k)."""
        out = np.zeros(live.shape)
        weights = self.plan.weights
        for group, weight in (("ure", weights.ure), ("sensors", weights.sensors)):
            mine = np.array([m.group == group for m in signal.members])
            # A group that counts nothing must still be able to stand alone.
            out[mine] = max(weight, 1e-9) / np.maximum(live[mine].sum(axis=0), 1)
        return out

    def _variances(self, mix: _Mix, first: int, ts: F64, value: F64) -> tuple[F64, F64]:
        """Return each member's variance and the samples behind it (m, k)."""
        m, k = value.shape
        left, right = np.triu_indices(m)
        apart = value[left] - value[right]
        both = np.isfinite(apart)
        squared = np.where(both, apart * apart, 0.0)
        tick = first + np.arange(k)
        bucket = tick // self._every
        start = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
        size = np.diff(start, append=k)
        total, count = np.zeros((2, len(start), m, m))
        total[:, left, right] = total[:, right, left] = np.add.reduceat(squared, start, axis=1).T
        sums = np.add.reduceat(both.astype(float), start, axis=1).T
        count[:, left, right] = count[:, right, left] = sums
        seconds = self._every / self.plan.tick_hz
        independent = min(1.0, INDEPENDENT_HZ / self.plan.tick_hz)
        variance, samples = np.empty((2, m, len(start)))
        for i, (s, n) in enumerate(zip(start.tolist(), size.tolist(), strict=True)):
            variance[:, i] = mix.hat.at(int(bucket[s]) * seconds)
            samples[:, i] = mix.hat.count.diagonal() * independent
            mix.total, mix.count = mix.total + total[i], mix.count + count[i]
            if (tick[s + n - 1] + 1) % self._every == 0:
                mix.hat.add(mix.total, mix.count, float(ts[s + n - 1]), seconds)
                mix.total, mix.count = np.zeros((m, m)), np.zeros((m, m))
        return np.repeat(variance, size, axis=1), np.repeat(samples, size, axis=1)

    def _indicators(self, grid: Grid) -> F64:
        """Return the measured indicators in force at each tick (k, 5)."""
        tick = grid.first + np.arange(len(grid))
        table = [self._measured, *(list(i[1:]) for i in self._coming)]
        first = [-(1 << 62), *(i.first for i in self._coming)]
        index = np.searchsorted(first, tick, "right") - 1
        past = int(index[-1])
        out = np.array(table)[index]
        self._measured, self._coming = table[past], self._coming[past:]
        return out

    def _reports(self, facts: F64) -> F64:
        """Return what the engine reports of the indicators at each tick (k, 5)."""
        out = np.full((len(facts), len(INDICATORS)), np.nan)
        for i, name in enumerate(self.plan.facts):
            indicator = REPORTED.get(name.partition(":")[2])
            if indicator:
                # A signed phase is as far off either way.
                out[:, INDICATORS.index(indicator)] = np.abs(facts[:, i])
        return out

    def _bound(self, grid: Grid, ts: F64, live: Bool) -> F64:
        """Return twice the largest sd of a present member's time (s)."""
        bound = np.full(len(ts), np.nan)
        for i, m in enumerate(self.plan.lanes):
            if m.signal and live[:, i].any():
                variance = self._reporter.clocks.variance(m.source, ts) + grid.lag_var[:, i]
                mine = np.where(live[:, i], 2 * np.sqrt(np.maximum(variance, 0.0)), np.nan)
                bound = np.fmax(bound, mine)
        return bound
