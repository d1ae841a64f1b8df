"""Quality: five indicators against their analytic values, and null without data."""

from __future__ import annotations

from dataclasses import replace as dataclass_replace

import numpy as np
import pytest
from msgspec.structs import replace

from operators.presence import LIVE, STALE
from operators.quality import Quality, QualityConfig
from operators.records import Grid, Indicators, Packet, Sparse
from operators.settings.plan import Plan
from operators.types import F64
from ops.bench.indicators import expected, measured
from tests.support.signals import START, feed, packet, plan

SENSORS = ("osc_1:/pulse", "osc_2:/pulse", "osc_3:/pulse", "osc_4:/pulse")
MEMBERS = ("ure:pulse", *SENSORS)


def grid(value: F64, hz: float = 5.0, first: int = round(START * 5), rate_hz: float = 20.0) -> Grid:
    """Return ticks (k, c) of members all present."""
    k, c = value.shape
    whole = np.zeros((k, c))
    at = (first + np.arange(k)) / hz
    return Grid(
        first=first,
        due=at + 2.1,
        released=at + 2.1,
        state=np.full((k, c), LIVE),
        ramp=whole + 1,
        lag_s=whole,
        lag_var=whole,
        confidence=whole + 1,
        rate_hz=whole + rate_hz,
        gaps=whole,
        value=value,
        coverage=np.isfinite(value) * 1.0,
        noise_var=whole + np.nan,
        gain=whole,
        gain_var=whole,
        level=whole,
        level_var=whole,
        scale_state=np.zeros((k, c), np.int8),
    )


def judged(g: Grid, p: Plan | None = None, **config: object) -> list[Indicators]:
    members = MEMBERS[: g.value.shape[1]]
    core = Quality(p or plan(members, reference="ure:pulse"), QualityConfig(**config))  # type: ignore[arg-type]
    items = [replace(packet(upto=START, first=START), grid=g)]
    return [i for x in feed(core, items) for i in x.indicators]


def shaped(seed: int, seconds: float) -> tuple[F64, np.random.Generator]:
    """Return a movement of the band 0.02 to 1.5 Hz, RMS 1, at 5 Hz."""
    rng = np.random.default_rng(seed)
    return banded(rng, round(seconds * 5), 0.02, 1.5), rng


def banded(rng: np.random.Generator, n: int, low: float = 0.0, high: float = 1.94) -> F64:
    """Return white noise of RMS 1 as far as the resampler lets it through."""
    f = np.fft.rfft(rng.standard_normal(n))
    frequency = np.fft.rfftfreq(n, 0.2)
    f[(frequency < low) | (frequency > high)] = 0
    x = np.fft.irfft(f, n)
    return np.asarray(x / x.std())


def members(snr_db: float, seconds: float = 1800.0, seed: int = 0, count: int = 5) -> F64:
    """Return one movement as `count` members see it, each with noise of its own."""
    x, rng = shaped(seed, seconds)
    sd = 10 ** (-snr_db / 20)
    return np.stack([x + sd * banded(rng, len(x)) for _ in range(count)], axis=1)


@pytest.mark.parametrize("snr_db", [6.0, 10.0, 20.0])
def test_the_mean_over_windows_is_the_analytic_value(snr_db: float) -> None:
    assert measured(snr_db, windows=20).mean(axis=0) == pytest.approx(expected(snr_db), abs=0.02)
    pair = measured(snr_db, windows=20, members=2, seed=1)
    assert pair.mean(axis=0) == pytest.approx(expected(snr_db), abs=0.02)


@pytest.mark.parametrize("snr_db", [6.0, 10.0, 20.0])
def test_single_windows_keep_within_three_of_their_own_sd(snr_db: float) -> None:
    found = measured(snr_db, windows=60, members=3)
    away = np.abs(found - expected(snr_db)) / found.std(axis=0)
    assert (away <= 3).mean(axis=0).min() >= 0.98
    assert found.std(axis=0).max() <= 0.04


def test_a_shift_of_27_ms_shows_as_its_share_of_a_cycle() -> None:
    t = np.arange(0.0, 600.0, 0.2)
    rng = np.random.default_rng(0)
    f = rng.uniform(0.1, 1.4, 200)
    phase = rng.uniform(0, 2 * np.pi, 200)

    def at(t: F64) -> F64:
        return np.sin(2 * np.pi * f * t[:, None] + phase).sum(axis=1)

    found = judged(grid(np.stack((at(t), at(t - 0.027)), axis=1)))[200:]
    # Weighted with the power: the mean frequency of the band.
    assert np.mean([i.phase_diff for i in found]) == pytest.approx(0.027 * f.mean(), rel=0.05)
    assert np.mean([i.coherence for i in found]) > 0.99


def test_pure_noise_has_no_agreement() -> None:
    rng = np.random.default_rng(0)
    noise = np.stack([banded(rng, 9000) for _ in range(5)], axis=1)
    found = judged(grid(noise))[120:]
    assert np.mean([i.coherence for i in found]) <= 0.1
    assert np.mean([i.sync_quality for i in found]) <= 0.15
    assert np.mean([i.entropy_ratio for i in found]) >= 0.8


def test_identical_members_agree_fully() -> None:
    x, _ = shaped(0, 300.0)
    last = judged(grid(np.stack((x, x), axis=1)))[-1]
    assert last[1:] == pytest.approx((0.0, 1.0, 1.0, 1.0, 0.0), abs=1e-3)


def test_harmony_is_that_of_all_pairs() -> None:
    x, rng = shaped(0, 2400.0)
    other = banded(rng, len(x))
    # Two pairs that have nothing to do with one another: lambda = 2 of 4.
    last = judged(grid(np.stack((x, x, other, other), axis=1)), window_s=2000.0, hop_s=6.4)[-1]
    assert last.harmony == pytest.approx(1 / 3, abs=0.06)


def test_a_tick_without_a_value_on_a_fine_grid_costs_nothing() -> None:
    rng = np.random.default_rng(0)
    t = np.arange(0.0, 200.0, 0.01)
    x = np.sin(2 * np.pi * 0.3 * t) + np.sin(2 * np.pi * 0.71 * t + 1)
    value = np.stack([x + 0.1 * rng.standard_normal(len(t)) for _ in range(2)], axis=1)
    p = plan(MEMBERS[:2], reference="ure:pulse", tick_hz=100.0, half_width_s=0.1)
    holed = value.copy()
    holed[rng.permutation(len(t))[:200], 0] = np.nan
    whole, bridged = (judged(grid(v, 100.0, round(START * 100)), p) for v in (value, holed))
    for one, other in zip(whole, bridged, strict=True):
        assert other == pytest.approx(one, abs=0.01, nan_ok=True)
    holed[10_000:10_010, 0] = np.nan
    longer = judged(grid(holed, 100.0, round(START * 100)), p)
    assert longer[-1] != pytest.approx(bridged[-1], abs=1e-6)


# -- when -----------------------------------------------------------------------------------------


def known(i: Indicators) -> bool:
    return bool(np.isfinite(i[1:]).all())


def test_indicators_come_each_hop_and_are_null_for_a_quarter_window() -> None:
    found = judged(grid(members(20.0, 100.0)))
    assert np.unique(np.diff([i.first for i in found])).tolist() == [5]
    start = round(START * 5)
    first = next(i.first for i in found if known(i))
    assert 30.0 <= (first - start) / 5 <= 31.0
    assert all(np.isnan(i[1:]).all() for i in found if not known(i))


def test_hops_follow_the_epoch() -> None:
    found = judged(grid(members(20.0, 60.0), first=round(START * 5) + 3), hop_s=2.0)
    assert {i.first % 10 for i in found} == {0}


def test_a_single_present_member_has_null_indicators() -> None:
    value = members(20.0, 100.0, count=2)
    value[:, 1] = np.nan
    g = grid(value)
    g.state[:, 1] = STALE
    assert not any(known(i) for i in judged(g))


@pytest.mark.parametrize("hop_s", [1.0, 7.0])
def test_a_signal_of_one_member_has_null_indicators(hop_s: float) -> None:
    g = grid(members(20.0, 100.0, count=1))
    found = judged(g, plan(("ure:pulse",)), hop_s=hop_s)
    assert len(found) > 10 and np.isnan([i[1:] for i in found]).all()
    ticks = [i.first for i in judged(grid(members(20.0, 100.0, count=2)), hop_s=hop_s)]
    assert [i.first for i in found] == ticks


def test_the_last_present_member_has_null_indicators_within_a_hop() -> None:
    g = grid(members(20.0, 200.0, count=2))
    g.state[703:, 1] = STALE
    after = [known(i) for i in judged(g, hop_s=2.0) if i.first - g.first >= 703]
    assert after and not any(after)


def test_an_absent_member_is_left_out_at_once() -> None:
    value = members(20.0, 200.0, count=3)
    value[:, 2] = np.random.default_rng(5).standard_normal(len(value))
    g = grid(value)
    g.state[700:, 2] = STALE
    found = {i.first - g.first: i for i in judged(g)}
    assert found[695].coherence < 0.9
    assert found[705].coherence > 0.95


def test_the_heaviest_member_replaces_an_absent_reference() -> None:
    value = members(20.0, 200.0, count=3)
    g = grid(value)
    g.state[700:, 0] = STALE
    last = judged(g)[-1]
    assert last.coherence > 0.95


def test_the_band_ends_below_the_slowest_members_nyquist() -> None:
    x, rng = shaped(0, 300.0)
    value = np.stack((x, x), axis=1)
    # All above 0.5 Hz differs: a member of 1 Hz cannot know.
    f = np.fft.rfftfreq(len(x), 0.2)
    spectrum = np.fft.rfft(banded(rng, len(x)))
    spectrum[f < 0.55] = 0
    value[:, 1] += np.fft.irfft(spectrum, len(x))
    assert judged(grid(value, rate_hz=1.0))[-1].coherence > 0.97
    assert judged(grid(value, rate_hz=20.0))[-1].coherence < 0.9


def sampled(x: F64, hz: float, every_s: float) -> F64:
    """Return a series of `hz` as samples each `every_s` draw it, by straight lines."""
    t = np.arange(len(x)) / hz
    return np.asarray(np.interp(t, t[:: round(every_s * hz)], x[:: round(every_s * hz)]))


def scraped(x: F64, every_s: float, hz: float = 5.0) -> tuple[list[Indicators], list[Sparse]]:
    """Judge a movement beside itself, sampled each `every_s`."""
    packets = beside_itself(x, every_s, hz)
    return [i for x in packets for i in x.indicators], [s for x in packets for s in x.sparse]


def notes(x: F64, every_s: float) -> list[tuple[str, float, str]]:
    return [note for x in beside_itself(x, every_s, 5.0) for note in x.notes]


def beside_itself(x: F64, every_s: float, hz: float) -> list[Packet]:
    p = plan(MEMBERS[:2], reference="osc_1:/pulse", tick_hz=hz, half_width_s=2.0 / hz * 5)
    value = np.stack((sampled(x, hz, every_s), x), axis=1)
    g = dataclass_replace(
        grid(value, hz, round(START * hz)), rate_hz=np.tile([1 / every_s, 20.0], (len(x), 1))
    )
    core = Quality(p, QualityConfig())
    return feed(core, [replace(packet(upto=START, first=START), grid=g)])


def test_a_member_sampled_too_seldom_for_the_movement_is_left_out() -> None:
    x, _ = shaped(1, 300.0)
    found, sparse = scraped(x, 2.0)
    assert sparse[-1].members == (True, False)
    assert np.isnan([i[1:] for i in found if i.first >= sparse[-1].first]).all()


def test_a_sparse_member_is_named_once() -> None:
    x, _ = shaped(1, 300.0)
    x[700:1100] = np.nan  # absent for a while, and left out anew
    (note,) = notes(x, 2.0)
    assert note[0] == "ure:pulse"
    assert note[2].startswith("a sample each 2 s is too seldom for this movement")


def test_a_member_sampled_often_enough_is_compared() -> None:
    rng = np.random.default_rng(2)
    slow = banded(rng, 3000, 0.02, 0.2)
    found, sparse = scraped(slow, 2.0)
    assert not any(any(s.members) for s in sparse)
    assert found[-1].coherence > 0.9
    assert found[-1].sync_quality > 0.9


def test_the_part_of_the_band_free_of_aliases_is_compared() -> None:
    rng = np.random.default_rng(3)
    found, sparse = scraped(banded(rng, 3000, 0.02, 0.9), 0.6)  # folded onto 0.77 Hz and above
    assert not any(any(s.members) for s in sparse)
    assert found[-1].coherence > 0.95
    assert found[-1].sync_quality > 0.95


def test_movement_beyond_the_series_counts() -> None:
    rng, hz = np.random.default_rng(4), 20.0
    f = np.fft.rfft(rng.standard_normal(round(300 * hz)))
    frequency = np.fft.rfftfreq(round(300 * hz), 1 / hz)
    f[(frequency < 3) | (frequency > 8)] = 0
    _, sparse = scraped(np.fft.irfft(f), 2.0, hz)
    assert sparse[-1].members == (True, False)


def test_a_finer_grid_gives_the_same_numbers() -> None:
    t = np.arange(0.0, 300.0, 0.05)
    rng = np.random.default_rng(3)
    f, phase = rng.uniform(0.1, 1.4, 100), rng.uniform(0, 2 * np.pi, 100)

    def at(t: F64, seed: int) -> F64:
        own = np.random.default_rng(seed)
        noise = 0.3 * np.sin(
            2 * np.pi * own.uniform(0.1, 1.4, 100) * t[:, None] + own.uniform(0, 6.28, 100)
        ).sum(axis=1)
        return np.asarray(np.sin(2 * np.pi * f * t[:, None] + phase).sum(axis=1) + noise)

    fine = np.stack((at(t, 1), at(t, 2)), axis=1)
    p = plan(MEMBERS[:2], reference="ure:pulse", tick_hz=20.0, half_width_s=0.5)
    coarse = judged(grid(fine[::4]))[-1]
    same = judged(grid(fine, 20.0, round(START * 20)), p)
    last = next(i for i in reversed(same) if i.first // 4 <= coarse.first)
    assert last[1:] == pytest.approx(coarse[1:], abs=0.01)
