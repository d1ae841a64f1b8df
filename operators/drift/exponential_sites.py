"""Readings that are the least of exponential delays, each seen from both sides of it.

A filter that takes in one-sided readings one after the other carries a Gaussian on, and what it
drops for that with each reading depends on what it knew then: little, at first. Expectation
propagation drops it anew with all that the other readings say: each reading's likelihood becomes
a *site*, a Gaussian factor in the offset, such that site times cavity (the filter from before it
and the one from behind it) has the moments of likelihood times cavity. With G and H as in
operators/drift/offset_filter.py, for the cavity's mean m and variance S of the offset, the site has

    precision  H / (1 - S H),    shift from m  G / (1 - S H)    (over the precision)

A sweep goes through the readings one way and gives the next sweep, the other way, its cavities.

Cost: 10 us a reading and sweep. State: none.

Source: Minka, Expectation Propagation (2001).
"""

from __future__ import annotations

import numpy as np

from operators.drift.delay_minima import MinimumReadings
from operators.drift.offset_filter import EDGE, EDGE_S, OffsetFilter, sharpened
from operators.types import F64

LOOSE = 4.0
"""Standard deviation of an offset that nothing else is known of, about its first reading, in
units of how far that lies above the edge."""


def sweep(r: MinimumReadings, pace: float, other: F64) -> F64:
    """Go through readings once.

    Parameters
    ----------
    r : Readings
        With `own` of each.
    pace : float
        Spectral density of the slope's wander (1/s).
    other : float64 (m, 5)
        Offset, slope, variance, covariance, variance of the slope from the readings behind each.

    Returns
    -------
    float64 (m, 5)
        The same from the readings before each and itself.
    """
    out = np.empty((len(r), 5))
    var = np.maximum(EDGE_S, EDGE * r.own) ** 2 + r.blur()
    columns = (x.tolist() for x in (r.at, r.least, r.own, var, other))
    heads, before = r.heads(), float(r.at[0])
    f = OffsetFilter(pace, True, 1.0, 0.0, 0.0)
    rows = zip(*columns, strict=True)
    for i, (t, low, mean, edge_var, behind) in enumerate(rows):
        if i in heads:
            f.offset, f.p00, f.p01 = low - mean, (LOOSE * mean) ** 2, 0.0
        else:
            f.predict(max(t - before, 0.0))
        before = t
        # The cavity's offset: both sides' together.
        th, g, q00, q01, q11 = behind
        s00, s01, s11 = f.p00 + q00, f.p01 + q01, f.p11 + q11
        det = s00 * s11 - s01 * s01
        k0 = (f.p00 * s11 - f.p01 * s01) / det
        k1 = (f.p01 * s00 - f.p00 * s01) / det
        m = f.offset + k0 * (th - f.offset) + k1 * (g - f.slope)
        s = max(f.p00 - k0 * f.p00 - k1 * f.p01, _LEAST * f.p00)
        first, second = sharpened(low - m, mean, s + edge_var)
        left = max(1 - s * second, _LEAST)
        precision = second / left
        pull = first / left - precision * (f.offset - m)
        whole = 1 + precision * f.p00
        f.update(pull / whole, precision / whole)
        out[i] = f.offset, f.slope, f.p00, f.p01, f.p11
    return out


_LEAST = 1e-9
"""Part of a variance that is left of it at least, whatever rounding does."""
