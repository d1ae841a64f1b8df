"""The clock of an XDF stream: host time of its stamps, a part between resets after the other.

Cost: 0.2 us a stamp. State: none.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from operators.types import F64, I64
from sources.recordings.spool import pieces
from sources.xdf.clock_offsets import coursing
from sources.xdf.dejitter import Readings
from sources.xdf.offset_smoother import OffsetCurve, Work
from sources.xdf.plausibility import SPANS

SLACK_S = 60.0
"""Samples come so long before a clock's first reading or after its last."""
BACK = 2.0
"""How much odder, than a gap that is longer than usual, one is that runs back."""


@dataclass(frozen=True, slots=True)
class StreamClock:
    """A stream's clock: the parts between its resets.

    Attributes
    ----------
    parts : list of Course
        One at least.
    host : list of (float, float)
        Host time (s) of each part's first and last reading.
    at, offset : float64 (m,)
        The readings (s).
    edges : list of int
        Where the parts begin among them, and their number.
    """

    parts: list[OffsetCurve]
    host: list[tuple[float, float]]
    at: F64
    offset: F64
    edges: list[int]

    @staticmethod
    def reading(at: F64, offset: F64) -> Work[StreamClock]:
        """Follow a clock through all its readings, in their order."""
        parts, edges = yield from coursing(at, offset)
        known = [(at + offset)[a:b] for a, b in pairwise(edges.tolist())]
        host = [(float(h.min()), float(h.max())) for h in known]
        return StreamClock(parts, host, at, offset, edges.tolist())

    def _part_of(self, stamps: F64) -> I64:
        """Return for each stamp, in the order of the file, the part of the clock it is from.

        A part ends where the stamps jump as the offset does, among the places that agree with
        when readings were taken.
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

    def host_time(self, stamps: F64) -> tuple[F64, Readings]:
        """Return stamps, in the order of the file, as host time (s), and how sure that is."""
        part = self._part_of(stamps) if len(self.parts) > 1 else None
        host, sd = stamps.copy(), np.zeros(len(stamps), np.float32)
        at, left = [], []
        for k, (course, (first, last)) in enumerate(
            zip(self.parts, pairwise(self.edges), strict=True)
        ):
            asked = self.at[first:last]
            low, high = float(asked.min()), float(asked.max())
            far = SPANS * (high - low)
            for s in pieces(len(stamps)):
                mine = slice(None) if part is None else part[s] == k
                # A slope is not drawn out over more than ten times the readings' span.
                own = stamps[s][mine]
                host[s][mine] += course(np.clip(own, low - far, high + far))
                sd[s][mine] = course.sd(own)
            at.append(asked + course(asked))
            left.append(self.offset[first:last] - course(asked))
        return host, Readings(sd, np.concatenate(at), np.concatenate(left))


def _odd(gap: F64, usual: float) -> F64:
    """Return how odd a gap between samples is (s), three times as odd where time runs back."""
    return np.asarray(np.abs(gap - usual) + BACK * np.maximum(-gap, 0.0))
