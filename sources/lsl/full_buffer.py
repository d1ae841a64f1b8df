"""Samples that LSL discarded from a full buffer, counted from the stamps around the hole.

LSL drops the oldest samples of a buffer that is not emptied for its length (360 s), without a word.
A full buffer before a pull shows it. The stamps of the samples around have a hole, whose length
over the measured period is the number of lost samples. A pause of the sender leaves a hole too, but
no full buffer.

Accuracy: that of the period, which is the mean of up to 4,096 steps, and the jitter of the stamps.
The declared rate is not used: senders declare wrong ones.

Pure. State: the newest 4,096 steps of the stamps.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from operators.types import F64

_RECENT = 4096
_HOLE = 1.5
"""Periods from which a step of the stamps is a hole."""
_LONGEST_S = 86_400.0
"""A longer step of the stamps is another time axis, not a hole."""


class FullBuffer:
    """Counts the samples that one stream lost in a full buffer.

    Parameters
    ----------
    regular : bool
        The stream has a rate. Of another stream the number is unknown, and counted as one.
    """

    def __init__(self, regular: bool = True) -> None:
        self._regular = regular
        self._steps: deque[float] = deque(maxlen=_RECENT)
        self._last: float | None = None

    def lost(self, stamps: F64, full: bool) -> int:
        """Return the samples lost before these; at least one where the buffer was full.

        Parameters
        ----------
        stamps : float64 (n,)
            Of one pull (s); at least one.
        full : bool
            Whether the buffer was full before the pull.
        """
        times = stamps if self._last is None else np.concatenate(([self._last], stamps))
        self._last = float(stamps[-1])
        steps = np.diff(times)
        self._steps.extend(steps[steps > 0][-_RECENT:].tolist())
        if not full:
            return 0
        if not self._regular or not self._steps:
            return 1
        period = _period(np.array(self._steps))
        holes = steps[(steps > _HOLE * period) & (steps < _LONGEST_S)]
        return max(int((np.round(holes / period) - 1).sum()), 1)


def _period(steps: F64) -> float:
    """Return the mean period of samples (s), some of which may be missing."""
    rough = float(np.median(steps))
    return float(steps.sum() / np.round(steps / rough).sum())
