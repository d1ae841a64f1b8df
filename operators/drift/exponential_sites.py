"""Expectation propagation over readings that are the least of exponential delays.

A sequential filter approximates the posterior after each one-sided reading by a Gaussian. The
error of that depends on the state before the reading: it is largest at the start. Expectation
propagation repeats the approximation given all other readings. Each reading's likelihood becomes
a *site*, a Gaussian factor in the offset, such that site times cavity (the filters from before
and from behind it) has the moments of likelihood times cavity. With G and H as in
operators/drift/offset_filter.py, for the cavity's mean m and variance S of the offset, the site has

    precision  H / (1 - S H),    shift from m  G / (1 - S H)    (over the precision)

A sweep runs through the readings in one direction and yields the cavities of the next sweep,
which runs in the other direction.

Cost: 10 us a reading and sweep. State: none.

Source: Minka, Expectation Propagation (2001).
"""

from __future__ import annotations

import numpy as np

from operators.drift.delay_minima import MinimumReadings
from operators.drift.offset_filter import EDGE_BLUR, MIN_EDGE_S, OffsetFilter, sharpened
from operators.types import F64

PRIOR_SD = 4.0
"""Prior standard deviation of the offset about its first reading, in units of `own`."""
_MIN_VAR_SHARE = 1e-9
"""Share of a variance that remains at least, against rounding."""


def sweep(r: MinimumReadings, pace: float, other: F64) -> F64:
    """Run one sweep through readings.

    Parameters
    ----------
    r : MinimumReadings
        With `own` of each.
    pace : float
        Spectral density of the slope's wander (1/s).
    other : float64 (m, 5)
        Offset, slope, variance, covariance, variance of the slope from the readings behind each.

    Returns
    -------
    float64 (m, 5)
        The same from the readings before each, and the reading itself.
    """
    out = np.empty((len(r), 5))
    var = np.maximum(MIN_EDGE_S, EDGE_BLUR * r.own) ** 2 + r.blur()
    columns = (x.tolist() for x in (r.at, r.least, r.own, var, other))
    heads, before = r.heads(), float(r.at[0])
    f = OffsetFilter(pace, True, 1.0, 0.0, 0.0)
    rows = zip(*columns, strict=True)
    for i, (t, low, mean, edge_var, behind) in enumerate(rows):
        if i in heads:
            f.offset, f.p00, f.p01 = low - mean, (PRIOR_SD * mean) ** 2, 0.0
        else:
            f.predict(max(t - before, 0.0))
        before = t
        # The cavity's offset, from both sides: m = m_f + K (x_b - x_f), K = Pf (Pf + Pb)^-1.
        th, g, q00, q01, q11 = behind
        s00, s01, s11 = f.p00 + q00, f.p01 + q01, f.p11 + q11
        det = s00 * s11 - s01 * s01
        k0 = (f.p00 * s11 - f.p01 * s01) / det
        k1 = (f.p01 * s00 - f.p00 * s01) / det
        m = f.offset + k0 * (th - f.offset) + k1 * (g - f.slope)
        s = max(f.p00 - k0 * f.p00 - k1 * f.p01, _MIN_VAR_SHARE * f.p00)
        first, second = sharpened(low - m, mean, s + edge_var)
        left = max(1 - s * second, _MIN_VAR_SHARE)
        precision = second / left
        pull = first / left - precision * (f.offset - m)
        whole = 1 + precision * f.p00
        f.update(pull / whole, precision / whole)
        out[i] = f.offset, f.slope, f.p00, f.p01, f.p11
    return out
