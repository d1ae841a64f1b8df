"""Two tests for outliers: Hampel's and one for spikes.

A sample x is an outlier when it lies further than 4 scales from the median of its window: five
samples before it, itself, five after it. A window cut short needs more scales. The scale is
1.4826 MAD about the window's own median, but at least the channel's *least scale*: the sd of its
white noise, 1.4826 / 1.394 median |e| of the last 256 samples, and two quantisation steps.
e = x - (4 (x-1 + x+1) - (x-2 + x+2)) / 6 is the distance of a sample from the cubic through its
four neighbours. The sd of eleven samples of noise is uncertain: without that floor 1 % of them
would be removed. A quarter of the least scale is subtracted from MAD, which by chance is as often
too wide.

Where a signal swings within the window, MAD is wide and single outliers pass. So a sample is also
an outlier when |e| exceeds 11 least scales and it differs from both neighbours, to one side, by
half of that, by twice the movement of its neighbours, and by twice 1.4826 MAD. Neither a step of
the signal nor a bend meets this.

On a slow channel the window holds few successors or none. Most of it is the past, which a movement
after a rest leaves. There a sample is accepted if all of its successors follow it. Without a
successor it is accepted if its step is at most 4 times the largest step of its predecessors.

The quantisation step is the smallest non-zero difference of the last 256 samples, while at least
a quarter of their differences are zero. Quantised and resting channels then lose nothing.

Source: Hampel, J. Am. Stat. Assoc. 69 (1974); Pearson, IEEE Trans. Contr. Syst. Tech. 10 (2002).
"""

from __future__ import annotations

import numpy as np

from operators.limits import GUARD_SIDE as SIDE
from operators.types import F64, I8, Bool

WIDTH = 2 * SIDE + 1
MIN_SIGMAS = 4.0
SIGMAS = np.array([1e9, 1e9, 1e9, 1e9, 7.5, 8.6, 5.3, 5.5, 4.4, 4.5, 4.0, MIN_SIGMAS])
"""Scales by number of samples in the window: normal noise exceeds them as rarely as 4 of 11."""
MAD_TO_SD = 1.4826
CUBIC = np.sqrt(35 / 18)
"""sd of e for white noise of sd 1."""
CHANCE_WIDTH, SPIKE, MIN_ALONE = 0.25, 11.0, 2.0
MAX_FASTER = 4.0
ROUNDING = 1e-12
REACH = np.arange(-SIDE, SIDE + 1, dtype=np.int8)[:, None]


def shifted(x: F64, shifts: int) -> F64:
    """Return a view (shifts, n - shifts + 1): row j is x from j on."""
    size = x.itemsize
    return np.ndarray((shifts, len(x) - shifts + 1), float, x, 0, (size, size))


def least_scale(x: F64) -> F64:
    """Return the least scale of windows (h, w), (h, 1)."""
    off = np.abs(_off_cubic(x.T).T)
    middle = off.shape[1] // 2
    off.partition(middle, axis=1)
    noise = off[:, middle] * (MAD_TO_SD / CUBIC)
    noise[noise <= ROUNDING * np.abs(x).max(axis=1)] = 0.0
    return np.asarray(np.maximum(noise, 2 * step(x))[:, None])


def step(x: F64) -> F64:
    """Return the quantisation step of windows (h, w), 0 where none is evident."""
    apart = np.abs(x[:, 1:] - x[:, :-1])
    moved = apart > 0
    rest = np.add.reduce(moved, axis=1, dtype=np.int32) * 4 <= 3 * apart.shape[1]
    step = np.zeros(len(x))
    if np.count_nonzero(rest):
        least = np.where(moved[rest], apart[rest], np.inf).min(axis=1, initial=np.inf)
        step[rest] = np.where(np.isfinite(least), least, 0.0)
    return step


def _off_cubic(x: F64) -> F64:
    """Return the distance of each sample from its neighbours' cubic, without the outer two.

    e = x - (4 (x-1 + x+1) - (x-2 + x+2)) / 6.
    """
    return x[2:-2] - (4 * (x[1:-3] + x[3:-1]) - (x[:-4] + x[4:])) / 6


def outliers(value: F64, after: I8, count: I8, scale: F64) -> Bool:
    """Return which samples are outliers.

    A sample further from the median of its window than the least scale allows is as far from half
    of the window; a spike is as far from both neighbours. Such suspects are found by counting, and
    only they are sorted.

    `value` (n + 10,): samples in order, NaN for missing ones; the outer five are not tested.
    `after`, `count` (n,): number of usable successors of each, and of samples in its window.
    `scale` (n,): the least scale of each, inf where there is nothing to test.
    """
    near = shifted(value, WIDTH)
    here, left, right = near[SIDE], near[SIDE - 1], near[SIDE + 1]
    apart = SPIKE / 2 * scale
    suspect: Bool = here - np.maximum(left, right) > apart
    suspect |= np.minimum(left, right) - here > apart
    apart = MIN_SIGMAS * scale
    inside = after >= REACH
    half = (count + np.int8(1)) >> 1
    for far in (near < here - apart, near > here + apart):
        far &= inside
        suspect |= np.add.reduce(far.view(np.int8), axis=0, dtype=np.int8) >= half
    found = suspect.nonzero()[0]
    if len(found):
        suspect[found] = _judge(near.T[found], after[found], count[found], scale[found])
    return suspect


def _judge(near: F64, after: I8, count: I8, least: F64) -> Bool:
    """Return which of the samples in the middle of windows `near` (m, 11) are outliers."""
    window = np.where(after[:, None] >= REACH.T, near, np.nan)
    middle = _median(window, count)
    off = np.abs(window - middle[:, None])
    spread = MAD_TO_SD * _median(off, count)
    scale = np.maximum(spread - CHANCE_WIDTH * least, least)
    for i in (scale == 0).nonzero()[0].tolist():
        # Most of the window is one value: its smallest change serves as the step.
        moved = off[i][off[i] > 0]
        scale[i] = 2 * moved.min() if len(moved) else np.inf
    far = (off[:, SIDE] > SIGMAS[count] * scale) & ~_followed(window, after)
    # After a rest any change is a movement, not a spike.
    return np.asarray(far | (_spikes(near.T, spread, least) & (after >= 2) & (least > 0)))


def _followed(window: F64, after: I8) -> Bool:
    """Return which samples in the middle of windows cut short (m, 11) may begin a movement.

    With d the step from the predecessor, a successor follows if it lies on the same side, at
    least d / 2 away. Without successors the earlier steps decide.
    """
    before, here = window[:, SIDE - 1], window[:, SIDE]
    went = here - before
    gone = (window[:, SIDE + 1 :] - before[:, None]) * went[:, None]
    with_it = gone >= 0.5 * np.square(went)[:, None]
    absent = after[:, None] < REACH.T[:, SIDE + 1 :]
    followed: Bool = np.asarray((with_it | absent).all(axis=1))
    alone = after == 0
    if alone.any():
        past = np.abs(window[alone, 1:SIDE] - window[alone, : SIDE - 1])
        usual = np.fmax.reduce(past, axis=1, initial=0.0)
        followed[alone] = np.abs(went[alone]) <= MAX_FASTER * usual
    return followed & (after < SIDE)


def _spikes(near: F64, spread: F64, least: F64) -> Bool:
    """Return which of the samples in the middle of `near` (11, m) are single spikes."""
    x = near[SIDE - 2 : SIDE + 3]
    left, right = x[2] - x[1], x[2] - x[3]
    # The lesser of two differences of one sign, else at most 0.
    alone = np.maximum(np.minimum(left, right), -np.maximum(left, right))
    swing = np.minimum(np.abs(x[1] - x[0]), np.abs(x[4] - x[3]))
    high = SPIKE * least
    enough = np.maximum(high / 2, MIN_ALONE * np.maximum(swing, spread))
    spike: Bool = (np.abs(_off_cubic(x)[0]) > high) & (alone > enough)
    return spike


def _median(rows: F64, count: I8) -> F64:
    """Return the median of each row's `count` numbers; the rest of the row is NaN."""
    ordered = np.sort(rows, axis=1)
    k = np.arange(len(rows))
    return np.asarray(0.5 * (ordered[k, (count - 1) // 2] + ordered[k, count // 2]))
