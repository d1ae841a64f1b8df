"""The lag of one series against another: normalised cross-correlation, then phase slope.

Conventions: b(t) = a(t - lag), so that lag > 0 says b is late. Series are on one even grid, NaN
where nothing is known.

1. Both signs of lag, means removed, each lag normalised by the energies of its own overlap.
2. The peak counts when it is at least 0.35 and stands out of what independent series of the same
   spectra would show (Bartlett's count of independent pairs, Fisher's z), also when only the
   moments that carry the energy are counted: one bump each proves nothing; and when no second
   peak comes near it: confidence falls to 0 as the second reaches 0.8 of the first.
3. After the whole-sample shift, tau from the phase of the cross-spectrum of Hann segments,
   weighted with W = C / (1 - C), C the bias-corrected coherence, by Gauss-Newton on the wrapped
   phase; variance 1 / (2 T sum((2 pi f)^2 W df)). Where coherence is too low for that, a parabola
   through the peak.

Sources: Hannan & Thomson, Biometrika 60 (1973); Carter, Knapp & Nuttall, IEEE Trans. Audio
Electroacoust. 21 (1973); Knapp & Carter, IEEE Trans. ASSP 24 (1976); Bartlett, J. R. Stat. Soc.
Suppl. 8 (1946); Fisher, Metron 1 (1921).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import NamedTuple

import numpy as np

from operators.records import F64

LEAST_RHO = 0.35
SIGMAS = 5.0
SIGMAS_OF_BURSTS = 3.0
LEAST_PAIRS = 6.0
SECOND_MOST = 0.8
APART_S = 0.6
SEGMENT, STEP = 64, 32
WINDOW = np.hanning(SEGMENT + 1)[:-1]
OMEGA = 2 * np.pi * np.arange(1, SEGMENT // 2 + 1) / SEGMENT
TURN = 2 * np.pi
GAUSS_NEWTON = 2
LEAST_COHERENCE, MOST_COHERENCE = 0.25, 0.9999
HALF_OVERLAP = 0.95
"""Half-overlapped Hann segments are nearly independent (Welch 1967)."""


class Lag(NamedTuple):
    """One window's answer. `rho` is the signed peak; `note` says why `ok` is false."""

    lag_s: float
    var: float
    rho: float
    confidence: float
    ok: bool
    note: str


NOTHING = Lag(float("nan"), float("nan"), 0.0, 0.0, False, "too little data")


class Series:
    """A series less its mean, 0 where nothing is known, and what any search needs of it."""

    def __init__(self, x: F64) -> None:
        self.known = np.isfinite(x)
        self.count = int(np.count_nonzero(self.known))
        self.whole = self.count == len(x)
        if self.whole and self.count:
            self.x = x - x.mean()
        else:
            mean = x[self.known].mean() if self.count else 0.0
            self.x = np.where(self.known, x - mean, 0.0)
        self.mask = self.known.astype(float)
        self.squares = self.x * self.x
        self.energy = float(self.squares.sum())

    @cached_property
    def auto(self) -> F64:
        """The autocorrelation at the first half of all lags, 1 at none."""
        beyond = np.zeros(len(self.x) // 2 - 1)
        r = np.correlate(np.concatenate((self.x, beyond)), self.x, "valid")
        return np.asarray(r / r[0])


def lag_of(a: Series, b: Series, hz: float, most_s: float) -> Lag:
    """Return the lag of b against a.

    Parameters
    ----------
    a, b : Series of n
        Reference and channel on one grid of `hz`.
    most_s : float
        Largest lag to look for, either sign (s).
    """
    n = len(a.x)
    if min(a.count, b.count) < SEGMENT:
        return NOTHING
    if not (min(a.energy, b.energy) > 1e-18 * n and max(a.energy, b.energy) < np.inf):
        return NOTHING._replace(note="constant")
    most = min(round(most_s * hz), n - SEGMENT // 2)
    rho, overlap = _correlation(a, b, most)
    peak = int(rho.argmax())
    top, low = float(rho[peak]), float(rho.min())
    if -low > top and top < LEAST_RHO:
        return NOTHING._replace(rho=low, note="anti-correlated")
    shift = peak - most
    least = max(LEAST_RHO, _chance(a, b, float(overlap[peak]), shift, top))
    if most and peak in (0, 2 * most):
        return NOTHING._replace(rho=top, note="at the edge")
    if top <= least:
        return NOTHING._replace(rho=top, note="weak")
    second = _second(rho, peak, APART_S * hz)
    if second >= SECOND_MOST * top:
        return NOTHING._replace(rho=top, note="ambiguous")
    distinct = min((1 - second / top) / (1 - SECOND_MOST), 1.0)
    strong = (top - least) / max(1 - least, 1e-3)
    tau, var = _phase_slope(a, b, shift, _parabola(rho, peak) / hz, hz)
    if not np.isfinite(var):
        var = (1 / top**2 - 1) / (float(overlap[peak]) * _bandwidth(a.x) ** 2) / hz**2
    return Lag(shift / hz + tau, var, top, distinct * math.sqrt(strong), True, "")


def _correlation(a: Series, b: Series, most: int) -> tuple[F64, F64]:
    """Return rho at each lag from -most to most, and the samples that overlap."""
    edge = np.zeros(most)
    late, squares, known = (np.concatenate((edge, v, edge)) for v in (b.x, b.squares, b.mask))
    overlap = np.correlate(known, a.mask, "valid")
    energy = np.correlate(known, a.squares, "valid") * np.correlate(squares, a.mask, "valid")
    cross = np.correlate(late, a.x, "valid")
    rho = cross / np.sqrt(np.maximum(energy, 1e-12 * a.energy * b.energy))
    rho[overlap <= 0.5 * min(a.count, b.count) - 0.5] = 0.0
    return rho, overlap


def _second(rho: F64, peak: int, apart: float) -> float:
    """Return the highest local peak more than so many samples away from the first.

    Troughs do not count: a member that measures the same quantity is never its mirror image.
    """
    inner = rho[1:-1]
    local = np.flatnonzero((inner >= rho[:-2]) & (inner >= rho[2:])) + 1
    others = rho[local[np.abs(local - peak) > apart]]
    return max(float(others.max()), 0.0) if len(others) else 0.0


def _chance(a: Series, b: Series, n: float, shift: int, rho: float) -> float:
    """Return what rho between independent series like these hardly ever exceeds.

    Bartlett's variance of a cross-correlation counts how many independent pairs the n samples
    are worth; where the energy comes in few bursts they are worth fewer, by the mean of
    x^2 y^2 over that of normal series of the same rho. Fisher's z makes a bound of the count.
    """
    size = len(a.x)
    both = a.auto * b.auto
    total = 2 * float(both.sum() - both @ np.arange(len(both)) / size) - 1
    early, late = (a, b) if shift >= 0 else (b, a)
    u, v = early.squares[: size - abs(shift)], late.squares[abs(shift) :]
    bursts = len(u) * float(u @ v) / max(float(u.sum() * v.sum()), 1e-300) / (1 + 2 * rho**2)
    pairs = n / max(total, 1.0)
    return max(_bound(SIGMAS, pairs), _bound(SIGMAS_OF_BURSTS, pairs / max(bursts, 1.0)))


def _bound(sigmas: float, pairs: float) -> float:
    """Return the correlation that lies this many sigma from none, by Fisher's z."""
    return math.tanh(sigmas / math.sqrt(pairs - 3)) if pairs >= LEAST_PAIRS else 1.0


def _parabola(rho: F64, peak: int) -> float:
    """Return where between its neighbours the peak lies (samples)."""
    if not 0 < peak < len(rho) - 1:
        return 0.0
    left, top, right = rho[peak - 1 : peak + 2].tolist()
    bend = left - 2 * top + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0


def _bandwidth(x: F64) -> float:
    """Return the rms angular frequency of a series (rad a sample)."""
    power = np.abs(np.fft.rfft(x)) ** 2
    w = np.pi * np.arange(len(power)) / max(len(power) - 1, 1)
    return float(np.sqrt(np.sum(w * w * power) / np.sum(power)))


def _phase_slope(a: Series, b: Series, k: int, tau: float, hz: float) -> tuple[float, float]:
    """Return what is left of the lag after a shift of k samples (s), and its variance.

    `tau` is a first guess, and comes back with no finite variance where coherence is too low.
    """
    i, j = max(-k, 0), max(k, 0)
    n = len(a.x) - i - j
    index = np.arange(0, n - SEGMENT + 1, STEP)[:, None] + np.arange(SEGMENT)
    if not (a.whole and b.whole):
        index = index[(a.known[index + i] & b.known[index + j]).all(axis=1)]
    if len(index) < 2:
        return tau, float("inf")
    parts = np.stack((a.x[index + i], b.x[index + j]))
    parts *= WINDOW
    spectra = np.fft.rfft(parts)
    # Less each segment's mean, which leaks to its neighbour only.
    spectra[:, :, 1] += 0.5 * spectra[:, :, 0]
    spectra = spectra[:, :, 1:]
    cross = (spectra[0].conj() * spectra[1]).sum(axis=0)
    power = (spectra.real**2 + spectra.imag**2).sum(axis=1)
    size = np.abs(cross)
    unbiased = max(HALF_OVERLAP * len(index), 1.5)
    raw = size * size / np.maximum(power[0] * power[1], 1e-300)
    coherence = (raw * unbiased - 1) / (unbiased - 1)
    coherence = np.minimum(np.maximum(coherence, 0.0), MOST_COHERENCE)
    if size @ coherence < LEAST_COHERENCE * size.sum():
        return tau, float("inf")
    omega = OMEGA * hz
    weight = omega * coherence / (1 - coherence)
    information = float(omega @ weight)
    phase = np.angle(cross)
    for _ in range(GAUSS_NEWTON):
        off = phase + omega * tau
        off -= TURN * np.rint(off / TURN)
        tau -= float(weight @ off) / information
    return tau, SEGMENT / (2 * n * information)
