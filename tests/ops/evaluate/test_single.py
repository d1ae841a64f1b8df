"""Bars for one seed follow from the spread over many, and the shipped ones are whole."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ops.evaluate import single_seed as single
from ops.evaluate.accuracy import Bar
from ops.evaluate.accuracy import bars as pooled

RATIOS = (20.0, 10.0, 0.0)
RMS, NEES = Bar("rms", "rms", 1.0), Bar("nees", "nees", 1.5, 0.7)
SHARE, RARE = Bar("share", "share_pct", 100.0, 99.0), Bar("rare", "rare_pct", 0.3)
NONE = Bar("none", "none", 0)


@pytest.mark.parametrize("n", [20, 24, 100])
def test_one_normal_seed_in_a_thousand_goes_beyond_or_fewer_in_19_of_20_tables(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.standard_normal((4000, n))
    most = values.mean(axis=1) + single.factor(n) * values.std(axis=1, ddof=1)
    beyond = 0.5 * np.array([math.erfc(m / math.sqrt(2)) for m in most.tolist()])
    assert 0.94 <= (beyond <= 0.001).mean() <= 0.98


@pytest.mark.parametrize("n", [24, 64])
def test_an_exponential_tail_goes_on_from_the_most_of_n(n: int) -> None:
    rng = np.random.default_rng(n)
    values = rng.exponential(1.0, (4000, n))
    middle = np.median(values, axis=1)
    most = middle + single.tail(n) * (values.max(axis=1) - middle)
    assert 1.0 <= np.median(most) / math.log(1000) <= 1.15, (
        "as wide as it has to be, or a little wider"
    )


def test_a_few_hard_seeds_widen_a_bar_beyond_the_normal_one() -> None:
    x = np.random.default_rng(3).normal(0.0, 1.0, 24)
    _, before = single.ends(x)
    x[7] = 9.0
    low, high = single.ends(x)
    assert high > 20 > 2 * before
    assert -low < high / 2, "the other side stays"


def test_an_estimate_may_be_off_either_way_by_its_spread_about_its_mean() -> None:
    errors = np.random.default_rng(0).normal(0.0, 2.0, 1000).tolist()
    assert 3.09 * 2 <= single.off(errors) <= 4 * 2
    assert 10 + 3.09 * 2 <= single.off([e - 10 for e in errors]) <= 10 + 4 * 2
    assert single.off([0.0] * 9) == 0.0


def test_a_figure_that_has_to_be_small_has_a_most_and_an_honest_one_both_ends() -> None:
    values = np.exp(np.random.default_rng(1).normal(0.0, 0.2, 1000)).tolist()
    low, high = single.span(RMS, values)
    assert low == 0.0 and math.exp(3.09 * 0.2) <= high <= math.exp(4 * 0.2)
    low, high = single.span(NEES, values)
    assert math.exp(-4 * 0.2) <= low <= math.exp(-3.09 * 0.2)
    assert math.exp(3.09 * 0.2) <= high <= math.exp(4 * 0.2)


def test_a_share_has_a_least_and_never_more_than_all() -> None:
    lack = (np.random.default_rng(2).normal(1.0, 0.2, 1000) ** 2).tolist()
    low, high = single.span(SHARE, [100.0 - x for x in lack])
    assert high == 100.0 and (1 + 3.09 * 0.2) ** 2 <= 100.0 - low <= (1 + 4 * 0.2) ** 2
    assert single.span(SHARE, [100.0] * 9) == (99.0, 100.0), "no more than is asked of many seeds"
    assert single.span(RARE, lack) == (0.0, pytest.approx(100.0 - low))
    assert single.span(RARE, [0.0] * 9) == (0.0, 0.3)


def test_a_count_that_has_to_be_zero_stays_so_unless_a_healthy_build_has_one() -> None:
    assert single.span(NONE, [0.0] * 9) == (0.0, 0.0)
    assert single.span(NONE, [0.0, 1.0]) == (0.0, 1.0)


def test_the_shipped_table_has_a_bar_for_everything() -> None:
    table = single.table()
    assert table.seeds >= 20
    assert set(table.checks) == {"quick", "full"}
    assert len(table.checks["quick"]) == len(table.checks["full"]) == 10
    for r in RATIOS:
        assert set(table.figures[single.ratio(r)]) == {bar.key for bar in pooled(r)}
        assert all(math.isfinite(b.low) and math.isfinite(b.high) for b in single.bars(r))


def test_a_figure_without_a_measurement_never_holds() -> None:
    assert not any(bar.holds(0.0) or bar.holds(1.0) for bar in single.bars(7.0))


@pytest.mark.parametrize("x", [0.0, 1.0, 1.23, 0.000987, 4321.0, 9.99])
def test_bars_are_rounded_outwards_to_two_digits(x: float) -> None:
    up, down = single._up(x), single._down(x) if x else 0.0
    assert down <= x * (1 + 1e-9) and x <= up * (1 + 1e-9)
    assert up <= 1.11 * x and down >= 0.9 * x
