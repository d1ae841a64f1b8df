"""A line followed through noisy readings: a bank of Kalman filters that learns its own noise.

States: offset th (s) at the reference time `at`, and slope g (s/s). F = [[1, dt], [0, 1]],
Q = dt [[q_th + q_g dt^2 / 3, q_g dt / 2], [q_g dt / 2, q_g]], Huber's weight beyond four sigma.
The filters differ in how freely the slope may wander (`Q_SLOPE`). The line in force is their mean,
weighted with their likelihood over the last hundred readings and a prior for the steadier; its
covariance has their spread in it. A filter that has lost all weight starts again from its
quicker neighbour, so that a clock that has calmed down is steady again.

How far R is from the truth shows in the quickest filter's innovations: variances are held in
units of R, and leave multiplied with the mean of e^2 / S (`excess`). A wrong R makes the line
neither sure of itself nor restless, and the first readings weigh as much as the last.

Sources: two-state clock, Brown & Hwang, Random Signals and Kalman Filtering; bank of filters,
Magill, IEEE Trans. Autom. Control 10 (1965); Huber, Robust Statistics.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from operators.records import State

Q_OFFSET = 1e-14
Q_SLOPE = (1e-18, 1e-16, 1e-14, 1e-12)
STEADIER = 2.0
"""Nats that each filter of the bank has less than its steadier neighbour, before the data."""
SD_SLOPE = 300e-6
MOST_SLOPE = 500e-6
HUBER = 4.0
FORGET_SCORE, FORGET_EXCESS = 0.99, 0.99
LEARNT = 10
"""Readings before innovations are believed to be what they will be."""
GONE, MOST_UNLIKELY = -12.0, 16.0
LEAST_S = 1e-6
"""No reading is believed to be better than this."""


@dataclass
class Filter:
    """One filter: offset (s) and slope (s/s) with their covariance in units of R."""

    q_slope: float
    prior: float
    offset: float
    p00: float
    slope: float = 0.0
    p01: float = 0.0
    p11: float = SD_SLOPE**2
    score: float = 0.0

    def predict(self, dt: float) -> None:
        """Go on by dt (s)."""
        wander = self.q_slope * dt
        self.offset += self.slope * dt
        self.p00 += dt * (2 * self.p01 + dt * self.p11 + Q_OFFSET + wander * dt / 3)
        self.p01 += dt * (self.p11 + wander / 2)
        self.p11 += wander

    def update(self, e: float, s: float) -> None:
        """Take in an innovation e (s) of variance s."""
        k0, k1 = self.p00 / s, self.p01 / s
        self.offset += k0 * e
        self.slope += k1 * e
        self.p11 -= k1 * self.p01
        self.p01 *= 1 - k0
        self.p00 *= 1 - k0


@dataclass
class Bank:
    """The line offset + slope * (time - at). State: five floats and eight a filter."""

    at: float
    offset: float
    filters: list[Filter]
    slope: float = 0.0
    weights: list[float] = field(default_factory=list)
    readings: int = 1
    excess: float = 1.0
    edge: float = 0.0
    """Standard deviation of the last reading (s), as it turned out."""

    @staticmethod
    def start(at: float, offset: float, var: float) -> Bank:
        """Return a bank that knows one reading."""
        each = [Filter(q, -STEADIER * k, offset, var) for k, q in enumerate(Q_SLOPE)]
        bank = Bank(at, offset, each)
        bank.weights = bank._weights()
        return bank

    @staticmethod
    def revive(state: State) -> Bank:
        """Return what `asdict` gave as a bank."""
        return Bank(**{**state, "filters": [Filter(**f) for f in state["filters"]]})

    @property
    def settled(self) -> bool:
        """Whether the noise is known."""
        return self.readings >= LEARNT

    def covariance(self) -> tuple[float, float, float]:
        """Return the variances of offset, of both together and of slope."""
        offset = both = slope = 0.0
        for f, weight in zip(self.filters, self.weights, strict=True):
            a, b = f.offset - self.offset, f.slope - self.slope
            offset += weight * (self.excess * f.p00 + a * a)
            both += weight * (self.excess * f.p01 + a * b)
            slope += weight * (self.excess * f.p11 + b * b)
        return offset, both, slope

    def read(self, at: float, offset: float, r: float, rounding: float = 0.0) -> None:
        """Take in the offset at a time (s), of variance r (s^2), from stamps so rounded (s)."""
        dt = max(at - self.at, 0.0)
        self.at += dt
        self.readings += 1
        for f in self.filters:
            f.predict(dt)
        quick = self.filters[-1]
        own = (offset - quick.offset) ** 2 / (quick.p00 + r)
        if self.settled:
            own = min(own, 25 * self.excess)
        self.excess += max(1 - FORGET_EXCESS, 1 / self.readings) * (own - self.excess)
        self.excess = max(self.excess, 1.0 if rounding else LEAST_S**2 / r)
        for f in self.filters:
            e, s = offset - f.offset, f.p00 + r
            unlikely = e * e / (self.excess * s)
            # What rounding can explain speaks for no wander.
            wide = s + rounding**2 / self.excess
            likely = math.log(wide) + min(unlikely * s / wide, MOST_UNLIKELY)
            f.score = FORGET_SCORE * f.score - likely / 2
            if self.settled and unlikely > HUBER**2:
                s = f.p00 + r * math.sqrt(unlikely) / HUBER
            f.update(e, s)
        best = max(f.score for f in self.filters)
        for f in self.filters:
            f.score -= best
        for f, quicker in zip(self.filters[-2::-1], self.filters[:0:-1], strict=True):
            if f.score < GONE:
                f.offset, f.slope = quicker.offset, quicker.slope
                f.p00, f.p01, f.p11 = quicker.p00, quicker.p01, quicker.p11
        self.weights = self._weights()
        self.offset = sum(w * f.offset for w, f in zip(self.weights, self.filters, strict=True))
        slope = sum(w * f.slope for w, f in zip(self.weights, self.filters, strict=True))
        self.slope = min(max(slope, -MOST_SLOPE), MOST_SLOPE)
        self.edge = math.sqrt(self.excess * r)

    def move(self, at: float, step: float, var: float) -> None:
        """Step by so much (s) at a time; the slope stays."""
        # The line is carried there by its value: the slope says nothing of a step.
        step += self.slope * (at - self.at)
        self.at = at
        self.offset += step
        for f in self.filters:
            f.offset += step
            f.p00 += var
            f.p01 = 0.0

    def _weights(self) -> list[float]:
        scores = [f.score + f.prior for f in self.filters]
        best = max(scores)
        weights = [math.exp(s - best) for s in scores]
        total = sum(weights)
        return [w / total for w in weights]
