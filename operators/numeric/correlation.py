"""Lag between two series by normalised cross-correlation, with a confidence.

Convention: b(t) = a(t - lag); lag > 0 means that b is late. Series share one even grid, with NaN
for unknown samples.

1. Mean and slope are removed. Lags of both signs are searched, each normalised by the energies of
   its overlap. A parabola through the peak interpolates between samples.
2. A peak is accepted under four conditions. It is at least 0.35. It exceeds the level that
   independent series of the same spectra reach by chance (Bartlett's count of independent pairs,
   Fisher's z); so also if only samples with energy are counted, since one bump in each series
   proves nothing. No second peak is near it: confidence falls to 0 as the second reaches 0.8 of the
   first. It falls off by 1.5 % within 0.6 s: the ends of the window move the peak of a mere drift.

A trough deeper than the peak belongs to a mirror image; the peak is then its side lobe.

A result without an accepted peak has a note: `too little data` and `constant` (confidence NaN),
`anti-correlated`, `weak`, `ambiguous` (for example periodic), `too slow` (drifting) and
`at the edge` (confidence 0).

Sources: Bartlett, J. R. Stat. Soc. Suppl. 8 (1946); Fisher, Metron 1 (1921); Jacovitti & Scarano,
IEEE Trans. Signal Processing 41 (1993), for the parabola.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.types import F64

MIN_RHO = 0.35
MIN_SIGMAS = 5.0
"""Height of a peak above chance (standard deviations)."""
MIN_SIGMAS_OF_BURSTS = 3.0
"""The same, with the independent pairs reduced for bursts."""
MIN_PAIRS = 6.0
MAX_SECOND_PEAK = 0.8
"""Ratio of the second peak to the first at which the confidence is 0."""
MIRRORED = 0.95
"""A peak below this part of the deepest trough is a side lobe of the trough.

No autocorrelation has a trough deeper than its peak."""
APART_S = 0.6
"""Least distance of a second peak from the first (s)."""
MAX_PEAK_WIDTH = 0.985
"""Largest part of the peak that rho may still have at `APART_S` from it."""
ROUNDING = 1e-20
"""Variance of a constant read through a kernel, as a part of its square."""
SEGMENT = 64
HALF_OVERLAP = 0.95
"""Independent part of half-overlapped Hann segments (Welch 1967)."""
MAX_DIRECT_PRODUCTS = 150_000
MAX_DIRECT_SAMPLES = 512
"""Above these a fast transform is faster than a sum of products: one sum for every lag of a search,
or several of them."""
Complex = NDArray[np.complexfloating[Any, Any]]


class Lag(NamedTuple):
    """Result of one window. `rho` is the signed peak; `note` is the reason where `ok` is false.

    `peak_s` is the lag of the highest peak, to the sample, accepted or not.
    """

    lag_s: float
    rho: float
    confidence: float
    ok: bool
    note: str
    peak_s: float = float("nan")


NAN = float("nan")
UNKNOWN = Lag(NAN, NAN, NAN, False, "too little data")
NO_PEAK = Lag(NAN, NAN, 0.0, False, "weak")


class SampledSeries:
    """A series less mean and slope, 0 for unknown samples, with cached quantities for searches.

    `lead`: the number of unknown samples where all of them come first, else None.
    """

    def __init__(self, x: F64) -> None:
        n = len(x)
        self.known = np.isfinite(x)
        self.count = int(np.count_nonzero(self.known))
        self.whole = self.count == n
        gaps = not (self.whole or self.known[n - self.count :].all())
        self.lead = None if gaps else n - self.count
        if gaps:
            x = np.where(self.known, x, 0.0)
            mean = float(x.sum()) / self.count
            x = x - mean * self.mask
            ramp = _ramp(n)[0]
            ramp = self.mask * (ramp - float(ramp @ self.mask) / self.count)
            x -= float(ramp @ x) / max(float(ramp @ ramp), 1.0) * ramp
        else:
            x = x[n - self.count :]
            mean = float(x.sum()) / max(self.count, 1)
            ramp, size = _ramp(self.count)
            x = x - mean
            x -= float(ramp @ x) / size * ramp
            if not self.whole:
                x = np.concatenate((np.zeros(n - self.count), x))
        self.x = x
        self.squares = x * x
        self.energy = float(self.squares.sum())
        self.moves = ROUNDING * n * mean * mean < self.energy < np.inf
        self._transform: Complex | None = None
        self._auto: F64 | None = None

    @cached_property
    def mask(self) -> F64:
        """1 for known samples, 0 for others."""
        return self.known.astype(float)

    @cached_property
    def steps(self) -> F64:
        """First differences."""
        return np.asarray(self.x[1:] - self.x[:-1])

    @cached_property
    def energies(self) -> F64:
        """The energy of the first 0 to n samples."""
        out = np.zeros(len(self.x) + 1)
        np.cumsum(self.squares, out=out[1:])
        return out

    @property
    def auto(self) -> F64:
        """The autocorrelation at the first half of all lags, 1 at lag 0."""
        if self._auto is None:
            _autocorrelate([self])
        assert self._auto is not None
        return self._auto

    def size(self, max_shift: int) -> int:
        """Return the length of a transform for lags up to `max_shift` samples."""
        n = len(self.x)
        return 1 << (n + max(max_shift, n // 2)).bit_length()

    def transform(self, max_shift: int) -> Complex:
        """Return the transform of the series, for lags up to `max_shift` samples."""
        size = self.size(max_shift)
        if self._transform is None or len(self._transform) != size // 2 + 1:
            self._transform = np.fft.rfft(self.x, size)
        return self._transform


def _autocorrelate(series: Sequence[SampledSeries]) -> None:
    """Set the autocorrelation of series of one length that have none yet, by one transform."""
    new = [s for s in series if s._auto is None]
    if not new:
        return
    n = len(new[0].x)
    r: Sequence[F64] | F64
    if n > MAX_DIRECT_SAMPLES:
        found = np.fft.rfft([s.x for s in new], new[0].size(0))
        for s, x in zip(new, found, strict=True):
            s._transform = x
        r = np.fft.irfft(found.real**2 + found.imag**2)[:, : n // 2]
    else:
        edge = np.zeros(n // 2 - 1)
        r = [np.correlate(np.concatenate((s.x, edge)), s.x, "valid") for s in new]
    for s, x in zip(new, r, strict=True):
        s._auto = x / x[0]


@lru_cache(maxsize=16)
def _ramp(n: int) -> tuple[F64, float]:
    """Return a ramp of mean 0, and its energy (at least 1)."""
    ramp = np.arange(float(n)) - (n - 1) / 2
    return ramp, max(float(ramp @ ramp), 1.0)


@lru_cache(maxsize=16)
def _taper(n: int) -> F64:
    """Return 1 - k / n for the first half of the lags k."""
    return np.asarray(1 - np.arange(n // 2) / n)


@lru_cache(maxsize=16)
def _distance(max_shift: int) -> F64:
    """Return |k| for k from -max_shift to max_shift."""
    return np.asarray(np.abs(np.arange(-max_shift, max_shift + 1.0)))


def lag_of(a: SampledSeries, b: SampledSeries, hz: float, max_lag_s: float) -> Lag:
    """Return the lag of b against a.

    Parameters
    ----------
    a, b : SampledSeries of n
        Reference and channel on one grid of `hz`.
    max_lag_s : float
        Largest lag of the search, either sign (s).
    """
    n = len(a.x)
    if min(a.count, b.count) < SEGMENT:
        return UNKNOWN
    if not (a.moves and b.moves):
        return UNKNOWN._replace(note="constant")
    max_shift = min(round(max_lag_s * hz), n - SEGMENT // 2)
    _autocorrelate((a, b))
    rho, overlap = _correlation(a, b, max_shift)
    peak, trough = int(rho.argmax()), int(rho.argmin())
    top, low = float(rho[peak]), float(rho[trough])
    none = NO_PEAK._replace(rho=top, peak_s=(peak - max_shift) / hz)
    mirrored = -low > max(top, MIN_RHO) and -low > _chance(a, b, overlap, trough, low)
    if mirrored and top < MIRRORED * -low:
        return none._replace(rho=low, note="anti-correlated")
    shift = peak - max_shift
    least = max(MIN_RHO, _chance(a, b, overlap, peak, top))
    if top <= least:
        return none
    if max_shift and peak in (0, 2 * max_shift):
        return none._replace(note="at the edge")
    aside = round(APART_S * hz)
    if max(rho[max(peak - aside, 0)], rho[min(peak + aside, 2 * max_shift)]) > MAX_PEAK_WIDTH * top:
        return none._replace(note="too slow")
    second = max(_second(rho, peak, APART_S * hz), 0.0)
    if mirrored or second >= MAX_SECOND_PEAK * top:
        return none._replace(note="ambiguous")
    # confidence = min((1 - second / top) / (1 - 0.8), 1) sqrt((top - least) / (1 - least))
    distinct = min((1 - second / top) / (1 - MAX_SECOND_PEAK), 1.0)
    strong = (top - least) / max(1 - least, 1e-3)
    lag = shift + _parabola(rho, peak)
    return Lag(lag / hz, top, distinct * math.sqrt(strong), True, "", shift / hz)


def _correlation(a: SampledSeries, b: SampledSeries, max_shift: int) -> tuple[F64, F64]:
    """Return rho at each lag from -max_shift to max_shift, and the number of overlapping samples.

    rho = sum a b / sqrt(sum a^2 sum b^2), each sum over the overlap; 0 below half of the samples.
    """
    if a.lead == b.lead is not None and max_shift <= a.count:
        overlap, energy, cross = _without_gaps(a, b, max_shift)
    elif len(a.x) > MAX_DIRECT_SAMPLES:
        overlap, energy, cross = _long(a, b, max_shift)
    else:
        overlap, energy, cross = _short(a, b, max_shift)
    rho = cross / np.sqrt(np.maximum(energy, 1e-12 * a.energy * b.energy))
    rho[overlap <= 0.5 * min(a.count, b.count) - 0.5] = 0.0
    return rho, overlap


def _without_gaps(a: SampledSeries, b: SampledSeries, max_shift: int) -> tuple[F64, F64, F64]:
    """Return the columns of `_short` where both series are known from one sample on.

    The overlap at lag k >= 0 is the first n - k samples of a and those of b from k on.
    """
    n, lead, m = len(a.x), a.lead or 0, max_shift
    overlap = a.count - _distance(m)
    # From lag -m to -1, and from 0 to m, of the later and the earlier series.
    first, last = slice(lead + m, lead, -1), slice(n, n - m - 1, -1)
    one, other = a.energies, b.energies
    energy = np.empty(2 * m + 1)
    np.multiply(one[n] - one[first], other[n - m : n], out=energy[:m])
    np.multiply(one[last], other[n] - other[lead : lead + m + 1], out=energy[m:])
    if n * len(energy) <= MAX_DIRECT_PRODUCTS:
        edge = np.zeros(m)
        cross = np.correlate(np.concatenate((edge, b.x, edge)), a.x, "valid")
    else:
        every = np.fft.irfft(a.transform(m).conj() * b.transform(m))
        cross = np.concatenate((every[len(every) - m :], every[: m + 1]))
    return overlap, energy, cross


def _short(a: SampledSeries, b: SampledSeries, max_shift: int) -> tuple[F64, F64, F64]:
    """Return overlap, product of energies and sum of products at each lag, by direct sums."""
    edge = np.zeros(max_shift)
    late, squares, known = (np.concatenate((edge, v, edge)) for v in (b.x, b.squares, b.mask))
    overlap = np.correlate(known, a.mask, "valid")
    energy = np.correlate(known, a.squares, "valid") * np.correlate(squares, a.mask, "valid")
    return overlap, energy, np.correlate(late, a.x, "valid")


def _long(a: SampledSeries, b: SampledSeries, max_shift: int) -> tuple[F64, F64, F64]:
    """Return the columns of `_short` by fast transforms."""
    size = a.size(max_shift)
    one, other = (
        np.stack((x.transform(max_shift), *np.fft.rfft(np.stack((x.squares, x.mask)), size)))
        for x in (a, b)
    )
    # Products of the series, of squares and mask (both ways), and of the masks.
    pairs = one[[0, 1, 2, 2]].conj() * other[[0, 2, 1, 2]]
    every = np.fft.irfft(pairs)
    near = np.concatenate(
        (every[:, every.shape[1] - max_shift :], every[:, : max_shift + 1]), axis=1
    )
    return np.rint(near[3]), np.maximum(near[1], 0.0) * np.maximum(near[2], 0.0), near[0]


def _second(rho: F64, peak: int, apart: float) -> float:
    """Return the highest local peak more than `apart` samples away from the first.

    Troughs are ignored: a member that measures the same quantity is never its mirror image.
    """
    below, above = math.ceil(peak - apart), math.floor(peak + apart) + 1
    top = rho[1:-1]
    peaks = (top >= rho[:-2]) & (top >= rho[2:])
    peaks[max(below - 1, 0) : max(above - 1, 0)] = False
    return float(np.where(peaks, top, 0.0).max(initial=0.0))


def _chance(a: SampledSeries, b: SampledSeries, overlap: F64, place: int, rho: float) -> float:
    """Return the chance level of rho at a lag, for independent series of the same spectra.

    Bartlett's variance of a cross-correlation gives the number of independent pairs,
    overlap / (1 + 2 sum_k (1 - k / n) r_a(k) r_b(k)). Bursts of energy reduce it by the ratio of
    mean x^2 y^2 to its value for normal series, (1 + 2 rho^2). Fisher's z gives the bound.
    """
    size, shift = len(a.x), place - len(overlap) // 2
    both = a.auto * b.auto
    total = 2 * float(both @ _taper(size)) - 1
    early, late = (a, b) if shift >= 0 else (b, a)
    n, k = size - abs(shift), abs(shift)
    level = early.energies.item(n) * (late.energy - late.energies.item(k))
    bursts = n * float(early.squares[:n] @ late.squares[k:]) / max(level, 1e-300)
    bursts /= 1 + 2 * rho**2
    pairs = float(overlap[place]) / max(total, 1.0)
    return max(_bound(MIN_SIGMAS, pairs), _bound(MIN_SIGMAS_OF_BURSTS, pairs / max(bursts, 1.0)))


def _bound(sigmas: float, pairs: float) -> float:
    """Return the correlation at `sigmas` standard deviations from 0: tanh(sigmas / sqrt(n - 3))."""
    return math.tanh(sigmas / math.sqrt(pairs - 3)) if pairs >= MIN_PAIRS else 1.0


def _parabola(rho: F64, peak: int) -> float:
    """Return the offset of the vertex from the peak sample: (l - r) / (2 (l - 2 t + r))."""
    if not 0 < peak < len(rho) - 1:
        return 0.0
    left, top, right = rho[peak - 1 : peak + 2].tolist()
    bend = left - 2 * top + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0
