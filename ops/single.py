"""Bars that a single seed can be held to: quantiles of each figure's spread over seeds.

The table `single.json` is measured on a healthy build by `python -m ops.bench.single`. A bar is
the `QUANTILE` of the figure's spread, with a confidence of 95 % for what so few seeds leave open:

    k = z_q (1 + z_c / sqrt(2 (n - 1))) + z_c / sqrt(n)      (Natrella, NBS Handbook 91, 1963)

sd above the mean: of a figure's logarithm, since errors spread by factors; of its distance from
100 for a share in per cent, likewise; of an estimate's error itself on either side of zero. So of
a thousand healthy seeds one goes beyond a bar, or fewer. A count that has to be zero has no spread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from statistics import NormalDist

import msgspec
import numpy as np

from ops.accuracy import Bar
from ops.accuracy import bars as pooled

TABLE = Path(__file__).with_name("single.json")
QUANTILE, CONFIDENCE = 0.999, 0.95
LEAST_LACK = 0.1
"""Per cent that are added to what a share lacks of 100: none lacks nothing for sure."""


class Table(msgspec.Struct):
    """What was measured.

    Attributes
    ----------
    seeds : int
        How many; the bars follow from their spread.
    checks : dict
        By length of the self-test's recording, `quick` or `full`: how far each estimate may be off.
    figures : dict
        By signal-to-noise ratio (dB): least and most of each figure of the laboratory.
    """

    seeds: int
    checks: dict[str, dict[str, float]]
    figures: dict[str, dict[str, tuple[float, float]]]


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


def bars(snr_db: float) -> tuple[Bar, ...]:
    """Return what is asked of one seed of the laboratory; what was not measured holds never."""
    found = table().figures.get(ratio(snr_db), {})
    never = math.nan, math.nan
    return tuple(
        replace(bar, low=low, high=high)
        for bar in pooled(snr_db)
        for low, high in (found.get(bar.key, never),)
    )


def factor(n: int) -> float:
    """Return how many sd above the mean of n values the quantile lies for sure."""
    q, c = NormalDist().inv_cdf(QUANTILE), NormalDist().inv_cdf(CONFIDENCE)
    return q * (1 + c / math.sqrt(2 * (n - 1))) + c / math.sqrt(n)


def off(errors: Sequence[float]) -> float:
    """Return how far an estimate may be off, given its errors by seed."""
    mean, sd = abs(float(np.mean(errors))), float(np.std(errors, ddof=1))
    return _up(mean + factor(len(errors)) * sd)


def span(bar: Bar, values: Sequence[float]) -> tuple[float, float]:
    """Return least and most of a figure, given its values by seed.

    Parameters
    ----------
    bar : Bar
        The figure, as it is asked of many seeds: which of its sides is bad.
    """
    if bar.low == bar.high:
        return bar.low, max(bar.high, *values)
    away = factor(len(values))
    if bar.high == 100.0:
        lack = np.log(LEAST_LACK + 100.0 - np.asarray(values))
        most = float(np.exp(lack.mean() + away * lack.std(ddof=1))) - LEAST_LACK
        return max(100.0 - _up(most), 0.0), 100.0
    size = np.log(np.asarray(values))
    low, high = (float(np.exp(size.mean() + s * away * size.std(ddof=1))) for s in (-1, 1))
    return (_down(low) if bar.low else 0.0), _up(high)


def measured(
    errors: Mapping[str, Mapping[str, Sequence[float]]],
    values: Mapping[float, Mapping[str, Sequence[float]]],
    seeds: int,
) -> Table:
    """Return the table of errors of estimates and values of figures, each by seed."""
    return Table(
        seeds,
        {name: {what: off(x) for what, x in of.items()} for name, of in errors.items()},
        {
            ratio(r): {bar.key: span(bar, of[bar.key]) for bar in pooled(r)}
            for r, of in values.items()
        },
    )


def _up(x: float) -> float:
    """Return a number rounded up to two digits."""
    if not x > 0:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return float(f"{math.ceil(x / unit - 1e-9) * unit:.12g}")


def _down(x: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(x)) - 1)
    return float(f"{math.floor(x / unit + 1e-9) * unit:.12g}")
