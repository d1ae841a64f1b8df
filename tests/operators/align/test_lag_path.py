"""A lag over a whole recording: the findings of later hops hold at earlier ones."""

from __future__ import annotations

import numpy as np
import pytest

from operators.align.lag_filter import REJECTS
from operators.align.lag_path import path_of
from operators.records import LagReport
from operators.types import F64

HOP_S, DATED_S, HOPS = 10.0, 1.5, 60


def report(at: float, x: F64, p: F64, growth: float = 0.0, **given: object) -> LagReport:
    """Return a report of lag and rate `x` with covariance `p`."""
    r = LagReport(
        "pulse",
        "osc_1:/pulse",
        at,
        float(x[0]),
        float(p[0, 0]),
        growth,
        0.9,
        True,
        "",
        at,
        float(x[1]),
        float(p[0, 1]),
        float(p[1, 1]),
        5.0,
    )
    return r._replace(**given)


def tracked(truth: F64, *, q: float, r: float, seed: int, rate_var: float = 0.0) -> list[LagReport]:
    """Return the reports of a Kalman filter that reads a lag once a hop."""
    rng = np.random.default_rng(seed)
    f = np.array([[1.0, HOP_S], [0.0, 1.0]])
    x, p = np.zeros(2), np.diag([1.0, rate_var])
    out = []
    for k, lag in enumerate(truth.tolist()):
        if k:
            x, p = f @ x, f @ p @ f.T + np.diag([q * HOP_S, 0.0])
        gain = p[:, 0] / (p[0, 0] + r)
        x = x + gain * (lag + np.sqrt(r) * rng.standard_normal() - x[0])
        p = p - np.outer(gain, p[0])
        out.append(report(k * HOP_S, x, p, q))
    return out


def value(path: list[LagReport], at: F64) -> tuple[F64, F64]:
    """Return lag and variance (n,) at times (n,), by the reports in force."""
    known = np.array([r.known for r in path])
    assert (np.diff(known) > 0).all()
    lag, var = np.empty((2, len(at)))
    for i, t in enumerate(at.tolist()):
        r = path[int(np.searchsorted(known, t, "right")) - 1]
        dt = t - r.at
        lag[i] = r.lag_s + r.rate * dt
        var[i] = r.var + dt * (2 * r.cross_var + dt * r.rate_var) + r.growth * abs(dt)
    return lag, var


def test_a_lag_that_rests_is_the_last_one_everywhere_in_one_report() -> None:
    reports = tracked(np.full(HOPS, 0.3), q=0.0, r=1e-6, seed=1)
    (only,) = path_of(reports, DATED_S)
    assert only.known == -np.inf
    assert only.lag_s == pytest.approx(reports[-1].lag_s, abs=1e-12)
    assert only.var == pytest.approx(reports[-1].var)


def test_a_ramp_has_the_last_rate_from_the_beginning_on() -> None:
    at = HOP_S * np.arange(HOPS)
    truth = 0.3 + 80e-6 * at
    reports = tracked(truth, q=0.0, r=1e-6, seed=2, rate_var=1e-8)
    lag, var = value(path_of(reports, DATED_S), at)
    assert np.abs(lag - truth).max() < 1e-3
    assert np.mean((lag - truth) ** 2 / var) < 3


def test_a_walk_is_between_the_findings_before_and_after() -> None:
    at = HOP_S * np.arange(HOPS)
    errors, own, z = [], [], []
    for seed in range(40):
        steps = np.random.default_rng([seed, 7]).standard_normal(HOPS)
        truth = 0.3 + np.cumsum(np.sqrt(1e-7 * HOP_S) * steps)
        reports = tracked(truth, q=1e-7, r=1e-5, seed=seed)
        lag, var = value(path_of(reports, DATED_S), at)
        errors += (lag - truth).tolist()
        own += (np.array([r.lag_s for r in reports]) - truth)[5:].tolist()
        z += ((lag - truth) ** 2 / var).tolist()
    assert np.std(errors) < 0.8 * np.std(own), "0.77 in the steady state"
    assert 0.85 < np.mean(z) < 1.15


def test_a_step_is_dated_by_the_first_segments_that_were_left_out() -> None:
    before = tracked(np.full(30, 0.3), q=1e-10, r=1e-6, seed=3)
    after = tracked(np.full(20, 0.5), q=1e-10, r=1e-6, seed=4)
    # The filter keeps its lag until enough hops are rejected; then it restarts.
    stale = [before[-1]._replace(known=k * HOP_S, at=k * HOP_S) for k in range(30, 29 + REJECTS)]
    begun = 29 + REJECTS
    moved = [r._replace(known=r.known + begun * HOP_S, at=r.at + begun * HOP_S) for r in after]
    path = path_of([*before, *stale, *moved], DATED_S)
    at = np.arange(0.0, 500.0, 1.0)
    lag, _ = value(path, at)
    turn = at[np.argmax(lag > 0.4)]
    assert 29 * HOP_S - DATED_S < turn < 30 * HOP_S - DATED_S + 1
    assert np.abs(lag[at < turn] - 0.3).max() < 2e-3
    assert np.abs(lag[at >= turn] - 0.5).max() < 2e-3


def test_a_lag_that_was_found_late_holds_from_the_beginning_on() -> None:
    nothing = [
        report(k * HOP_S, np.full(2, np.nan), np.full((2, 2), np.nan), locked=False, note="weak")
        for k in range(5)
    ]
    found = [
        r._replace(known=r.known + 50, at=r.at + 50)
        for r in tracked(np.full(10, 0.3), q=0.0, r=1e-6, seed=5)
    ]
    lag, _ = value(path_of([*nothing, *found], DATED_S), np.array([0.0, 20.0, 140.0]))
    assert np.abs(lag - 0.3).max() < 2e-3


def test_a_lag_that_was_never_found_stays_unknown() -> None:
    nan = np.full((2, 2), np.nan)
    reports = [report(k * HOP_S, nan[0], nan, locked=False, note="weak") for k in range(5)]
    (only,) = path_of(reports, DATED_S)
    assert (only.known, only.locked, only.note) == (-np.inf, False, "weak")


def test_the_reference_has_no_lag_from_the_beginning_on() -> None:
    reference = report(40.0, np.zeros(2), np.zeros((2, 2)), note="reference")
    (only,) = path_of([reference], DATED_S)
    assert (only.known, only.lag_s, only.locked) == (-np.inf, 0.0, True)
