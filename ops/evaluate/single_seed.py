"""Bars for a single seed: quantiles of the spread of each figure over seeds.

`python -m ops.bench.single` measures the table `single_seed.json` on a healthy build. A bar is the
`QUANTILE` of the spread of a figure over n seeds, by the wider of two rules. For normal figures it
lies k sd above the mean, with a confidence of 95 % for the small number of seeds,

    k = (z_q + sqrt(z_q^2 - a b)) / a,   a = 1 - z_c^2 / (2 (n - 1)),   b = z_q^2 - z_c^2 / n.

For a few seeds that are harder than the rest, it lies beyond the median by an exponential tail
extended from the maximum of n,

    ln(2 (1 - q)) / ln(2 / n) (maximum - median).

Both rules apply to the logarithm of a figure, since errors spread by factors. For a share they
apply to the square root of the share, or of its distance from 100 %, since counts spread so. For
an estimate they apply to its signed error. About one of a thousand healthy seeds exceeds a bar. A
count that has to be zero has no spread.

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
"""Ending of the names of figures in per cent."""


class SeedTable(msgspec.Struct):
    """Measured figures, seed by seed.

    Attributes
    ----------
    first, seeds : int
        The first seed, and the number of seeds.
    checks : dict
        Errors of estimates by length of the recording (`quick` or `full`) and check.
    figures : dict
        Values in the laboratory by signal-to-noise ratio (dB) and figure.
    """

    first: int
    seeds: int
    checks: dict[str, dict[str, list[float]]]
    figures: dict[str, dict[str, list[float]]]


@lru_cache(maxsize=1)
def table() -> SeedTable:
    """Return the shipped table."""
    return msgspec.json.decode(TABLE.read_bytes(), type=SeedTable)


def length(quick: bool) -> str:
    """Return the key of a length of the self-test in the table."""
    return "quick" if quick else "full"


def ratio(snr_db: float) -> str:
    """Return the key of a signal-to-noise ratio in the table."""
    return f"{snr_db:g}"


def allowed(quick: bool) -> dict[str, float]:
    """Return the largest allowed error of each estimate of the self-test."""
    return {name: off(errors) for name, errors in table().checks.get(length(quick), {}).items()}


def bars(snr_db: float) -> tuple[Bar, ...]:
    """Return the bars for one seed of the laboratory; a figure without a measurement fails."""
    found = table().figures.get(ratio(snr_db), {})
    spans = (span(b, found[b.key]) if b.key in found else (math.nan,) * 2 for b in pooled(snr_db))
    return tuple(
        replace(bar, low=low, high=high)
        for bar, (low, high) in zip(pooled(snr_db), spans, strict=True)
    )


def factor(n: int) -> float:
    """Return the distance of the quantile above the mean of n values, in sd (see k above)."""
    q, c = NormalDist().inv_cdf(QUANTILE), NormalDist().inv_cdf(CONFIDENCE)
    a, b = 1 - c * c / (2 * (n - 1)), q * q - c * c / n
    return (q + math.sqrt(q * q - a * b)) / a


def tail(n: int) -> float:
    """Return the distance of the quantile from the median, relative to the maximum of n values."""
    return math.log(2 * (1 - QUANTILE)) / math.log(2 / n)


def ends(x: F64) -> tuple[float, float]:
    """Return the quantiles on both sides of the spread of x (n,)."""
    n, mean, middle = len(x), float(np.mean(x)), float(np.median(x))
    away, far = factor(n) * float(np.std(x, ddof=1)), tail(n)
    low = min(mean - away, middle - far * (middle - float(np.min(x))))
    return low, max(mean + away, middle + far * (float(np.max(x)) - middle))


def off(errors: Sequence[float]) -> float:
    """Return the largest allowed error of an estimate, from its errors by seed."""
    low, high = ends(np.asarray(errors))
    return _up(max(-low, high))


def span(bar: Bar, values: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest allowed value of a figure, from its values by seed.

    Parameters
    ----------
    bar : Bar
        The bar of pooled seeds; it defines the bad side of the figure.
    """
    if bar.low == bar.high:
        return bar.low, max(bar.high, *values)
    x = np.asarray(values)
    if not bar.key.endswith(SHARES):
        low, high = map(math.exp, ends(np.log(x)))
        return (_down(low) if bar.low else 0.0), _up(high)
    # Counts of a rare event may be equal in all seeds: the bar is not tighter than the pooled one.
    if bar.high == 100.0:
        largest = _up(ends(np.sqrt(100.0 - x))[1] ** 2)
        return max(min(100.0 - largest, bar.low), 0.0), 100.0
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
