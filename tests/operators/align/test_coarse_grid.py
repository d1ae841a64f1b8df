"""Channels on a coarse grid: what is read, what is not, and that it does not matter how."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from operators.align.coarse_grid import MAX_ROWS, Coarse
from operators.types import F64
from tests.support.signals import START, movement

HZ, STRETCH = 5.0, 50
SIGNAL = movement(1)


def times(hz: float, seconds: float = 60.0, loss: float = 0.0, seed: int = 0) -> F64:
    rng = np.random.default_rng(seed)
    t = (np.arange(round(hz * seconds)) + rng.random()) / hz
    return np.asarray(t[rng.random(len(t)) >= loss])


def read(
    *channels: tuple[F64, F64], held: bool = False, pieces: int = 1, seconds: float = 60.0,
    late: tuple[F64, ...] = (),
) -> F64:  # fmt: skip
    """Return channels (time since the start, value) on the grid, given in so many pieces."""
    core = Coarse(HZ, [held] * len(channels), 0.6)
    out = []
    edges = np.linspace(0, seconds + 9, pieces + 1)
    done = 0
    for a, b in pairwise(edges):
        for lane, (t, x) in enumerate(channels):
            known = np.maximum(t, late[lane]) if late else t
            mine = (known >= a) & (known < b)
            core.push(lane, START + t[mine], x[mine], START + known[mine])
        core = Coarse.from_snapshot(core.snapshot(), HZ, [held] * len(channels), 0.6)
        while b - 2.0 >= (done + 1) * 10.0 and (done + 1) * 10.0 <= seconds:
            out.append(core.read(round(START * HZ) + done * STRETCH, STRETCH))
            done += 1
    return np.concatenate(out, axis=1)


TICKS = np.arange(300) / HZ


@pytest.mark.parametrize(
    ("hz", "most"), [(8.0, 0.05), (20.0, 0.04), (25.0, 0.04), (100.0, 0.04), (640.0, 0.04)]
)
def test_any_rate_is_read_as_the_signal_it_samples(hz: float, most: float) -> None:
    t = times(hz)
    error = read((t, SIGNAL(t)))[0] - SIGNAL(TICKS)
    assert np.sqrt(np.mean(error[10:-10] ** 2)) < most
    slope = np.gradient(SIGNAL(TICKS), 1 / HZ)[10:-10]
    assert abs(error[10:-10] @ slope / (slope @ slope)) < 2e-4


def test_what_lies_above_the_grid_is_taken_out() -> None:
    t = times(100.0)
    assert np.abs(read((t, np.sin(2 * np.pi * 4.3 * t)))[0][10:-10]).max() < 0.02


def test_channels_together_read_as_alone() -> None:
    a, b = times(20.0, loss=0.05), times(31.7, loss=0.05, seed=1)
    one, other = (a, SIGNAL(a)), (b, SIGNAL(b - 0.4))
    both = read(one, other)
    assert np.allclose(both[0], read(one)[0], atol=1e-12, equal_nan=True)
    assert np.allclose(both[1], read(other)[0], atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("pieces", [3, 17, 400])
@pytest.mark.parametrize("hz", [0.5, 3.0, 20.0, 640.0])
def test_it_does_not_matter_how_rows_come(hz: float, pieces: int) -> None:
    t = times(hz, loss=0.03)
    assert len(t) > MAX_ROWS or hz < 640
    x = SIGNAL(t)
    assert np.allclose(read((t, x), pieces=pieces), read((t, x)), atol=1e-10, equal_nan=True)


def test_a_hole_has_no_value_nor_do_its_edges() -> None:
    t = times(20.0)
    t = t[(t < 24.0) | (t > 27.0)]
    got = read((t, SIGNAL(t)))[0]
    hole = (TICKS > 23.95) & (TICKS < 27.05)
    assert np.isnan(got[hole]).all()
    assert np.isfinite(got[(TICKS > 1) & ((TICKS < 23.8) | (TICKS > 27.2))]).all()
    beside = np.isfinite(got) & (np.abs(TICKS - 25.5) < 2.5)
    assert np.abs(got - SIGNAL(TICKS))[beside].max() < 0.3


def test_lost_rows_are_bridged() -> None:
    t = times(20.0, loss=0.1)
    got = read((t, SIGNAL(t)))[0]
    assert np.isfinite(got[5:-5]).all()
    assert np.sqrt(np.mean((got - SIGNAL(TICKS))[10:-10] ** 2)) < 0.1


def test_a_slow_channel_is_joined_by_lines_and_held_for_three_intervals() -> None:
    t = np.arange(0.0, 40.0, 2.0)
    got = read((t, t))[0]
    inside = (TICKS >= 1) & (TICKS <= 35)
    told = np.isfinite(got) & inside
    assert told.sum() > 0.9 * inside.sum()
    assert np.abs(got - TICKS)[told].max() <= 2.0
    assert np.isnan(got[TICKS > 45]).all()


def test_a_held_channel_keeps_its_value_however_long() -> None:
    t = np.array([3.0, 17.0, 17.5])
    got = read((t, np.array([1.0, 2.0, 3.0])), held=True)[0]
    assert np.isnan(got[TICKS < 3]).all()
    assert set(got[(TICKS > 3.1) & (TICKS < 16.9)]) == {1.0}
    assert set(got[TICKS > 17.6]) == {3.0}


def test_what_is_known_too_late_is_left_out() -> None:
    t = times(20.0)
    x = SIGNAL(t)
    astray = (np.arange(len(t)) % 50) == 7
    known = t + np.where(astray, 5.0, 0.1)
    got = read((t, np.where(astray, 1e6, x)), late=(known,), pieces=9)
    without = read((t[~astray], x[~astray]))
    assert np.allclose(got, without, atol=1e-9, equal_nan=True)


def test_a_channel_that_never_speaks_has_no_values() -> None:
    t = times(20.0)
    got = read((t, SIGNAL(t)), (np.empty(0), np.empty(0)))
    assert np.isfinite(got[0][10:-10]).all()
    assert np.isnan(got[1]).all()


def test_times_out_of_this_world_hurt_nobody() -> None:
    t = np.append(times(20.0), [1e15, -1e15, 40.0])
    x = np.append(SIGNAL(times(20.0)), [1.0, 1.0, SIGNAL(np.array([40.0]))[0]])
    got = read((t, x))[0]
    assert np.isfinite(got[10:-10]).all()


def test_noise_is_told_a_hertz() -> None:
    rng = np.random.default_rng(3)
    core = Coarse(HZ, [False, False, False], 0.6)
    for lane, hz in enumerate((12.5, 50.0)):
        t = np.arange(0.0, 12.0, 1 / hz)
        core.push(lane, START + t, 0.3 * rng.standard_normal(len(t)), START + t)
    core.read(round(START * HZ), STRETCH)
    for lane, hz in enumerate((12.5, 50.0)):
        interval, density = core.noise(lane)
        assert interval == pytest.approx(max(1 / hz, 0.04), rel=0.01)
        assert density == pytest.approx(0.09 / hz, rel=0.4)
    assert core.noise(2) == (np.inf, np.inf)
