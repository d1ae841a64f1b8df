"""A clock over a whole recording, corrected by two-way readings.

The path by arrivals (operators/drift/clock_path.py) lies above the clock by the least delay c of
the way. A reading r at source time t gives c = path(t) - r. c is a random walk, followed in both
directions, and is subtracted from the path; its variance, that of unequal ways (a third of the
square of the least error) and, far from all readings, that of a path that has changed are added.
Where the readings have moved the line of the first pass, c begins anew.

Cost: 2 us a reading. State: none.

Source: Rauch, Tung & Striebel, AIAA J. 3 (1965).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from operators.drift.clock_path import ClockPath
from operators.drift.two_way import FORGOTTEN_S, MAX_ERRORS, STALE_S, noise
from operators.types import F64

Q_DELAY = 1e-6 / 600
"""Wander of the least delay of a way: 1 ms in ten minutes (s^2/s)."""


class LoggedReading(NamedTuple):
    """A reading in force: `stamps` of the source before it, and the number of its line."""

    stamps: int
    ts: float
    offset: float
    error: float
    line: int


def corrected(path: ClockPath, readings: Sequence[LoggedReading], excess: float) -> ClockPath:
    """Return a path without the constant delay that the readings show.

    `excess`: mean square of the readings' errors in units of the model.
    """
    if not readings or not len(path.at):
        return path
    stamps, ts, offset, error, number = np.array(readings, np.float64).T
    known = np.minimum(np.maximum(stamps - 1, 0), max(int(path.stamp_edges[-1]) - 1, 0))
    part = np.concatenate([path.parts(int(k), 1) for k in known])
    by_arrivals = path.offset(part, ts)
    host, delay = ts + offset, by_arrivals - offset
    node_host = path.at + path.line[0]
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(readings)]
    node_delay, node_var = np.empty(len(node_host)), np.empty(len(node_host))
    begin = -np.inf
    for a, b in pairwise(edges):
        end = (host[b - 1] + host[b]) / 2 if b < len(host) else np.inf
        mine = (node_host - delay[a:b].mean() >= begin) & (node_host - delay[a:b].mean() < end)
        begin = end
        order = a + np.argsort(host[a:b], kind="stable")
        level, variance, least = _followed(host[order], delay[order], error[order], excess)
        at = node_host[mine] - level.mean()
        c = np.interp(at, host[order], level)
        gap = np.abs(at[:, None] - host[order]).min(axis=1) if len(at) else at
        unknown = np.clip((gap - STALE_S) / FORGOTTEN_S, 0.0, 1.0) * c * c
        node_delay[mine] = c
        node_var[mine] = np.interp(at, host[order], variance + least * least / 3) + unknown
    line, covariance = path.line.copy(), path.covariance.copy()
    line[0] -= node_delay
    covariance[0] += node_var
    heads = np.minimum(path.node_edges[:-1], len(node_delay) - 1)
    return replace(
        path,
        line=line,
        covariance=covariance,
        reset_at=path.reset_at - node_delay[heads],
        max_delay_s=path.max_delay_s + max(float(node_delay.max()), 0.0),
    )


def _followed(host: F64, delay: F64, error: F64, excess: float) -> tuple[F64, F64, F64]:
    """Return the smoothed delay (s), its variance, and the least error near each reading.

    Forward: P += q dt, K = P / (P + R). Backward: C = P / (P + q dt).
    """
    n = len(host)
    least = np.array(
        [error[max(i - MAX_ERRORS // 2, 0) : i + MAX_ERRORS // 2 + 1].min() for i in range(n)]
    )
    own = excess * np.array([noise(e, x) for e, x in zip(error, least, strict=True)])
    level, variance = np.empty(n), np.empty(n)
    level[0], variance[0] = delay[0], own[0]
    wander = Q_DELAY * np.diff(host)
    for i in range(1, n):
        p = variance[i - 1] + wander[i - 1]
        gain = p / (p + own[i])
        level[i] = level[i - 1] + gain * (delay[i] - level[i - 1])
        variance[i] = (1 - gain) * p
    for i in range(n - 2, -1, -1):
        p = variance[i] + wander[i]
        share = variance[i] / p
        level[i] += share * (level[i + 1] - level[i])
        variance[i] += share**2 * (variance[i + 1] - p)
    return level, variance, least
