"""When messages of a queue arrived, which is read every few milliseconds only.

The driver stamps each message with the time since the one before, by its own clock; whoever reads
the queue knows between which two looks a message came. The first has no zero, the second is coarse
where the reader waits for the interpreter: together they give the moment (set-membership
estimation of one offset, as in Schweppe 1968). What the driver does not hand over, such as system
exclusive on JACK, shortens its sums; the bracket puts that right with the next message.

Accuracy: the driver's own stamp, and of its zero what the best look leaves open, well below 1 ms.
On JACK the driver's stamp is the moment at which it took the period up: messages of a period of
p seconds are even within p. State: three numbers.
"""

from __future__ import annotations

from math import inf

import numpy as np

from operators.types import F64


class ArrivalTimes:
    """Arrival times of the messages of one queue, never falling while the host's do not."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._clock = 0.0
        self._last = -inf

    def at(self, deltas: list[float], empty: float, now: float) -> list[float]:
        """Return when messages arrived.

        Parameters
        ----------
        deltas : list of float
            Time since the message before, as the driver gives it (s).
        empty, now : float
            The host's time when the queue was last found empty, and after these were taken (s).

        Returns
        -------
        list of float
            The host's time of each, in whole microseconds (s).
        """
        clock: F64 = self._clock + np.cumsum(np.maximum(np.nan_to_num(deltas), 0.0))
        latest = now - float(clock[-1])
        offset = latest if self._offset is None else min(self._offset, latest)
        self._offset = min(max(offset, empty - float(clock[0])), latest)
        # Of what came after a stretch that the driver left out, only the bracket is known.
        self._clock = float(clock[-1])
        times = np.clip(clock + self._offset, min(max(empty, self._last), now), now)
        self._last = float(times[-1])
        return [float(t) for t in np.floor(times * 1e6) / 1e6]
