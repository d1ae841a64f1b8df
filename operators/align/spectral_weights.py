"""Weights of the lines of a mean cross-spectrum, and the readings of a lag from segments.

With G the mean cross-spectrum of many segments, turned back to no lag, P_a and P_b the powers and C
the bias-corrected coherence, the line at f has the weight w = 2 pi f W / |G|, W = C / (1 - C). The
error of a node of n segments with cross-spectrum G_j and powers p_a, p_b is then

    sum w Im(G_j) / bend,  bend = sum 2 pi f w Re(G_j),

with a variance of V / (n bend^2),

    V = sum_k s_k sum_l K_kl s_l (p_a / P_a + p_b / P_b) / 2,  s = w |G| sqrt((1 - C) / C),

V is the variance of the numerator for constant noise and uneven movement: segments at rest carry
little information (bend is near 0, V is not), those of a burst much. K is the share of noise that
two lines have in common, K_kl = (r_kl^2 + 2 r'_kl^2) / 2, with r their correlation in one segment,
r' in two that overlap by half. For a node like the mean, optimal weights and many lines V = bend,
and the variance is the Cramer-Rao bound. For a narrow band it is below that of half-overlapped
segments with independent lines. The bend of a noisy node is shrunk to the mean of all nodes, by
the ratio of their variances.

Chance coherence gets no weight: W is min(C, S) / (1 - S), S being C smoothed over three
frequencies, and 0 where S is below 1.5 / L, L the number of independent segments of the mean.

Cost: 15 numpy calls for weights, 7 for a reading. State: none.

Sources: Hannan & Thomson, Biometrika 60 (1973), and Knapp & Carter, IEEE Trans. ASSP 24 (1976),
for weights and variance; Carter, Knapp & Nuttall, IEEE Trans. Audio Electroacoust. 21 (1973),
for the bias.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from operators.types import F64

MAX_COHERENCE = 0.9999
CHANCE_COHERENCE, MAX_CHANCE_COHERENCE = 1.5, 0.5
"""Smoothed coherence below which a line has no weight: in units of 1 / L, and at most."""
MIN_BEND = 0.1
"""Least bend of a node, as a share of V; the variance follows."""
SHARED = np.array([0.0112, 0.1875, 0.6026, 0.1875, 0.0112])
"""K of sine windows, by the distance of lines; its sum is 1."""
TINY = 1e-300
Complex = NDArray[np.complexfloating[Any, Any]]


class Nodes(NamedTuple):
    """Means of segments: their numbers (k,), cross-spectra (k, lines), powers (k, 2, lines)."""

    number: F64
    cross: Complex
    power: F64

    def turned(self, lags: F64, omega: F64) -> Nodes:
        """Return the nodes with lags (k,) removed: G_j exp(i omega lag_j) (s, rad/s)."""
        return self._replace(cross=self.cross * turns(lags * omega[0], len(omega)))

    def mean(self) -> Nodes:
        """Return all nodes joined."""
        total = self.number.sum()
        share = self.number / total
        return Nodes(
            np.array([total]), (share @ self.cross)[None], weighted(share, self.power)[None]
        )


def turns(angle: F64, lines: int) -> Complex:
    """Return exp(i l angle) for l = 1 to `lines`, (k, lines), as powers of the first (rad)."""
    out = np.empty((len(angle), lines), complex)
    out[:] = np.exp(1j * angle)[:, None]
    return np.multiply.accumulate(out, axis=1, out=out)


def weighted(share: F64, power: F64) -> F64:
    """Return the mean (2, lines) of powers (k, 2, lines) by their shares (k,)."""
    return (share @ power.reshape(len(share), -1)).reshape(power.shape[1:])


class Weights(NamedTuple):
    """Weights w (lines,) and the contribution of each power to V (2, lines).

    `bend`: its mean and variance over the nodes, without noise (1/s^2, and its square).
    """

    line: F64
    noise: F64
    bend: F64

    def reading(self, nodes: Nodes, omega: F64) -> tuple[F64, F64]:
        """Return how early nodes (k,) are (s), and the variances (s^2).

        sum w Im(G_j) / bend and V / (n bend^2).

        Parameters
        ----------
        nodes : Nodes
            Turned back by their expected lags.
        omega : float64 (lines,)
            Angular frequencies, multiples of the first (rad/s).
        """
        raw, noise, blur = self._bends(nodes, omega)
        mean, spread = self.bend
        bend = mean + (raw - mean) * spread / (spread + blur + TINY)
        bend = np.maximum(bend, MIN_BEND * noise)
        return nodes.cross.imag @ self.line / bend, noise / (nodes.number * bend * bend)

    def measured(self, nodes: Nodes, omega: F64) -> Weights:
        """Return the weights with mean and variance of the bend over the nodes."""
        raw, _, blur = self._bends(nodes, omega)
        share = nodes.number / nodes.number.sum()
        mean = float(share @ raw)
        spread = float(share @ ((raw - mean) ** 2 - blur * (1 - share)))
        return self._replace(bend=np.array([mean, max(spread, 0.0)]))

    def _bends(self, nodes: Nodes, omega: F64) -> tuple[F64, F64, F64]:
        """Return each node's bend, its V, and the noise variance of the bend."""
        power = nodes.power.reshape(len(nodes.number), -1)
        noise = np.maximum(power @ self.noise.ravel(), TINY)
        blur = power @ (self.noise * (omega * omega)).ravel()
        return nodes.cross.real @ (self.line * omega), noise, blur / nodes.number


def weights(nodes: Nodes, omega: F64, looks: float, top: float) -> Weights | None:
    """Return the weights of the lines; None if every weight is 0.

    Parameters
    ----------
    nodes : Nodes
        Each node turned back by its own lag.
    omega : float64 (lines,)
        Angular frequencies, multiples of the first (rad/s).
    looks : float
        Number of independent segments.
    top : float
        Angular frequency above which lines contain aliases (rad/s).
    """
    _, (mean,), (power,) = nodes.mean()
    looks = max(looks, 1.5)
    size = np.maximum(np.abs(mean), TINY)
    raw = size * size / np.maximum(power[0] * power[1], TINY)
    coherence = np.empty(len(omega) + 2)
    mine = coherence[1:-1]
    np.maximum((raw * looks - 1) / (looks - 1), 0.0, out=mine)
    np.minimum(mine, MAX_COHERENCE, out=mine)
    coherence[0], coherence[-1] = mine[1], mine[-2]
    smooth = (coherence[:-2] + mine + coherence[2:]) / 3
    weight = omega * np.minimum(mine, smooth) / (1 - smooth)
    weight[(smooth < min(CHANCE_COHERENCE / looks, MAX_CHANCE_COHERENCE)) | (omega > top)] = 0.0
    if not weight.any():
        return None
    sd = weight * np.sqrt((1 - mine) / np.maximum(mine, TINY))
    spread = sd * np.convolve(sd, SHARED, "same")
    found = Weights(weight / size, spread / (2 * np.maximum(power, TINY)), np.zeros(2))
    return found.measured(nodes, omega)
