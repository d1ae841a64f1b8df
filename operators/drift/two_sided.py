"""A line smoothed through readings: the bank of operators/drift/offset_filter.py from both ends.

At each reading the filters of one kind are combined: the forward filter including the reading,
and the backward filter predicted to it, without it. No reading is then used twice:

    P = (Pf^-1 + Pb^-1)^-1,    x = P (Pf^-1 xf + Pb^-1 xb)
    weight = wf wb / prior * N(xf - xb; 0, Pf + Pb)

The six kinds are averaged with these weights. The prior of the slope (300 ppm) counts twice. The
sharp filters are refined by sweeps from both sides (operators/drift/exponential_sites.py). Their
likelihoods remain those of the first passes, whose predictions did not include the readings.

The bias of a blurred edge, common to all readings, is part of the offset's variance. For an edge
that appears sharp a smaller bias is assumed than while the edge is still undetected.

Cost: about 0.15 ms a reading. State: none.

Source: Fraser & Potter, IEEE Trans. Autom. Control 14 (1969), the two-filter form of Rauch, Tung
& Striebel, AIAA J. 3 (1965).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from operators.drift.delay_minima import MinimumReadings
from operators.drift.exponential_sites import sweep
from operators.drift.offset_filter import (
    BLUNT_PRIOR,
    CAUTION,
    EDGE_BLUR,
    HIDDEN_VAR,
    MIN_EDGE_S,
    Q_SLOPE,
    SHARP_PRIOR,
    OffsetFilterBank,
)
from operators.types import F64

SWEEPS = 2
MAX_COUNTED = 100
"""Readings after which the noise estimate of a pass does not improve further."""
SHARP_BIAS = 0.3
"""Variance of the bias of a sharp edge, as a share of the largest possible one (measured)."""
_MIN_REFINED = 1e-3
"""Weight from which a sharp filter is refined."""
_UNKNOWN_VAR = 1e6
"""Variance of an unknown state."""
_PRIOR = np.array((*SHARP_PRIOR, *BLUNT_PRIOR)) / 2
_PACE = np.array((*Q_SLOPE, *Q_SLOPE))
_SHARP = np.repeat([True, False], len(Q_SLOPE))


class Passed(NamedTuple):
    """State of a bank after each reading.

    Attributes
    ----------
    filters : float64 (m, 6, 5)
        Offset, slope, variance, covariance, variance of the slope of each filter.
    weight : float64 (m, 6)
    excess, seen, edge : float64 (m,)
        As in `OffsetFilterBank`; `seen` counts the readings.
    """

    filters: F64
    weight: F64
    excess: F64
    seen: F64
    edge: F64


class Smooth(NamedTuple):
    """Offset and slope (2, m), covariance (3, m), standard deviation of a reading (m,)."""

    line: F64
    covariance: F64
    edge: F64


def smoothed(r: MinimumReadings) -> Smooth:
    """Return the line through at least one reading."""
    forward = _passed(r, None)
    backward = _turned(_passed(r.mirrored(), forward))
    weight = _weights(r, forward, backward)
    _sharpen(r, forward, backward)
    return _averaged(r, forward, backward, weight)


def _passed(r: MinimumReadings, before: Passed | None) -> Passed:
    """Run a bank over readings; `before`: an earlier pass, whose noise estimate is the start."""
    filters, weight = np.empty((len(r), len(_PACE), 5)), np.empty((len(r), len(_PACE)))
    extra = np.empty((len(r), 3))
    heads = r.heads()
    bank: OffsetFilterBank | None = None
    columns = (x.tolist() for x in (r.at, r.least, r.own, r.var, r.rounding))
    for i, (at, least, own, var, rounding) in enumerate(zip(*columns, strict=True)):
        if bank is None:
            bank = OffsetFilterBank.start(at, least - own, var)
            if before:
                bank.excess, bank.readings = float(before.excess[-1]), int(before.seen[-1])
                bank.edge = math.sqrt(bank.excess * var)
        elif i in heads:
            bank.move(at, least - own, own)
        else:
            bank.read(at, least, own, var, rounding)
        filters[i] = [(f.offset, f.slope, f.p00, f.p01, f.p11) for f in bank.filters]
        weight[i] = [f.weight for f in bank.filters]
        extra[i] = bank.excess, bank.readings, bank.edge
    return Passed(filters, weight, *extra.T)


def _mirrored(filters: F64) -> F64:
    """Return filters over mirrored time as filters over time, or the reverse."""
    out = filters[::-1].copy()
    out[..., [1, 3]] *= -1
    return out


def _turned(p: Passed) -> Passed:
    """Return a pass over mirrored readings in the order of the readings."""
    return Passed(_mirrored(p.filters), *(x[::-1] for x in p[1:]))


def _behind(r: MinimumReadings, backward: F64, pace: F64) -> F64:
    """Return backward filters (m, k, 5) predicted to each reading from the next one.

    Across a reset the slope is kept, the offset is unknown; behind the end both are unknown.
    """
    b = np.concatenate((backward[1:], backward[-1:]))
    th, g, p00, p01, p11 = np.moveaxis(b, 2, 0)
    last = r.edges[1:] - 1
    dt = np.append(np.diff(r.at), 0.0)[:, None]
    dt[last] = 0.0
    wander = pace * dt
    p00 += dt * (dt * (p11 + wander / 3) - 2 * p01)
    p01 -= dt * (p11 + wander / 2)
    p11 += wander
    th -= g * dt
    p00[last], p01[last], th[last] = _UNKNOWN_VAR, 0.0, r.least[last][:, None]
    p11[-1] = _UNKNOWN_VAR
    return b


def _sharpen(r: MinimumReadings, forward: Passed, backward: Passed) -> None:
    """Refine the sharp filters in place by sweeps from both sides."""
    if not (r.own > 0).all():
        return
    back = r.mirrored()
    for j in np.flatnonzero(
        _SHARP & (np.fmax(forward.weight, backward.weight).max(0) > _MIN_REFINED)
    ):
        pace = float(_PACE[j])
        f, b = forward.filters[:, j : j + 1], backward.filters[:, j : j + 1]
        for _ in range(SWEEPS // 2):
            b[:, 0] = _mirrored(sweep(back, pace, _behind(back, _mirrored(f), _PACE[j])[:, 0]))
            f[:, 0] = sweep(r, pace, _behind(r, b, _PACE[j])[:, 0])


def _unit(r: MinimumReadings, forward: Passed, backward: Passed) -> tuple[F64, F64]:
    """Return the readings' excess (m,), and the unit of each filter's variances (m, 6)."""
    seen = np.minimum([forward.seen, backward.seen], MAX_COUNTED)
    excess = (seen * [forward.excess, backward.excess]).sum(axis=0) / seen.sum(axis=0)
    return excess, np.where(_SHARP, CAUTION, excess[:, None])


def _weights(r: MinimumReadings, forward: Passed, backward: Passed) -> F64:
    """Return the weight of each filter at each reading (m, 6), given all readings.

    log weight = log wf + log wb - log prior - (d' S^-1 d + log det S) / 2, S = Pf + Pb.
    """
    _, unit = _unit(r, forward, backward)
    behind = _behind(r, backward.filters, _PACE)
    th, g, s00, s01, s11 = np.moveaxis(forward.filters, 2, 0)
    s00, s01, s11 = s00 + behind[..., 2], s01 + behind[..., 3], s11 + behind[..., 4]
    d0, d1 = behind[..., 0] - th, behind[..., 1] - g
    # Where one side has no information on the offset, the offsets are not compared.
    last = r.edges[1:] - 1
    d0[last], d1[-1] = 0.0, 0.0
    det = s00 * s11 - s01 * s01
    apart = (d0 * d0 * s11 - 2 * d0 * d1 * s01 + d1 * d1 * s00) / (det * unit)
    later = np.concatenate((backward.weight[1:], _PRIOR[None]))
    log = np.log(forward.weight) + np.log(later) - np.log(_PRIOR)
    log -= 0.5 * (apart + np.log(det * unit * unit))
    weight = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def _averaged(r: MinimumReadings, forward: Passed, backward: Passed, weight: F64) -> Smooth:
    """Return the weighted mean of the combined filters, and its covariance.

    x = xf + K (xb - xf), P = Pf - K Pf, K = Pf (Pf + Pb)^-1.
    """
    excess, unit = _unit(r, forward, backward)
    th, g, f00, f01, f11 = np.moveaxis(forward.filters, 2, 0)
    bth, bg, b00, b01, b11 = np.moveaxis(_behind(r, backward.filters, _PACE), 2, 0)
    s00, s01, s11 = f00 + b00, f01 + b01, f11 + b11
    det = s00 * s11 - s01 * s01
    k00, k01 = (f00 * s11 - f01 * s01) / det, (f01 * s00 - f00 * s01) / det
    k10, k11 = (f01 * s11 - f11 * s01) / det, (f11 * s00 - f01 * s01) / det
    d0, d1 = bth - th, bg - g
    offset, slope = th + k00 * d0 + k01 * d1, g + k10 * d0 + k11 * d1
    base = offset[:, :1]
    mean = (weight * (offset - base)).sum(axis=1, keepdims=True)
    mean_slope = (weight * slope).sum(axis=1, keepdims=True)
    a, b = offset - base - mean, slope - mean_slope
    variances = (
        unit * np.maximum(f00 - k00 * f00 - k01 * f01, 0.0) + a * a,
        unit * (f01 - k00 * f01 - k01 * f11) + a * b,
        unit * np.maximum(f11 - k10 * f01 - k11 * f11, 0.0) + b * b,
    )
    covariance = np.stack([(weight * v).sum(axis=1) for v in variances])
    blur, sharp = r.blur(), weight[:, _SHARP].sum(axis=1)
    edge = SHARP_BIAS * np.maximum(MIN_EDGE_S, EDGE_BLUR * r.own) ** 2 + blur
    unsharp = np.maximum(excess * (r.var + blur) - r.own**2, 0.0)
    covariance[0] += HIDDEN_VAR * (sharp * edge + (1 - sharp) * unsharp) * (r.own > 0)
    line = np.stack(((base + mean)[:, 0], mean_slope[:, 0]))
    return Smooth(line, covariance, np.sqrt(excess * (r.var + blur)))
