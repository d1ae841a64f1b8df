"""Samples that LSL discarded from a full buffer, counted from the stamps around the hole.

LSL drops the oldest samples of a buffer that is not emptied for its length (360 s), without a word.
A filled buffer before a pull shows it. The stamps of the samples around have a hole, whose length
over the measured period is the number of lost samples. A pause of the sender leaves a hole too, but
mostly no filled buffer.

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
_FAR = 16.0
"""Periods from which a step of the stamps is not used for the period."""
_NEARLY = 0.5
"""Filled part of the buffer from which it may have run full during a pull."""
_LONGEST_S = 86_400.0
"""A longer step of the stamps is another time axis, not a hole."""


class FullBuffer:
    """Counts the samples that one stream lost in a full buffer.

    Parameters
    ----------
    regular : bool
        The stream has a rate. Of another stream the number is unknown: one for a full buffer.
    """

    def __init__(self, regular: bool = True) -> None:
        self._regular = regular
        self._steps: deque[float] = deque(maxlen=_RECENT)
        self._last: float | None = None

    def lost(self, stamps: F64, fullness: float) -> int:
        """Return the samples lost before these.

        Parameters
        ----------
        stamps : float64 (n,)
            Of one pull (s); at least one.
        fullness : float
            Filled part of the buffer before the pull.
        """
        times = stamps if self._last is None else np.concatenate(([self._last], stamps))
        self._last = float(stamps[-1])
        steps = np.diff(times)
        self._steps.extend(steps[(steps > 0) & (steps < _LONGEST_S)][-_RECENT:].tolist())
        if fullness < _NEARLY:
            return 0
        if self._regular and self._steps:
            period = _period(np.array(self._steps))
            holes = steps[(steps > _HOLE * period) & (steps < _LONGEST_S)]
            lost = int((np.round(holes / period) - 1).sum())
            if lost or (len(steps) and (np.abs(steps) <= _HOLE * period).all()):
                return lost
        return int(fullness >= 1)


def _period(steps: F64) -> float:
    """Return the mean period of samples (s), some of which may be missing."""
    rough = float(np.median(steps))
    near = steps[steps < _FAR * rough]
    return float(near.sum() / np.round(near / rough).sum())
