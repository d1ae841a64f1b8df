"""Running moments of pairs."""

from __future__ import annotations

import numpy as np
import pytest

from operators.types import F64, Bool
from operators.weights.moments import Moments, MomentWindow

FOREVER = (MomentWindow(1e12, shared=False),)
HZ = 5.0


def data(seed: int = 0, k: int = 400) -> tuple[F64, F64, Bool]:
    rng = np.random.default_rng(seed)
    value = 1e4 + rng.standard_normal((3, k)) + np.linspace(0, 1, k)
    there = rng.random((3, k)) < 0.9
    there[2, 100:250] = False
    return np.where(there, value, np.nan), rng.random((3, k)), there


def filled(moments: Moments, value: F64, noise: F64, there: Bool, width: int = 10_000) -> F64:
    rows = np.empty(0)
    for a in range(0, value.shape[1], width):
        cut = slice(a, a + width)
        rows = moments.read(a, value[:, cut], noise[:, cut], there[:, cut]).rows[-1]
    return rows


def moments(windows: tuple[MomentWindow, ...] = FOREVER, one_anchor: bool = True) -> Moments:
    return Moments(3, HZ, windows, one_anchor=one_anchor)


@pytest.mark.parametrize("one_anchor", [True, False])
def test_moments_are_those_of_the_common_ticks_of_a_pair(one_anchor: bool) -> None:
    value, noise, there = data()
    m = moments(one_anchor=one_anchor)
    pairs = m.pairs(filled(m, value, noise, there)[None, 0])
    for i in range(3):
        for j in range(3):
            both = there[i] & there[j]
            x, y = value[i, both], value[j, both]
            assert pairs.ticks[0, i, j] == pytest.approx(both.sum())
            assert pairs.mean[0, i, j] + m.anchor[i] == pytest.approx(x.mean(), abs=1e-9)
            assert pairs.var[0, i, j] == pytest.approx(x.var())
            assert pairs.cov[0, i, j] == pytest.approx(np.cov(x, y, bias=True)[0, 1], abs=1e-9)
            assert pairs.noise[0, i, j] == pytest.approx(noise[i, both].mean())


@pytest.mark.parametrize("width", [1, 3, 7, 50])
def test_moments_do_not_depend_on_packets_or_a_resume(width: int) -> None:
    value, noise, there = data()
    windows = (MomentWindow(20.0, shared=False), MomentWindow(50.0, shared=True))
    whole = filled(moments(windows), value, noise, there)
    cut = moments(windows)
    for a in range(0, 400, width):
        rows = slice(a, a + width)
        seconds = cut.read(a, value[:, rows], noise[:, rows], there[:, rows])
        cut = Moments.from_snapshot(cut.snapshot(), 3, HZ, windows, one_anchor=True)
    assert seconds.rows[-1][:, :9, :3] == pytest.approx(whole[:, :9, :3], rel=1e-12)


def test_only_a_shared_window_keeps_the_sums_of_an_absent_member() -> None:
    value, noise, there = data(k=800)
    there[2, 400:] = False
    m = moments((MomentWindow(20.0, shared=False), MomentWindow(20.0, shared=True)))
    rows = filled(m, value, noise, there)
    running, shared = (m.pairs(rows[None, w]).ticks[0, 0, 2] for w in (0, 1))
    assert running < 2
    assert shared > 50


def test_a_second_ends_with_its_last_tick() -> None:
    value, noise, there = data()
    seconds = moments().read(3, value[:, :9], noise[:, :9], there[:, :9])
    assert seconds.size.tolist() == [2, 5, 2]
    assert seconds.over == 2
    assert seconds.begin.tolist() == [0, 1, 2]
