"""scale: learnt conversion of members in other units: `gain: auto` and `offset: auto`.

A learnt member reads y = c + g x while the signal's voters, the members with a given scale, read
x. Each second, over 300 s of common ticks:

- g: Deming regression against each voter, with noise from the three-cornered hat (for two members,
  their out-of-band residual), weighted by 1 / var(log g). If the signal's `scale` is a channel,
  only that one is used.
- c: from the means of the same ticks, so that the line passes through them.
- A value becomes (y - c) / g before `quality` and `fuse`.

A voter with a slope uncertainty above 10 % is left out; a member without a voter keeps its last
gain. Before the first gain the state is `learning`, after a minute in common `unobservable`. It is
`inverted` if the member moves against the voter. It is `nonlinear` if the residual of the line
exceeds twice the noise and a square or cubic term explains it (operators/scale/nonlinearity.py).
Members in these states are not present. With a gain within 10 % of 1 and a level within 10 % of the
signal's size, the member is used unconverted and keeps its vote (`given`). A channel of two signals
is learnt in the first.

State: pair moments and cubic sums a signal, the line in force a member. Cost: none without a
learnt member, else about 150 numpy calls a packet that ends a second. Losses: none.

Sources: Deming, Statistical Adjustment of Data (1943); Stoffelen, J. Geophys. Res. 103 (1998).
"""

from __future__ import annotations

from dataclasses import replace as with_columns
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from operators.hindsight import Hindsight
from operators.presence import ACQUIRING, LIVE
from operators.records import Grid, Packet
from operators.scale.nonlinearity import bends, products
from operators.settings.plan import Plan, Signal
from operators.types import F64, SCALE_STATES, Bool, State
from operators.weights.consensus import LEVEL, MAX_LOG_SD
from operators.weights.effects import INDEPENDENT, MIN_COMMON_TICKS, deming, noise_of
from operators.weights.moments import TINY, Moments, PairMoments, Seconds
from operators.weights.three_cornered_hat import hat

GIVEN, LEARNING, LEARNT, UNOBSERVABLE, INVERTED, NONLINEAR = range(len(SCALE_STATES))
UNOBSERVABLE_TICKS = 250.0
"""Independent ticks (a minute) after which a member without a slope is unobservable."""
INVERTED_SIGMAS = 5.0
"""A correlation this many standard deviations below 0 makes a member inverted."""
MIN_MISFIT, MIN_BEND_T = 2.0, 5.0
"""Nonlinear: residual of the line in units of the noise, and |t| of the bend."""
MIN_DEVIATION, HYSTERESIS = 0.10, 0.01
"""Deviation of the gain from 1, or of the level from 0 in parts of the RMS, of another unit."""


class ScaleLine(NamedTuple):
    """A member's line in force, each (a, n) by second or (a, k) by tick.

    value = (raw - intercept) / gain; `level` is its reading less m where the signal is at its mean
    m.
    """

    intercept: F64
    gain: F64
    gain_var: F64
    level: F64
    level_var: F64
    state: F64


_START = np.array([0.0, np.nan, np.nan, np.nan, np.nan, LEARNING])
_WRITTEN = (
    "state",
    "value",
    "noise_var",
    "gain",
    "gain_var",
    "level",
    "level_var",
    "scale_state",
)
"""Columns of the grid that the station changes."""


class Scale:
    """The station: learnt members are converted to the units of their signal."""

    def __init__(self, plan: Plan, *, known: Hindsight | None = None) -> None:
        self.plan = plan
        self._known = known
        self._learners = [_Learner(plan, *learnt) for learnt in _learnt_by_signal(plan)]

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan, *, known: Hindsight | None = None) -> Scale:
        """Return the station of a snapshot."""
        station = cls(plan, known=known)
        station._learners = [
            _Learner.from_snapshot(learner, plan, *learnt)
            for learnt, learner in zip(_learnt_by_signal(plan), state["learners"], strict=True)
        ]
        return station

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"learners": [x.snapshot() for x in self._learners]}

    def shown(self) -> State:
        """Return the line of each learnt member at the end of the data; see `Learner`."""
        return {"lines": [x.line for x in self._learners]}

    def update(self, packet: Packet) -> Packet:
        """Convert the packet's grid."""
        grid = packet.grid
        if grid is None or not len(grid) or not self._learners:
            return packet
        if self._known:
            lines = self._known.of(packet.rig, "scale").get("lines", ())
            for learner, line in zip(self._learners, lines, strict=False):
                learner.fix(line)
            self._known = None
        out = with_columns(grid, **{name: getattr(grid, name).copy() for name in _WRITTEN})
        channels = [m.channel for m in self.plan.lanes]
        for learner in self._learners:
            line = learner.read(grid)
            for i, channel in enumerate(learner.channels):
                for column in (c for c, name in enumerate(channels) if name == channel):
                    _convert(out, column, ScaleLine(*(x[i] for x in line)), learner.offset[i])
        return replace(packet, grid=out)


def _learnt_by_signal(plan: Plan) -> list[tuple[Signal, list[str]]]:
    """Return each signal's learnt channels; a channel of two signals belongs to the first."""
    found: list[tuple[Signal, list[str]]] = []
    done: set[str] = set()
    for signal in plan.signals:
        channels = [m.channel for m in signal.members if plan.channel(m.channel).learnt]
        channels = [c for c in channels if c not in done]
        if channels:
            found.append((signal, channels))
            done |= set(channels)
    return found


def _convert(grid: Grid, column: int, line: ScaleLine, offset: float) -> None:
    """Write a channel's converted column into the grid."""
    state = line.state.astype(np.int8)
    learnt, live = state == LEARNT, grid.state[:, column] == LIVE
    gain = np.where(learnt, line.gain, 1.0)
    value = grid.value[:, column]
    grid.value[:, column] = np.where(learnt, (value - line.intercept) / gain, value) + offset
    grid.noise_var[:, column] /= gain * gain
    grid.scale_state[:, column] = state
    grid.state[live & ~learnt & (state != GIVEN), column] = ACQUIRING
    for name in ("gain", "gain_var", "level", "level_var"):
        getattr(grid, name)[:, column] = np.where(state == GIVEN, np.nan, getattr(line, name))


class _Learner:
    """The learnt members of one signal. Shapes: a learnt of m members, n seconds, k ticks."""

    def __init__(self, plan: Plan, signal: Signal, channels: list[str]) -> None:
        every = [m.channel for m in signal.members]
        first = [m.signal for m in plan.lanes].index(signal.name)
        self.channels = channels
        self._columns = slice(first, first + len(every))
        self._learnt = np.array([every.index(c) for c in channels])
        learnt = np.array([plan.channel(c).learnt for c in every])
        self._voters = np.flatnonzero(~learnt)
        # The primary voter is the x of the test for nonlinearity.
        named = [c for c in (signal.scale, signal.reference) if c in every]
        named = [c for c in named if not learnt[every.index(c)]]
        self._scale = every.index(signal.scale) if signal.scale in named else None
        self._primary = every.index(named[0]) if named else int(self._voters[0])
        set_up = [plan.channel(c) for c in channels]
        self._gain = np.array([c.gain == "auto" for c in set_up])
        self._level = np.array([c.offset == "auto" for c in set_up])
        # With a learnt gain, a given offset applies to converted values.
        self.offset = [c.given_offset if c.gain == "auto" else 0.0 for c in set_up]
        self._moments = Moments(len(every), plan.tick_hz, (LEVEL,), one_anchor=False)
        a = len(channels)
        self._bent, self._open = np.zeros((2, a, 5, 5))
        self._force = np.repeat(_START[:, None], a, axis=1)
        self._fixed = False

    @classmethod
    def from_snapshot(
        cls, state: State, plan: Plan, signal: Signal, channels: list[str]
    ) -> _Learner:
        """Return the learner of a snapshot."""
        learner = cls(plan, signal, channels)
        learner._moments = Moments.from_snapshot(
            state["moments"], len(signal.members), plan.tick_hz, (LEVEL,), one_anchor=False
        )
        learner._bent, learner._open = state["bent"], state["open"]
        learner._force = state["force"]
        return learner

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "moments": self._moments.snapshot(),
            "bent": self._bent,
            "open": self._open,
            "force": self._force,
        }

    @property
    def line(self) -> F64:
        """The line in force (fields, a)."""
        return self._force.copy()

    def fix(self, line: F64) -> None:
        """Use a line (fields, a) from now on, without learning."""
        self._force, self._fixed = line, True

    def read(self, grid: Grid) -> ScaleLine:
        """Add a grid; return the line in force at each of its ticks, (a, k) each."""
        if self._fixed:
            return ScaleLine(*np.repeat(self._force[:, :, None], len(grid), axis=2))
        value = grid.value[:, self._columns].T
        there = (grid.state[:, self._columns].T == LIVE) & np.isfinite(value)
        seconds = self._moments.read(grid.first, value, grid.noise_var[:, self._columns].T, there)
        n, over = len(seconds.size), seconds.over
        table = np.empty((len(_START), len(self.channels), over + 1))
        table[:, :, 0] = self._force
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            bent = self._bend(grid.first, value, there, n, over)
            if over:
                self._learn(seconds, bent, table)
        self._force = table[:, :, over].copy()
        return ScaleLine(*np.repeat(table[:, :, :n], seconds.size, axis=2))

    def _bend(self, first: int, value: F64, there: Bool, n: int, over: int) -> F64:
        """Return the cubic sums (over, a, 5, 5) after each second."""
        every = self._moments.every
        phase, k = first % every, value.shape[1]
        shape = (1 + len(self._learnt), n * every)
        x, mask = np.zeros(shape), np.zeros(shape)
        rows = np.append(self._primary, self._learnt)
        anchor = self._moments.anchor[rows, None]
        mask[:, phase : phase + k] = there[rows]
        np.subtract(value[rows], anchor, out=x[:, phase : phase + k], where=there[rows])
        y, both = (v.reshape(-1, n, every).swapaxes(0, 1) for v in (x, mask))
        sums = products(y[:, :1], y[:, 1:], both[:, :1] * both[:, 1:])
        sums[0] += self._open
        self._open = sums[over].copy() if over < n else np.zeros_like(self._open)
        out = np.empty((over, *self._bent.shape))
        keep = np.exp(-self._moments.seconds / LEVEL.seconds)
        for i in range(over):
            fresh = sums[i, :, :1, :1] > 0
            self._bent = np.where(fresh, keep, 1.0) * self._bent + sums[i]
            out[i] = self._bent
        return out

    def _learn(self, seconds: Seconds, bent: F64, table: F64) -> None:
        """Write the lines after each second into the table (fields, a, over + 1).

        Over the voters j of a member, with shares s_j of sum 1:
        gain = exp(sum s_j log g_j), intercept = sum s_j (mean_y - gain mean_j),
        level = intercept + (gain - 1) mean, var(level) = (n + gain^2 sum s_j n_j) / max N_j.
        """
        moments, mine, primary = self._moments, self._learnt, self._primary
        raw = moments.pairs(seconds.rows[1:, 0])
        looks = raw.ticks * (moments.independent * INDEPENDENT)
        met = (looks >= MIN_COMMON_TICKS) & ~np.eye(looks.shape[1], dtype=bool)
        # Noise is compared on one scale: first that of each member's own sd, then of its slope.
        unit = np.sqrt(np.diagonal(raw.var, axis1=1, axis2=2))
        unit = np.where(unit > 0, unit, 1.0)
        noise, log, var = _against_others(_in_units(raw, unit), looks, met)
        unit = unit * np.exp(np.where(_shows(raw, met, var), log, 0.0)[:, :, primary])
        noise, log, var = _against_others(_in_units(raw, unit), looks, met)
        good = _shows(raw, met, var)
        log += np.log(unit)[:, :, None] - np.log(unit)[:, None]
        noise = noise * unit**2

        votes = (slice(None), mine[:, None], self._voters)
        share = np.where(good[votes], 1 / np.maximum(var[votes], TINY), 0.0)
        if self._scale is not None:
            named = self._voters == self._scale
            share = np.where(good[:, mine, self._scale, None], named, share)
        share = np.where(self._gain[:, None], share, raw.ticks[votes] * met[votes])
        total = share.sum(axis=2)
        share /= np.maximum(total, TINY)[:, :, None]
        gain: F64 = np.where(self._gain, np.exp((share * log[votes]).sum(axis=2)), 1.0)
        gain_var = np.where(self._gain, (share * var[votes]).sum(axis=2) * gain**2, 0.0)
        anchor = np.nan_to_num(moments.anchor)
        middle = raw.mean.swapaxes(1, 2)[votes] + anchor[self._voters]
        mean = (share * middle).sum(axis=2)
        own = raw.mean[votes] + anchor[mine][:, None]
        passed = (share * (own - gain[:, :, None] * middle)).sum(axis=2)
        intercept = np.where(self._level, passed, 0.0)
        most = (looks[votes] * (share > 0)).max(axis=2)
        other = (share * noise[:, None, self._voters]).sum(axis=2)
        level_var = (noise[:, mine] + gain**2 * other) / np.maximum(most, TINY)
        line = ScaleLine(
            intercept=intercept,
            gain=gain,
            gain_var=gain_var,
            level=intercept + (gain - 1) * mean,
            level_var=np.where(self._level, level_var, 0.0),
            state=np.zeros_like(gain),
        )

        pair = (slice(None), mine, primary)
        cov, var_a, var_p = raw.cov[pair], raw.var[pair], raw.var.swapaxes(1, 2)[pair]
        against = cov * np.sqrt(looks[pair]) < -INVERTED_SIGMAS * np.sqrt(var_a * var_p)
        white = raw.noise[pair] + gain**2 * raw.noise.swapaxes(1, 2)[pair]
        rest = var_a + gain**2 * var_p - 2 * gain * cov
        curved = (rest > MIN_MISFIT * white) & (bends(bent, looks[pair]) > MIN_BEND_T)
        size = np.sqrt(mean**2 + (share * raw.var.swapaxes(1, 2)[votes]).sum(axis=2))
        level = np.where(self._level, line.level / np.maximum(size, TINY), 0.0)
        for i in range(len(mine)):
            for s in range(seconds.over):
                table[:, i, s + 1] = table[:, i, s]
                if total[s, i] > 0 and not against[s, i]:
                    table[:, i, s + 1] = [x[s, i] for x in line]
                table[-1, i, s + 1] = self._state(
                    i,
                    table[:, i, s],
                    gain=gain[s, i],
                    level=level[s, i],
                    found=total[s, i] > 0,
                    looks=looks[s, mine[i], primary],
                    against=against[s, i],
                    bent=curved[s, i],
                )

    def _state(
        self,
        i: int,
        before: F64,
        *,
        gain: float,
        level: float,
        found: bool,
        looks: float,
        against: bool,
        bent: bool,
    ) -> int:
        """Return the state of a member from a second on, given the line in force before it."""
        if against and self._gain[i]:
            return INVERTED
        if not found:
            if np.isfinite(before[1]) and before[-1] not in (INVERTED, NONLINEAR):
                return int(before[-1])
            return UNOBSERVABLE if looks >= UNOBSERVABLE_TICKS else LEARNING
        if not self._gain[i]:
            return LEARNT
        if bent:
            return NONLINEAR
        near = MIN_DEVIATION
        if before[-1] in (GIVEN, LEARNT):
            near += HYSTERESIS if before[-1] == GIVEN else -HYSTERESIS
        return GIVEN if max(abs(gain - 1), abs(level)) < near else LEARNT


def _in_units(pairs: PairMoments, unit: F64) -> PairMoments:
    """Return the moments of values in units of `unit` (n, m)."""
    mine, other = unit[:, :, None], unit[:, None]
    return pairs._replace(
        mean=pairs.mean / mine,
        var=pairs.var / mine**2,
        cov=pairs.cov / (mine * other),
        noise=pairs.noise / mine**2,
    )


def _against_others(pairs: PairMoments, looks: F64, met: Bool) -> tuple[F64, F64, F64]:
    """Return each member's noise variance (n, m), and log slope with variance of the pairs."""
    noise, m = noise_of(pairs, met), pairs.ticks.shape[1]
    whole = met.sum(axis=(1, 2)) == m * (m - 1)
    if m > 2 and whole.any():
        apart = pairs.var + pairs.var.swapaxes(1, 2) - 2 * pairs.cov
        noise[whole] = hat(np.maximum(apart[whole], 0.0), looks[whole].min(axis=(1, 2)))
        noise = np.maximum(noise, TINY)
    log, var, _ = deming(pairs, looks, noise)
    return noise, log, var


def _shows(pairs: PairMoments, met: Bool, var: F64) -> Bool:
    """Return which pairs have a slope of sufficient accuracy."""
    return np.asarray(met & (pairs.cov > 0) & (var <= MAX_LOG_SD**2))
