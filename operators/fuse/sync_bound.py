"""The bound of the sync error: an upper limit of the time error of all compared members.

A member is *compared* if its lag has a variance: found against another member, or given with an
sd. The reference is compared, with variance 0. At each tick the bound covers the present compared
members of all signals with at least two of them; without such a signal it is NaN. One bound holds
for all of them together. With n members as uncertain as the worst,

    bound = sqrt(v (4 + 1.7 ln n)),  v = max v_i,  n = sum (v_i / v)^3,

    v_i = var(lag) + var(offset) + T^2 / 12 + q^2 / 12,

which is 2 sd for one member; for many, the largest of their errors has the same coverage. T is the
period of a scraped member without own stamps. Its reading is T / 2 old on average, with variance
(T / 2)^2 / 3. q is the grain of its stamps (operators/drift/stamp_grain.py). The *estimate's* bound
omits these two terms, since no better estimate removes them.

State: the grains that a tick may still need. Cost: about 30 numpy calls a packet.

Source: z^2 of the largest of n normal errors (Sidak, JASA 62 (1967)), at 95 % 3.84 + 1.7 ln n
within 1 % up to n = 10.
"""

from __future__ import annotations

import numpy as np

from operators.fuse.sync_report import Clocks
from operators.records import GrainReport, Grid
from operators.settings.plan import Plan
from operators.types import F64, Bool, State

ONE_MEMBER, SIDAK = 4.0, 1.7
"""z^2 of one member, and its growth with ln n."""
MIN_COUNT = 2
"""Members of a comparison."""
UNIFORM = 1 / 12
"""Variance of an error that is uniform over 1."""
TINY = 1e-300


class Bound:
    """Bounds of consecutive ticks."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._sources = tuple(m.source for m in plan.members)
        self._channels = tuple(m.channel for m in plan.members)
        self._signals: list[slice] = []
        for s in plan.signals:
            first = self._signals[-1].stop if self._signals else 0
            self._signals.append(slice(first, first + len(s.members)))
        self._scraped = {
            i: period * period * UNIFORM
            for i, source in enumerate(self._sources)
            if (period := (plan.scrape_s or {}).get(source))
        }
        self._grains: dict[str, list[tuple[float, float]]] = {}

    @classmethod
    def from_snapshot(cls, state: State, plan: Plan) -> Bound:
        """Return the bound of a snapshot."""
        bound = cls(plan)
        bound._grains = {
            channel: [(watermark, grain_s) for watermark, grain_s in reports]
            for channel, reports in state["grains"].items()
        }
        return bound

    def snapshot(self) -> State:
        """Return the state as plain values."""
        return {"grains": {c: [list(r) for r in x] for c, x in self._grains.items()}}

    def add(self, reports: tuple[GrainReport, ...]) -> None:
        """Add the grain reports of a packet."""
        for channel, before, grain_s in reports:
            self._grains.setdefault(channel, []).append((before, grain_s))

    def of(self, grid: Grid, ts: F64, live: Bool, clocks: Clocks) -> tuple[F64, F64]:
        """Return the bound and the estimate's bound (s) at k ticks, NaN without compared members.

        Parameters
        ----------
        grid : Grid
        ts : float64 (k,)
            Times of its ticks.
        live : bool (k, c)
            Mask of present channels.
        clocks : Clocks
            Clocks known at the ticks.
        """
        m = len(self._sources)
        lag = np.ascontiguousarray(grid.lag_var[:, :m].T)
        compared = live[:, :m].T & np.isfinite(lag)
        known = np.zeros(len(ts), bool)
        for columns in self._signals:
            enough = np.add.reduce(compared[columns], 0, dtype=np.int64) >= MIN_COUNT
            compared[columns] &= enough
            known |= enough
        variance = np.fmax(lag + clocks.variance(self._sources, ts), 0.0)
        estimate = np.where(known, _widened(np.where(compared, variance, 0.0)), np.nan)
        coarse = self._coarse(ts, clocks)
        if coarse is None:
            return estimate.copy(), estimate
        total = _widened(np.where(compared, variance + coarse, 0.0))
        return np.where(known, total, np.nan), estimate

    def _coarse(self, ts: F64, clocks: Clocks) -> F64 | None:
        """Return the variance (m, k) of scraping and coarse stamps, T^2 / 12 + q^2 / 12.

        None without scraped members and grains.
        """
        if not self._scraped and not self._grains:
            return None
        out = np.zeros((len(self._sources), len(ts)))
        for i, variance in self._scraped.items():
            out[i] = np.where(ts < clocks.since(self._sources[i]), variance, 0.0)
        moment = ts + self.plan.base_delay_s
        for i, channel in enumerate(self._channels):
            reports = self._grains.get(channel, ())
            edges = [int(np.searchsorted(moment, before, "right")) for before, _ in reports]
            stops = [*edges, len(ts)][1:]
            for a, b, (_, grain_s) in zip(edges, stops, reports, strict=True):
                out[i, a:b] += grain_s * grain_s * UNIFORM
        for reports in self._grains.values():
            while len(reports) > 1 and len(ts) and reports[1][0] < moment[-1]:
                reports.pop(0)
        return out


def _widened(variance: F64) -> F64:
    """Return the bound (k,) of errors with these variances (m, k), 0 where all are 0."""
    worst = np.maximum.reduce(variance, 0)
    share = variance / np.maximum(worst, TINY)
    many = np.maximum(np.add.reduce(share * share * share, 0), 1.0)
    return np.asarray(np.sqrt(worst * (ONE_MEMBER + SIDAK * np.log(many))))
