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

from typing import NamedTuple

import numpy as np

from operators.records import F64, Bool

LEAST_RHO = 0.35
SIGMAS = 5.0
SIGMAS_OF_BURSTS = 3.0
LEAST_PAIRS = 6.0
SECOND_MOST = 0.8
APART_S = 0.6
SEGMENT = 64
GAUSS_NEWTON = 4
LEAST_COHERENCE = 0.25
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


def lag_of(a: F64, b: F64, hz: float, most_s: float) -> Lag:
    """Return the lag of b against a.

    Parameters
    ----------
    a, b : float64 (n,)
        Reference and channel on one grid of `hz`.
    most_s : float
        Largest lag to look for, either sign (s).
    """
    known_a, known_b = np.isfinite(a), np.isfinite(b)
    if min(known_a.sum(), known_b.sum()) < SEGMENT:
        return NOTHING
    x = np.where(known_a, a - np.mean(a[known_a]), 0.0)
    y = np.where(known_b, b - np.mean(b[known_b]), 0.0)
    if x @ x <= 1e-18 * len(x) or y @ y <= 1e-18 * len(y):
        return NOTHING._replace(note="constant")
    most = min(round(most_s * hz), len(a) - SEGMENT // 2)
    rho, shift, overlap = _correlation(x, y, known_a, known_b, most)
    peak = int(np.argmax(np.abs(rho)))
    top = float(rho[peak])
    if top < 0:
        positive = float(np.max(rho))
        if positive < LEAST_RHO:
            return Lag(float("nan"), float("nan"), top, 0.0, False, "anti-correlated")
        peak = int(np.argmax(rho))
        top = positive
    away = np.abs(shift - shift[peak]) > APART_S * hz
    second = _second(rho, away)
    chance = _chance(x, y, float(overlap[peak]), int(shift[peak]), top)
    distinct = np.clip((1 - second / top) / (1 - SECOND_MOST), 0.0, 1.0) if top > 0 else 0.0
    strong = np.clip((top - max(LEAST_RHO, chance)) / max(1 - chance, 1e-3), 0.0, 1.0)
    confidence = float(distinct * np.sqrt(strong)) if top > max(LEAST_RHO, chance) else 0.0
    note = "" if confidence > 0 else "weak" if top < max(LEAST_RHO, chance) else "ambiguous"
    if most and peak in (0, 2 * most):
        note, confidence = "at the edge", 0.0
    ok = confidence > 0 and second < SECOND_MOST * top
    if not ok:
        note = note or "ambiguous"
        return Lag(float("nan"), float("nan"), top, 0.0, False, note)
    k = int(shift[peak])
    tau, var = _phase_slope(x, y, known_a, known_b, k, hz)
    if not np.isfinite(tau):
        tau = _parabola(rho, peak) / hz
        var = (1 / top**2 - 1) / (float(overlap[peak]) * _bandwidth(x) ** 2) / hz**2
    return Lag(k / hz + tau, var, top, confidence, True, "")


def _correlation(x: F64, y: F64, known_x: Bool, known_y: Bool, most: int) -> tuple[F64, F64, F64]:
    """Return rho at each lag from -most to most, the lags, and the samples that overlap."""
    size = 1 << int(2 * len(x) - 1).bit_length()
    kx, ky = known_x.astype(float), known_y.astype(float)
    f = np.fft.rfft(np.stack((x, y, kx, ky, x * x, y * y)), size)
    product = np.stack((f[0].conj() * f[1], f[4].conj() * f[3], f[2].conj() * f[5],
                        f[2].conj() * f[3]))  # fmt: skip
    full = np.fft.irfft(product, size)
    cross, energy_x, energy_y, overlap = np.concatenate(
        (full[:, size - most :], full[:, : most + 1]), axis=1
    )
    floor = 1e-12 * float(x @ x) * float(y @ y)
    enough = overlap > 0.5 * min(known_x.sum(), known_y.sum()) - 0.5
    rho = np.where(enough, cross / np.sqrt(np.maximum(energy_x * energy_y, floor)), 0.0)
    return rho, np.arange(-most, most + 1.0), overlap


def _second(rho: F64, away: Bool) -> float:
    """Return the highest local peak away from the first.

    Troughs do not count: a member that measures the same quantity is never its mirror image.
    """
    height = rho
    local = np.zeros(len(rho), bool)
    local[1:-1] = (height[1:-1] >= height[:-2]) & (height[1:-1] >= height[2:])
    others = height[local & away]
    return float(np.max(others)) if len(others) else 0.0


def _chance(x: F64, y: F64, n: float, shift: int, rho: float) -> float:
    """Return what rho between independent series like these hardly ever exceeds.

    Bartlett's variance of a cross-correlation counts how many independent pairs the n samples
    are worth; where the energy comes in few bursts they are worth fewer, by the mean of
    x^2 y^2 over that of normal series of the same rho. Fisher's z makes a bound of the count.
    """
    size = 1 << int(2 * len(x) - 1).bit_length()
    power = np.abs(np.fft.rfft(np.stack((x, y)), size)) ** 2
    auto = np.fft.irfft(power, size)[:, : len(x) // 2]
    auto = auto / auto[:, :1]
    total = 1 + 2 * float(
        np.sum(auto[0, 1:] * auto[1, 1:] * (1 - np.arange(1, auto.shape[1]) / len(x)))
    )
    a, b = (x[: len(x) - shift], y[shift:]) if shift >= 0 else (x[-shift:], y[:shift])
    bursts = len(a) * float((a * a) @ (b * b)) / float((a @ a) * (b @ b)) / (1 + 2 * rho**2)
    pairs = n / max(total, 1.0)
    return max(_bound(SIGMAS, pairs), _bound(SIGMAS_OF_BURSTS, pairs / max(bursts, 1.0)))


def _bound(sigmas: float, pairs: float) -> float:
    """Return the correlation that lies this many sigma from none, by Fisher's z."""
    return float(np.tanh(sigmas / np.sqrt(pairs - 3))) if pairs >= LEAST_PAIRS else 1.0


def _parabola(rho: F64, peak: int) -> float:
    """Return where between its neighbours the peak lies (samples)."""
    if not 0 < peak < len(rho) - 1:
        return 0.0
    left, top, right = rho[peak - 1 : peak + 2]
    bend = left - 2 * top + right
    return float(0.5 * (left - right) / bend) if bend < 0 else 0.0


def _bandwidth(x: F64) -> float:
    """Return the rms angular frequency of a series (rad a sample)."""
    power = np.abs(np.fft.rfft(x)) ** 2
    w = np.pi * np.arange(len(power)) / max(len(power) - 1, 1)
    return float(np.sqrt(np.sum(w * w * power) / np.sum(power)))


def _phase_slope(
    x: F64, y: F64, known_x: Bool, known_y: Bool, k: int, hz: float
) -> tuple[float, float]:
    """Return what is left of the lag after a shift of k samples (s), and its variance."""
    n = len(x)
    a, b = (x[: n - k], y[k:]) if k >= 0 else (x[-k:], y[: n + k])
    both = (known_x[: n - k] & known_y[k:]) if k >= 0 else (known_x[-k:] & known_y[: n + k])
    start = np.arange(0, len(a) - SEGMENT + 1, SEGMENT // 2)
    view = np.lib.stride_tricks.sliding_window_view
    if not len(start):
        return float("nan"), float("nan")
    whole = view(both, SEGMENT)[start].all(axis=1)
    start = start[whole]
    count = len(start)
    if count < 2:
        return float("nan"), float("nan")
    window = np.hanning(SEGMENT + 1)[:-1]
    segments = np.stack((view(a, SEGMENT)[start], view(b, SEGMENT)[start]))
    segments = segments - segments.mean(axis=2, keepdims=True)
    fa, fb = np.fft.rfft(segments * window)
    cross = np.mean(fa.conj() * fb, axis=0)[1:]
    power = np.mean(np.abs(fa) ** 2, axis=0)[1:] * np.mean(np.abs(fb) ** 2, axis=0)[1:]
    raw = np.abs(cross) ** 2 / np.maximum(power, 1e-300)
    looks = max(HALF_OVERLAP * count, 1.5)
    coherence = np.clip((raw - 1 / looks) / (1 - 1 / looks), 0.0, 0.9999)
    omega = 2 * np.pi * np.arange(1, SEGMENT // 2 + 1) * hz / SEGMENT
    share = np.abs(cross)
    if float(np.sum(share * coherence) / np.sum(share)) < LEAST_COHERENCE:
        return float("nan"), float("nan")
    weight = coherence / (1 - coherence)
    information = float(np.sum(omega**2 * weight))
    tau = 0.0
    for _ in range(GAUSS_NEWTON):
        residual = np.angle(cross * np.exp(1j * omega * tau))
        tau -= float(np.sum(weight * omega * residual)) / information
    seconds = len(a) / hz
    return tau, 1 / (2 * seconds * information * hz / SEGMENT)
