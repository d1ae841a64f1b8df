"""The kernel and the sampler: gains, edges, holes, holds, and samples not yet known."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from operators.numeric.sinc import kernel, weigh
from operators.resample.sampler import Sampler
from operators.types import F64
from tests.support.signals import START, block

HZ, HALF = 5.0, 2.0
FIRST = round(START * HZ)


def sampler(
    t: F64, value: F64, ready: F64 | None = None, held: bool = False, half: float = HALF
) -> Sampler:
    """Return a sampler with these samples (s after the start), spaced evenly."""
    spacing = np.full(len(t), np.median(np.diff(t)) if len(t) > 1 else np.nan)
    rows = block("osc_1:/pulse", START + t, value, spacing=spacing, noise=np.full(len(t), 0.01))
    if ready is not None:
        rows = replace(rows, watermark=START + ready)
    out = Sampler(HZ, half, held)
    out.push(rows, FIRST)
    return out


def read(s: Sampler, at: F64, lag_s: float = 0.0, due: F64 | None = None) -> tuple[F64, F64, F64]:
    """Return value, coverage and noise at ticks nearest to these times (s after the start)."""
    tick = FIRST + np.rint(at * HZ).astype(np.int64)
    return s.read(tick, lag_s, np.full(len(at), np.inf) if due is None else START + due)


def uneven(rate_hz: float, seconds: float = 60.0, seed: int = 0) -> F64:
    rng = np.random.default_rng(seed)
    n = int(rate_hz * seconds)
    return (np.arange(n) + 0.2 * rng.random(n)) / rate_hz


TICKS = np.arange(20.0, 40.0, 1 / HZ)


def gain_db(f_hz: float, rate_hz: float = 50.0) -> float:
    """Return the gain of a sinusoid over all phases (dB)."""
    t = np.arange(0.0, 60.0, 1 / rate_hz)
    parts = [
        read(sampler(t, np.cos(2 * np.pi * f_hz * t + phase)), TICKS)[0]
        for phase in (0.0, np.pi / 2)
    ]
    return float(10 * np.log10(np.mean(parts[0] ** 2 + parts[1] ** 2)))


# -- the kernel -----------------------------------------------------------------------------------


def test_a_kernel_has_unit_area_and_ends_at_its_half_width() -> None:
    k = kernel(2.0, HALF, HZ)
    step = HALF / (len(k.table) - 1)
    assert 2 * step * (k.table.sum() - k.table[0] / 2) == pytest.approx(1.0, abs=1e-9)
    assert k.table[-1] == 0.0
    assert k.energy == pytest.approx(2 * step * ((k.table**2).sum() - k.table[0] ** 2 / 2))


@pytest.mark.parametrize("rate_hz", [10.0, 31.7, 50.0])
def test_a_constant_is_preserved(rate_hz: float) -> None:
    t = uneven(rate_hz)
    value, coverage, _ = read(sampler(t, np.full(len(t), 3.7)), TICKS)
    assert np.abs(value - 3.7).max() <= 1e-12
    assert coverage.min() >= 0.99


@pytest.mark.parametrize("f_hz", [0.05, 0.5, 1.0, 1.5])
def test_the_band_passes(f_hz: float) -> None:
    assert abs(gain_db(f_hz)) <= 0.05


@pytest.mark.parametrize("f_hz", [2.6, 3.0, 4.2, 7.0])
def test_frequencies_above_nyquist_are_stopped(f_hz: float) -> None:
    assert gain_db(f_hz) <= -70.0


@pytest.mark.parametrize("rate_hz", [20.0, 31.7, 50.0])
def test_two_samples_of_a_hundred_lost_cost_next_to_nothing(rate_hz: float) -> None:
    rng = np.random.default_rng(1)
    t = np.arange(0.0, 400.0, 1 / rate_hz)
    t = t[rng.random(len(t)) >= 0.02]
    f, phase = np.linspace(0.02, 1.5, 75), rng.uniform(0, 2 * np.pi, 75)

    def signal(at: F64) -> F64:
        return np.asarray(np.sin(2 * np.pi * np.outer(at, f) + phase).sum(axis=1) / np.sqrt(75 / 2))

    at = np.arange(20.0, 380.0, 1 / HZ)
    error = read(sampler(t, signal(t)), at)[0] - signal(at)
    assert 20 * np.log10(np.sqrt(np.mean(error**2))) <= -65.0


def test_the_noise_variance_is_that_of_the_output() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(0.0, 600.0, 0.02)
    at = np.arange(20.0, 580.0, 1 / HZ)
    value, _, noise = read(sampler(t, 0.1 * rng.standard_normal(len(t))), at)
    assert noise == pytest.approx(np.var(value), rel=0.1)


# -- lag, edges, holes ----------------------------------------------------------------------------


@pytest.mark.parametrize("lag_s", [-1.3, 0.07, 0.42])
def test_a_channel_that_is_late_is_read_later(lag_s: float) -> None:
    t = uneven(50.0)
    late = np.sin(2 * np.pi * 0.4 * (t - lag_s))
    value, _, _ = read(sampler(t, late), TICKS, lag_s)
    assert np.abs(value - np.sin(2 * np.pi * 0.4 * TICKS)).max() <= 0.01


def test_there_is_no_value_where_the_kernel_is_not_covered() -> None:
    t = np.arange(0.0, 20.0, 0.02)
    at = np.arange(-2.0, 22.0, 1 / HZ)
    value, coverage, _ = read(sampler(t, np.ones(len(t))), at)
    inside = (at >= 2.0) & (at <= 18.0)
    assert np.isfinite(value[inside]).all()
    assert np.isnan(value[(at < 0.1) | (at > 19.9)]).all()
    assert (np.isnan(value) == (coverage < 0.9)).all()
    assert np.abs(value[np.isfinite(value)] - 1).max() <= 1e-12


def test_a_hole_has_no_value_and_recovers() -> None:
    t = np.arange(0.0, 40.0, 0.02)
    t = t[(t < 15) | (t > 20)]
    at = np.arange(5.0, 35.0, 1 / HZ)
    value, _, _ = read(sampler(t, np.ones(len(t))), at)
    assert np.isnan(value[(at > 16) & (at < 19)]).all()
    assert np.isfinite(value[(at < 12.9) | (at > 22.1)]).all()


def test_a_slow_channel_is_drawn_with_straight_lines_and_held_for_a_while() -> None:
    t = np.arange(0.0, 20.0, 1.0)
    s = sampler(t, 2.0 * t)
    value, _, _ = read(s, np.array([5.0, 5.4, 6.0]))
    assert value == pytest.approx([10.0, 10.8, 12.0])
    value, coverage, _ = read(s, np.array([19.0, 21.8, 22.4]))
    assert value[:2] == pytest.approx([38.0, 38.0])
    assert np.isnan(value[2])
    assert coverage[2] == 0.0


def test_a_held_channel_keeps_its_last_value() -> None:
    s = sampler(np.array([1.0, 5.0]), np.array([3.0, 4.0]), held=True)
    value, coverage, noise = read(s, np.array([0.8, 1.0, 4.8, 5.0, 900.0]))
    assert np.isnan(value[0])
    assert value[1:].tolist() == [3.0, 3.0, 4.0, 4.0]
    assert coverage.tolist() == [0, 1, 1, 1, 1]
    assert np.isnan(noise).all()


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_give_no_value(n: int) -> None:
    out = Sampler(HZ, HALF, held=False)
    if n:
        out = sampler(np.zeros(1), np.ones(1))
    assert np.isnan(read(out, TICKS)[0]).all()


# -- known samples -------------------------------------------------------------------------------


@pytest.mark.parametrize("rate_hz", [1.0, 50.0])
def test_a_tick_uses_only_samples_known_at_its_due_time(rate_hz: float) -> None:
    t = np.arange(0.0, 60.0, 1 / rate_hz)
    x = np.sin(t)
    ready = t + 0.05
    late = slice(int(30 * rate_hz), int(30 * rate_hz) + 2)
    ready[late] += 5.0
    due = TICKS + 2.1
    value, coverage, _ = read(sampler(t, x, ready), TICKS, due=due)
    for i in range(len(TICKS)):
        known = ready < due[i]
        one = read(sampler(t[known], x[known], ready[known]), TICKS[i : i + 1], due=due[i : i + 1])
        assert value[i] == pytest.approx(one[0][0], nan_ok=True, abs=1e-9)
        assert coverage[i] == pytest.approx(one[1][0], abs=1e-9)


def test_dropping_keeps_the_samples_of_the_kernel() -> None:
    t = np.arange(0.0, 60.0, 0.02)
    s, all_of_it = sampler(t, np.sin(t)), sampler(t, np.sin(t))
    s.drop_before(FIRST + (40.0 - HALF) * HZ)
    assert len(s.time) < len(all_of_it.time)
    at = np.arange(40.0, 50.0, 1 / HZ)
    assert np.array_equal(read(s, at)[0], read(all_of_it, at)[0])


def test_without_a_run_there_is_no_value() -> None:
    empty = np.empty(0)
    assert np.isnan(weigh([], np.empty(0, np.int64), empty, empty, None, 4)).all()


def test_ticks_around_a_due_time_that_falls_are_read_as_if_alone() -> None:
    t = uneven(10.0)
    at = np.arange(20.0, 24.0, 1 / HZ)
    due = at + HALF + 1.0
    due[10:] -= 2.0
    whole = read(sampler(t, np.cos(t), t), at, due=due)[0]
    for part in (slice(10), slice(10, None)):
        alone = read(sampler(t, np.cos(t), t), at[part], due=due[part])[0]
        assert whole[part].tolist() == alone.tolist()


def test_a_hole_of_the_main_lobe_has_no_value() -> None:
    """The weights of side lobes alone add up to near 0, and their quotient may be of any size."""
    for hole in (0.3, 0.4, 0.5, 0.6):
        for begin in np.arange(29.5, 30.5, 0.01):
            t = np.arange(0.0, 60.0, 0.1)
            t = t[(t <= begin) | (t >= begin + hole)]
            value, _, _ = read(sampler(t, np.sin(2.0 * t)), TICKS)
            assert np.nanmax(np.abs(value)) < 3.0
            assert np.isfinite(value).sum() >= len(TICKS) - 3
