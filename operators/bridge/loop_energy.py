"""W, a Lyapunov function of the nominal loop of the beat clock.

The nominal loop is the loop of observer.py and steering.py, without noise, limits and slew, and
with a beat in each control step. r is the reference less the observer's phase (cycles), d the
reference's rate less the observer's (Hz), e the observer's phase less the output's (cycles). With
k = kp / (1 + kd),

    r' = d - kp r,  d' = -ki r,  e' = kp r - k e.

x holds phase error r + e, rate error d - k e and integral error d, each divided by its limit:
half a cycle, the slew, and the way of the rate to its limit. A = I + h F is the transition of x
over one control step h. P solves A'PA - P = -Q with Q = I, scaled so that

    W = x'Px = 1 at a phase error of 0.1 cycles alone.

W falls at each step of the nominal loop. Of the real loop it is an estimate: the errors are those
that the observer sees, and the reference's rate is that of its long memory.

Cost: 0.1 ms for new gains, else 2 us. State: none; 64 matrices are cached.

Source: R. E. Kalman and J. E. Bertram, J. Basic Eng. 82 (1960) 394-400.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from operators.bridge.bridge_config import CONTROL_S, LoopConfig
from operators.bridge.gains_in_force import Gains
from operators.types import F64

UNIT_CYCLES = 0.1
"""Phase error at which W is 1, without other errors (cycles)."""
MAX_RADIUS = 1 - 1e-9
"""Largest eigenvalue of a stable loop over one control step, by magnitude."""


class LoopDeviation(NamedTuple):
    """Errors of the loop: phase (cycles), rate and integral (Hz); NaN while unknown."""

    phase: float
    rate: float
    integral: float


def limits(loop: LoopConfig) -> LoopDeviation:
    """Return the limit of each error."""
    base, slew = 1000 / loop.tick_ms, 1000 / loop.tick_ms * loop.slew
    way = max(1000 / loop.min_tick_ms - base, base - 1000 / loop.max_tick_ms)
    return LoopDeviation(0.5, slew, max(way, slew))


def stable(gains: Gains) -> bool:
    """Whether the errors of the nominal loop fall to 0."""
    if not (gains.kp > 0 and gains.kd > -1):
        return False
    return bool(np.abs(np.linalg.eigvals(_transition(gains))).max() < MAX_RADIUS)


def loop_energy(error: LoopDeviation, gains: Gains, limit: LoopDeviation) -> float:
    """Return W (dimensionless) of an error at the gains in force, NaN while unknown."""
    if not all(map(math.isfinite, error)):
        return math.nan
    x = np.divide(error, limit)
    return float(x @ _weight(gains, limit) @ x)


def _transition(gains: Gains) -> F64:
    """Return the transition over one control step of (phase, rate, integral error)."""
    kp, ki, kd = gains
    k = kp / (1 + kd)
    flow = np.array(((-kp, 1.0, 0.0), (-ki, 0.0, 0.0), (kp, 0.0, -k)))  # of (r, d, e)
    seen = np.array(((1.0, 0.0, 1.0), (0.0, 1.0, -k), (0.0, 1.0, 0.0)))
    step: F64 = np.eye(len(flow)) + CONTROL_S * seen @ flow @ np.linalg.inv(seen)
    return step


@lru_cache(maxsize=64)
def _weight(gains: Gains, limit: LoopDeviation) -> F64:
    """Return P, scaled."""
    scale = np.asarray(limit)
    a = _transition(gains) * scale / scale[:, None]
    n = len(a)
    # Row by row, P is a vector, and A'PA is (A' x A') P with the Kronecker product x.
    system = np.eye(n * n) - np.kron(a.T, a.T)
    p = np.array(np.linalg.solve(system, np.eye(n).ravel()), np.float64).reshape(n, n)
    return np.array(p / (p[0, 0] * (UNIT_CYCLES / limit.phase) ** 2), np.float64)
