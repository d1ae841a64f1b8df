"""Places of numbers in a rising array, as `numpy.searchsorted`; quick where numbers rise too."""

from __future__ import annotations

from typing import Literal

import numpy as np

from operators import native
from operators.types import F64, I64

_MIN_COMPILED = 16
"""Fewer numbers than this cost less in numpy."""


def places(rising: F64, at: F64, side: Literal["left", "right"] = "left") -> I64:
    """Return the number of items before each number; with "right", also those equal to it.

    Parameters
    ----------
    rising : float64 (n,)
    at : float64 (k,)
    """
    if native.kernels is None or len(at) < _MIN_COMPILED:
        return rising.searchsorted(at, side)
    out = np.empty(len(at), np.int64)
    rising, at = np.ascontiguousarray(rising), np.ascontiguousarray(at)
    native.kernels.search(rising, at, side == "right", out)
    return out
