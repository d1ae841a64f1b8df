"""The true error of time lies inside the bound, and none is given where nothing is compared."""

from __future__ import annotations

import numpy as np
import pytest

from ops.bench import bound
from ops.bench.bound import Found, alone, coarse, figures, given_wrong, moving, scraping
from ops.bench.courses import constant


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bound, "SECONDS", 150.0)
    monkeypatch.setattr(bound, "MINUTES", 8)


def inside(found: Found) -> float:
    worst = np.nanmax(np.abs(found.error), axis=1)
    return float((worst <= found.bound).mean())


def test_one_member_has_no_bound_at_any_tick() -> None:
    found = alone(0)
    assert found.ticks > 500 and found.null == found.ticks
    assert figures("alone", found)[1:3] == ["100.0", "-"]


def test_two_loggers_at_rest_keep_within_their_bound() -> None:
    found = moving(0, lambda lag, _: constant(lag))
    assert len(found.bound) > 80
    assert inside(found) >= 0.95
    assert (found.bound == found.estimate).all()


def test_a_scraped_member_keeps_within_a_bound_that_the_estimates_alone_would_not_give() -> None:
    found = scraping(0)
    assert inside(found) >= 0.95
    alone_ = np.nanmax(np.abs(found.error), axis=1) <= found.estimate
    assert alone_.mean() < 0.2


def test_coarse_stamps_keep_within_a_bound_that_the_estimates_alone_would_not_give() -> None:
    found = coarse(0, 0.01)
    assert inside(found) >= 0.95
    alone_ = np.nanmax(np.abs(found.error), axis=1) <= found.estimate
    assert alone_.mean() < 0.9


def test_lags_that_are_given_wrong_keep_within_the_bound_of_an_honest_sd() -> None:
    found = given_wrong(0)
    each = (np.abs(found.error) <= found.bound[:, None])[np.isfinite(found.error)]
    assert each.mean() >= 0.9
    assert (np.abs(found.error) > 0.02).any()
