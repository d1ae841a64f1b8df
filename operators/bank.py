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

from dataclasses import asdict, dataclass, field

import numpy as np

from operators.records import F64, State

Q_OFFSET = 1e-14
Q_SLOPE = np.array([1e-18, 1e-16, 1e-14, 1e-12])
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


def _each(value: float) -> F64:
    return np.full(len(Q_SLOPE), value)


@dataclass
class Bank:
    """The line offset + slope * (time - at). State: six floats and as many a filter."""

    at: float
    offset: float
    slope: float = 0.0
    readings: int = 1
    excess: float = 1.0
    edge: float = 0.0
    """Standard deviation of the last reading (s), as it turned out."""
    offsets: F64 = field(default_factory=lambda: _each(0.0))
    slopes: F64 = field(default_factory=lambda: _each(0.0))
    p00: F64 = field(default_factory=lambda: _each(0.0))
    p01: F64 = field(default_factory=lambda: _each(0.0))
    p11: F64 = field(default_factory=lambda: _each(SD_SLOPE**2))
    score: F64 = field(default_factory=lambda: _each(0.0))

    @staticmethod
    def start(at: float, offset: float, var: float) -> Bank:
        """Return a bank that knows one reading."""
        return Bank(at, offset, offsets=_each(offset), p00=_each(var))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @property
    def settled(self) -> bool:
        """Whether the noise is known."""
        return self.readings >= LEARNT

    def covariance(self) -> tuple[float, float, float]:
        """Return the variances of offset, of both together and of slope."""
        weight = self._weights()
        a, b = self.offsets - self.offset, self.slopes - self.slope
        return (
            float(weight @ (self.excess * self.p00 + a * a)),
            float(weight @ (self.excess * self.p01 + a * b)),
            float(weight @ (self.excess * self.p11 + b * b)),
        )

    def read(self, at: float, offset: float, r: float, rounding: float = 0.0) -> None:
        """Take in the offset at a time (s), of variance r (s^2), from stamps so rounded (s)."""
        self._predict(max(at - self.at, 0.0))
        self.readings += 1
        e = offset - self.offsets
        s = self.p00 + r
        own = float(e[-1] ** 2 / s[-1])
        if self.settled:
            own = min(own, 25 * self.excess)
        self.excess += max(1 - FORGET_EXCESS, 1 / self.readings) * (own - self.excess)
        self.excess = max(self.excess, 1.0 if rounding else LEAST_S**2 / r)
        unlikely = e * e / (self.excess * s)
        # What rounding can explain speaks for no wander.
        wide = s + rounding**2 / self.excess
        likely = np.log(wide) + np.minimum(unlikely * s / wide, MOST_UNLIKELY)
        self.score = FORGET_SCORE * self.score - likely / 2
        self.score -= np.max(self.score)
        if self.settled:
            s = self.p00 + r * np.maximum(np.sqrt(unlikely) / HUBER, 1.0)
        k0, k1 = self.p00 / s, self.p01 / s
        self.offsets = self.offsets + k0 * e
        self.slopes = self.slopes + k1 * e
        self.p11 = self.p11 - k1 * self.p01
        self.p01 = self.p01 * (1 - k0)
        self.p00 = self.p00 * (1 - k0)
        for k in np.flatnonzero(self.score[:-1] < GONE)[::-1].tolist():
            for x in (self.offsets, self.slopes, self.p00, self.p01, self.p11):
                x[k] = x[k + 1]
        weight = self._weights()
        self.offset = float(weight @ self.offsets)
        self.slope = min(max(float(weight @ self.slopes), -MOST_SLOPE), MOST_SLOPE)
        self.edge = float(np.sqrt(self.excess * r))

    def move(self, at: float, step: float, var: float) -> None:
        """Step by so much (s) at a time; the slope stays."""
        # The line is carried there by its value: the slope says nothing of a step.
        step += self.slope * (at - self.at)
        self.at = at
        self.offset += step
        self.offsets = self.offsets + step
        self.p00 = self.p00 + var
        self.p01 = _each(0.0)

    def _predict(self, dt: float) -> None:
        self.at += dt
        wander = Q_SLOPE * dt
        self.offsets = self.offsets + self.slopes * dt
        self.p00 = (
            self.p00 + dt * (2 * self.p01 + dt * self.p11) + dt * Q_OFFSET + wander * dt * dt / 3
        )
        self.p01 = self.p01 + dt * self.p11 + wander * dt / 2
        self.p11 = self.p11 + wander

    def _weights(self) -> F64:
        score = self.score - STEADIER * np.arange(len(Q_SLOPE))
        weight = np.exp(score - np.max(score))
        return np.asarray(weight / np.sum(weight), np.float64)
