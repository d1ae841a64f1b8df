"""Peaks: samples that pass for outliers and belong to the signal.

A narrow peak (the R wave of an ECG at 50 Hz, one to three samples wide; the impact of a step)
lies as far from the median of its window as an outlier does. But the ten samples beside an outlier
lie on a line, apart from noise and from at most two more outliers, while those beside a peak rise
and ring with it. And chance does not repeat itself: neither the place nor the relative size of
what stands beside one outlier is found beside the next. So a sample is spared that is

*rough*: the residual about the least trimmed squares line of the ten samples (the two worst left
out: exact, by 45 lines) passes 0.18 of the sample's height; where noise alone may reach that, 3.6
least scales, though never more than 0.36 of the height (beside 98 of 100 outliers of 8 to 20
times the RMS of a signal it is below 0.12 at 20 dB, 0.27 at 0 dB). And the residual about a
cubic, the worst one left out, passes 0.20: what is bent and yet smooth, as a slow peak sampled
often or a quick signal sampled seldom, carries an outlier as well as a line does. Nor may seven of
the ten lie on a line to within 4 least scales (or 0.06 of the height): three outliers are rare,
but one that passes costs more than all the noise;

*recurring*: where one or two samples hold all of the shape, nothing is left of it beside that
line, so the shape itself is looked up: the ten samples less their own parabola, in heights. It
counts where its norm passes 0.18 and 4.25 least scales. It recurs where the last 128 samples that
stood out hold three shapes that are close, or two while most of the 128 have a shape at all.
Close: the heights differ by less than a factor of 1.4, the shapes by less than 0.6 roots of
the norm, noise apart.

State: the heights and shapes of those 128, at most 12 KB.
Losses: an outlier passes whose window has a steep peak not much lower than itself, or four other
outliers, in it. A fault that repeats one shape of two samples or more is taken for the signal.

Source: Rousseeuw, J. Am. Stat. Assoc. 79 (1984), the line; Abeles & Goldstein, Proc. IEEE 65
(1977), shapes told apart by the distance to earlier ones.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import NamedTuple

import numpy as np

from operators.limits import GUARD_SIDE as SIDE
from operators.types import F64, Bool, State

MEMORY = 128
ROUGH, ROUGHEST, ROUGH_NOISE, BENT = 0.18, 0.36, 3.6, 0.20
QUIET, QUIET_NOISE = 0.06, 4.0
SHAPED, SHAPED_NOISE = 0.18, 4.25
ENOUGH = 0
LIKE, APART = 1.4, 0.6
MIN_COUNT, MANY, MOST = 2, 3, 0.6
LEAST, FARTHEST = 1e-200, 1e9
"""The least height, the most heights that a shape may hold: no ratio or square overflows."""

_PLACES = np.delete(np.arange(-SIDE, SIDE + 1.0), SIDE) / SIDE


def _complement(columns: F64) -> F64:
    """Return an orthonormal basis (n, n - k) of all that the columns (n, k) do not span."""
    return np.asarray(np.linalg.qr(columns, "complete")[0][:, columns.shape[1] :])


def _trimmed(degree: int, worst: int) -> F64:
    """Return bases (choices, 10, left) off the polynomial, so many of the ten left out."""
    curve = np.vander(_PLACES, degree + 1)
    return np.stack(
        [
            _complement(np.concatenate((curve, np.eye(2 * SIDE)[:, list(out)]), axis=1))
            for out in combinations(range(2 * SIDE), worst)
        ]
    )


LINES, SHORTER, CUBICS = _trimmed(1, 2), _trimmed(1, 3), _trimmed(3, 1)
"""(45, 10, 6), (120, 10, 5), (10, 10, 5)."""
_OFF_PARABOLA = _trimmed(2, 0)[0]
OFF_PARABOLA = _OFF_PARABOLA @ _OFF_PARABOLA.T
"""(10, 10): what is left of ten samples without the parabola through them."""
DEGREES = _OFF_PARABOLA.shape[1]


def _residual(sides: F64, bases: F64) -> F64:
    """Return the least norm of ten samples (m, 10) in bases (choices, 10, left), (m,)."""
    choices, _, left = bases.shape
    off = sides @ bases.transpose(1, 0, 2).reshape(2 * SIDE, choices * left)
    squares = np.square(off).reshape(len(sides), choices, left).sum(axis=2)
    return np.asarray(np.sqrt(squares.min(axis=1)))


class Looks(NamedTuple):
    """What m samples look like among their neighbours.

    `height` (m,): over the median of the window; `shape` (m, 10): the ten beside it less their
    parabola, in heights; `noise` (m,): the least scale in heights; `rough`, `shaped` (m,).
    """

    height: F64
    shape: F64
    noise: F64
    rough: Bool
    shaped: Bool

    def part(self, rows: slice) -> Looks:
        """Return some of them."""
        height, shape, noise, rough, shaped = self
        return Looks(height[rows], shape[rows], noise[rows], rough[rows], shaped[rows])


def looks(near: F64, least: F64) -> Looks:
    """Return the looks of the samples in the middle of windows `near` (m, 11), none of it NaN.

    `least` (m,): the least scale of each.
    """
    off = near - np.partition(near, SIDE, axis=1)[:, SIDE, None]
    # A spike on a slope may lie on the median: its neighbours give its height.
    beside = near[:, SIDE] - 0.5 * (near[:, SIDE - 1] + near[:, SIDE + 1])
    height = np.where(np.abs(off[:, SIDE]) >= 0.5 * np.abs(beside), off[:, SIDE], beside)
    size = np.maximum(np.abs(height), LEAST)
    height = np.copysign(size, height)
    sides = np.delete(off, SIDE, axis=1) / height[:, None]
    sides = np.clip(sides, -FARTHEST, FARTHEST)
    noise = np.minimum(least / size, FARTHEST)
    shape = sides @ OFF_PARABOLA
    rough: Bool = _residual(sides, LINES) > np.clip(ROUGH_NOISE * noise, ROUGH, ROUGHEST)
    rough &= _residual(sides, CUBICS) > BENT
    rough &= _residual(sides, SHORTER) > np.minimum(QUIET_NOISE * noise, QUIET)
    norm = np.sqrt(np.square(shape).sum(axis=1))
    shaped: Bool = rough | (norm > np.maximum(SHAPED, SHAPED_NOISE * noise))
    return Looks(height, shape, noise, rough, shaped)


@dataclass
class Peaks:
    """The last 128 samples of a channel that stood out: heights, shapes, whether they have one."""

    height: F64 = field(default_factory=lambda: np.empty(0))
    shape: F64 = field(default_factory=lambda: np.empty((0, 2 * SIDE)))
    shaped: Bool = field(default_factory=lambda: np.empty(0, bool))

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return asdict(self)

    @classmethod
    def from_snapshot(cls, state: State) -> Peaks:
        """Return the memory of a snapshot."""
        return cls(**state)

    def recurring(self, new: Looks) -> Bool:
        """Return which of the new ones recur; they are in order."""
        found = np.zeros(len(new.height), bool)
        asked = (new.shaped & ~new.rough).nonzero()[0]
        if not len(asked):
            return found
        missing = MEMORY - len(self.height)
        height = np.concatenate((np.zeros(missing), self.height, new.height))
        shape = np.concatenate((np.zeros((missing, 2 * SIDE)), self.shape, new.shape))
        shaped = np.concatenate((np.zeros(missing, bool), self.shaped, new.shaped))
        # Row k: the 128 before the one that is asked about.
        earlier = asked[:, None] + np.arange(MEMORY)
        ratio = height[earlier] / new.height[asked, None]
        alike = (ratio > 1 / LIKE) & (ratio < LIKE) & shaped[earlier]
        k, j = alike.nonzero()
        apart = np.square(shape[earlier[k, j]] - new.shape[asked[k]]).sum(axis=1)
        noise = 2 * DEGREES * np.square(new.noise[asked])
        norm = np.sqrt(np.square(new.shape[asked]).sum(axis=1))
        close = apart < (APART**2 * norm + noise)[k]
        same = np.bincount(k[close], minlength=len(asked))
        known = np.minimum(len(self.height) + asked, MEMORY)
        mostly = np.count_nonzero(shaped[earlier], axis=1) >= MOST * known
        found[asked] = same >= np.where(mostly, MIN_COUNT, MANY)
        return found

    def push(self, new: Looks) -> None:
        """Remember the new ones."""
        self.height = np.concatenate((self.height, new.height))[-MEMORY:]
        self.shape = np.concatenate((self.shape, new.shape))[-MEMORY:]
        self.shaped = np.concatenate((self.shaped, new.shaped))[-MEMORY:]
