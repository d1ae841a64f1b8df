"""A lag, tracked: a Kalman filter whose gain weighs cross-spectra.

The steps from sample to sample of both series (so that no slow swing leaks over the spectrum)
are cut, the later series whole samples later, into sine-windowed segments of 64, half
overlapped, each used once. With G the mean of their cross-spectra, every segment weighted as the
filter's gain has it, and W = C / (1 - C), C the bias-corrected coherence, the lag is the top of

    sum W / |G| Re(G exp(2 pi i f tau)),

found by Newton's method from where it was. That is the filter of a lag that walks q s^2/s and of
which each segment tells with a variance of 1 / I, I = sum (2 pi f)^2 W, but what is known of the
weights by now goes for the old segments, too.

So that chance has no weight, W is min(C, S) / (1 - S), S being C smoothed over three
frequencies, and nothing where S is below 1.5 / L, L the number of independent segments that the
mean is worth. The variance is (sum of squared segment weights) (1 + 1.5 / L) / I, since W from few
segments is too sure of itself (1.5 by simulation: ops/bench/lag.py), and what the lag has walked.

New segments whose own lag is more than 4 sigma off are left out, as are those of a hop whose
correlation has its peak elsewhere; the third time running the filter starts anew from them.

State: 31 values each of a cross-spectrum, two power spectra and the weights. Cost: about 40 numpy
calls a hop.

Sources: Hannan & Thomson, Biometrika 60 (1973), and Knapp & Carter, IEEE Trans. ASSP 24 (1976),
for weights and variance; Carter, Knapp & Nuttall, IEEE Trans. Audio Electroacoust. 21 (1973),
for the bias; Welch, same journal 15 (1967), for the segments; Bar-Shalom, Li & Kirubarajan,
Estimation with Applications (2001), for the gate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from operators.correlate import APART_S, SEGMENT, Lag, Series
from operators.records import F64, State

STEP = SEGMENT // 2
WINDOW = np.sin(np.pi * (np.arange(SEGMENT) + 0.5) / SEGMENT)
OMEGA = 2 * np.pi * np.arange(1, STEP) / SEGMENT
LINES = len(OMEGA)
"""The angular frequencies of a segment (rad a sample), without the two that have no phase."""
TRANSFORM = WINDOW[:, None] * np.exp(-1j * np.outer(np.arange(SEGMENT), OMEGA))
LEAST_SEGMENTS = 2
INDEPENDENT = 0.83
"""What half-overlapped sine windows are worth: 1 / (1 + 2 / pi^2) each (Welch 1967)."""
MOST_COHERENCE = 0.9999
OPTIMISM = 1.5
CHANCE, MOST_CHANCE = 1.5, 0.5
GATE = 4.0
REJECTS = 3
LEAST_BEND = 0.3
NEWTON, CLOSE_S = 4, 1e-3
"""Steps, and the last one's size: what is then left is less than 1 us."""
NAN = float("nan")
LONG_AGO = -(1 << 62)
Complex = np.ndarray[Any, np.dtype[np.complex128]]


class Pair(NamedTuple):
    """A window of two series on one grid of `hz`, `a` the reference, from tick `first` on."""

    a: Series
    b: Series
    first: int
    hz: float


class _Spectra(NamedTuple):
    """Means over so many `segments`: cross-spectrum (31,), turned back to no shift; powers.

    Segments from tick `seen` of the reference on are new.
    """

    segments: int
    seen: int
    cross: Complex
    power: F64


@dataclass
class Track:
    """One pair's lag (s).

    `walked`: variance that the walk has added (s^2); `squares`: sum of squared segment weights;
    `information` of one segment (1 / s^2); `weight`: omega W / |G|; `seen`: from which tick of
    the reference on segments are new; `since`: where the first left out of late began.
    """

    lag: float = NAN
    walked: float = 0.0
    squares: float = 1.0
    information: float = NAN
    rejects: int = 0
    seen: int = LONG_AGO
    since: int = LONG_AGO
    cross: Complex = field(default_factory=lambda: np.zeros(LINES, complex))
    power: F64 = field(default_factory=lambda: np.zeros((2, LINES)))
    weight: F64 = field(default_factory=lambda: np.zeros(LINES))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        plain = {n: getattr(self, n) for n in self.__dataclass_fields__ if n != "cross"}
        return plain | {"real": self.cross.real.copy(), "imaginary": self.cross.imag.copy()}

    @staticmethod
    def revive(state: State) -> Track:
        """Return what `snapshot` gave as a track."""
        plain = {n: x for n, x in state.items() if n not in ("real", "imaginary")}
        return Track(**plain, cross=state["real"] + 1j * state["imaginary"])

    @property
    def locked(self) -> bool:
        """Whether there is a lag."""
        return not math.isnan(self.lag)

    @property
    def var(self) -> float:
        """The variance of the lag (s^2)."""
        if not self.locked:
            return NAN
        return self._of_segments(self.squares) + self.walked

    def _of_segments(self, squares: float) -> float:
        return squares * (1 + OPTIMISM * squares / INDEPENDENT) / self.information

    def update(self, pair: Pair, found: Lag, walk: float, r: float | None = None) -> None:
        """Take in the segments that a hop brings.

        Parameters
        ----------
        pair : Pair
            The last window.
        found : Lag
            Where its correlation has its peak.
        walk : float
            Variance that the lag has gained since the last hop (s^2).
        r : float, optional
            Variance of what one segment tells (s^2), in place of the spectrum's own.
        """
        self.walked += walk
        if not found.ok:
            return
        if not self.locked:
            self._start(pair, found, r)
            return
        new = _segments(pair, self.lag, self.seen)
        if not new.segments:
            return
        turned = new.cross * np.exp(1j * pair.hz * self.lag * OMEGA)
        bend = float((self.weight * OMEGA) @ turned.real) * pair.hz
        off = float(self.weight @ turned.imag) / max(bend, LEAST_BEND * self.information)
        spread = self.var + self._of_segments(1 / new.segments)
        if off * off > GATE**2 * spread or abs(found.lag_s - self.lag) > APART_S:
            self.since = self.seen if self.rejects == 0 else self.since
            self.rejects, self.seen = self.rejects + 1, new.seen
            if self.rejects >= REJECTS:
                self._start(pair, found, r)
            return
        self.rejects, self.seen = 0, new.seen
        gain = self.squares / self.information + self.walked
        gain /= gain + 1 / (new.segments * self.information)
        self.cross = (1 - gain) * self.cross + gain * new.cross
        self.power = (1 - gain) * self.power + gain * new.power
        self.squares = (1 - gain) ** 2 * self.squares + gain**2 / new.segments
        self.walked *= (1 - gain) ** 2
        self._solve(pair.hz, r)

    def _start(self, pair: Pair, found: Lag, r: float | None) -> None:
        """Begin, or begin anew, if enough segments are there and agree with the peak."""
        new = _segments(pair, found.lag_s, self.since)
        if new.segments < LEAST_SEGMENTS:
            return
        fresh = Track(found.lag_s, 0.0, 1 / new.segments, seen=new.seen, since=new.seen)
        fresh.cross, fresh.power = new.cross, new.power
        if fresh._solve(pair.hz, r):
            self.__dict__.update(fresh.__dict__)

    def _solve(self, hz: float, r: float | None) -> bool:
        """Weigh the frequencies anew and find the lag by them; return whether it could be."""
        looks = max(INDEPENDENT / self.squares, 1.5)
        size = np.abs(self.cross)
        raw = size * size / np.maximum(self.power[0] * self.power[1], 1e-300)
        coherence = np.empty(LINES + 2)
        mine = coherence[1:-1]
        np.clip((raw * looks - 1) / (looks - 1), 0.0, MOST_COHERENCE, out=mine)
        coherence[0], coherence[-1] = mine[1], mine[-2]
        smooth = (coherence[:-2] + mine + coherence[2:]) / 3
        omega = OMEGA * hz
        weight = omega * np.minimum(mine, smooth) / (1 - smooth)
        weight[smooth < min(CHANCE / looks, MOST_CHANCE)] = 0.0
        information = float(omega @ weight)
        if not information > 0:
            return False
        weight /= np.maximum(size, 1e-300)
        lag = self.lag
        bending = weight * omega
        for _ in range(NEWTON):
            turned = self.cross * np.exp(1j * lag * omega)
            bend = max(float(bending @ turned.real), LEAST_BEND * information)
            step = float(weight @ turned.imag) / bend
            lag -= step
            if abs(step) < CLOSE_S:
                break
        if not abs(lag - self.lag) <= APART_S:
            return False
        self.lag, self.weight = lag, weight
        self.information = information if r is None else 1 / r
        return True


def _segments(pair: Pair, lag: float, since: int) -> _Spectra:
    """Return the spectra of the segments from tick `since` on, b shifted by a whole lag."""
    a, b = pair.a, pair.b
    k = round(lag * pair.hz)
    i, j = max(-k, 0), max(k, 0)
    n = len(a.x) - 1 - i - j
    start = np.arange(max(since - pair.first - i, 0), n - SEGMENT + 1, STEP)
    seen = pair.first + i + int(start[-1]) + STEP if len(start) else since
    index = start[:, None] + np.arange(SEGMENT)
    if not (a.whole and b.whole):
        known = a.known[i : i + n + 1] & b.known[j : j + n + 1]
        index = index[(known[index] & known[index + 1]).all(axis=1)]
    count = len(index)
    if not count:
        return _Spectra(0, seen, np.empty(0, complex), np.empty(0))
    parts = np.empty((2, count, SEGMENT))
    a.steps.take(index + i, out=parts[0])
    b.steps.take(index + j, out=parts[1])
    # So few segments and lines are sooner multiplied than put through a fast transform.
    spectra = parts @ TRANSFORM
    turn = np.exp((-1j * k) * OMEGA) / count
    cross = (spectra[0].conj() * spectra[1]).sum(axis=0) * turn
    power = (spectra.real**2 + spectra.imag**2).sum(axis=1) / count
    return _Spectra(count, seen, cross, power)
