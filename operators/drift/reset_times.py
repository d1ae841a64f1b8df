"""Time of each clock reset, decided from the whole recording.

The forward clock detects a reset when enough stamps agree. In hindsight both levels are known:
the lower edges of the delays before and after. On each side the cost of a stamp grows with its
delay above that edge, and much faster below it. The reset lies at the cut of the least total cost
of the stamps before and after it. Stamps that were reordered across the reset are listed one by
one.

Cost: a few numpy calls a reset. State: none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.drift.clock import GATE_S, MAX_RUN, NEW_STEP_S
from operators.types import F64, I64, Bool

SIDE_S, MIN_COUNT = 10.0, 8
"""Time on each side that shows its level (s), and the least number of stamps."""
MIN_S = 1e-4
MAX_COST, SURE = 20.0, 5.0
"""Nats: the largest cost of a stamp, and the gain that assigns a stamp to the other side."""


class Cuts(NamedTuple):
    """Parts of a recording between clock resets.

    Attributes
    ----------
    edges : int64 (p + 1,)
        Index of the first stamp of each part, and the number of all.
    odd, odd_part : int64 (k,)
        Indices, rising, of stamps of another part than that of their place; that part.
    """

    edges: I64
    odd: I64
    odd_part: I64

    def parts(self) -> I64:
        """Return the part of each stamp."""
        part = np.repeat(np.arange(len(self.edges) - 1), np.diff(self.edges))
        part[self.odd] = self.odd_part
        return part


def cuts(source: F64, arrival: F64, ok: Bool, near: list[int], slope: float) -> Cuts:
    """Date the resets.

    Parameters
    ----------
    source, arrival : float64 (n,)
        Distinct stamps in order of arrival (s).
    ok : bool (n,)
        False for stamps that are known to be wild.
    near : list of int
        Stamps near which resets were detected, rising.
    slope : float
        Growth of arrival - source with source time (s/s), approximate.
    """
    n = len(source)
    level = arrival - source - slope * (source - source[0]) if n else arrival
    edges, odd, odd_part = [0], [], []
    for k, c in enumerate(near):
        # Stamps that the next reset may have changed give no level for this one.
        end = _window(arrival, near[k + 1])[0] if k + 1 < len(near) else n
        lo, hi = _window(arrival, c)
        lo, hi = max(lo, edges[-1] + 1), min(hi, max(end, c + 1), n - 1)
        if lo > hi:
            continue
        begin = max(edges[-1], min(int(np.searchsorted(arrival, arrival[lo] - SIDE_S)), lo - 1))
        stop = max(hi + 1, min(end, int(np.searchsorted(arrival, arrival[hi] + SIDE_S))))
        old, new = _fine(level, ok, begin, lo), _fine(level, ok, hi, stop)
        low_old, low_new = float(np.min(old)), float(np.min(new))
        if abs(low_new - low_old) < GATE_S / 2:
            continue
        usual = max(float(np.median(old)) - low_old, float(np.median(new)) - low_new, MIN_S)
        first = max(edges[-1], lo - MAX_RUN)
        last = min(hi + MAX_RUN, max(end, hi))
        gain = _cost(level[first:last] - low_old, usual) - _cost(level[first:last] - low_new, usual)
        # Total cost by cut: a cut behind a stamp assigns that stamp to the old side.
        price = np.concatenate(([0.0], np.cumsum(gain[lo - first : hi - first])))
        cut = lo + int(np.argmin(price))
        place = np.arange(first, last)
        astray = np.flatnonzero(np.where(place < cut, gain, -gain) > SURE)
        odd += place[astray].tolist()
        odd_part += (len(edges) - (place[astray] >= cut)).tolist()
        edges.append(cut)
    return Cuts(np.array([*edges, n]), np.array(odd, np.int64), np.array(odd_part, np.int64))


def _window(arrival: F64, c: int) -> tuple[int, int]:
    """Return the stamps between which a reset lies that was detected at stamp c."""
    lo, hi = np.searchsorted(arrival, arrival[c] + np.array([-NEW_STEP_S, NEW_STEP_S / 4])).tolist()
    return max(min(lo, c - MIN_COUNT), 0), min(max(hi, c + MIN_COUNT), len(arrival))


def _fine(level: F64, ok: Bool, a: int, b: int) -> F64:
    fine = level[a:b][ok[a:b]]
    return fine if len(fine) else level[a:b]


def _cost(above: F64, usual: float) -> F64:
    """Return the cost (nats) of delays this far above the least: above / usual, capped."""
    low = MIN_S + usual / 10
    return np.asarray(np.minimum(np.where(above < 0, -above / low, above / usual), MAX_COST))
