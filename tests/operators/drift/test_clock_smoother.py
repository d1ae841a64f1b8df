"""One source's clock from a whole recording: errors, honesty, resets, and a second pass."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from operators.drift.clock import Clock, ClockLine, StampVerdicts
from operators.drift.clock_path import ClockPath, Smoothed
from operators.drift.smoother import ClockLog
from operators.types import F64, Bool
from tests.support.signals import START

MS = 1e-3


class Case(NamedTuple):
    """Stamps in order of arrival, when they were sent (s after the start), and how it went."""

    host: F64
    source: F64
    arrival: F64
    path: ClockPath
    causal: F64
    judged: StampVerdicts

    @property
    def error(self) -> F64:
        """Of mapped time in the second pass (s)."""
        return self.judged.host - START - self.host

    def part(self) -> F64:
        return self.path.parts(0, len(self.host))


def case(
    seed: int = 0,
    *,
    rate_hz: float = 50.0,
    seconds: float = 600.0,
    steps: tuple[tuple[float, float], ...] = (),
    swing_ppm: float = 0.0,
    wild: tuple[tuple[int, float], ...] = (),
) -> Case:
    """Return a source with exponential queueing of 5 ms, gone through twice."""
    rng = np.random.default_rng([91, seed])
    n = int(rate_hz * seconds)
    host = (np.arange(n) + rng.random()) / rate_hz
    host = host[rng.random(n) >= 0.02]
    source = host * (1 + rng.uniform(-200, 200) * 1e-6) + rng.uniform(-5, 5)
    source += swing_ppm * 1e-6 * 600 / (2 * np.pi) * np.sin(2 * np.pi * host / 600)
    for at, size in steps:
        source += size * (host >= at)
    for i, by in wild:
        source[i] += by
    arrival = host + rng.exponential(0.005, len(host))
    order = np.argsort(arrival, kind="stable")
    host, source, arrival = host[order], source[order] + START, arrival[order] + START
    log = ClockLog(30.0)
    causal = log.feed(source, arrival, end=True)
    path = log.path()
    return Case(host, source, arrival, path, causal.host - START - host,
                Smoothed(path).feed(source, arrival, end=True))  # fmt: skip


def rms(x: F64) -> float:
    return float(np.sqrt(np.mean(x**2)))


@pytest.fixture(scope="module")
def stepped() -> list[Case]:
    """Return ten minutes of twelve sources that step by half a second at half time."""
    return [case(seed, rate_hz=rate, steps=((300.0, 0.5),))
            for seed, rate in enumerate((25.0, 31.7, 50.0, 64.0) * 3)]  # fmt: skip


@pytest.mark.parametrize(
    ("first", "last", "bar_ms"), [(0.0, 60.0, 0.005), (60.0, 300.0, 0.004), (300.0, 310.0, 0.005)]
)
def test_time_is_right_to_microseconds_from_the_first_stamp_on(
    stepped: list[Case], first: float, last: float, bar_ms: float
) -> None:
    now, before = [], []
    for x in stepped:
        asked = (x.host >= first) & (x.host < last)
        now.append(rms(x.error[asked]))
        before.append(rms(x.causal[asked]))
    assert np.median(now) <= bar_ms * MS
    assert rms(np.array(now)) <= bar_ms * MS
    assert np.median(now) <= np.median(before)


def test_the_sd_is_that_of_the_error(stepped: list[Case]) -> None:
    z = [np.mean(x.error**2 / x.path.variance(x.part(), x.source)) for x in stepped]
    assert 0.5 <= np.mean(z) <= 1.5


def test_the_sd_of_the_slope_is_that_of_its_error(stepped: list[Case]) -> None:
    z = []
    for x in stepped:
        true = np.polyfit(x.source[x.host < 300] - START, (START + x.host - x.source)[x.host < 300],
                          1)[0]  # fmt: skip
        z.append(np.mean((x.path.line[1] - true) ** 2 / x.path.covariance[2]))
    assert 0.4 <= np.mean(z) <= 1.6


def test_a_clock_that_wanders_is_followed_closer_than_with_the_past_alone() -> None:
    runs = [case(seed, swing_ppm=20.0) for seed in range(4)]
    now = [rms(x.error) for x in runs]
    before = [rms(x.causal[x.host > 60]) for x in runs]
    assert np.median(now) <= 0.6 * np.median(before)


@pytest.mark.parametrize("size", [0.5, -0.8, 0.05, -0.05, 3600.0, -3600.0])
def test_a_step_is_dated_at_its_stamp(size: float) -> None:
    wrong = 0
    for seed in range(4):
        x = case(seed, seconds=120.0, steps=((60.0, size),))
        assert len(x.path.reset_at) == 2
        first = x.host[x.host >= 60.0].min()
        assert x.path.reset_at[1] - START == pytest.approx(first, abs=0.04)
        wrong += np.count_nonzero(x.part() != (x.host >= 60.0))
        assert np.abs(x.error[x.part() == (x.host >= 60.0)]).max() <= 0.05 * MS
    assert wrong <= 1  # one that is late by the step itself looks like one of the other side


def test_stamps_that_changed_places_across_a_step_keep_their_sides() -> None:
    crossed = 0
    for seed in range(8):
        x = case(seed, rate_hz=400.0, seconds=30.0, steps=((15.0, -0.5),))
        crossed += len(x.path.odd)
        assert np.array_equal(x.part(), x.host >= 15.0)
    assert crossed >= 2


@pytest.mark.parametrize("size", [2.0, -2.0])
def test_a_step_before_the_clock_is_sure_of_itself_is_found_from_behind(size: float) -> None:
    x = case(3, rate_hz=1.0, seconds=300.0, steps=((5.0, size),))
    assert Clock(30.0).feed(x.source, x.arrival, end=True).steps == []
    assert len(x.path.reset_at) == 2
    assert np.array_equal(x.part(), x.host >= 5.0)
    assert np.abs(x.error).max() <= 0.05


def test_nothing_is_cut_where_nothing_steps() -> None:
    assert [len(case(seed, seconds=120.0).path.reset_at) for seed in range(6)] == [1] * 6


@pytest.mark.parametrize("by", [1e6, -1e6, 40.0, -40.0, 0.2])
def test_a_wild_stamp_is_known_again(by: float) -> None:
    x = case(seconds=60.0, wild=((2000, by),))
    assert np.count_nonzero(~x.judged.ok) == 1
    assert abs(x.error[~x.judged.ok][0]) >= 0.1
    assert np.abs(x.error[x.judged.ok]).max() <= 0.05 * MS


def test_a_stamp_that_is_long_on_its_way_is_used() -> None:
    x = case(seconds=60.0)
    arrival = x.arrival.copy()
    arrival[-1] += 5.0
    judged = Smoothed(x.path).feed(x.source, arrival, end=True)
    assert judged.ok.all()
    assert judged.host[-1] == x.judged.host[-1]


def test_the_first_line_holds_for_all_times_and_a_step_is_named_once() -> None:
    x = case(seconds=120.0, steps=((60.0, 0.5),))
    turns = x.judged.turns
    known = [time for _, time, _ in turns]
    assert known[0] == -np.inf
    assert (np.diff(known) > 0).all()
    stepped = [(time, line) for _, time, line in turns if line.stepped]
    assert [line.resets for _, line in stepped] == [1]
    assert stepped[0][0] - START == pytest.approx(60.0, abs=0.05)
    assert [line.resets for _, _, line in turns] == [int(t - START >= 60.0) for t in known]


def test_the_lines_in_force_are_right_where_they_are_in_force() -> None:
    x = case(seconds=120.0)
    for i, _, line in x.judged.turns:
        host = x.source[i] + line.offset + line.slope * (x.source[i] - line.at)
        assert host - START == pytest.approx(x.host[i], abs=0.03 * MS)


def test_reports_are_dated_from_ever_on_and_then_node_by_node() -> None:
    x = case(seconds=60.0, steps=((30.0, 0.5),))
    reports = x.path.reports("s")
    known = np.array([r.known for r in reports])
    assert known[0] == -np.inf
    assert (np.diff(known[1:]) > 0).all()
    assert [r.resets for r in reports if r.stepped] == [1]
    assert all(r.offset_var > 0 and r.slope_var > 0 for r in reports)


def pieces(x: Case, edges: list[int], again: bool) -> tuple[F64, Bool, list[int], list[ClockLine]]:
    """Feed a second pass in pieces, as a packet might, with a snapshot between them."""
    smoothed = Smoothed(x.path)
    host, ok, by, lines = [], [], [], []
    for a, b in zip([0, *edges], [*edges, len(x.host)], strict=True):
        # A row that shares its stamp with the last of the packet before comes again.
        first = max(a - again, 0)
        smoothed = Smoothed.from_snapshot(smoothed.snapshot(), x.path)
        judged = smoothed.feed(x.source[first:b], x.arrival[first:b], end=False)
        assert judged.decided == b - first
        host.append(judged.host[a - first :])
        ok.append(judged.ok[a - first :])
        by += [first + i for i, *_ in judged.turns]
        lines += [line for *_, line in judged.turns]
    return np.concatenate(host), np.concatenate(ok), by, lines


@pytest.mark.parametrize("again", [False, True])
def test_a_second_pass_is_the_same_however_cut_and_after_resuming(again: bool) -> None:
    x = case(seconds=60.0, steps=((30.0, -0.5),), wild=((700, 9.0),))
    edges = [1, 2, 500, 501, *range(1400, 1500, 3), 2000]
    host, ok, by, lines = pieces(x, edges, again)
    assert np.array_equal(host, x.judged.host)
    assert np.array_equal(ok, x.judged.ok)
    assert by == [i for i, *_ in x.judged.turns]
    # Of the first there is no earlier step to compare with.
    assert np.array_equal(np.array(lines), np.array([line for *_, line in x.judged.turns]),
                          equal_nan=True)  # fmt: skip


def test_a_first_pass_is_the_same_however_cut() -> None:
    x = case(seconds=90.0, steps=((30.0, -0.5),))
    log, start = ClockLog(30.0), 0
    for stop in (*range(7, len(x.host), 311), len(x.host)):
        judged = log.feed(x.source[start:stop], x.arrival[start:stop], end=stop == len(x.host))
        start += judged.decided
    for one, other in zip(log.path().snapshot().values(), x.path.snapshot().values(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-15)


def test_a_path_from_its_snapshot_maps_the_same() -> None:
    x = case(seconds=30.0)
    path = ClockPath.from_snapshot(x.path.snapshot())
    again = Smoothed(path).feed(x.source, x.arrival, end=True)
    assert np.array_equal(again.host, x.judged.host)


def test_the_end_brings_the_last_line_once() -> None:
    x = case(seconds=30.0)
    smoothed = Smoothed(x.path)
    smoothed.feed(x.source[:-100], x.arrival[:-100], end=False)
    line = smoothed.finish()
    assert line
    assert line.at == x.path.at[-1]
    assert smoothed.finish() is None


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_next_to_nothing_is_mapped_near_its_arrival(n: int) -> None:
    source, arrival = np.arange(n) * 1.0, START + np.arange(n) * 1.0
    log = ClockLog(30.0)
    log.feed(source, arrival, end=True)
    judged = Smoothed(log.path()).feed(source, arrival, end=True)
    assert judged.decided == n
    np.testing.assert_allclose(judged.host, arrival, atol=1e-3)


def test_what_a_first_pass_never_saw_is_mapped_to_its_arrival() -> None:
    path = ClockLog(30.0).path()
    judged = Smoothed(path).feed(np.arange(3.0), START + np.arange(3.0), end=True)
    assert np.array_equal(judged.host, START + np.arange(3.0))
    assert judged.ok.all()
    assert Smoothed(path).finish() is None


def test_a_slow_source_without_a_law_of_delays_is_followed() -> None:
    x = case(rate_hz=1.0, seconds=600.0, steps=((300.0, 0.5),))
    assert len(x.path.reset_at) == 2
    assert abs(np.mean(x.error) - 5 * MS) <= 1 * MS  # the mean delay belongs to the line
    assert np.ptp(x.error) <= 2 * MS


@pytest.mark.parametrize("seed", range(12))
def test_nothing_raises_on_stamps_without_sense(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 3000))
    gaps = rng.choice([0.0, 1e-6, 1e-3, 0.02, 1.0, 50.0], n, p=[0.2, 0.1, 0.3, 0.3, 0.09, 0.01])
    arrival = START + np.cumsum(gaps)
    jumps = rng.choice([0.0, 0.03, -0.3, 40.0, -1e6], n, p=[0.95, 0.02, 0.02, 0.005, 0.005])
    source = np.round(
        arrival + np.cumsum(jumps) - rng.exponential(0.01, n), int(rng.integers(0, 7))
    )
    log = ClockLog(30.0)
    log.feed(source, arrival, end=True)
    judged = Smoothed(log.path()).feed(source, arrival, end=True)
    assert np.isfinite(judged.host).all()
    assert all(np.isfinite([line.offset, line.slope]).all() and line.offset_var >= 0
               for *_, line in judged.turns)  # fmt: skip
