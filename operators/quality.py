"""quality: five indicators of how well the members of a signal agree, over a sliding window.

On a 5 Hz series of the aligned members (or the grid, if slower) and Hann segments of 12.8 s half
overlapped; x the reference, y another member, G cross- and P auto-spectra, sums over the band:

- phase_diff = |arg sum G_xy| / 2 pi, in cycles
- coherence = sum |G| C / sum |G|, C = (|G|^2 / (P_x P_y) - 1/L) / (1 - 1/L)
- sync_quality = |mean exp(j (phi_y - phi_x))|, phases of the analytic signal in the band
- harmony = (lambda_max - 1) / (K - 1) of the K x K coherency matrix, weighted by power
- entropy_ratio = H_norm(P_r) sum P_r / sum (P_x + P_y), r = y - x, H_norm(p) = -sum p ln p / ln N

Each present member stands against the reference (the heaviest present member by prior where it is
gone); the mean over them is weighted by cross-power. NaN with fewer than two present members or
less than a quarter of the window.

State: one window of the series. Cost: about 20 us a hop and member. Losses: none.

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
from operators.sinc import CUTOFF, kernel

QUALITY_HZ = 5.0
BAND_HZ = (0.08, 1.5)
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
        self._taps = self._lowpass()
        self._ahead = len(self._taps) // 2
        c = len(self._columns)
        prior = {"ure": plan.weights.ure, "sensors": plan.weights.sensors}
        groups = [m.group for m in self._signal.members]
        self._prior = np.array([prior[g] / groups.count(g) for g in groups])
        self._first: int | None = None
        self._fine: F64 = np.empty((0, c))
        self._series: F64 = np.full((self._length, c), np.nan)
        self._next = 0
        if state:
            self._first, self._next = state["first"], state["next"]
            self._fine, self._series = state["fine"], state["series"]

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {
            "first": self._first, "fine": self._fine, "series": self._series, "next": self._next,
        }  # fmt: skip

    def _lowpass(self) -> F64:
        """Return the taps that bring the grid to the series' rate."""
        if self._step == 1:
            return np.ones(1)
        half = 10.0 / self.hz
        u = np.arange(-int(half * self.plan.tick_hz), int(half * self.plan.tick_hz) + 1)
        taps = kernel(CUTOFF * self.hz, half)(u / self.plan.tick_hz)
        return np.asarray(taps / taps.sum())

    def update(self, packet: Packet) -> Packet:
        """Add the indicators of the hops that this packet completes."""
        grid = packet.grid
        if grid is None:
            return packet
        if self._first is None:
            self._first = grid.first
            self._next = -(-grid.first // self._step)
        value, live = grid.value[:, self._columns], grid.state[:, self._columns] == LIVE
        self._fine = np.concatenate((self._fine, np.where(live, value, np.nan)))
        stop = self._first + len(self._fine)
        # Samples of the series whose taps are all there.
        j = np.arange(self._next, (stop - 1 - self._ahead) // self._step + 1)
        if not len(j):
            return packet
        self._series = np.concatenate((self._series, self._decimated(j)))
        due = j[j % self._hop == 0]
        found = self._measure(due, due - j[0] + self._length, grid) if len(due) else ()
        self._series = self._series[-self._length :].copy()
        self._next = int(j[-1]) + 1
        drop = max(self._next * self._step - self._ahead - self._first, 0)
        self._first, self._fine = self._first + drop, self._fine[drop:].copy()
        return replace(packet, indicators=found)

    def _decimated(self, j: I64) -> F64:
        if self._step == 1:
            return self._fine[j - (self._first or 0)]
        at = (j * self._step - (self._first or 0))[:, None] + np.arange(len(self._taps))
        at -= self._ahead
        inside: Bool = np.all(at >= 0, axis=1)
        out = self._taps @ self._fine[np.maximum(at, 0)]
        return np.where(inside[:, None], out, np.nan)

    def _measure(self, due: I64, at: I64, grid: Grid) -> tuple[Indicators, ...]:
        """Return the indicators of windows that end at the series' rows `at`.

        Shapes below: h hops, c members, s segments, f frequencies in the band.
        """
        window = self._series[at[:, None] + np.arange(1 - self._length, 1)].transpose(2, 0, 1)
        known = np.isfinite(window)
        row = np.clip(due * self._step + self._ahead - grid.first, 0, len(grid) - 1)
        live = (grid.state[row][:, self._columns] == LIVE).T & known.any(axis=2)
        rate = np.where(live.T, grid.rate_hz[row][:, self._columns], np.nan)
        enough = known.sum(axis=2) >= self._length / 4
        live &= enough
        low, high = self._band(rate)
        reference = self._reference(live)
        ok = live.sum(axis=0) >= 2
        spectral = self._spectral(window, known, live, reference, low, high)
        locking = self._locking(window, known, reference, low, high)
        share, phase, coherence, entropy, harmony = spectral
        share = np.where(np.isfinite(locking) | (share == 0), share, 0.0)
        total = share.sum(axis=0)
        ok &= total > 0

        def mean(x: F64) -> F64:
            top = np.where(share > 0, share * np.nan_to_num(x), 0.0).sum(axis=0)
            return np.where(ok, top / np.where(ok, total, 1.0), np.nan)

        table = np.stack(
            (mean(phase), mean(coherence), np.where(ok, harmony, np.nan), mean(locking),
             mean(entropy)), axis=1,
        )  # fmt: skip
        first = due * self._step + self._ahead
        return tuple(
            Indicators(int(t), *row) for t, row in zip(first.tolist(), table.tolist(), strict=True)
        )

    def _band(self, rate: F64) -> tuple[float, F64]:
        """Return the band's edges (Hz), the upper one below the slowest member's Nyquist."""
        low, high = BAND_HZ if self.config.band_hz == "auto" else self.config.band_hz
        slowest = np.min(np.where(np.isnan(rate), np.inf, rate), axis=1)
        return low, np.minimum(np.minimum(high, CUTOFF * self.hz), slowest / 2)

    def _reference(self, live: Bool) -> I64:
        """Return, by hop, the reference's column, or who stands in for it."""
        rank = self._prior.copy()
        names = [m.channel for m in self._signal.members]
        if self._signal.reference in names:
            rank[names.index(self._signal.reference)] = np.inf
        return np.asarray(np.argmax(np.where(live, rank[:, None], -1.0), axis=0), np.int64)

    def _spectral(
        self, window: F64, known: Bool, live: Bool, reference: I64, low: float, high: F64
    ) -> tuple[F64, F64, F64, F64, F64]:
        """Return cross-power, phase, coherence and entropy (c, h), and harmony (h,)."""
        view = np.lib.stride_tricks.sliding_window_view
        start = np.arange(self._length - SEGMENT, -1, -(SEGMENT // 2))
        x = view(window, SEGMENT, axis=2)[:, :, start]
        whole = view(known, SEGMENT, axis=2)[:, :, start].all(axis=3) & live[:, :, None]
        x = np.where(whole[..., None], x, 0.0)
        x = (x - x.mean(axis=3, keepdims=True)) * np.hanning(SEGMENT + 1)[:-1]
        frequency = np.arange(SEGMENT // 2 + 1) * self.hz / SEGMENT
        used = np.flatnonzero((frequency >= low - 1e-9) & (frequency <= np.max(high) + 1e-9))
        used = used[used > 0]
        inside = (frequency[used] <= high[:, None] + 1e-9).astype(float)
        f: Complex = np.fft.rfft(x)[..., used] * inside[:, None, :]
        m = whole.astype(float)
        count = np.einsum("ihs,jhs->ijh", m, m)
        cross = np.einsum("ihsf,jhsf->ijhf", f.conj(), f, optimize=True)
        power = np.einsum("ihsf,jhs->ijhf", np.abs(f) ** 2, m, optimize=True)
        r, k = reference, np.arange(len(reference))
        g, px = cross[r, :, k].transpose(1, 0, 2), power[r, :, k].transpose(1, 0, 2)
        py = power[:, r, k]
        looks = np.maximum(HALF_OVERLAP * count[:, r, k], 1.0 + 1e-9)[..., None]
        size = np.abs(g)
        share = size.sum(axis=2)
        share[r, k] = 0.0
        share = np.where(live & (count[:, r, k] >= 2), share, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            raw = size**2 / (px * py)
            fair = np.nan_to_num(np.clip((raw - 1 / looks) / (1 - 1 / looks), 0.0, 1.0))
            coherence = (size * fair).sum(axis=2) / size.sum(axis=2)
            phase = np.abs(np.angle(g.sum(axis=2))) / (2 * np.pi)
            rest = np.maximum(px + py - 2 * g.real, 0.0)
            p = rest / rest.sum(axis=2, keepdims=True)
            bins = np.maximum(inside.sum(axis=1), 2.0)
            flat = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(axis=2)
            entropy = flat / np.log(bins) * rest.sum(axis=2) / (px + py).sum(axis=2)
            norm = np.sqrt(power * power.swapaxes(0, 1))
            coherency = np.where(norm > 0, cross / np.where(norm > 0, norm, 1.0), 0.0)
        harmony = _harmony(coherency, power, live, inside)
        return (
            share,
            np.nan_to_num(phase),
            np.nan_to_num(coherence),
            np.nan_to_num(entropy),
            harmony,
        )

    def _locking(self, window: F64, known: Bool, reference: I64, low: float, high: F64) -> F64:
        """Return the phase-locking value of each member with the reference (c, h)."""
        n = self._length
        count = np.maximum(known.sum(axis=2, keepdims=True), 1)
        mean = np.where(known, window, 0.0).sum(axis=2, keepdims=True) / count
        f: Complex = np.fft.fft(np.where(known, window - mean, 0.0))
        frequency = np.arange(n) * self.hz / n
        f = f * ((frequency >= low) & (frequency <= high[:, None]) & (np.arange(n) <= n // 2))
        z: Complex = np.fft.ifft(f)
        size = np.abs(z)
        u = z / np.where(size > 0, size, 1.0)
        k = np.arange(window.shape[1])
        both = known & known[reference, k]
        locked = np.abs(np.where(both, u * u[reference, k].conj(), 0.0).sum(axis=2))
        total = both.sum(axis=2)
        return np.where(total > 0, locked / np.maximum(total, 1), np.nan)


def _harmony(coherency: Complex, power: F64, live: Bool, inside: F64) -> F64:
    """Return the global coherence of the live members by hop."""
    out = np.full(live.shape[1], np.nan)
    for pattern in np.unique(live, axis=1).T:
        members = np.flatnonzero(pattern)
        hops = np.flatnonzero((live == pattern[:, None]).all(axis=0))
        if len(members) < 2:
            continue
        matrix = coherency[np.ix_(members, members, hops)].transpose(2, 3, 0, 1)
        if len(members) == 2:
            largest: F64 = np.asarray(1.0 + np.abs(matrix[..., 0, 1]))
        else:
            largest = np.linalg.eigvalsh(matrix)[..., -1]
        own = power[members, members][:, hops]
        weight = (own / np.maximum(own.sum(axis=2, keepdims=True), 1e-300)).sum(axis=0)
        weight = weight * inside[hops]
        total = np.maximum(weight.sum(axis=1), 1e-300)
        out[hops] = ((largest - 1) / (len(members) - 1) * weight).sum(axis=1) / total
    return np.asarray(np.clip(out, 0.0, 1.0))
