"""The clock of an XDF stream: host time of its stamps, by the parts between clock resets.

Cost: 0.2 us a stamp. State: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from operators.types import F64, I64
from sources.recordings.spool import pieces
from sources.xdf.clock_offsets import fit_work
from sources.xdf.dejitter import ClockReadings
from sources.xdf.offset_smoother import OffsetCurve, Work
from sources.xdf.plausibility import SPANS

SLACK_S = 60.0
"""Longest time of samples before the first clock reading, or after the last (s)."""
BACKWARD_WEIGHT = 2.0
"""Additional weight of a backward step, over that of an unusual gap."""


@dataclass(frozen=True, slots=True)
class StreamClock:
    """The clock of a stream, in parts between its resets.

    Attributes
    ----------
    parts : list of OffsetCurve
        At least one.
    host : list of (float, float)
        Host time (s) of the first and last reading of each part.
    at, offset : float64 (m,)
        The readings (s).
    edges : list of int
        First reading of each part, and the number of readings.
    """

    parts: list[OffsetCurve]
    host: list[tuple[float, float]]
    at: F64
    offset: F64
    edges: list[int]

    @staticmethod
    def reading(at: F64, offset: F64) -> Work[StreamClock]:
        """Fit a clock to all its readings, in their order."""
        parts, edges = yield from fit_work(at, offset)
        known = [(at + offset)[a:b] for a, b in pairwise(edges.tolist())]
        host = [(float(h.min()), float(h.max())) for h in known]
        return StreamClock(parts, host, at, offset, edges.tolist())

    def _part_of(self, stamps: F64) -> I64:
        """Return the part of the clock for each stamp, in the order of the file.

        A part ends where the stamps jump by the step of the offset, among the places consistent
        with the times of the readings.
        """
        part = np.zeros(len(stamps), np.int64)
        if len(stamps) < 2:
            return part
        apart = np.diff(stamps)
        usual = float(np.median(apart))
        first = 0
        for k, (old, new) in enumerate(zip(self.parts, self.parts[1:], strict=False)):
            s = stamps[first:]
            before, after = s + old(s), s + new(s)
            (begin, end), (next_begin, next_end) = self.host[k : k + 2]
            not_old = (before < begin - SLACK_S) | (before > next_begin)
            not_new = (after < end) | (after > next_end + SLACK_S)
            wrong = np.zeros(len(s) + 1, np.int64)
            wrong[1:] = np.cumsum(not_old)
            wrong[:-1] += np.cumsum(not_new[::-1])[::-1]
            best = np.flatnonzero(wrong == wrong.min())
            cut = int(best[len(best) // 2])
            inner = best[(best > 0) & (best < len(s))]
            if len(inner):
                d = apart[first + inner - 1]
                step = (after - before)[inner]
                gain = _odd(d + step, usual) - _odd(d, usual)
                if gain.min() < 0:
                    cut = int(inner[np.argmin(gain)])
            first += cut
            part[first:] = k + 1
        return part

    def host_time(self, stamps: F64) -> tuple[F64, ClockReadings]:
        """Return the host time (s) of stamps, in the order of the file, and its errors."""
        part = self._part_of(stamps) if len(self.parts) > 1 else None
        host, sd = stamps.copy(), np.zeros(len(stamps), np.float32)
        at, left = [], []
        for k, (curve, (first, last)) in enumerate(
            zip(self.parts, pairwise(self.edges), strict=True)
        ):
            asked = self.at[first:last]
            low, high = float(asked.min()), float(asked.max())
            far = SPANS * (high - low)
            for s in pieces(len(stamps)):
                mine = slice(None) if part is None else part[s] == k
                # Extrapolation is limited to ten times the span of the readings.
                own = stamps[s][mine]
                host[s][mine] += curve(np.clip(own, low - far, high + far))
                sd[s][mine] = curve.sd(own)
            at.append(asked + curve(asked))
            left.append(self.offset[first:last] - curve(asked))
        return host, ClockReadings(sd, np.concatenate(at), np.concatenate(left))


def _odd(gap: F64, usual: float) -> F64:
    """Return |gap - usual| + 2 max(-gap, 0) (s): a backward step weighs three times."""
    return np.asarray(np.abs(gap - usual) + BACKWARD_WEIGHT * np.maximum(-gap, 0.0))
