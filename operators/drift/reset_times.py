"""At which stamp a clock was reset: decided with all that was recorded before and after it.

A clock that follows its stamps names a reset when enough of them agree. In hindsight both levels
are known: the lower edge of the delays before, and after. A stamp is as unlikely on a side as
its delay above that edge is long, and far more so below it; the reset lies where the stamps
before it on the one side and those behind it on the other are the likeliest together. Stamps that
changed places on their way across the reset are named one by one.

Cost: a few numpy calls a reset. State: none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from operators.drift.clock import GATE_S, MAX_RUN, NEW_STEP_S
from operators.types import F64, I64, Bool

SIDE_S, MIN_COUNT = 10.0, 8
"""So much of each side shows its level, and so many stamps at least are looked at."""
MIN_S = 1e-4
MAX_COST, SURE = 20.0, 5.0
"""Nats: the most that a stamp counts for a side, and what takes it across the reset."""


class Cuts(NamedTuple):
    """Where parts begin.

    Attributes
    ----------
    edges : int64 (p + 1,)
        Index of the first stamp of each part, and the number of all.
    odd, odd_part : int64 (k,)
        Indices, rising, of stamps that belong to another part than their place says; that part.
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
        Stamps near which resets were noticed, rising.
    slope : float
        How arrival - source grows with source time (s/s), roughly.
    """
    n = len(source)
    level = arrival - source - slope * (source - source[0]) if n else arrival
    edges, odd, odd_part = [0], [], []
    for k, c in enumerate(near):
        # What the next reset may have changed speaks for no level of this one.
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
        # Moving the reset behind a stamp gives that stamp to the old side.
        price = np.concatenate(([0.0], np.cumsum(gain[lo - first : hi - first])))
        cut = lo + int(np.argmin(price))
        place = np.arange(first, last)
        astray = np.flatnonzero(np.where(place < cut, gain, -gain) > SURE)
        odd += place[astray].tolist()
        odd_part += (len(edges) - (place[astray] >= cut)).tolist()
        edges.append(cut)
    return Cuts(np.array([*edges, n]), np.array(odd, np.int64), np.array(odd_part, np.int64))


def _window(arrival: F64, c: int) -> tuple[int, int]:
    """Return between which stamps a reset lies that was noticed at stamp c."""
    lo, hi = np.searchsorted(arrival, arrival[c] + np.array([-NEW_STEP_S, NEW_STEP_S / 4])).tolist()
    return max(min(lo, c - MIN_COUNT), 0), min(max(hi, c + MIN_COUNT), len(arrival))


def _fine(level: F64, ok: Bool, a: int, b: int) -> F64:
    fine = level[a:b][ok[a:b]]
    return fine if len(fine) else level[a:b]


def _cost(above: F64, usual: float) -> F64:
    """Return how unlikely delays are, in nats, that lie so far above the least."""
    low = MIN_S + usual / 10
    return np.asarray(np.minimum(np.where(above < 0, -above / low, above / usual), MAX_COST))
