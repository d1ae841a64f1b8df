"""fuse: members to one value with its sd, a mode, the indicators as exported, the sync lines.

- Mode: `fused` while every configured group has a present member and at least `min_streams`
  sensor streams are present; else by `fallback`. A signal of one group is `fused` while a member
  is present.
- Weights (operators/weights/three_cornered_hat.py) follow each member's noise, estimated each
  second of data time and shrunk to the prior. Without an estimate they follow the out-of-band
  residual of the channels, else the prior. A member's weight falls smoothly to 0 as its coverage
  falls from 0.99 to 0.9.
- Members are corrected towards the consensus of their origins by their disagreement
  (operators/weights/consensus.py): y~ = ratio y + shift.
- value = sum w y~; sd^2 = sum w^2 v + systematic^2, with v the noise behind the weights and

      systematic^2 = sum_c e_c^2 tau_c^2 + sum_c f_c^2 a_c^2 (value - m)^2

  over origins c, tau_c and a_c the sd of their level and slope, e_c the part of the origin in the
  value's level: the sum over its members of w (1 - B) + share sum (w B), B the corrected part of
  their deviation. f_c is the same for slopes. It is null until two origins have been compared or an
  sd is configured.
- With an indicator reported by the engine as a fact, the exported one is
  (w_ure reported + w_sensors measured) / (w_ure + w_sensors), or the only known one.
- The bounds of the sync error: operators/fuse/sync_bound.py.

State: pair moments a signal, clock reports, counts. Cost: about 60 numpy calls a packet and
signal, 190 where a second ends. Losses: none.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from operators.fuse.sync_bound import Bound
from operators.fuse.sync_report import MemberScales, Reporter, ScaledGrid
from operators.limits import MIN_COVERAGE
from operators.presence import LIVE
from operators.records import INDICATORS, Fused, FusedSignal, Grid, Indicators, Packet, Sparse
from operators.settings.plan import Plan, Signal
from operators.types import F64, I64, MODES, SCALE_STATES, Bool, State
from operators.weights.consensus import Consensus, Force
from operators.weights.moments import over_members
from operators.weights.three_cornered_hat import weigh

FULL_COVERAGE = 0.99
MAX_CACHED_MODES = 4096
SAME: F64 = np.ones((1, 1))
"""Factor of the weights where no fused member returns or has gaps."""
LEARNT = SCALE_STATES.index("live")
FUSED, URE_ONLY, SENSORS_ONLY, DEGRADED, NONE = range(len(MODES))
REPORTED = {
    "ure_phase_diff_mean": "phase_diff",
    "ure_coherence_level": "coherence",
    "ure_harmony_index": "harmony",
    "ure_residual_entropy_last": "entropy_ratio",
}
"""Indicators reported by the engine, by the key of the fact."""


class _Shares(NamedTuple):
    """Weights and parts of the variance at k ticks, or one column for all of them.

    Attributes
    ----------
    weights, variance : float64 (m, k)
        Of the members.
    var, level, slope : float64 (k,)
        Variance of the noise; level and slope of the systematic variance.
    whole : bool
        Whether all members are fused at each tick.
    none : bool (k,) or None
        Ticks without a fused member, None without one.
    """

    weights: F64
    variance: F64
    var: F64
    level: F64
    slope: F64
    whole: bool
    none: Bool | None


class _Held(NamedTuple):
    """The shares of a signal, and the estimates, priors, factors and members they are from."""

    force: Force
    prior: F64
    share: F64 | None
    key: bytes
    shares: _Shares


@dataclass
class _SignalState:
    """Columns of one signal in the grid, and the consensus of its members."""

    signal: Signal
    columns: slice
    names: tuple[str, ...]
    consensus: Consensus
    learns: bool
    """Whether a member has a learnt scale."""
    modes: dict[bytes, tuple[int, int, F64]] = field(default_factory=dict)
    """Mode, number and priors (m, 1) by the mask of present members."""
    shares: _Held | None = None


class Fuse:
    """The station: each signal as one value with its uncertainty."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._signals: list[_SignalState] = []
        for s in plan.signals:
            first = self._signals[-1].columns.stop if self._signals else 0
            columns = slice(first, first + len(s.members))
            names = tuple(m.channel for m in s.members)
            learns = any(plan.channel(name).learnt for name in names)
            consensus = Consensus(s, plan.tick_hz)
            self._signals.append(_SignalState(s, columns, names, consensus, learns))
        first = len(plan.members)
        self._facts = slice(first, first + len(plan.facts))
        self._has_reported = any(n.partition(":")[2] in REPORTED for n in plan.facts)
        every = [m.channel for m in plan.members]
        self._members = [i for i, n in enumerate(every) if n not in every[:i]]
        self._measured = [float("nan")] * len(INDICATORS)
        self._sparse = Sparse(0, (False,) * len(plan.members))
        self._turning: list[Sparse] = []
        self._coming: list[Indicators] = []
        self._reporter = Reporter(plan)
        self._bound = Bound(plan)

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Fuse:
        """Return the station of a snapshot."""
        station = cls(plan)
        for signal, consensus in zip(station._signals, state["signals"], strict=True):
            signal.consensus = Consensus.from_snapshot(consensus, signal.signal, plan.tick_hz)
        station._measured = list(state["measured"])
        station._sparse, *station._turning = (Sparse(n, tuple(m)) for n, m in state["sparse"])
        station._coming = [Indicators(*i) for i in state["coming"]]
        station._reporter = Reporter.from_snapshot(state["reporter"], plan)
        station._bound = Bound.from_snapshot(state["bound"], plan)
        return station

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "signals": [signal.consensus.snapshot() for signal in self._signals],
            "measured": list(self._measured),
            "sparse": [[s.first, list(s.members)] for s in (self._sparse, *self._turning)],
            "coming": [list(i) for i in self._coming],
            "reporter": self._reporter.snapshot(),
            "bound": self._bound.snapshot(),
        }

    def update(self, packet: Packet) -> Packet:
        """Fuse the packet's grid; add the sync and dead lines."""
        self._reporter.add(packet)
        self._bound.add(packet.grains)
        self._coming += packet.indicators
        self._turning += packet.sparse
        grid = packet.grid
        fused = ticks = None
        if grid is not None and len(grid):
            ticks = ScaledGrid(grid, self.plan.tick_hz)
            fused = self._fused(grid, ticks.ts, ticks.scales)
        sync, dead = self._reporter.lines(packet.rig, ticks, packet.end)
        return replace(
            packet,
            fused=fused,
            sync=sync,
            dead=dead,
            grid=None,
            clocks=(),
            grains=(),
            lags=(),
            indicators=(),
            sparse=(),
        )

    def _fused(self, grid: Grid, ts: F64, scales: list[MemberScales]) -> Fused:
        """Return the ticks at times `ts` (k,); append the scales of each signal's members."""
        k = len(grid)
        live = grid.state == LIVE
        sparse = self._sparse_members(grid)
        signals = tuple(self._fuse(signal, grid, live, sparse, scales) for signal in self._signals)
        exported = measured = self._indicators(grid)
        reported, facts = np.full(measured.shape, np.nan), np.empty((k, 0))
        if self.plan.facts:
            facts = np.where(live[:, self._facts], grid.value[:, self._facts], np.nan)
        if self._has_reported:
            self._write_reported(facts, reported)
            w = self.plan.weights
            both = (w.ure * reported + w.sensors * measured) / (w.ure + w.sensors)
            one = np.where(np.isnan(reported), measured, reported)
            exported = np.where(np.isnan(both), one, both)
        mode, present = signals[0].mode, signals[0].live
        if len(signals) > 1:
            mode = np.max([s.mode for s in signals], axis=0)
            present = np.count_nonzero(live[:, self._members], axis=1)
        bound, estimate_bound = self._bound.of(grid, ts, live, self._reporter.clocks)
        return Fused(
            ts=ts,
            released=grid.released,
            mode=mode,
            live=present,
            signals=signals,
            indicators=exported,
            measured=measured,
            reported=reported,
            facts=facts,
            fact_names=self.plan.facts,
            sync_bound_s=bound,
            sync_estimate_bound_s=estimate_bound,
            sparse=np.zeros((k, len(self._sparse.members)), bool) if sparse is None else sparse,
        )

    def _fuse(
        self,
        signal: _SignalState,
        grid: Grid,
        live: Bool,
        sparse: Bool | None,
        scales: list[MemberScales],
    ) -> FusedSignal:
        """Return the ticks of one signal. Shapes: m members, k ticks.

        y~ = ratio y + shift; value = sum w y~; var = sum w^2 v. A learnt member adds
        w^2 (var(level) + var(gain) (value - m)^2) / gain^2.

        All that is the same at each tick is one column, (m, 1).
        """
        columns, k = signal.columns, len(grid)
        live = np.ascontiguousarray(live[:, columns].T)
        value = np.ascontiguousarray(grid.value[:, columns].T)
        mode, present, prior = self._modes(signal, live)
        there = live & np.isfinite(value)
        kept = there & (prior > 0)
        if math.isfinite(self.plan.wait_lag_s):
            # A lag beyond the waiting limit: the kernel would be truncated.
            kept &= ~(self.plan.wait_lag_s < grid.lag_s[:, columns].T)
        noise = grid.noise_var[:, columns].T
        learnt = grid.scale_state[:, columns].T == LEARNT if signal.learns else None
        left_out = None if sparse is None else sparse[:, columns].T
        force, samples, size = signal.consensus.read(
            grid.first, value, noise, there, learnt, left_out
        )
        scales.append(MemberScales(columns, force, size))
        if len(size) > 1:
            force = Force(*np.repeat(np.array(force), size, axis=2))
            samples = np.repeat(samples, size, axis=1)
        if _is_even(kept):
            kept = kept[:, :1]
        share = _share(grid, columns, kept)
        shares = self._shares(signal, prior, force, noise, samples, share, kept)
        weights, variance, var = shares.weights, shares.variance, shares.var
        corrected = force.ratio * value + force.shift
        parts = weights * corrected
        if not shares.whole:
            parts = np.where(kept, parts, 0.0)
        fused = over_members(parts)
        off = fused - force.pivot[0]
        if learnt is not None and np.count_nonzero(learnt):
            gain = grid.gain[:, columns].T
            doubt = grid.level_var[:, columns].T + grid.gain_var[:, columns].T * off * off
            doubt = np.where(learnt & (weights > 0), doubt / (gain * gain), 0.0)
            var = var + over_members(weights * weights * doubt)
        systematic = besides = shares.level + shares.slope * (off * off)
        unknown = np.isnan(systematic)
        if np.count_nonzero(unknown):
            besides = np.where(unknown, _spread(weights, corrected, variance), systematic)
        sd = np.sqrt(var + besides)
        if shares.none is not None:
            none = np.broadcast_to(shares.none, k)
            fused[none] = sd[none] = systematic[none] = np.nan
        return FusedSignal(
            name=signal.signal.name,
            channels=signal.names,
            value=fused,
            sd=sd,
            systematic_sd=np.sqrt(systematic),
            mode=mode,
            live=present,
            weights=(weights if weights.shape[1] == k else np.repeat(weights, k, axis=1)).T,
            aligned=value.T,
        )

    def _shares(
        self,
        signal: _SignalState,
        prior: F64,
        force: Force,
        noise: F64,
        samples: F64,
        share: F64 | None,
        kept: Bool,
    ) -> _Shares:
        """Return the weights and the parts of the variance that do not depend on the values.

        They are the same until the force or the fused members change.
        """
        last, key = signal.shares, kept.tobytes()
        if (
            last is not None
            and last.force is force
            and last.prior is prior
            and last.share is share
            and last.key == key
        ):
            return last.shares
        variance, unknown = force.variance, np.isnan(force.variance)
        if has_unknown := bool(np.count_nonzero(unknown)):
            variance = np.where(unknown, force.ratio * force.ratio * noise, variance)
        weights = weigh(prior, variance, samples, share, kept)
        parts, whole = weights * weights * variance, np.count_nonzero(kept) == kept.size
        if not whole:
            parts = np.where(weights > 0, parts, 0.0)
        level, slope = signal.consensus.systematic(weights, force)
        none = ~np.logical_or.reduce(weights, 0)
        shares = _Shares(
            weights=weights,
            variance=variance,
            var=over_members(parts),
            level=level,
            slope=slope,
            whole=whole,
            none=np.asarray(none) if np.count_nonzero(none) else None,
        )
        signal.shares = None
        if weights.shape[1] == force.ratio.shape[1] == 1 and not has_unknown:
            signal.shares = _Held(force, prior, share, key, shares)
        return shares

    def _modes(self, signal: _SignalState, live: Bool) -> tuple[I64, I64, F64]:
        """Return modes and numbers of present members (k,), and priors (m, k) or (m, 1).

        The prior of a member that is not fused is 0.
        """
        k = live.shape[1]
        turn: list[int] = []
        if not _is_even(live):
            turn = (np.flatnonzero((live[:, 1:] != live[:, :-1]).any(axis=0)) + 1).tolist()
        found = []
        for a in (0, *turn):
            key = live[:, a].tobytes()
            if key not in signal.modes:
                if len(signal.modes) >= MAX_CACHED_MODES:
                    signal.modes.clear()
                there = live[:, a].tolist()
                mode, prior = self._mode_and_prior(signal.signal, there)
                signal.modes[key] = mode, sum(there), np.array(prior)[:, None]
            found.append(signal.modes[key])
        if not turn:
            mode, present, one = found[0]
            return np.full(k, mode), np.full(k, present), one
        size = np.diff((0, *turn, k))
        modes, presents, priors = zip(*found, strict=True)
        return (
            np.repeat(modes, size),
            np.repeat(presents, size),
            np.repeat(np.concatenate(priors, axis=1), size, axis=1),
        )

    def _mode_and_prior(self, signal: Signal, live: list[bool]) -> tuple[int, list[float]]:
        """Return the mode, and each member's prior; 0 for a member that is not fused."""
        there = [m for m, here in zip(signal.members, live, strict=True) if here]
        ure = sum(m.group == "ure" for m in there)
        sensors = len(there) - ure
        streams = len({m.source for m in there if m.group == "sensors"})
        failover, weights = self.plan.failover, self.plan.weights
        if len({m.group for m in signal.members}) == 1:
            mode = FUSED if there else NONE
        elif ure and streams >= failover.min_streams:
            mode = FUSED
        elif not there:
            mode = NONE
        elif failover.fallback == "degrade":
            mode = DEGRADED
        elif failover.fallback == "ure_only":
            mode = URE_ONLY if ure else SENSORS_ONLY
        else:
            mode = SENSORS_ONLY if sensors else URE_ONLY
        # A group of weight 0 must still give a value if it is alone.
        share = {
            "ure": max(weights.ure, 1e-9) / max(ure, 1) * (mode != SENSORS_ONLY),
            "sensors": max(weights.sensors, 1e-9) / max(sensors, 1) * (mode != URE_ONLY),
        }
        return mode, [share[m.group] * here for m, here in zip(signal.members, live, strict=True)]

    def _indicators(self, grid: Grid) -> F64:
        """Return the measured indicators in force at each tick (k, 5)."""
        if not self._coming:
            return np.array([self._measured] * len(grid))
        stop = grid.first + len(grid)
        due = [i for i in self._coming if i.first < stop]
        self._coming = self._coming[len(due) :]
        edges = [grid.first, *(max(i.first, grid.first) for i in due), stop]
        table = [self._measured, *(i[1:] for i in due)]
        self._measured = list(table[-1])
        return np.repeat(table, [b - a for a, b in pairwise(edges)], axis=0)

    def _sparse_members(self, grid: Grid) -> Bool | None:
        """Return the members left out of the indicators at each tick (k, members), None without."""
        if not self._turning and not any(self._sparse.members):
            return None
        stop = grid.first + len(grid)
        due = [s for s in self._turning if s.first < stop]
        self._turning = self._turning[len(due) :]
        held = [self._sparse, *due]
        self._sparse = held[-1]
        edges = [grid.first, *(max(s.first, grid.first) for s in due), stop]
        table = np.array([s.members for s in held], bool)
        return np.repeat(table, [b - a for a, b in pairwise(edges)], axis=0)

    def _write_reported(self, facts: F64, out: F64) -> None:
        """Write the indicators reported by the engine at each tick (k, 5)."""
        for i, name in enumerate(self.plan.facts):
            indicator = REPORTED.get(name.partition(":")[2])
            if indicator:
                # The sign of a phase difference is irrelevant.
                out[:, INDICATORS.index(indicator)] = np.abs(facts[:, i])


def _is_even(mask: Bool) -> bool:
    """Whether a mask (m, k) is the same at each tick."""
    true = np.count_nonzero(mask)
    return mask.shape[1] == 1 or true in (0, mask.size) or bool((mask == mask[:, :1]).all())


def _share(grid: Grid, columns: slice, kept: Bool) -> F64 | None:
    """Return the factor of each weight (m, k) by ramp and coverage, None where all are 1.

    ramp u^2 (3 - 2 u), u = (coverage - MIN_COVERAGE) / (FULL_COVERAGE - MIN_COVERAGE). Where all
    fused members have the factor 1, it is `SAME`.
    """
    ramp, coverage = grid.ramp[:, columns], grid.coverage[:, columns]
    less = (ramp < 1) | (coverage < FULL_COVERAGE)
    if not np.count_nonzero(less):
        return None
    if not np.count_nonzero(less.T & kept):
        return SAME
    fade = (coverage.T - MIN_COVERAGE) / (FULL_COVERAGE - MIN_COVERAGE)
    fade = np.clip(fade, 1e-6, 1.0)
    return np.asarray(ramp.T * fade * fade * (3 - 2 * fade))


def _spread(weights: F64, value: F64, variance: F64) -> F64:
    """Return the variance (k,) among members (m, k) at a tick in excess of their noise.

    max(sum w (y - mean)^2 - sum w (1 - w) v, 0).
    """
    used = weights > 0
    value = np.where(used, value, 0.0)
    off = np.where(used, value - over_members(weights * value), 0.0)
    explained = weights * (1 - weights) * np.where(used, variance, 0.0)
    return np.asarray(np.maximum(over_members(weights * off * off - explained), 0.0))
