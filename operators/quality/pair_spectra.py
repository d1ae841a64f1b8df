"""Spectral products of the pairs of members, by segment and summed over windows.

Each segment is transformed once. Its products are kept and summed over all windows with it.
Shapes: h hops or segments, c members, p pairs, f frequencies in the band.

Columns of the products (h, 4, p, f + 2):

    [:, 0:2, :, :f]  Re and Im of G_xy
    [:, 2:4, :, :f]  P_x and P_y
    [:, 2:4, :, f]   total power of x and y from the lower edge of the band on
    [:, 0, :, f+1]   1 if the segments of both members are complete
    [:, 1:3, :, f+1] Re and Im of mean exp(j (phi_y - phi_x))
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.numeric.correlation import HALF_OVERLAP, SEGMENT
from operators.types import F64, I64, Bool

QUALITY_HZ = 5.0
BAND_HZ = (0.08, 1.5)
WINDOW = np.hanning(SEGMENT + 1)[:-1]
TINY = 1e-300
Complex = np.ndarray[Any, np.dtype[np.complex128]]


class PairSpectra:
    """Products of the segments that the coming windows may hold.

    Parameters
    ----------
    members : int
    hz : float
        Rate of the series (Hz).
    band : tuple of float
        Edges of the band (Hz).
    segments, apart : int
        Segments of a window, and their distance in hops.
    hop : int
        Samples of the series a hop.
    """

    def __init__(
        self,
        members: int,
        hz: float,
        band: tuple[float, float],
        *,
        segments: int,
        apart: int,
        hop: int,
    ) -> None:
        self.left, self.right = np.triu_indices(members, 1)
        self.past = (segments - 1) * apart
        self._members, self._segments, self._apart = members, segments, apart
        half = min(SEGMENT // 2, apart * hop) // 2
        self._middle = slice(SEGMENT // 2 - half, SEGMENT // 2 + half)
        frequency = np.arange(SEGMENT // 2 + 1) * hz / SEGMENT
        lowest, stop = np.searchsorted(frequency, (band[0] - 1e-9, band[1] + 1e-9))
        self._used = slice(lowest, max(stop, lowest))
        self.frequency = frequency[self._used]
        self._products: F64 = np.empty((0, 4, len(self.left), len(self.frequency) + 2))
        self._stop = 0

    def start(self, products: F64) -> None:
        """Set the products of the past `past` segments."""
        self._products, self._stop = products, len(products)

    def multiply(self, segment: F64, rest: F64) -> tuple[F64, Complex]:
        """Return the products of segments (h, c, SEGMENT), and their spectra (h, c, f).

        Products of incomplete segments are 0. `rest` has the squares of the samples that the
        series leaves out: their power counts in the total power. `lock` writes the last columns.
        """
        left, right = self.left, self.right
        mean = np.add.reduce(segment, 2, keepdims=True) / SEGMENT
        full: Complex = np.fft.rfft((segment - mean) * WINDOW)
        x = full[..., self._used]
        whole = np.isfinite(mean[..., 0])
        full = full[..., self._used.start :]
        # Parseval's theorem, one side of the spectrum: sum |X|^2 + SEGMENT / 2 sum rest window^2.
        every = np.add.reduce(full.real**2 + full.imag**2, 2) + SEGMENT / 2 * (rest @ WINDOW**2)
        if np.count_nonzero(whole) < whole.size:
            x[~whole], every[~whole] = 0.0, 0.0
        both = whole[:, left] & whole[:, right]
        # G_xy = conj(X) Y, P_x = |X|^2
        cross, power = x[:, left].conj() * x[:, right], x.real**2 + x.imag**2
        out = np.zeros((len(x), 4, len(left), x.shape[2] + 2))
        out[:, 0, :, :-2], out[:, 1, :, :-2] = cross.real, cross.imag
        out[:, 2, :, :-2], out[:, 3, :, :-2] = power[:, left], power[:, right]
        out[:, 2, :, -2], out[:, 3, :, -2] = every[:, left], every[:, right]
        if np.count_nonzero(both) < both.size:
            out[:, 2:, :, :-1] *= both[:, None, :, None]
        out[:, 0, :, -1] = both
        return out, x

    def lock(self, out: F64, x: Complex, bins: I64) -> None:
        """Write Re and Im of mean exp(j (phi_y - phi_x)) of spectra (h, c, f) into products.

        The mean is over the middle of the segments, with phases of the analytic signal of the
        first `bins` frequencies of the band.
        """
        if bins.min(initial=SEGMENT) < len(self.frequency):
            x = x * (np.arange(len(self.frequency)) < bins[:, None, None])
        spectrum: Complex = np.zeros((*x.shape[:2], SEGMENT), complex)
        spectrum[..., self._used] = x
        z: Complex = np.fft.ifft(spectrum)[..., self._middle]
        # conj(z_x) z_y / |z_x z_y| = exp(j (phi_y - phi_x))
        turn = z[:, self.left].conj() * z[:, self.right]
        turn /= np.maximum(np.abs(turn), TINY)
        locked = np.add.reduce(turn, 2) / turn.shape[2]
        out[:, 1, :, -1], out[:, 2, :, -1] = locked.real, locked.imag

    def append(self, new: F64) -> None:
        """Append products; when the buffer is full, the needed ones move to its front."""
        if self._stop + len(new) > len(self._products):
            kept = self._products[self._stop - self.past : self._stop]
            self._products = np.empty((2 * self.past + len(new), *new.shape[1:]))
            self._products[: self.past] = kept
            self._stop = self.past
        self._products[self._stop : self._stop + len(new)] = new
        self._stop += len(new)

    def newest(self, h: int) -> F64:
        """Return the products of the last h segments, as a view."""
        return self._products[self._stop - h : self._stop]

    def sums(self, h: int, columns: slice) -> F64:
        """Return columns of the products summed over each of the last h windows."""
        down, *rest = self._products.strides
        windows: F64 = np.ndarray(
            shape=(h, self._segments, *self._products.shape[1:]),
            dtype=float,
            buffer=self._products,
            offset=(self._stop - h - self.past) * down,
            strides=(down, down * self._apart, *rest),
        )
        return np.asarray(np.add.reduce(windows[..., columns], 1))

    def indicators(self, sums: F64, both: Bool, bins: I64) -> tuple[F64, F64, F64]:
        """Return cross-power (h, p), harmony (h,), and the four others (4, h, p) of h windows.

        The four: phase difference, coherence, phase locking, entropy ratio of the pairs.
        """
        if bins.min() < len(self.frequency):
            sums[..., :-2] *= np.arange(len(self.frequency)) < bins[:, None, None, None]
        re, im, px, py = sums[..., :-2].swapaxes(0, 1)
        re_sum, im_sum, px_sum, py_sum = np.add.reduce(sums[..., :-2], 3).swapaxes(0, 1)
        count, locked = sums[:, 0, :, -1], sums[:, 1, :, -1] ** 2 + sums[:, 2, :, -1] ** 2
        # C = (|G|^2 / (P_x P_y) - 1/L) / (1 - 1/L) = (L |G|^2 / (P_x P_y) - 1) / (L - 1)
        size = np.sqrt(re * re + im * im)
        coherency = size / np.maximum(np.sqrt(px * py), TINY)
        looks = np.maximum(HALF_OVERLAP * count, 1.0 + 1e-9)[..., None]
        fair = np.minimum(np.maximum((looks * coherency * coherency - 1) / (looks - 1), 0.0), 1.0)
        share = np.add.reduce(size, 2)
        coherence = np.add.reduce(size * fair, 2) / np.maximum(share, TINY)
        phase = np.arctan2(np.abs(im_sum), re_sum) / (2 * np.pi)
        # P_r = P_x + P_y - 2 Re G_xy; entropy = -sum p ln p / ln N, p = P_r / sum P_r
        rest = np.maximum(px + py - 2 * re, 0.0)
        total = np.maximum(np.add.reduce(rest, 2), TINY)
        part = np.maximum(rest / total[..., None], TINY)
        entropy = np.add.reduce(part * np.log(part), 2) / -np.log(np.maximum(bins, 2))[:, None]
        entropy *= total / np.maximum(px_sum + py_sum, TINY)
        # harmony: (lambda_max - 1) of sqrt(C) exp(j arg G), weighted by relative power
        compared = (both & (count >= 2))[..., None]
        power = px / np.maximum(px_sum, TINY)[..., None] + py / np.maximum(py_sum, TINY)[..., None]
        weight = np.add.reduce(power * compared, 1)
        largest = self._largest(
            (re + 1j * im) * (np.sqrt(fair) / np.maximum(size, TINY) * compared)
        )
        harmony = np.add.reduce((largest - 1) * weight, 1) / np.maximum(
            np.add.reduce(weight, 1), TINY
        )
        locking = np.sqrt(locked) / np.maximum(count, 1.0)
        share[count < 2] = 0.0
        return share, harmony, np.stack((phase, coherence, locking, entropy))

    def _largest(self, coherency: Complex) -> F64:
        """Return the largest eigenvalue (h, f) of the coherency matrices of pairs (h, p, f)."""
        h, p, f = coherency.shape
        if p < 2:
            return np.asarray(1.0 + np.add.reduce(np.abs(coherency), 1))
        # Absent members are uncorrelated with all others: eigenvalue 1.
        matrix = np.eye(self._members, dtype=complex) + np.zeros((h, f, 1, 1))
        matrix[..., self.right, self.left] = coherency.swapaxes(1, 2)
        return np.asarray(np.linalg.eigvalsh(matrix)[..., -1])
