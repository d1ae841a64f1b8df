"""The median equals that of numpy."""

from __future__ import annotations

import numpy as np
import pytest

from operators.numeric.medians import median


@pytest.mark.parametrize("n", [1, 2, 3, 8, 101])
def test_the_median_is_that_of_numpy(n: int) -> None:
    x = np.random.default_rng(n).standard_normal(n)
    assert median(x) == np.median(x)
    x[n // 2] = np.nan
    assert np.isnan(median(x))
