"""Arrival times of queued messages; the queue is read only every few milliseconds.

Two measurements are combined. The driver stamps each message with the time since the previous one,
by its own clock, which has no zero. The reader of the queue brackets each message between two
reads, which is coarse while it waits for the interpreter. Together they give the arrival
(set-membership estimation of one offset, as in Schweppe 1968). Messages that the driver skips,
such as system exclusive on JACK, shorten its sums; the bracket of the next message corrects that.

Accuracy: that of the driver's stamp, plus the tightest bracket for its zero, well below 1 ms. On
JACK the driver stamps at the start of a period: messages are exact within a period. State: three
numbers.
"""

from __future__ import annotations

from math import inf

import numpy as np

from operators.types import F64


class ArrivalTimes:
    """Arrival times of the messages of one queue; they never fall unless the host time does."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._clock = 0.0
        self._last = -inf

    def at(self, deltas: list[float], empty: float, now: float) -> list[float]:
        """Return the arrival times of messages.

        Parameters
        ----------
        deltas : list of float
            Time since the previous message, by the driver's clock (s).
        empty, now : float
            Host time of the last empty queue, and after the read of these messages (s).

        Returns
        -------
        list of float
            Host time of each message, in whole microseconds (s).
        """
        clock: F64 = self._clock + np.cumsum(np.maximum(np.nan_to_num(deltas), 0.0))
        latest = now - float(clock[-1])
        offset = latest if self._offset is None else min(self._offset, latest)
        self._offset = min(max(offset, empty - float(clock[0])), latest)
        # offset in [empty - clock[0], now - clock[-1]]: after a skipped stretch only the bracket
        # holds.
        self._clock = float(clock[-1])
        times = np.clip(clock + self._offset, min(max(empty, self._last), now), now)
        self._last = float(times[-1])
        return [float(t) for t in np.floor(times * 1e6) / 1e6]
