"""Numbers of the last samples: when they are renewed."""

from __future__ import annotations

import numpy as np
import pytest

from operators.guard.running_statistic import RunningStatistic
from operators.types import F64


def newest(windows: F64) -> F64:
    """Sum a window up as its newest and its oldest sample."""
    return windows[:, [-1, 0]]


def renewal() -> RunningStatistic:
    return RunningStatistic(memory=6, first=2, every=8, numbers=np.array([-1.0, -1.0]))


def samples(n: int) -> F64:
    return np.arange(1.0, n + 1)


def test_numbers_are_renewed_at_doubling_counts_and_then_at_each_multiple() -> None:
    last, oldest = renewal().push(samples(25), newest)
    assert last.tolist() == [-1, 2, 2, 4, 4, 4, 4] + [8] * 8 + [16] * 8 + [24] * 2
    # Of at most six samples.
    assert oldest.tolist() == [-1, 1, 1, 1, 1, 1, 1] + [3] * 8 + [11] * 8 + [19] * 2


@pytest.mark.parametrize("cuts", [[1], [2, 3], [7, 8, 9], list(range(1, 25))])
def test_numbers_do_not_depend_on_how_samples_come(cuts: list[int]) -> None:
    core = renewal()
    pieces = []
    for part in np.split(samples(25), cuts):
        pieces.append(core.push(part, newest))
        core = RunningStatistic.from_snapshot(core.snapshot())
    assert np.concatenate(pieces, axis=1).tolist() == renewal().push(samples(25), newest).tolist()


def test_no_samples_change_nothing() -> None:
    core = renewal()
    core.push(samples(5), newest)
    before = core.snapshot()
    assert core.push(np.empty(0), newest).shape == (2, 0)
    assert core.snapshot()["numbers"].tolist() == before["numbers"].tolist()
    assert core.seen == 5
