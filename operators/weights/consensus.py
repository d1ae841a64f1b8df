"""Two-scale random effects: differences of a signal's members in detail and in level.

Member i reads y_i = m + l_i + g_i (x - m) + e_i. Level l_i and slope g_i - 1 are constant, the
noise e_i is not; levels, slopes and noise therefore have separate weights.

- Noise of three and more members: three-cornered hat on corrected differences over a running
  minute. Of two members: the out-of-band residual of each, and half of the remaining difference.
  Otherwise the last estimate, grown by 10 % a minute.
- Slopes: Deming regression of each pair. Levels: means over the ticks common to the pair. Both use
  300 s in common, and least squares over the pairs.
- Origins (members with a common fault) have one vote each. Their spread besides the noise, tau^2,
  follows from Paule & Mandel: sum (z_c - z)^2 / (s_c^2 + tau^2) = origins - 1. A configured
  systematic sd is the floor of tau for its origin.
- The consensus z weighs an origin by 1 / (s_c^2 + tau_c^2); if the signal's scale is a channel, z
  is that member. A member is corrected by the part tau^2 / (tau^2 + n_i / N) of its deviation:
  by 0 without disagreement.

Estimates are dated by the end of a second and are in force from then on.

State: pair moments over 60 and 300 s, and the estimate in force. Cost: about 130 numpy calls a
packet that ends a second, 30 else.

Sources: Stoffelen, J. Geophys. Res. 103 (1998), and McColl et al., Geophys. Res. Lett. 41 (2014),
for the model; Deming, Statistical Adjustment of Data (1943); Paule & Mandel, J. Res. NBS 87
(1982).
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators.settings.plan import Signal
from operators.types import F64, I64, Bool, State
from operators.weights.effects import (
    INDEPENDENT,
    MIN_COMMON_TICKS,
    deming,
    noise_of,
    of_two,
    paule_mandel,
    together,
)
from operators.weights.moments import (
    TINY,
    Moments,
    MomentWindow,
    PairMoments,
    Seconds,
    over_members,
)
from operators.weights.three_cornered_hat import hat

NOISE = MomentWindow(60.0, shared=False)
LEVEL = MomentWindow(300.0, shared=True)
WEIGHT_NOISE = 10.0
"""Variance of a mean with weights from n samples: 1 + 10 / n of the nominal one (simulated)."""
MAX_LOG_SD = 0.1
"""Standard deviation of a log slope above which the slope counts as unknown."""
INFLATION = 1.1
"""Growth of an unmeasurable variance, a minute."""


class Force(NamedTuple):
    """Estimates in force of each member, (m, n) by second or (m, k) by tick.

    Attributes
    ----------
    ratio, shift : float64
        A corrected value is ratio * value + shift.
    variance, measured, by_hat : float64
        Variance of the corrected member's noise (NaN: never measured); the second of data time of
        its measurement; 1 if the method was the three-cornered hat.
    level, slope : float64
        Level above the consensus, and excess of the slope over 1; NaN if never compared.
    level_var, slope_var : float64
        Their variance.
    level_part, slope_part : float64
        Part of them that is corrected, 0 to 1.
    level_share, slope_share : float64
        Share of the member in the consensus.
    level_tau, slope_tau : float64
        Variance of its origin's level and slope about the truth.
    pivot : float64
        Mean of the signal, m.
    compared : float64
        Second of the last comparison of two origins, -inf before the first.
    """

    ratio: F64
    shift: F64
    variance: F64
    measured: F64
    by_hat: F64
    level: F64
    level_var: F64
    level_part: F64
    level_share: F64
    level_tau: F64
    slope: F64
    slope_var: F64
    slope_part: F64
    slope_share: F64
    slope_tau: F64
    pivot: F64
    compared: F64


_INITIAL = {
    "ratio": 1.0,
    "variance": np.nan,
    "measured": np.nan,
    "level": np.nan,
    "level_var": np.nan,
    "slope": np.nan,
    "slope_var": np.nan,
    "compared": -np.inf,
}
INITIAL: F64 = np.array([_INITIAL.get(name, 0.0) for name in Force._fields])
"""In force before the first estimate."""


class _Effect(NamedTuple):
    """A level or a slope of each member (n, m): `known`, and the columns of `Force`."""

    known: Bool
    excess: F64
    var: F64
    part: F64
    share: F64
    tau: F64


class Consensus:
    """Noise, levels and slopes of one signal's members. Shapes: m members, n seconds, k ticks."""

    def __init__(self, signal: Signal, tick_hz: float) -> None:
        m = len(signal.members)
        names = [member.origin for member in signal.members]
        origins = list(dict.fromkeys(names))
        self._origin = np.array([[o == name for name in names] for o in origins], float)
        self._first, self._one_each = self._origin.argmax(axis=1), len(origins) == m
        floor = np.array([member.sd or 0.0 for member in signal.members]) ** 2
        self._floor = (self._origin * floor).max(axis=1)
        self.floor: F64 = self._floor @ self._origin
        channels = [member.channel for member in signal.members]
        self._scale = channels.index(signal.scale) if signal.scale in channels else None
        self._moments = Moments(m, tick_hz, (NOISE, LEVEL), one_anchor=True)
        self._force = np.repeat(INITIAL[:, None], m, axis=1)
        self._force[Force._fields.index("level_tau")] = self.floor
        self._now: tuple[float, Force, F64] | None = None

    @classmethod
    def from_snapshot(cls, state: State, signal: Signal, tick_hz: float) -> Consensus:
        """Return the consensus of a snapshot."""
        consensus = cls(signal, tick_hz)
        consensus._moments = Moments.from_snapshot(
            state["moments"], len(signal.members), tick_hz, (NOISE, LEVEL), one_anchor=True
        )
        consensus._force = state["force"]
        return consensus

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"moments": self._moments.snapshot(), "force": self._force}

    def read(
        self,
        first: int,
        value: F64,
        noise: F64,
        there: Bool,
        learnt: Bool | None = None,
        sparse: Bool | None = None,
    ) -> tuple[Force, F64, I64]:
        """Add ticks from index `first` on.

        Parameters
        ----------
        value, noise : float64 (m, k)
            Values, and the variance of their out-of-band residual.
        there : bool (m, k)
            Where the value is known.
        learnt : bool (m, k), optional
            Members with a learnt scale: they have no vote on level and slope.
        sparse : bool (m, k), optional
            Members with samples too far apart for the movement: their slope is unknown.

        Returns
        -------
        Force of float64 (m, n), float64 (m, n), int64 (n,)
            For each stretch of ticks within one second: the estimates known before it, the
            number of independent samples behind the noise, and its number of ticks. The same
            objects are returned while they hold.
        """
        moments, m, now = self._moments, len(value), self._now
        seconds = moments.read(first, value, noise, there)
        n, over = len(seconds.size), seconds.over
        if now is None or n > 1 or now[0] != seconds.begin[0]:
            now = None
        table = self._force[:, :, None]
        if over:
            self._now = None
            table = np.empty((len(INITIAL), m, over + 1))
            table[:, :, 0] = self._force
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                last = np.cumsum(seconds.size)[:over] - 1
                votes, dense = (
                    np.ones((over, m), bool) if mask is None else ~mask[:, last].T
                    for mask in (learnt, sparse)
                )
                self._estimate(seconds, votes, dense, table)
            self._force = table[:, :, over].copy()
        if now is not None:
            return now[1], now[2], seconds.size
        own = np.diagonal(seconds.rows[:n, 0, :m, :m], axis1=1, axis2=2).T
        force = self._grown(Force(*table[:, :, :n]), seconds.begin)
        samples = own * moments.independent
        if n == 1 and not over:
            self._now = float(seconds.begin[0]), force, samples
        return force, samples, seconds.size

    def _grown(self, force: Force, begin: F64) -> Force:
        """Return estimates (m, n) at the seconds `begin` (n,): their variances grow with age."""
        moments = self._moments
        age = (begin - force.measured) * (moments.seconds / 60)
        grown = force.variance * INFLATION ** np.maximum(age, 0.0)
        since = np.where(force.compared > -np.inf, begin - force.compared, 0.0)
        growth = INFLATION ** (np.maximum(since, 0.0) * (moments.seconds / 60))
        floor = self.floor[:, None]
        tau = floor + (force.level_tau - floor) * growth
        return force._replace(variance=grown, level_tau=tau, slope_tau=force.slope_tau * growth)

    def systematic(self, weights: F64, force: Force) -> tuple[F64, F64]:
        """Return level and slope of the systematic variance of a mean, (k,); NaN where unknown.

        The variance of a value is level + slope (value - m)^2, with
        level = sum_c e_c^2 tau_c^2 and slope = sum_c f_c^2 a_c^2 over origins c.
        `weights` (m, k) of the members' detail; `force` by tick. Each may be one column.
        """
        f = force
        level = self._spread(weights, f.level_part, f.level_share, f.level_tau)
        slope = self._spread(weights, f.slope_part, f.slope_share, f.slope_tau)
        known = f.compared[0] > -np.inf
        if np.count_nonzero(known) < known.size:
            known = known | (over_members(weights * self.floor[:, None]) > 0)
            level = np.where(known, level, np.nan)
        return level, slope

    def _spread(self, weights: F64, part: F64, share: F64, tau: F64) -> F64:
        """Return the variance (k,) of a mean from the origins' spread `tau` (m, k).

        sum_c e_c^2 tau_c, e = w (1 - part) + share sum(w part), added up over each origin c.
        """
        if not np.count_nonzero(tau):
            return np.zeros(1)
        taken = weights * part
        each = weights - taken + share * over_members(taken)
        if self._one_each:
            return over_members(each * each * tau)
        each, tau = self._origin @ each, tau[self._first]
        return over_members(each * each * tau)

    def _estimate(self, seconds: Seconds, votes: Bool, dense: Bool, table: F64) -> None:
        """Write the estimates after each second (fields, m, n + 1); column 0 is the previous one.

        Per second, with gain g_i = exp(part_i * log slope_i), level part t_i, pivot p:
        ratio_i = 1 / g_i, shift_i = p - ratio_i (p + t_i).
        """
        moments, active = self._moments, seconds.active
        pairs = moments.pairs(seconds.rows[1:, 1])
        off = ~np.eye(pairs.ticks.shape[1], dtype=bool)
        looks = pairs.ticks * (moments.independent * INDEPENDENT)
        met = (looks >= MIN_COMMON_TICKS) & off
        noise = noise_of(pairs, met)
        slope = self._slopes(pairs, looks, met, noise, votes, dense)
        gain = np.exp(np.where(slope.known, slope.part * slope.excess, 0.0))
        weight = np.where(met, pairs.ticks, 0.0)
        total = np.maximum(np.add.reduce(weight, (1, 2)), TINY)
        pivot = (np.add.reduce(weight * pairs.mean, (1, 2)) / total)[:, None]
        other = pairs.mean.transpose(0, 2, 1)
        bent = (gain[:, :, None] - gain[:, None]) * ((pairs.mean + other) / 2 - pivot[:, :, None])
        apart = np.where(met, pairs.mean - other - bent, 0.0)
        most = np.maximum.reduce(np.where(met, looks, 0.0), 2)
        level = self._effect(
            together(apart, met),
            noise / np.maximum(most, TINY),
            np.logical_or.reduce(met, 2),
            votes,
            self._floor,
        )
        taken = np.where(level.known, level.part * level.excess, 0.0)
        ratio = 1 / gain
        shift = pivot - ratio * (pivot + taken)
        anchor = self._moments.anchor
        end = seconds.begin[: seconds.over] + 1
        several = np.add.reduce(((active & votes) @ self._origin.T) > 0, 1, dtype=int) > 1
        both = np.add.reduce(((level.known & votes) @ self._origin.T) > 0, 1, dtype=int) > 1
        met_at = np.where(several & both, end, -np.inf)
        met_at = np.maximum.accumulate(np.append(table[-1, 0, 0], met_at))[1:]
        # Moments are relative to an anchor a:
        # ratio (y - a) + shift + a = ratio y + a (1 - ratio) + shift.
        new = Force(
            ratio=ratio,
            shift=np.where(np.isnan(anchor), 0.0, anchor) * (1 - ratio) + shift,
            variance=ratio,  # placeholders: `_noise` writes these three
            measured=ratio,
            by_hat=ratio,
            level=level.excess,
            level_var=level.var,
            level_part=level.part,
            level_share=level.share,
            level_tau=level.tau,
            slope=slope.excess,
            slope_var=slope.var,
            slope_part=slope.part,
            slope_share=slope.share,
            slope_tau=slope.tau,
            pivot=np.broadcast_to(pivot + np.nan_to_num(anchor), ratio.shape),
            compared=np.broadcast_to(met_at[:, None], ratio.shape),
        )
        table[:, :, 1:] = np.array(new).transpose(0, 2, 1)
        near = moments.pairs(seconds.rows[1:, 0])
        self._noise(near, ratio, shift, active, end, Force(*table))

    def _slopes(
        self, pairs: PairMoments, looks: F64, met: Bool, noise: F64, votes: Bool, dense: Bool
    ) -> _Effect:
        """Return the logarithms of the members' slopes, by Deming regression of the pairs.

        var(log g_i) = n_i / max_j (N_ij X_ij), X the signal's variance.
        """
        met = met & dense[:, :, None] & dense[:, None]
        log, var, signal = deming(pairs, looks, noise)
        good = met & (pairs.cov > 0) & (var <= MAX_LOG_SD**2)
        known_by = np.maximum.reduce(np.where(good, looks * signal, 0.0), 2)
        return self._effect(
            together(np.where(good, log, 0.0), good),
            noise / np.maximum(known_by, TINY),
            np.logical_or.reduce(good, 2),
            votes,
            np.zeros_like(self._floor),
        )

    def _effect(self, z: F64, var: F64, known: Bool, votes: Bool, floor: F64) -> _Effect:
        """Return members' levels or slopes `z` (n, m), of variance `var`, against the consensus.

        Origin c: z_c = sum_i z_i / var_i / sum_i 1 / var_i, s_c^2 = 1 / sum_i 1 / var_i;
        vote_c = 1 / (s_c^2 + tau_c^2) / sum; part_i = tau^2 / (tau^2 + var_i).
        """
        origin = self._origin
        weight = np.where(known & votes, 1 / np.maximum(var, TINY), 0.0)
        total = weight @ origin.T
        valid, sure = total > 0, np.maximum(total, TINY)
        mean, own = ((weight * z) @ origin.T) / sure, 1 / sure
        tau = np.maximum(paule_mandel(mean, own, valid)[:, None], floor)
        vote = np.where(valid, 1 / (own + tau), 0.0)
        vote /= np.maximum(np.add.reduce(vote, 1, keepdims=True), TINY)
        share = (vote @ origin) * weight / np.maximum(total @ origin, TINY)
        if self._scale is not None:
            given = known[:, self._scale, None]
            alone = np.arange(z.shape[1]) == self._scale
            share = np.where(given, alone, share)
        excess = np.where(known, z - np.add.reduce(share * z, 1, keepdims=True), np.nan)
        spread = tau @ origin
        compared = known & (np.add.reduce(valid, 1, dtype=int, keepdims=True) > 1)
        part = np.where(compared, spread / np.maximum(spread + var, TINY), 0.0)
        # A learnt member follows the consensus: its deviation is 0.
        excess, part = np.where(votes, excess, known * 0.0), np.where(votes, part, compared * 1.0)
        beyond = tau + np.where(valid & (tau > 0), own, 0.0)
        return _Effect(known, excess, np.where(known, var, np.nan), part, share, beyond @ origin)

    def _noise(
        self, pairs: PairMoments, ratio: F64, shift: F64, active: Bool, end: F64, force: Force
    ) -> None:
        """Write noise variance, time and method of its measurement, after each second.

        Mean squared difference: V_ij = var_i + var_j - 2 cov_ij + (mean_i - mean_j)^2, corrected.
        """
        variance, measured, by_hat = force.variance, force.measured, force.by_hat
        mean = ratio[:, :, None] * pairs.mean + shift[:, :, None]
        var = ratio[:, :, None] ** 2 * pairs.var
        apart = var + var.transpose(0, 2, 1)
        apart -= 2 * ratio[:, :, None] * ratio[:, None] * pairs.cov
        apart = np.maximum(apart, 0.0) + (mean - mean.transpose(0, 2, 1)) ** 2
        looks = pairs.ticks * self._moments.independent
        turn = np.flatnonzero(np.logical_or.reduce(active[1:] != active[:-1], 1)) + 1
        for a, b in pairwise((0, *turn.tolist(), len(active))):
            for row in (variance, measured, by_hat):
                row[:, a + 1 : b + 1] = row[:, a, None]
            mine = np.flatnonzero(active[a])
            few = len(mine) == 2 and not np.count_nonzero(by_hat[mine, a])
            if len(mine) < 3 and not few:
                continue
            square = (slice(a, b), mine[:, None], mine)
            v, n = apart[square], np.minimum.reduce(looks[square], (1, 2))
            if few:
                own = np.diagonal(ratio[a:b, :, None] ** 2 * pairs.noise[a:b], axis1=1, axis2=2)
                found = of_two(v[:, 0, 1], own[:, mine], n)
            else:
                found = hat(v, n) * (1 + WEIGHT_NOISE / np.maximum(n, 1.0))[:, None]
            good = n > 0
            to = (mine[:, None], a + 1 + np.flatnonzero(good))
            variance[to], measured[to] = found[good].T, end[a:b][good]
            by_hat[to] = not few
