"""The observer of beats: locks, faults of beats, silence, and snapshots."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bridge.beat_line import Line, memory_limit
from operators.bridge.gains_in_force import Gains
from operators.bridge.observer import MAX_BACK, Observer
from operators.snapshot import decode_state, encode_state

GAINS = Gains(0.35, 0.08, 0.1)
START = 1_760_000_000.0
JITTER_S = 0.005


def stamps(seed: int, *parts: tuple[float, int], jitter_s: float = JITTER_S) -> list[float]:
    """Return jittered beats of parts (Hz, number of beats), one after the other."""
    rng = random.Random(seed)
    periods = [1 / hz for hz, n in parts for _ in range(n)]
    return [START + t + rng.gauss(0, jitter_s) for t in itertools.accumulate(periods)]


def fed(times: list[float], observer: Observer | None = None, gains: Gains = GAINS) -> Observer:
    """Return the observer after some beats."""
    observer = observer or Observer()
    for t in times:
        observer.beat(t, gains)
    return observer


def wrapped(x: float) -> float:
    return x - round(x)


def passed(observer: Observer) -> Observer:
    """Return the observer through its stored form."""
    return Observer.from_snapshot(decode_state(encode_state(observer.snapshot(), "b", ""), "b", ""))


def test_the_first_lock_takes_four_even_intervals() -> None:
    times = stamps(0, (5.0, 6), jitter_s=0.0)
    observer = fed(times[:4])
    assert not observer.locked
    assert (observer.rate_hz, observer.pull) == (0.0, 0.0)
    assert math.isnan(observer.phase_sd(times[3]))
    observer.beat(times[4], GAINS)
    assert observer.locked
    assert (observer.locks, observer.memory) == (1, 5)
    assert observer.rate_hz == pytest.approx(5.0, rel=1e-6)
    assert wrapped(observer.phase_at(times[5])) == pytest.approx(0, abs=1e-5)


def test_uneven_intervals_do_not_lock() -> None:
    times = [START + t for t in itertools.accumulate([0.2, 0.5, 0.1, 0.4, 0.2, 0.6] * 5)]
    assert not fed(times).locked


@pytest.mark.parametrize(("hz", "sd"), [(2.6, 0.007), (5.0, 0.009), (8.0, 0.012)])
def test_the_error_of_the_phase_is_that_of_the_gains(hz: float, sd: float) -> None:
    observer, errors = Observer(), []
    for k, t in enumerate(stamps(3, (hz, 3000))):
        observer.beat(t, GAINS)
        if k > 300:
            errors.append(wrapped(observer.phase_at(START + (k + 1) / hz)))
    assert observer.locks == 1
    assert math.sqrt(sum(e * e for e in errors) / len(errors)) < sd
    assert abs(sum(errors) / len(errors)) < 0.3 * sd
    assert observer.full
    assert observer.memory == memory_limit(observer.rate_hz, GAINS)
    assert observer.sigma == pytest.approx(JITTER_S * hz, rel=0.5)


def test_wide_jitter_does_not_bias_the_rate() -> None:
    # r / dt in place of r f / n would draw the phase by 0.02 cycles.
    observer, errors = Observer(), []
    for k, t in enumerate(stamps(5, (7.0, 6000), jitter_s=0.015)):
        observer.beat(t, GAINS)
        if k > 300:
            errors.append(wrapped(observer.phase_at(START + (k + 1) / 7.0)))
    assert abs(sum(errors) / len(errors)) < 0.006


@pytest.mark.parametrize(("before", "after"), [(5.0, 7.0), (7.0, 5.0), (5.0, 5.5), (2.6, 8.2)])
def test_a_tempo_step_is_found_within_two_seconds(before: float, after: float) -> None:
    for seed in range(5):
        observer = fed(stamps(seed, (before, 200), (after, int(2 * after))))
        assert observer.rate_hz == pytest.approx(after, rel=0.03), seed


def test_a_new_lock_counts_the_beats_on() -> None:
    times = stamps(1, (5.0, 100), (7.0, 30), jitter_s=0.0)
    observer = fed(times[:100])
    number = observer.number
    fed(times[100:], observer)
    assert observer.locks == 2
    assert observer.number == number + 30


def test_twice_the_rate_needs_ten_intervals() -> None:
    times = stamps(2, (5.0, 100), (2.5, 12), jitter_s=0.001)
    assert fed(times[:108]).rate_hz == pytest.approx(5.0, rel=0.01)
    assert fed(times).rate_hz == pytest.approx(2.5, rel=0.01)


def test_lost_beats_change_nothing() -> None:
    rng = random.Random(4)
    times = [t for t in stamps(4, (5.0, 3000)) if rng.random() > 0.3]
    observer = fed(times)
    assert observer.locks == 1
    assert observer.rate_hz == pytest.approx(5.0, rel=0.003)


def test_an_outlier_is_not_used_and_the_fourth_of_one_sign_is() -> None:
    times = stamps(6, (5.0, 100), jitter_s=0.001)
    observer = fed(times)
    line = observer.line
    late = [times[-1] + 0.2 * k + 0.05 for k in range(1, 5)]
    assert [observer.beat(t, GAINS) for t in late[:3]] == ["outlier"] * 3
    assert observer.line == line
    assert observer.beat(late[3], GAINS) == "used"
    assert observer.memory == 6


@pytest.mark.parametrize("gap", [-0.02, 0.02])
def test_of_two_close_beats_the_likelier_is_used(gap: float) -> None:
    times = stamps(7, (5.0, 101), jitter_s=0.001)
    right, wrong = times[100], times[100] + gap
    alone = fed(times)
    observer = fed(times[:100])
    uses = [observer.beat(t, GAINS) for t in sorted((right, wrong))]
    # At 20 ms the wrong one is beyond the gate, or the later of the two.
    assert sorted(uses)[0] in ("close", "outlier")
    assert "used" in uses
    assert observer.line == alone.line
    assert observer.number == alone.number


def test_equal_stamps_are_close() -> None:
    times = stamps(8, (5.0, 100))
    observer = fed(times)
    line = observer.line
    assert observer.beat(times[-1], GAINS) == "close"
    assert observer.line == line


def test_a_false_run_is_rare() -> None:
    runs = 0
    for seed in range(4):
        observer, memory = Observer(), 0
        for k, t in enumerate(stamps(seed, (5.0, 9000))):
            observer.beat(t, GAINS)
            runs += k > 500 and observer.memory < memory
            memory = observer.memory
    # 2 h in all. Once in an hour is the mean where sigma is known; it is from 64 beats.
    assert runs <= 12


def test_a_drifting_rate_shortens_the_memory() -> None:
    times, t = [], START
    for k in range(400):
        t += 1 / (5.0 * (1 + 0.0005 * max(k - 200, 0)))
        times.append(t)
    observer = fed(times[:200])
    full = observer.memory
    shortest = full
    for at in times[200:]:
        observer.beat(at, GAINS)
        shortest = min(shortest, observer.memory)
    assert shortest < full / 2
    assert observer.rate_hz == pytest.approx(5.0 * 1.1, rel=0.01)


def test_hold_over_begins_after_two_seconds_or_four_beats() -> None:
    for hz, silent in ((5.0, 2.0), (1.0, 4.0)):
        times = stamps(9, (hz, 100), jitter_s=0.0)
        observer = fed(times)
        assert not observer.hold_over(times[-1] + silent - 0.01)
        assert observer.hold_over(times[-1] + silent + 0.01)
    assert not Observer().hold_over(START)


def test_hold_over_runs_on_with_the_long_memory() -> None:
    observer = fed(stamps(10, (5.0, 1000)))
    end = observer.line.at + 60
    assert observer.effective_rate(end) == observer.long.rate
    assert observer.long.memory == 400
    assert wrapped(observer.phase_at(end) - 5.0 * (end - START)) == pytest.approx(0, abs=0.03)
    # Continuous where it begins.
    silent = observer.line.at + 2.0
    assert observer.phase_at(silent + 1e-6) == pytest.approx(observer.phase_at(silent), abs=1e-4)


def test_the_sd_of_the_phase_grows_in_silence_and_is_honest() -> None:
    ratios = []
    for seed in range(40):
        observer = fed(stamps(seed, (5.0, 600)))
        end = observer.line.at + 60
        error = wrapped(observer.phase_at(end) - 5.0 * (end - START))
        ratios.append((error / observer.phase_sd(end)) ** 2)
        assert observer.phase_sd(end) > observer.phase_sd(observer.line.at)
    assert 0.4 < sum(ratios) / len(ratios) < 2.5


def test_the_first_beat_after_a_silence_sets_the_phase() -> None:
    observer = fed(stamps(11, (5.0, 600), jitter_s=0.0))
    back = observer.line.at + 300.05
    observer.beat(back, GAINS)
    assert wrapped(observer.phase_at(back)) == pytest.approx(0, abs=1e-6)


def test_a_frozen_rate_takes_in_nothing_but_a_lock() -> None:
    times = stamps(12, (5.0, 100), (7.0, 20), jitter_s=0.001)
    observer = fed(times[:50])
    observer.freeze(True)
    rate = observer.rate_hz
    assert fed(times[50:100], observer).rate_hz == rate
    assert fed(times[100:110], observer).rate_hz == pytest.approx(7.0, rel=0.01)


def test_a_realigned_beat_is_number_0() -> None:
    times = stamps(13, (5.0, 105), jitter_s=0.001)
    observer = fed(times[:101])
    locks = observer.locks
    observer.realign(times[100])
    assert observer.number == 0
    assert observer.locks == locks + 1
    fed(times[101:], observer)
    assert observer.number == 4


def test_numbers_go_on_after_a_lost_pulse_of_a_group() -> None:
    # Beats of six pulses; one pulse is lost in the middle.
    pulses = stamps(14, (30.0, 3000), jitter_s=0.001)
    del pulses[1500]
    observer = Observer(quantum=1 / 6)
    fed(pulses[::6], observer)
    assert observer.locks == 1
    assert observer.rate_hz == pytest.approx(5.0, rel=0.003)
    assert 6 * observer.number == pytest.approx(round(6 * observer.number), abs=1e-6)
    assert wrapped(observer.number) == pytest.approx(1 / 6, abs=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_many_lost_pulses_are_no_other_rate(seed: int) -> None:
    rng = random.Random(seed)
    pulses = [t for t in stamps(seed, (30.0, 3000), jitter_s=0.001) if rng.random() > 0.05]
    observer = fed(pulses[::6], Observer(quantum=1 / 6))
    assert observer.rate_hz == pytest.approx(5.0, rel=0.003)


def test_known_rates_lock_without_beats() -> None:
    observer = Observer()
    observer.follow(START, 5.0)
    assert (observer.locked, observer.locks, observer.rate_hz) == (True, 1, 5.0)
    assert observer.phase_at(START + 1) == pytest.approx(5.0)
    observer.follow(START + 1, 4.0)
    assert observer.phase_at(START + 2) == pytest.approx(9.0)
    assert observer.locks == 1
    for bad in (0.0, -1.0, math.nan, math.inf, 1e300):
        observer.follow(START + 2, bad)
        observer.place(START + 2, bad)
    assert (observer.rate_hz, observer.locks) == (4.0, 1)


def test_looks_resolve_the_beats_between_them() -> None:
    observer = Observer()
    assert observer.look(START, GAINS) == "outlier"
    observer.place(START, 5.02)
    for k in range(1, 60):
        assert observer.look(START + 2.0 * k, GAINS) == "used"
    assert observer.number == 590
    assert observer.rate_hz == pytest.approx(5.0, rel=1e-4)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300, -1e300])
def test_times_that_are_none_change_nothing(bad: float) -> None:
    observer = fed(stamps(15, (5.0, 100)))
    line = observer.line
    assert observer.beat(bad, GAINS) == "outlier"
    observer.realign(bad)
    observer.follow(bad, 5.0)
    observer.place(bad, 5.0)
    assert observer.look(bad, GAINS) == "outlier"
    assert observer.line == line


def test_a_clock_that_is_set_back_begins_anew() -> None:
    observer = fed(stamps(16, (5.0, 100)))
    earlier = [t - 3600 for t in stamps(16, (5.0, 30))]
    uses = [observer.beat(t, GAINS) for t in earlier]
    assert uses[:MAX_BACK] == ["outlier"] * MAX_BACK
    assert observer.locks == 2
    assert wrapped(observer.phase_at(earlier[-1])) == pytest.approx(0, abs=0.1)


def test_a_wild_beat_far_ahead_is_left_behind() -> None:
    times = stamps(17, (5.0, 130))
    observer = fed([*times[:100], START + 1e9, *times[100:]])
    assert observer.locked
    assert observer.rate_hz == pytest.approx(5.0, rel=0.02)


def test_beats_at_10_khz_are_an_ordinary_rate() -> None:
    observer = fed([START + 1e-4 * k for k in range(2000)])
    assert observer.rate_hz == pytest.approx(1e4, rel=0.01)


def test_doubled_beats_are_twice_the_rate() -> None:
    times = stamps(18, (3.0, 60), (6.0, 40), jitter_s=0.002)
    assert fed(times).rate_hz == pytest.approx(6.0, rel=0.02)


def test_swing_is_a_rate_of_its_pairs_or_none() -> None:
    times = [START + t for t in itertools.accumulate([0.1, 0.3] * 200)]
    observer = fed(times)
    assert observer.rate_hz == 0 or 1 < observer.rate_hz < 11


gains = st.builds(Gains, *(st.sampled_from([0.0, 0.1, 1.0, 100.0]) for _ in range(3)))
deltas = st.one_of(
    st.floats(0.0, 2.0),
    st.sampled_from([0.0, 0.2, 0.2, 0.2, 0.2, -0.2, -3600.0, 1e-7, 1e9, 1e300, math.nan, math.inf]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(deltas, max_size=80), gains, st.integers(0, 80))
def test_no_beats_break_it_and_a_snapshot_changes_nothing(
    steps: list[float], gain: Gains, cut: int
) -> None:
    whole, t = Observer(), START
    parted = Observer()
    for k, delta in enumerate(steps):
        at = t + delta
        t = at if math.isfinite(at) and abs(at) < 1e13 else t
        if k == cut:
            parted = passed(parted)
        assert whole.beat(at, gain) == parted.beat(at, gain)
    assert whole == parted
    assert math.isfinite(whole.rate_hz) and whole.rate_hz >= 0
    assert math.isfinite(whole.phase_at(START + 10))
    assert whole.locked == (whole.locked and whole.rate_hz > 0)


def test_the_memory_ends_where_the_gains_begin() -> None:
    assert memory_limit(5.0, GAINS) == 57
    assert memory_limit(5.0, Gains(1.0, 0.5, 0.1)) == 20
    assert memory_limit(5.0, Gains(100.0, 100.0, 0.1)) == 4
    assert {memory_limit(5.0, Gains(g, g, 0.0)) for g in (0.0, 1e-320, 5e-324)} == {1000}


def test_a_line_of_least_squares() -> None:
    rng = random.Random(1)
    points = [(0.2 * k + rng.gauss(0, 0.005), float(k)) for k in range(40)]
    n = len(points)
    mt, mp = sum(t for t, _ in points) / n, sum(p for _, p in points) / n
    slope = sum((t - mt) * (p - mp) for t, p in points) / sum((t - mt) ** 2 for t, _ in points)
    line = Line(points[1][0], 1.0, 1 / (points[1][0] - points[0][0]), 2)
    for t, p in points[2:]:
        line = line.moved(t, p, 1.0, Gains(0.0, 0.0, 0.0), 1000)
    assert line.rate == pytest.approx(slope, rel=2e-3)
    assert line.phase == pytest.approx(mp + slope * (points[-1][0] - mt), abs=0.01)
