"""A line smoothed through readings: the bank of filters (operators/drift/offset_filter.py) from both ends.

At each reading the filters of one kind are combined, the forward one with the reading in it and
the backward one without, predicted to it, so that none is used twice:

    P = (Pf^-1 + Pb^-1)^-1,    x = P (Pf^-1 xf + Pb^-1 xb)
    weight = wf wb / prior * N(xf - xb; 0, Pf + Pb)

and the six kinds are averaged with these weights. The prior of the slope (300 ppm) counts twice.
Filters that know an edge are gone through again, each reading seen from both sides
(operators/drift/exponential_sites.py); how likely they are is left as the first passes found it, for what these
predicted was not known to them.

What a blurred edge hides from all readings alike is in the offset's variance. An edge that is
sharp as far as its stamps can show is taken to hide less than while it is still looked for.

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
    EDGE,
    EDGE_S,
    HIDDEN,
    Q_SLOPE,
    SHARP_PRIOR,
    OffsetFilterBank,
)
from operators.types import F64

SWEEPS = 2
ENOUGH = 100
"""Readings after which a pass knows its noise as well as it ever will."""
HIDES = 0.3
"""What an edge that looks sharp hides, in parts of what it may hide (measured)."""
_SOME = 1e-3
"""A weight from which on a filter can matter."""
_NOTHING = 1e6
"""Variance of what is not known."""
_PRIOR = np.array((*SHARP_PRIOR, *BLUNT_PRIOR)) / 2
_PACE = np.array((*Q_SLOPE, *Q_SLOPE))
_SHARP = np.repeat([True, False], len(Q_SLOPE))


class Passed(NamedTuple):
    """What a bank knew after each reading.

    Attributes
    ----------
    filters : float64 (m, 6, 5)
        Offset, slope, variance, covariance, variance of the slope of each filter.
    weight : float64 (m, 6)
    excess, seen, edge : float64 (m,)
        As `OffsetFilterBank` has them; `seen` counts the readings.
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
    """Return the line through readings, one at least."""
    forward = _passed(r, None)
    backward = _turned(_passed(r.mirrored(), forward))
    weight = _weights(r, forward, backward)
    _sharpen(r, forward, backward)
    return _averaged(r, forward, backward, weight)


def _passed(r: MinimumReadings, before: Passed | None) -> Passed:
    """Run a bank over readings; `before`: what another pass found out about their noise."""
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
    """Return filters of a mirrored time as those of time, or the other way round."""
    out = filters[::-1].copy()
    out[..., [1, 3]] *= -1
    return out


def _turned(p: Passed) -> Passed:
    """Return a pass over mirrored readings in the order of the readings."""
    return Passed(_mirrored(p.filters), *(x[::-1] for x in p[1:]))


def _behind(r: MinimumReadings, backward: F64, pace: F64) -> F64:
    """Return what backward filters (m, k, 5) know of each reading from the later ones.

    Across a reset the slope goes on, the offset does not; behind the end is nothing.
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
    p00[last], p01[last], th[last] = _NOTHING, 0.0, r.least[last][:, None]
    p11[-1] = _NOTHING
    return b


def _sharpen(r: MinimumReadings, forward: Passed, backward: Passed) -> None:
    """See each reading from both sides in the filters that know an edge."""
    if not (r.own > 0).all():
        return
    back = r.mirrored()
    for j in np.flatnonzero(_SHARP & (np.fmax(forward.weight, backward.weight).max(0) > _SOME)):
        pace = float(_PACE[j])
        f, b = forward.filters[:, j : j + 1], backward.filters[:, j : j + 1]
        for _ in range(SWEEPS // 2):
            b[:, 0] = _mirrored(sweep(back, pace, _behind(back, _mirrored(f), _PACE[j])[:, 0]))
            f[:, 0] = sweep(r, pace, _behind(r, b, _PACE[j])[:, 0])


def _unit(r: MinimumReadings, forward: Passed, backward: Passed) -> tuple[F64, F64]:
    """Return the readings' excess (m,), and the unit of each filter's variances (m, 6)."""
    seen = np.minimum([forward.seen, backward.seen], ENOUGH)
    excess = (seen * [forward.excess, backward.excess]).sum(axis=0) / seen.sum(axis=0)
    return excess, np.where(_SHARP, CAUTION, excess[:, None])


def _weights(r: MinimumReadings, forward: Passed, backward: Passed) -> F64:
    """Return how likely each filter's account is at each reading (m, 6), from all readings."""
    _, unit = _unit(r, forward, backward)
    behind = _behind(r, backward.filters, _PACE)
    th, g, s00, s01, s11 = np.moveaxis(forward.filters, 2, 0)
    s00, s01, s11 = s00 + behind[..., 2], s01 + behind[..., 3], s11 + behind[..., 4]
    d0, d1 = behind[..., 0] - th, behind[..., 1] - g
    # Where one side knows nothing of the offset, nothing of it is compared.
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
    """Return the mean of the combined filters, and its covariance."""
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
    edge = HIDES * np.maximum(EDGE_S, EDGE * r.own) ** 2 + blur
    unsharp = np.maximum(excess * (r.var + blur) - r.own**2, 0.0)
    covariance[0] += HIDDEN * (sharp * edge + (1 - sharp) * unsharp) * (r.own > 0)
    line = np.stack(((base + mean)[:, 0], mean_slope[:, 0]))
    return Smooth(line, covariance, np.sqrt(excess * (r.var + blur)))
