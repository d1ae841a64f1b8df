"""A line through noisy readings: a bank of filters that estimates its own noise.

States: offset th (s) at the reference time `at`, and slope g (s/s). F = [[1, dt], [0, 1]],
Q = dt q [[dt^2 / 3, dt / 2], [dt / 2, 1]]. A reading is the least of n delays. There are two
models of it, each with three densities of wander q:

    sharp   reading = th + x + w,  x ~ Exp(mean own),  w ~ N(0, (own / 32)^2): a sharp edge
    blunt   reading - own = th + w,  w ~ N(0, R): no usable edge

With e = reading - th, S = P00 + var w, a = 1 / own, b = e / sqrt(S) - a sqrt(S) and Mills' ratio
m = phi(b) / Phi(b) the sharp likelihood is a exp(-a e + a^2 S / 2) Phi(b). Its first and second
derivative by th give the moments of state given reading, exactly: with k = (P00, P01),

    sharp   G = a - m / sqrt(S),  H = m (b + m) / S        state += k G,   P -= k k' H
    blunt   G = e / S,  H = 1 / S (Kalman), with Huber's weight beyond four sigma

The error of a sharp filter falls as 1 / n, not as 1 / sqrt(n): a reading far above the line has
little weight, one below it much. The line in force is the mean of all six filters, weighted with
their likelihood; its covariance includes their spread. A filter without weight restarts from the
line. So a clock that becomes steady is followed as steady, and a blurred edge is found again.

The error of R shows in the innovations of the fastest blunt filter. Variances of the blunt are in
units of R, and are returned multiplied by the mean of e^2 / S (`excess`). A wrong R therefore
makes the line neither overconfident nor noisy, and the first readings weigh as much as the last.
An unsharp edge is misplaced by a part of its blur, always to the same side: the offset's variance
includes a part of the blur squared (`hidden`).

Cost: 40 us a reading, 5 where it is compiled (operators/native/clock.c).

Sources: two-state clock, Brown & Hwang, Random Signals and Kalman Filtering; bank of filters,
Magill, IEEE Trans. Autom. Control 10 (1965); moments of a Gaussian given a one-sided reading,
Minka, Expectation Propagation (2001); Huber, Robust Statistics.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields

from operators import native
from operators.types import State

Q_SLOPE = (1e-20, 1e-13, 1e-12)
SHARP_PRIOR, BLUNT_PRIOR = (0.8, 0.1, 0.1), (0.97, 0.015, 0.015)
"""Prior weights of the densities of wander; blunt readings carry less information on wander."""
EDGE_BLUR, MIN_EDGE_S = 1 / 32, 2e-6
"""Blur of a sharp edge as a share of `own`, and its least (s): the grain of stamps."""
CAUTION, CAUTION_SLOPE = 0.65, 0.85
"""Mean squared errors of the sharp filters over their own variances (measured). The posterior is
a piece of an exponential, narrower than the Gaussian approximation; the slope is affected less."""
SHARP_UNITS = (CAUTION, math.sqrt(CAUTION * CAUTION_SLOPE), CAUTION_SLOPE)
SD_SLOPE = 300e-6
MAX_SLOPE = 500e-6
HUBER = 4.0
FORGET_EXCESS = 0.99
MIN_READINGS = 10
"""Readings after which the noise counts as known."""
MIN_WEIGHT, MAX_UNLIKELY = 2e-6, 16.0
MIN_READING_SD_S = 1e-6
"""Least standard deviation of a reading (s)."""
ROUNDING_VAR = 1 / 9
"""Variance of a rounding error in squares of its step: above 1/12, since neighbours correlate."""
HIDDEN_VAR = 0.18
"""Variance of the bias from a blurred edge, in squares of its blur (measured)."""
ROOT_2, ROOT_2_PI, LOG_2_PI = math.sqrt(2), math.sqrt(2 * math.pi), math.log(2 * math.pi)


@dataclass(slots=True)
class OffsetFilter:
    """One filter: offset (s) and slope (s/s) with their covariance, the blunt's in units of R."""

    q_slope: float
    sharp: bool
    weight: float
    offset: float
    p00: float
    slope: float = 0.0
    p01: float = 0.0
    p11: float = SD_SLOPE**2

    def predict(self, dt: float) -> None:
        """Predict by dt (s): state = F state, P = F P F' + Q."""
        wander = self.q_slope * dt
        self.offset += self.slope * dt
        self.p00 += dt * (2 * self.p01 + dt * (self.p11 + wander / 3))
        self.p01 += dt * (self.p11 + wander / 2)
        self.p11 += wander

    def update(self, first: float, second: float) -> None:
        """Update with the derivatives G, H of a reading's log likelihood by the offset.

        state += k G, P -= k k' H with k = (P00, P01).
        """
        k0, k1 = self.p00, self.p01
        self.offset += k0 * first
        self.slope += k1 * first
        self.p00 -= k0 * k0 * second
        self.p01 -= k0 * k1 * second
        self.p11 -= k1 * k1 * second


@dataclass
class OffsetFilterBank:
    """The line offset + slope * (time - at). State: ten floats and eight per filter."""

    at: float
    offset: float
    filters: list[OffsetFilter]
    slope: float = 0.0
    offset_var: float = 0.0
    cross_var: float = 0.0
    slope_var: float = 0.0
    hidden: float = 0.0
    """Variance of the offset that further readings do not reduce (s^2)."""
    readings: int = 1
    excess: float = 1.0
    edge: float = 0.0
    """Standard deviation of the last reading (s), after scaling by `excess`."""

    @staticmethod
    def start(at: float, offset: float, var: float) -> OffsetFilterBank:
        """Return a bank after one reading."""
        each = [
            OffsetFilter(q, sharp, prior / 2, offset, var)
            for sharp, priors in ((True, SHARP_PRIOR), (False, BLUNT_PRIOR))
            for q, prior in zip(Q_SLOPE, priors, strict=True)
        ]
        bank = OffsetFilterBank(at, offset, each)
        bank._average()
        return bank

    @classmethod
    def from_snapshot(cls, state: State) -> OffsetFilterBank:
        """Return the bank of a clock's snapshot."""
        return cls(**{**state, "filters": [OffsetFilter(**f) for f in state["filters"]]})

    @property
    def settled(self) -> bool:
        """Whether the noise is known."""
        return self.readings >= MIN_READINGS

    @property
    def sharp(self) -> bool:
        """Whether the delays have a sharp edge."""
        return _total(f.weight for f in self.filters if f.sharp) > 0.5

    def read(self, at: float, least: float, own: float, r: float, rounding: float = 0.0) -> None:
        """Update all filters with a reading of the offset.

        Parameters
        ----------
        at, least : float
            Source time and delay of the lowest stamp (s).
        own : float
            Mean distance of the least delay above the edge (s), 0 where unknown.
        r : float
            Variance of the reading, as estimated (s^2).
        rounding : float
            Step to which the stamps are rounded (s), 0 for none.
        """
        if native.kernels is not None:
            native.kernels.read(self, at, least, own, r, rounding)
            return
        dt = max(at - self.at, 0.0)
        self.at += dt
        self.readings += 1
        for f in self.filters:
            f.predict(dt)
        blur = ROUNDING_VAR * rounding**2
        r += blur
        self._learn(least - own, r, rounding)
        edge_var = max(MIN_EDGE_S, EDGE_BLUR * own) ** 2 + blur
        logs = [
            (_sharp(f, least, own, edge_var, rounding) if own else -math.inf)
            if f.sharp
            else self._blunt(f, least - own, r, rounding)
            for f in self.filters
        ]
        top = max(logs)
        for f, log in zip(self.filters, logs, strict=True):
            f.weight *= math.exp(log - top)
        self._average()
        weightless = [f for f in self.filters if f.weight < MIN_WEIGHT]
        for f in weightless:
            self._restart(f)
        if weightless:
            self._average()
        self.edge = math.sqrt(self.excess * r)
        sharp = _total(f.weight for f in self.filters if f.sharp)
        unsharp = max(self.excess * r - own * own, 0.0)
        self.hidden = HIDDEN_VAR * (sharp * edge_var + (1 - sharp) * unsharp) if own else 0.0

    def assign(self, other: OffsetFilterBank) -> None:
        """Take the state of another bank."""
        for part in fields(self):
            setattr(self, part.name, getattr(other, part.name))

    def move(self, at: float, offset: float, own: float) -> None:
        """Step to an offset at a time (s); the slope stays.

        The standard deviation is `own` for a sharp filter, at least `edge` for a blunt one.
        """
        self.at = at
        for f in self.filters:
            sd = own if f.sharp and own else max(own, self.edge)
            f.offset, f.p00, f.p01 = offset, sd**2 / self._units(f)[0], 0.0
        self._average()

    def _learn(self, offset: float, r: float, rounding: float) -> None:
        """Update `excess`, the mean of e^2 / S, from the fastest blunt filter."""
        quick = self.filters[-1]
        own = (offset - quick.offset) ** 2 / (quick.p00 + r)
        if self.settled:
            own = min(own, 25 * self.excess)
        self.excess += max(1 - FORGET_EXCESS, 1 / self.readings) * (own - self.excess)
        self.excess = max(self.excess, 1.0 if rounding else MIN_READING_SD_S**2 / r)

    def _blunt(self, f: OffsetFilter, offset: float, r: float, rounding: float) -> float:
        """Update with a Gaussian reading; return its log likelihood.

        -(log(2 pi S) + e^2 / S) / 2, with S in true units.
        """
        e, s = offset - f.offset, f.p00 + r
        true = self.excess * s
        unlikely = e * e / true
        plain = _beyond(e, rounding) ** 2 / true if rounding else unlikely
        log = -0.5 * (LOG_2_PI + math.log(true) + min(plain, MAX_UNLIKELY))
        if self.settled and unlikely > HUBER**2:
            s = f.p00 + r * math.sqrt(unlikely) / HUBER
        f.update(e / s, 1 / s)
        return log

    def _average(self) -> None:
        """Set the line to the weighted mean of the filters.

        Covariance: sum of weight * (P + d d'), d the filter's distance from the mean.
        """
        total = _total(f.weight for f in self.filters)
        base = self.filters[0]
        offset = slope = 0.0
        for f in self.filters:
            f.weight /= total
            offset += f.weight * (f.offset - base.offset)
            slope += f.weight * (f.slope - base.slope)
        self.offset, slope = base.offset + offset, base.slope + slope
        self.slope = min(max(slope, -MAX_SLOPE), MAX_SLOPE)
        v00 = v01 = v11 = 0.0
        for f in self.filters:
            a, b, (u00, u01, u11) = f.offset - self.offset, f.slope - self.slope, self._units(f)
            v00 += f.weight * (u00 * f.p00 + a * a)
            v01 += f.weight * (u01 * f.p01 + a * b)
            v11 += f.weight * (u11 * f.p11 + b * b)
        self.offset_var, self.cross_var, self.slope_var = v00, v01, v11

    def _restart(self, f: OffsetFilter) -> None:
        """Restart a filter from the line, with the least weight."""
        u00, u01, u11 = self._units(f)
        f.weight, f.offset, f.slope = MIN_WEIGHT, self.offset, self.slope
        f.p00, f.p01, f.p11 = self.offset_var / u00, self.cross_var / u01, self.slope_var / u11

    def _units(self, f: OffsetFilter) -> tuple[float, float, float]:
        """Return the units of a filter's variances and covariance."""
        return SHARP_UNITS if f.sharp else (self.excess, self.excess, self.excess)


def _total(values: Iterable[float]) -> float:
    """Return the sum, one after another: `sum` rounds otherwise from Python 3.12 on."""
    total = 0.0
    for x in values:
        total += x
    return total


def _sharp(f: OffsetFilter, least: float, own: float, var: float, rounding: float) -> float:
    """Update with the least of exponential delays; return its log likelihood.

    log(a exp(-a e + a^2 S / 2) Phi(b)), a = 1 / own.
    """
    e, s = least - f.offset, f.p00 + var
    root = math.sqrt(s)
    b = e / root - root / own
    log, mills = _normal(b)
    f.update(*_derivatives(b, mills, own, s, root))
    if rounding:
        e = own + _beyond(e - own, rounding)
        log, _ = _normal(e / root - root / own)
    log += s / (2 * own * own) - e / own
    return max(log, -0.5 * MAX_UNLIKELY - 1) - math.log(own)


def sharpened(e: float, own: float, s: float) -> tuple[float, float]:
    """Return G and H of a reading e above the line; s is the variance of both and of the blur.

    G = 1 / own - m / sqrt(s), H = m (b + m) / s, m = phi(b) / Phi(b).
    """
    root = math.sqrt(s)
    b = e / root - root / own
    _, mills = _normal(b)
    return _derivatives(b, mills, own, s, root)


def _derivatives(b: float, mills: float, own: float, s: float, root: float) -> tuple[float, float]:
    """Return G and H of `sharpened` from b and Mills' ratio; root = sqrt(s)."""
    # Far from the edge the sum cancels; the remaining variance cannot be negative.
    return 1 / own - mills / root, min(mills * (b + mills), 1.0) / s


def _beyond(e: float, rounding: float) -> float:
    """Return the part of an innovation beyond half a rounding step: evidence of wander."""
    return math.copysign(max(abs(e) - rounding / 2, 0.0), e)


def _normal(b: float) -> tuple[float, float]:
    """Return log Phi(b) and phi(b) / Phi(b)."""
    if b > -8:
        below = 0.5 * math.erfc(-b / ROOT_2)
        return math.log(below), math.exp(-0.5 * b * b) / (ROOT_2_PI * below)
    u = 1 / (b * b)
    mills = -b / (1 - u * (1 - 3 * u * (1 - 5 * u)))
    return -0.5 * b * b - math.log(ROOT_2_PI * mills), mills
