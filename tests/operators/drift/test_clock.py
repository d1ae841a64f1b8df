"""One source's clock: offset, skew and steps recovered from stamps with known truth."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from operators.drift.clock import Clock, ClockLine, StampVerdicts
from operators.types import F64
from tests.support.signals import START


class Followed(NamedTuple):
    """The verdicts and the last line of a clock, in seconds after the start."""

    judged: StampVerdicts
    error: F64
    line: ClockLine | None
    clock: Clock


def stamps(
    rate_hz: float = 50.0,
    seconds: float = 600.0,
    offset_s: float = -3.2,
    skew_ppm: float = 120.0,
    step: tuple[float, float] | None = None,
    queue_s: float = 0.005,
    seed: int = 0,
) -> tuple[F64, F64, F64]:
    """Return host time, source time and arrival, in order of arrival."""
    rng = np.random.default_rng(seed)
    n = int(rate_hz * seconds)
    host = (np.arange(n) + rng.random()) / rate_hz
    host = host[rng.random(n) >= 0.02]
    source = host * (1 + skew_ppm * 1e-6) - offset_s
    if step:
        source = source + step[1] * (host >= step[0])
    arrival = host + rng.exponential(queue_s, len(host))
    order = np.argsort(arrival, kind="stable")
    return host[order], source[order], arrival[order]


def followed(host: F64, source: F64, arrival: F64) -> Followed:
    clock = Clock(30.0)
    judged = clock.feed(START + source, START + arrival, end=True)
    turns = judged.turns
    return Followed(judged, judged.host - START - host, turns[-1][2] if turns else None, clock)


def ppm(line: ClockLine | None) -> float:
    assert line
    return -1e6 * line.slope / (1 + line.slope)


@pytest.fixture(scope="module")
def runs() -> list[tuple[float, Followed]]:
    """Return skew and the clock, for 20 sources of ten minutes, half of them stepped."""
    out = []
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        skew = rng.uniform(-200, 200)
        step = (300.0, 0.5) if seed % 2 else None
        out.append(
            (
                skew,
                followed(
                    *stamps(
                        offset_s=rng.uniform(-5, 5),
                        skew_ppm=skew,
                        step=step,
                        seed=seed,
                        rate_hz=float(rng.choice([25.0, 31.7, 50.0])),
                    )
                ),
            )
        )
    return out


def test_skew_is_right_to_a_twentieth_of_a_ppm(runs: list[tuple[float, Followed]]) -> None:
    errors = [abs(ppm(x.line) - skew) for skew, x in runs]
    assert np.quantile(errors, 0.95) <= 0.05


def test_time_is_right_to_ten_microseconds(runs: list[tuple[float, Followed]]) -> None:
    assert np.median([np.median(np.abs(x.error[-5000:])) for _, x in runs]) <= 10e-6


def test_the_sd_of_the_offset_is_that_of_its_error(runs: list[tuple[float, Followed]]) -> None:
    z = [x.error[-1] / x.line.offset_var**0.5 for _, x in runs if x.line]
    assert 0.4 <= np.mean(np.square(z)) <= 1.8


def test_the_sd_of_the_skew_covers_its_error_and_little_more(
    runs: list[tuple[float, Followed]],
) -> None:
    sd = np.array([1e6 * x.line.slope_var**0.5 for _, x in runs if x.line])
    error = np.array([ppm(x.line) - skew for skew, x in runs])
    assert np.mean(np.abs(error) <= 2 * sd) >= 0.95
    assert np.median(sd) <= 0.1


def test_each_step_is_found_and_none_where_there_is_none(
    runs: list[tuple[float, Followed]],
) -> None:
    assert [x.clock.resets for _, x in runs] == [0, 1] * 10


@pytest.mark.parametrize("size", [0.5, -0.8, 3600.0, -3600.0])
def test_a_step_is_found_in_a_quarter_second_and_every_row_mapped_with_the_right_side(
    size: float,
) -> None:
    host, source, arrival = stamps(seconds=120.0, step=(60.0, size))
    x = followed(host, source, arrival)
    assert x.clock.resets == 1
    assert x.judged.ok.all()
    assert np.abs(x.error).max() <= 0.02
    assert x.clock.reset_at - START == pytest.approx(host[host >= 60.0].min(), abs=0.01)
    first = int(np.argmax(host >= 60.0))
    assert arrival[x.judged.by[first]] - arrival[first] <= 0.25


def test_the_slope_is_kept_across_a_step() -> None:
    host, source, arrival = stamps(seconds=310.0, step=(300.0, 0.5))
    lines = [line for _, _, line in followed(host, source, arrival).judged.turns]
    at = next(i for i, line in enumerate(lines) if line.stepped)
    assert lines[at].slope == lines[at - 1].slope
    assert ppm(lines[-1]) == pytest.approx(120.0, abs=1.0)


@pytest.mark.parametrize("ahead", [1e6, -1e6, 40.0, -40.0, 0.2])
def test_a_stamp_from_the_future_or_the_far_past_is_wild(ahead: float) -> None:
    host, source, arrival = stamps(seconds=60.0)
    source[2000] += ahead
    x = followed(host, source, arrival)
    assert np.flatnonzero(~x.judged.ok).tolist() == [2000]
    assert np.abs(np.delete(x.error, 2000)).max() <= 0.02
    assert x.clock.resets == 0


def test_a_delay_that_does_not_persist_is_used_and_moves_nothing() -> None:
    host, source, arrival = stamps(seconds=60.0)
    arrival[2000] += 5.0
    order = np.argsort(arrival, kind="stable")
    x = followed(host[order], source[order], arrival[order])
    assert x.judged.ok.all()
    assert np.abs(x.error).max() <= 0.02


def test_a_stall_of_the_network_is_no_step() -> None:
    host, source, arrival = stamps(seconds=120.0)
    stalled = (host > 60) & (host < 62)
    arrival[stalled] = 62 + np.arange(stalled.sum()) * 1e-4
    order = np.argsort(arrival, kind="stable")
    x = followed(host[order], source[order], arrival[order])
    assert x.clock.resets == 0
    assert x.judged.ok.all()
    assert np.abs(x.error).max() <= 0.02


def test_a_source_of_one_reading_a_second_is_followed() -> None:
    host, source, arrival = stamps(rate_hz=1.0, step=(300.0, 0.5))
    x = followed(host, source, arrival)
    assert x.clock.resets == 1
    assert ppm(x.line) == pytest.approx(120.0, abs=20.0)
    assert np.abs(x.error[60:]).max() <= 0.02


def test_bursts_of_a_second_are_no_steps_and_all_used() -> None:
    host, source, _ = stamps(seconds=300.0)
    arrival = np.ceil(host) + np.random.default_rng(1).exponential(0.002, len(host))
    order = np.argsort(arrival, kind="stable")
    x = followed(host[order], source[order], arrival[order])
    assert x.clock.resets == 0
    assert x.judged.ok.all()
    assert np.abs(x.error[5000:]).max() <= 0.05


def test_more_stamps_than_a_bin_holds_are_judged_the_same_however_fed() -> None:
    host, source, arrival = stamps(rate_hz=9000.0, seconds=3.0)
    whole = followed(host, source, arrival)
    clock = Clock(30.0)
    parts = [
        clock.feed(
            START + source[a : a + 1000], START + arrival[a : a + 1000], a + 1000 >= len(host)
        )
        for a in range(0, len(host), 1000)
    ]
    assert np.array_equal(np.concatenate([p.host for p in parts]), whole.judged.host)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_next_to_nothing_is_mapped_to_its_arrival(n: int) -> None:
    source, arrival = np.arange(n) * 1.0, START + np.arange(n) * 1.0
    judged = Clock(30.0).feed(source, arrival, end=True)
    assert judged.decided == n
    assert np.allclose(judged.host, arrival)


@pytest.mark.parametrize(
    ("rate_hz", "seconds", "within_ppm", "within_s"),
    [(0.5, 1200.0, 3.0, 0.008), (200.0, 120.0, 0.15, 10e-6), (1000.0, 60.0, 0.5, 20e-6)],
)
def test_slow_and_fast_sources_are_followed(
    rate_hz: float, seconds: float, within_ppm: float, within_s: float
) -> None:
    x = followed(*stamps(rate_hz=rate_hz, seconds=seconds))
    assert x.clock.resets == 0
    assert x.judged.ok.all()
    assert ppm(x.line) == pytest.approx(120.0, abs=within_ppm)
    assert np.abs(x.error[len(x.error) // 2 :]).max() <= within_s


def test_stamps_that_come_twice_or_out_of_order_change_nothing() -> None:
    host, source, arrival = (np.repeat(x, 2) for x in stamps(seconds=300.0))
    rng = np.random.default_rng(2)
    arrival = arrival + rng.exponential(0.003, len(host)) + 0.05 * (rng.random(len(host)) < 0.05)
    order = np.argsort(arrival, kind="stable")
    x = followed(host[order], source[order], arrival[order])
    assert x.clock.resets == 0
    assert x.judged.ok.all()
    assert ppm(x.line) == pytest.approx(120.0, abs=1.0)
    assert np.abs(x.error[1000:]).max() <= 1e-3


def test_whole_milliseconds_are_averaged_and_reported_as_coarse() -> None:
    host, source, arrival = stamps(step=(300.0, 0.5))
    x = followed(host, np.round((START + source) * 1e3) / 1e3 - START, arrival)
    assert x.line
    assert x.clock.resets == 1
    assert ppm(x.line) == pytest.approx(120.0, abs=0.5)
    assert 0.1e-3 <= x.line.offset_var**0.5 <= 0.3e-3
    assert np.abs(x.error[500:]).max() <= 1e-3


def test_the_sd_covers_the_hidden_bias_of_delays_without_an_edge() -> None:
    z = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        host, source, _ = stamps(rate_hz=25.0, seconds=300.0, queue_s=0.0, seed=seed)
        source = source + 0.5e-3 * rng.standard_normal(len(host))
        arrival = host + rng.gamma(2, 2.5e-3, len(host))
        order = np.argsort(arrival, kind="stable")
        line = followed(host[order], source[order], arrival[order]).line
        assert line
        true = -3.2 - 120e-6 * (line.at - START + -3.2)
        assert ppm(line) == pytest.approx(120.0, abs=3.0)
        z.append((line.offset - true) / line.offset_var**0.5)
    assert 0.2 <= np.mean(np.square(z)) <= 2.5


def test_a_clock_that_wanders_is_followed_within_its_sd() -> None:
    host, source, arrival = stamps(skew_ppm=0.0)
    turn = 2 * np.pi / 600
    x = followed(host, source + 20e-6 / turn * np.sin(turn * host), arrival)
    assert np.sqrt(np.mean(x.error[5000:] ** 2)) <= 0.05e-3
    assert x.line
    assert 1e-6 <= x.line.slope_var**0.5 <= 5e-6
    assert abs(ppm(x.line) - 20.0) <= 3e6 * x.line.slope_var**0.5


def test_the_first_second_after_a_step_is_right_to_a_millisecond() -> None:
    errors = []
    for seed in range(12):
        host, source, arrival = stamps(seconds=62.0, step=(60.0, 0.5), seed=seed)
        errors.append(followed(host, source, arrival).error[(host >= 60.0) & (host < 61.0)])
    assert np.sqrt(np.mean(np.square(np.concatenate(errors)))) <= 0.6e-3


def test_a_run_of_steps_is_judged_the_same_however_fed() -> None:
    host, source, arrival = stamps(seconds=70.0, step=(60.0, -0.8))
    whole = followed(host, source, arrival)
    clock, start, by, mapped = Clock(30.0), 0, [], []
    for stop in range(1, len(host) + 1):
        part = slice(start, stop)
        j = clock.feed(START + source[part], START + arrival[part], stop == len(host))
        mapped.append(j.host[: j.decided])
        by.append(j.by[: j.decided] + start)
        start += j.decided
    assert np.array_equal(np.concatenate(mapped), whole.judged.host)
    assert np.array_equal(np.concatenate(by), whole.judged.by)


@pytest.mark.parametrize("size", [0.5, -0.8])
def test_a_stamp_overtaken_by_the_first_after_a_step_is_mapped_with_the_old_side(
    size: float,
) -> None:
    host, source, arrival = stamps(seconds=62.0, step=(60.0, size), queue_s=0.002)
    order = np.arange(len(host))
    first = int(np.argmax(host >= 60.0))
    order[[first - 1, first]] = order[[first, first - 1]]
    host, source, arrival = host[order], source[order], np.sort(arrival)
    arrival[first - 1 : first + 1] = arrival[first] + np.array([0.0, 1e-4])
    x = followed(host, source, arrival)
    assert x.clock.resets == 1
    assert x.judged.ok.all()
    assert np.abs(x.error[50:]).max() <= 0.03
    assert x.clock.reset_at - START == pytest.approx(60.0, abs=0.03)


@pytest.mark.parametrize("rate_hz", [1.0, 50.0, 5000.0])
@pytest.mark.parametrize("rounding", [0.0, 1e-6, 1e-3])
def test_delays_that_never_vary_are_borne(rate_hz: float, rounding: float) -> None:
    host, source, arrival = stamps(rate_hz, min(600.0, 100_000 / rate_hz), queue_s=0.0)
    if rounding:
        source = np.round(source / rounding) * rounding
    out = followed(host, source, arrival)
    assert np.isfinite(out.judged.host).all()
    assert np.abs(out.error[len(host) // 2 :]).max() <= max(1e-5, 2 * rounding)
