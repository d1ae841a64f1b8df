"""Bars that a single seed can be held to: quantiles of each figure's spread over seeds.

The table `single_seed.json` is measured on a healthy build by `python -m ops.bench.single`. A bar is
the `QUANTILE` of the figure's spread over its n seeds, by the wider of two rules: where figures
are normal, k sd above the mean, with a confidence of 95 % for what so few seeds leave open,

    k = (z_q + sqrt(z_q^2 - a b)) / a,   a = 1 - z_c^2 / (2 (n - 1)),   b = z_q^2 - z_c^2 / n;

where a few seeds are harder than the rest, beyond the median by as much as an exponential tail
goes on from the most of n,

    ln(2 (1 - q)) / ln(2 / n) (most - median).

Both are of a figure's logarithm, since errors spread by factors; of the square root of a share,
or of what it lacks of 100 %, since counts do; of an estimate's error itself on either side of
zero. So of a thousand healthy seeds about one goes beyond a bar. A count that has to be zero has
no spread.

Source: one-sided tolerance limits, Natrella, NBS Handbook 91 (1963), section 2-13.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

import msgspec
import numpy as np

from operators.types import F64
from ops.evaluate.accuracy import Bar
from ops.evaluate.accuracy import bars as pooled

TABLE = Path(__file__).with_name("single_seed.json")
QUANTILE, CONFIDENCE = 0.999, 0.95
SHARES = "_pct"
"""How the names of figures in per cent end."""


class Table(msgspec.Struct):
    """What was measured, seed by seed.

    Attributes
    ----------
    first, seeds : int
        The first seed, and how many.
    checks : dict
        By length of the self-test's recording, `quick` or `full`, and check: errors of estimates.
    figures : dict
        By signal-to-noise ratio (dB) and figure: its values in the laboratory.
    """

    first: int
    seeds: int
    checks: dict[str, dict[str, list[float]]]
    figures: dict[str, dict[str, list[float]]]


@lru_cache(maxsize=1)
def table() -> Table:
    """Return the table that is shipped."""
    return msgspec.json.decode(TABLE.read_bytes(), type=Table)


def length(quick: bool) -> str:
    """Return what the self-test's recording is called in the table."""
    return "quick" if quick else "full"


def ratio(snr_db: float) -> str:
    """Return what a signal-to-noise ratio is called in the table."""
    return f"{snr_db:g}"


def allowed(quick: bool) -> dict[str, float]:
    """Return how far each estimate of the self-test's recording may be off."""
    return {what: off(errors) for what, errors in table().checks.get(length(quick), {}).items()}


def bars(snr_db: float) -> tuple[Bar, ...]:
    """Return what is asked of one seed of the laboratory; what was not measured holds never."""
    found = table().figures.get(ratio(snr_db), {})
    spans = (span(b, found[b.key]) if b.key in found else (math.nan,) * 2 for b in pooled(snr_db))
    return tuple(
        replace(bar, low=low, high=high)
        for bar, (low, high) in zip(pooled(snr_db), spans, strict=True)
    )


def factor(n: int) -> float:
    """Return how many sd above the mean of n values the quantile lies for sure."""
    q, c = NormalDist().inv_cdf(QUANTILE), NormalDist().inv_cdf(CONFIDENCE)
    a, b = 1 - c * c / (2 * (n - 1)), q * q - c * c / n
    return (q + math.sqrt(q * q - a * b)) / a


def tail(n: int) -> float:
    """Return how far the quantile lies beyond the median, over how far the most of n does."""
    return math.log(2 * (1 - QUANTILE)) / math.log(2 / n)


def ends(x: F64) -> tuple[float, float]:
    """Return the quantiles on both sides of the spread of x (n,)."""
    n, mean, middle = len(x), float(np.mean(x)), float(np.median(x))
    away, far = factor(n) * float(np.std(x, ddof=1)), tail(n)
    low = min(mean - away, middle - far * (middle - float(np.min(x))))
    return low, max(mean + away, middle + far * (float(np.max(x)) - middle))


def off(errors: Sequence[float]) -> float:
    """Return how far an estimate may be off, given its errors by seed."""
    low, high = ends(np.asarray(errors))
    return _up(max(-low, high))


def span(bar: Bar, values: Sequence[float]) -> tuple[float, float]:
    """Return least and most of a figure, given its values by seed.

    Parameters
    ----------
    bar : Bar
        The figure, as it is asked of many seeds: which of its sides is bad.
    """
    if bar.low == bar.high:
        return bar.low, max(bar.high, *values)
    x = np.asarray(values)
    if not bar.key.endswith(SHARES):
        low, high = map(math.exp, ends(np.log(x)))
        return (_down(low) if bar.low else 0.0), _up(high)
    # Counts of a rare event may be alike in all seeds: no more is asked than of many pooled.
    if bar.high == 100.0:
        most = _up(ends(np.sqrt(100.0 - x))[1] ** 2)
        return max(min(100.0 - most, bar.low), 0.0), 100.0
    return 0.0, max(_up(ends(np.sqrt(x))[1] ** 2), bar.high)


def _up(x: float) -> float:
    """Return a number rounded up to two digits."""
    if not x > 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return float(f"{math.ceil(x / unit - 1e-9) * unit:.12g}")


def _down(x: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return float(f"{math.floor(x / unit + 1e-9) * unit:.12g}")
