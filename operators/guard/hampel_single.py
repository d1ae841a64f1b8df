"""The tests of operators/guard/hampel.py for one sample, in plain numbers.

For the few samples of a live packet this is faster than the array form, which is the reference:
the verdicts are equal, since each number comes from the same operations in the same order.

Cost: 1 us a sample, 5 us for a suspect one. State: none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from operators.guard.hampel import (
    CHANCE_WIDTH,
    MAD_TO_SD,
    MAX_FASTER,
    MIN_ALONE,
    MIN_SIGMAS,
    SIGMAS,
    SPIKE,
)
from operators.limits import GUARD_SIDE as SIDE

_SIGMAS: list[float] = SIGMAS.tolist()


def is_outlier(value: Sequence[float], i: int, after: int, least: float) -> bool:
    """Return whether a sample is an outlier.

    Parameters
    ----------
    value : sequence of float
        Samples in order, none missing, at least five before place `i`.
    i : int
        Place of the tested sample. Its window begins five samples before it.
    after : int
        Usable successors, at most five; all of them are in `value`.
    least : float
        The least scale.
    """
    window = value[i - SIDE : i + after + 1]
    ordered = sorted(window)
    if not _suspect(value, i, ordered, least):
        return False
    middle = _median(ordered)
    off = [abs(x - middle) for x in window]
    spread = MAD_TO_SD * _median(sorted(off))
    scale = max(spread - CHANCE_WIDTH * least, least)
    if scale == 0:
        # Most of the window is one value: its smallest change serves as the step.
        scale = 2 * min((x for x in off if x > 0), default=math.inf)
    if off[SIDE] > _SIGMAS[len(window)] * scale and not _followed(window, after):
        return True
    # After a rest any change is a movement, not a spike.
    return after >= 2 and least > 0 and _spike(window[SIDE - 2 : SIDE + 3], spread, least)


def _suspect(value: Sequence[float], i: int, ordered: list[float], least: float) -> bool:
    """Return whether a sample is far from half of its window, or from both neighbours."""
    here, n = value[i], len(ordered)
    half, apart = (n + 1) >> 1, MIN_SIGMAS * least
    if ordered[half - 1] < here - apart or ordered[n - half] > here + apart:
        return True
    if i + 1 == len(value):
        return False
    left, right, apart = value[i - 1], value[i + 1], SPIKE / 2 * least
    return here - max(left, right) > apart or min(left, right) - here > apart


def _followed(window: Sequence[float], after: int) -> bool:
    """Return whether the sample of a window that is cut short may begin a movement."""
    if after == SIDE:
        return False
    before = window[SIDE - 1]
    went = window[SIDE] - before
    if after:
        return all((x - before) * went >= 0.5 * (went * went) for x in window[SIDE + 1 :])
    usual = max(abs(window[k + 1] - window[k]) for k in range(SIDE - 1))
    return abs(went) <= MAX_FASTER * usual


def _spike(x: Sequence[float], spread: float, least: float) -> bool:
    """Return whether the third of five samples is a single spike."""
    left, right = x[2] - x[1], x[2] - x[3]
    # The lesser of two differences of one sign, else at most 0.
    alone = max(min(left, right), -max(left, right))
    swing = min(abs(x[1] - x[0]), abs(x[4] - x[3]))
    high = SPIKE * least
    off_cubic = x[2] - (4 * (x[1] + x[3]) - (x[0] + x[4])) / 6
    return abs(off_cubic) > high and alone > max(high / 2, MIN_ALONE * max(swing, spread))


def _median(ordered: list[float]) -> float:
    n = len(ordered)
    return 0.5 * (ordered[(n - 1) // 2] + ordered[n // 2])
