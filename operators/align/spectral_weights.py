"""How a mean cross-spectrum weighs its lines, and what segments then read of a lag.

With G the mean cross-spectrum of many segments, turned back to no lag, P_a and P_b the powers and C
the bias-corrected coherence, the line at f has the weight w = 2 pi f W / |G|, W = C / (1 - C). A
node of n segments with cross-spectrum G_j and powers p_a, p_b is then off by

    sum w Im(G_j) / bend,  bend = sum 2 pi f w Re(G_j),

with a variance of V / (n bend^2),

    V = sum_k s_k sum_l K_kl s_l (p_a / P_a + p_b / P_b) / 2,  s = w |G| sqrt((1 - C) / C),

that of the numerator where the noise is the same throughout and the movement is not: segments at
rest show little (bend is near 0, V is not), those of a burst much. K is how much of their noise
lines share, K_kl = (r_kl^2 + 2 r'_kl^2) / 2, with r their correlation in one segment, r' in two
that overlap by half. For a node like the mean, the best of weights and many lines V = bend, and
the variance is the bound of Cramer and Rao; of a narrow band it is less than half-overlapped
segments would have it that shared nothing. The bend of a node is taken nearer to that of all where
it is mostly noise, by their variances.

So that chance has no weight, W is min(C, S) / (1 - S), S being C smoothed over three frequencies,
and nothing where S is below 1.5 / L, L the number of independent segments that the mean is worth.

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
CHANCE, MAX_CHANCE = 1.5, 0.5
MIN_BEND = 0.1
"""Of V: a node that bends less reads as if it bent so much, with the variance of that."""
SHARED = np.array([0.0112, 0.1875, 0.6026, 0.1875, 0.0112])
"""K of sine windows, by the distance of lines; its sum is 1."""
TINY = 1e-300
Complex = NDArray[np.complexfloating[Any, Any]]


class Nodes(NamedTuple):
    """Means of segments: how many (k,), cross-spectra (k, lines), powers (k, 2, lines)."""

    number: F64
    cross: Complex
    power: F64

    def turned(self, lags: F64, omega: F64) -> Nodes:
        """Return the same with lags (k,) taken out of the cross-spectra (s, rad/s)."""
        return self._replace(cross=self.cross * np.exp(1j * lags[:, None] * omega))

    def mean(self) -> Nodes:
        """Return all as one."""
        total = self.number.sum()
        share = self.number / total
        power = np.tensordot(share, self.power, 1)[None]
        return Nodes(np.array([total]), (share @ self.cross)[None], power)


class Weights(NamedTuple):
    """Weights w (lines,) and what a power adds to V (2, lines).

    `bend`: its mean and variance over the nodes, but for noise (1/s^2, and that squared).
    """

    line: F64
    noise: F64
    bend: F64

    def reading(self, nodes: Nodes, omega: F64) -> tuple[F64, F64]:
        """Return by how much nodes (k,) are early (s), and the variances of that (s^2).

        Parameters
        ----------
        nodes : Nodes
            Turned back by the lags that are expected.
        omega : float64 (lines,)
            Angular frequencies (rad/s).
        """
        raw, noise, blur = self._bends(nodes, omega)
        mean, spread = self.bend
        bend = mean + (raw - mean) * spread / (spread + blur + TINY)
        bend = np.maximum(bend, MIN_BEND * noise)
        return nodes.cross.imag @ self.line / bend, noise / (nodes.number * bend * bend)

    def measured(self, nodes: Nodes, omega: F64) -> Weights:
        """Return the same with how unevenly the nodes bend."""
        raw, _, blur = self._bends(nodes, omega)
        share = nodes.number / nodes.number.sum()
        mean = float(share @ raw)
        spread = float(share @ ((raw - mean) ** 2 - blur * (1 - share)))
        return self._replace(bend=np.array([mean, max(spread, 0.0)]))

    def _bends(self, nodes: Nodes, omega: F64) -> tuple[F64, F64, F64]:
        """Return what each node bends, V, and the variance of the first that is noise."""
        lines = np.einsum("kif,if->kf", nodes.power, self.noise)
        noise = np.maximum(lines.sum(axis=1), TINY)
        return nodes.cross.real @ (self.line * omega), noise, lines @ (omega * omega) / nodes.number


def weights(nodes: Nodes, omega: F64, looks: float, top: float) -> Weights | None:
    """Return what lines weigh; None where none does.

    Parameters
    ----------
    nodes : Nodes
        Each turned back by its own lag.
    omega : float64 (lines,)
        Angular frequencies (rad/s).
    looks : float
        How many independent segments they are worth.
    top : float
        Angular frequency above which lines hold what belongs to others (rad/s).
    """
    _, (mean,), (power,) = nodes.mean()
    looks = max(looks, 1.5)
    size = np.maximum(np.abs(mean), TINY)
    raw = size * size / np.maximum(power[0] * power[1], TINY)
    coherence = np.empty(len(omega) + 2)
    mine = coherence[1:-1]
    np.clip((raw * looks - 1) / (looks - 1), 0.0, MAX_COHERENCE, out=mine)
    coherence[0], coherence[-1] = mine[1], mine[-2]
    smooth = (coherence[:-2] + mine + coherence[2:]) / 3
    weight = omega * np.minimum(mine, smooth) / (1 - smooth)
    weight[(smooth < min(CHANCE / looks, MAX_CHANCE)) | (omega > top)] = 0.0
    if not weight.any():
        return None
    sd = weight * np.sqrt((1 - mine) / np.maximum(mine, TINY))
    spread = sd * np.convolve(sd, SHARED, "same")
    found = Weights(weight / size, spread / (2 * np.maximum(power, TINY)), np.zeros(2))
    return found.measured(nodes, omega)
