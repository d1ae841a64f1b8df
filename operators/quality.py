"""quality: five indicators of how well the members of a signal agree, over a sliding window.

On a 5 Hz series of the aligned members (or the grid, if slower) and Hann segments of 12.8 s, half
overlapped as nearly as whole hops allow, so that each is transformed once. With x the reference,
y another member, G cross- and P auto-spectra and sums over the band:

- phase_diff = |arg sum G_xy| / 2 pi, in cycles
- coherence = sum |G| C / sum |G|, C = (|G|^2 / (P_x P_y) - 1/L) / (1 - 1/L)
- sync_quality = |mean exp(j (phi_y - phi_x))|, phases of the analytic signal in the band
- harmony = (lambda_max - 1) / (K - 1) of the K x K coherency matrix, weighted by power
- entropy_ratio = H_norm(P_r) sum P_r / sum (P_x + P_y), r = y - x, H_norm(p) = -sum p ln p / ln N

Each present member stands against the reference (the heaviest present member by prior where it is
gone); the mean over them is weighted by cross-power. NaN with fewer than two present members or
less than a quarter of the window.

State: one window of the series and of its segments' spectra. Cost: about 20 us a hop and member.
Losses: none.

Sources: Carter, Knapp & Nuttall 1973 (bias of C); Lachaux et al., Hum. Brain Mapp. 8 (1999);
Cimenser et al., PNAS 108 (2011); Inouye et al., EEG Clin. Neurophysiol. 79 (1991); Welch 1967.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from operators.correlate import HALF_OVERLAP, SEGMENT
from operators.plan import Plan, Positive, Strict
from operators.presence import LIVE
from operators.records import F64, I64, Bool, Grid, Indicators, Packet, State
from operators.sinc import CUTOFF, PHASES, kernel

QUALITY_HZ = 5.0
BAND_HZ = (0.08, 1.5)
MOST_AT_ONCE = 256
"""Samples of the series that are taken in together: a long silence must not need long arrays."""
WINDOW = np.hanning(SEGMENT + 1)[:-1]
Complex = np.ndarray[Any, np.dtype[np.complex128]]


class QualityConfig(Strict, frozen=True, kw_only=True):
    """Which signal the indicators judge (default: the first), over which window and band."""

    signal: str | None = None
    window_s: Positive = 120.0
    hop_s: Positive = 1.0
    band_hz: Literal["auto"] | tuple[float, float] = "auto"


class Quality:
    """The five indicators."""

    def __init__(self, plan: Plan, config: QualityConfig, state: State | None = None) -> None:
        self.plan, self.config = plan, config
        name = config.signal or plan.signals[0].name
        self._signal = next(s for s in plan.signals if s.name == name)
        self._columns = [i for i, m in enumerate(plan.lanes) if m.signal == name]
        self._step = max(1, round(plan.tick_hz / QUALITY_HZ))
        self.hz = plan.tick_hz / self._step
        self._length = max(SEGMENT, round(config.window_s * self.hz))
        self._hop = max(1, round(config.hop_s * self.hz))
        self._apart = max(1, round(SEGMENT / 2 / self._hop))
        self._segments = (self._length - SEGMENT) // (self._apart * self._hop) + 1
        self._taps = self._lowpass()
        self._ahead = len(self._taps) // 2
        prior = {"ure": plan.weights.ure, "sensors": plan.weights.sensors}
        groups = [m.group for m in self._signal.members]
        self._prior = np.array([prior[g] / groups.count(g) for g in groups])
        names = [m.channel for m in self._signal.members]
        if self._signal.reference in names:
            self._prior[names.index(self._signal.reference)] = np.inf
        c, past = len(self._columns), (self._segments - 1) * self._apart
        self._first: int | None = None
        self._fine: F64 = np.empty((c, 0))
        self._series: F64 = np.full((c, self._length), np.nan)
        self._spectra: Complex = np.zeros((past, c, SEGMENT // 2 + 1), complex)
        self._whole: F64 = np.zeros((past, c))
        self._next = 0
        if state:
            self._first, self._next = state["first"], state["next"]
            self._fine, self._series = state["fine"], state["series"]
            self._spectra = state["real"] + 1j * state["imaginary"]
            self._whole = state["whole"]

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "first": self._first, "fine": self._fine, "series": self._series, "next": self._next,
            "real": self._spectra.real, "imaginary": self._spectra.imag, "whole": self._whole,
        }  # fmt: skip

    def _lowpass(self) -> F64:
        """Return the taps that bring the grid to the series' rate."""
        if self._step == 1:
            return np.ones(1)
        half = int(10 * self._step)
        k_of = kernel(CUTOFF * self.hz, 10.0 / self.hz, self.hz)
        u = np.abs(np.arange(-half, half + 1)) / self._step * PHASES
        taps = np.interp(u, np.arange(len(k_of.table)), k_of.table)
        return np.asarray(taps / taps.sum())

    def update(self, packet: Packet) -> Packet:
        """Add the indicators of the hops that this packet completes."""
        grid = packet.grid
        if grid is None:
            return packet
        if self._first is None:
            self._first = grid.first
            self._next = -(-grid.first // self._step)
        value, live = grid.value[:, self._columns].T, grid.state[:, self._columns].T == LIVE
        self._fine = np.concatenate((self._fine, np.where(live, value, np.nan)), axis=1)
        stop = self._first + self._fine.shape[1]
        # Samples of the series whose taps are all there.
        j = np.arange(self._next, (stop - 1 - self._ahead) // self._step + 1)
        found: list[Indicators] = []
        for part in np.split(j, range(MOST_AT_ONCE, len(j), MOST_AT_ONCE)):
            if len(part):
                self._series = np.concatenate((self._series, self._decimated(part)), axis=1)
                due = part[part % self._hop == 0]
                if len(due):
                    found += self._measure(due, due - part[0] + self._length, grid)
                self._series = self._series[:, -self._length :].copy()
                self._next = int(part[-1]) + 1
        drop = max(self._next * self._step - self._ahead - self._first, 0)
        self._first, self._fine = self._first + drop, self._fine[:, drop:].copy()
        return replace(packet, indicators=tuple(found))

    def _decimated(self, j: I64) -> F64:
        start = j * self._step - (self._first or 0) - self._ahead
        if self._step == 1:
            return self._fine[:, start]
        out = np.full((len(self._columns), len(j)), np.nan)
        early = int(np.searchsorted(start, 0))
        if early < len(j):
            out[:, early:] = (_windows(self._fine, len(self._taps))[start[early:]] @ self._taps).T
        return out

    def _measure(self, due: I64, at: I64, grid: Grid) -> tuple[Indicators, ...]:
        """Return the indicators of windows that end at the series' rows `at`.

        Shapes below: h hops, s segments, c members, f frequencies in the band.
        """
        row = np.clip(due * self._step + self._ahead - grid.first, 0, len(grid) - 1)
        known = np.isfinite(self._series)
        count = np.cumsum(known, axis=1)
        seen = (count[:, at] - count[:, at - self._length]).T
        live = grid.state[row][:, self._columns] == LIVE
        live &= seen >= self._length / 4
        rate = np.where(live, grid.rate_hz[row][:, self._columns], np.inf)
        low, high = self._band(rate)
        reference = np.argmax(np.where(live, self._prior, -1.0), axis=1)
        self._transform(_windows(self._series, SEGMENT)[at - SEGMENT + 1])
        share, phase, coherence, entropy, harmony = self._spectral(live, reference, low, high)
        window = _windows(self._series, self._length)[at - self._length + 1]
        locking = self._locking(window, reference, low, high)
        total = share.sum(axis=1)
        ok = (live.sum(axis=1) >= 2) & (total > 0)
        part = share / np.where(ok, total, 1.0)[:, None]
        table = np.stack(
            [(part * x).sum(axis=1) for x in (phase, coherence)]
            + [harmony]
            + [(part * x).sum(axis=1) for x in (locking, entropy)],
            axis=1,
        )
        table[~ok] = np.nan
        first = due * self._step + self._ahead
        return tuple(Indicators(t, *x) for t, x in zip(first.tolist(), table.tolist(), strict=True))

    def _band(self, rate: F64) -> tuple[float, F64]:
        """Return the band's edges (Hz), the upper one below the slowest member's Nyquist."""
        low, high = BAND_HZ if self.config.band_hz == "auto" else self.config.band_hz
        slowest = np.nan_to_num(rate, nan=np.inf).min(axis=1)
        return low, np.minimum(min(high, CUTOFF * self.hz), slowest / 2)

    def _transform(self, segment: F64) -> None:
        """Add the spectra of the segments that end at these hops (h, c, SEGMENT)."""
        mean = segment.mean(axis=2, keepdims=True)
        whole = np.isfinite(mean[..., 0])
        x = np.where(whole[..., None], segment - mean, 0.0) * WINDOW
        past = (self._segments - 1) * self._apart
        self._spectra = np.concatenate((self._spectra[len(self._spectra) - past :], np.fft.rfft(x)))
        self._whole = np.concatenate((self._whole[len(self._whole) - past :], whole.astype(float)))

    def _spectral(
        self, live: Bool, reference: I64, low: float, high: F64
    ) -> tuple[F64, F64, F64, F64, F64]:
        """Return cross-power, phase, coherence and entropy (h, c), and harmony (h,)."""
        h = len(live)
        frequency = np.arange(SEGMENT // 2 + 1) * self.hz / SEGMENT
        used = (frequency >= max(low, 1e-9) - 1e-9) & (frequency <= np.max(high) + 1e-9)
        inside = (frequency[used] <= high[:, None] + 1e-9).astype(float)
        span = self._apart * np.arange(self._segments)
        pick = (self._segments - 1) * self._apart + np.arange(h)[:, None] - span
        m = self._whole[pick] * live[:, None]
        f = self._spectra[:, :, used][pick] * (m[..., None] * inside[:, None, None])
        f = f.transpose(0, 3, 2, 1)
        cross: Complex = f.conj() @ f.swapaxes(2, 3)
        power: F64 = (f.real**2 + f.imag**2) @ m[:, None]
        count = m.swapaxes(1, 2) @ m
        k = np.arange(h)
        g, py, px = cross[k, :, reference], power[k, :, :, reference], power[k, :, reference]
        looks = np.maximum(HALF_OVERLAP * count[k, reference], 1.0 + 1e-9)[:, None]
        size = np.abs(g)
        share = np.where(live & (count[k, reference] >= 2), size.sum(axis=1), 0.0)
        share[k, reference] = 0.0
        product = px * py
        raw = size * size / np.where(product > 0, product, 1.0)
        fair = np.clip((raw - 1 / looks) / (1 - 1 / looks), 0.0, 1.0)
        coherence = (size * fair).sum(axis=1) / np.maximum(size.sum(axis=1), 1e-300)
        phase = np.abs(np.angle(g.sum(axis=1))) / (2 * np.pi)
        rest = np.maximum(px + py - 2 * g.real, 0.0)
        total = np.maximum(rest.sum(axis=1), 1e-300)
        p = np.maximum(rest / total[:, None], 1e-300)
        bins = np.maximum(inside.sum(axis=1), 2.0)[:, None]
        both = np.maximum((px + py).sum(axis=1), 1e-300)
        entropy = -(p * np.log(p)).sum(axis=1) / np.log(bins) * total / both
        norm = power * power.swapaxes(2, 3)
        coherency = cross / np.sqrt(np.where(norm > 0, norm, 1.0))
        own = np.einsum("hfcc->hfc", power)
        return share, phase, coherence, entropy, _harmony(coherency, own, live)

    def _locking(self, window: F64, reference: I64, low: float, high: F64) -> F64:
        """Return the phase-locking value of each member with the reference (h, c)."""
        n = self._length
        known = np.isfinite(window)
        whole = bool(known.all())
        if not whole:
            count = np.maximum(known.sum(axis=2, keepdims=True), 1)
            mean = np.where(known, window, 0.0).sum(axis=2, keepdims=True) / count
            window = np.where(known, window - mean, 0.0)
        top = int(np.max(high) * n / self.hz) + 1
        # The analytic signal has no more in it than every so-manieth sample shows.
        thin = max((d for d in range(1, n // top + 1) if n % d == 0), default=1)
        frequency = np.arange(top + 1) * self.hz / n
        inside = (frequency >= max(low, 1e-9)) & (frequency <= high[:, None])
        f: Complex = np.fft.rfft(window)[..., : top + 1] * inside[:, None]
        z: Complex = np.fft.ifft(f, n // thin) if top + 1 <= n // thin else np.fft.ifft(f, n)
        size = np.abs(z)
        z /= np.where(size > 1e-300, size, 1.0)
        k = np.arange(len(z))
        if whole:
            return np.asarray(np.abs((z * z[k, reference].conj()[:, None]).mean(axis=2)))
        seen = known[:, :, :: n // z.shape[2]]
        both = seen & seen[k, reference][:, None]
        locked = np.where(both, z * z[k, reference].conj()[:, None], 0.0).sum(axis=2)
        return np.asarray(np.abs(locked) / np.maximum(both.sum(axis=2), 1))


def _windows(rows: F64, width: int) -> F64:
    """Return all windows (n - width + 1, c, width) of rows (c, n), as a view."""
    c, n = rows.shape
    down, right = rows.strides
    return np.lib.stride_tricks.as_strided(rows, (n - width + 1, c, width), (right, down, right))


def _harmony(coherency: Complex, power: F64, live: Bool) -> F64:
    """Return the global coherence of the live members by hop."""
    out = np.full(len(live), np.nan)
    weight = power / np.maximum(power.sum(axis=1, keepdims=True), 1e-300)
    for pattern in {tuple(x) for x in live.tolist()}:
        members = np.flatnonzero(pattern)
        if len(members) < 2:
            continue
        hops = np.flatnonzero((live == pattern).all(axis=1))
        if len(members) == 2:
            largest: F64 = np.asarray(1.0 + np.abs(coherency[hops, :, members[0], members[1]]))
        else:
            part = coherency[hops][:, :, members][:, :, :, members]
            largest = np.asarray(np.linalg.eigvalsh(part)[..., -1], float)
        w = weight[hops][:, :, members].sum(axis=2)
        total = np.maximum(w.sum(axis=1), 1e-300)
        out[hops] = ((largest - 1) * w).sum(axis=1) / total / (len(members) - 1)
    return np.asarray(np.clip(out, 0.0, 1.0))
