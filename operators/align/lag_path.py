"""A member's lag over a whole recording: its reports, smoothed backwards.

Each hop gives an estimate x = (lag, rate) with covariance P, from the data up to it. The
Rauch-Tung-Striebel pass propagates the estimates of later hops back to earlier ones,

    x_s = x + C (x_s' - F x),  P_s = P + C (P_s' - P') C',  C = P F' P'^-1,  P' = F P F' + Q,

F = [[1, dt], [0, 1]], Q = diag(growth dt, 0), a dash for the next hop. A lag that does not walk
(growth 0) thus has the line of the last hop everywhere; one that walks is the mean of the
estimates before and after. Where the filter restarted, at a step of more than 4 sd, the pass
restarts as well: the step is dated half a hop after the last hop whose segments still agreed.

Reports that equal their predecessor at their time are omitted. State: the reports. Losses: none.

Source: Rauch, Tung & Striebel, AIAA J. 3 (1965).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from operators.align.lag_filter import REJECTS
from operators.records import LagReport
from operators.types import F64

STEP_SDS = 4.0
SAME_S, SAME_VAR = 1e-6, 0.01
"""Largest difference of equal lags (s), and of equal variances (share)."""


def path_of(reports: Sequence[LagReport], dated_s: float) -> list[LagReport]:
    """Return reports of the whole recording, the first of them dated -inf.

    Parameters
    ----------
    reports : sequence of LagReport
        Those of one member, in order; at least one.
    dated_s : float
        By how much `known` lies behind the data of the estimate (s).

    Returns
    -------
    list of LagReport
        The last one alone where no lag was ever found.
    """
    found = [r for r in reports if r.locked]
    if not found or found[-1].note == "reference":
        return [reports[-1]._replace(known=-np.inf)]
    out: list[LagReport] = []
    known = -np.inf
    for a, b in pairwise((0, *_steps(found), len(found))):
        run = _smoothed(found[a:b])
        if a:
            # Reports since the first rejection still hold the lag from before the step.
            first = max(a - REJECTS, 0)
            known = (found[first].known + found[min(first + 1, a)].known) / 2 - dated_s
        out = [r for r in out if r.known < known or np.isinf(r.known)]
        for before, r in zip([None, *run[:-1]], run, strict=True):
            if before is None:
                out.append(r._replace(known=known))
            elif (date := (before.at + r.at) / 2) > known and not _same(out[-1], r):
                out.append(r._replace(known=date))
    return out


def _steps(reports: Sequence[LagReport]) -> list[int]:
    """Return the indexes of reports before which the filter restarted."""
    out = []
    for i, (a, b) in enumerate(pairwise(reports)):
        dt = b.at - a.at
        spread = a.var + dt * (2 * a.cross_var + dt * a.rate_var) + a.growth * dt
        if (b.lag_s - a.lag_s - a.rate * dt) ** 2 > STEP_SDS**2 * spread:
            out.append(i + 1)
    return out


def _smoothed(reports: Sequence[LagReport]) -> list[LagReport]:
    """Return the reports of one run, smoothed: x_s = x + C (x_s' - F x)."""
    last = reports[-1]._replace(doubt=0.0)
    x, p = _state(last)
    out = [last]
    for r, after in zip(reports[-2::-1], reports[:0:-1], strict=True):
        dt = after.at - r.at
        f = np.array([[1.0, dt], [0.0, 1.0]])
        mine, own = _state(r)
        ahead = f @ own @ f.T + np.diag([r.growth * dt, 0.0])
        gain = own @ f.T @ np.linalg.pinv(ahead, hermitian=True)
        x = mine + gain @ (x - f @ mine)
        p = own + gain @ (p - ahead) @ gain.T
        out.append(
            last._replace(
                lag_s=float(x[0]),
                rate=float(x[1]),
                at=r.at,
                growth=r.growth,
                var=max(float(p[0, 0]), 0.0),
                cross_var=float(p[0, 1]),
                rate_var=max(float(p[1, 1]), 0.0),
            )
        )
    return out[::-1]


def _state(r: LagReport) -> tuple[F64, F64]:
    covariance = np.array([[r.var, r.cross_var], [r.cross_var, r.rate_var]])
    return np.array([r.lag_s, r.rate]), covariance


def _same(a: LagReport, b: LagReport) -> bool:
    """Return whether two reports have the same lag and variance at the time of the second."""
    dt = b.at - a.at
    lag = a.lag_s + a.rate * dt
    var = a.var + dt * (2 * a.cross_var + dt * a.rate_var) + a.growth * abs(dt)
    return abs(lag - b.lag_s) < SAME_S and abs(var - b.var) < SAME_VAR * max(b.var, 1e-18)
