"""Jitter of arrival and clock resets are distinguished, from stamps with known truth."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
import pytest

from operators.drift.clock import Clock, StampVerdicts
from operators.drift.delay_burst import DelayBurst
from operators.drift.smoother import ClockLog
from operators.types import F64
from tests.support.signals import START

FROM_S, TO_S, END_S = 100.0, 160.0, 200.0
Stamps = tuple[F64, F64, F64]


def stamps(
    rate_hz: float = 20.0,
    burst: tuple[float, float] = (0.05, 0.2),
    step: tuple[float, float] | None = None,
    to_s: float = TO_S,
    seed: int = 0,
) -> Stamps:
    """Return host time, source time and arrival, with delays of a burst from 100 s on."""
    rng = np.random.default_rng(seed)
    n = int(rate_hz * END_S)
    host = (np.arange(n) + rng.random()) / rate_hz
    source = host * (1 + 60e-6) + 3.2
    if step:
        source = source + step[1] * (host >= step[0])
    arrival = host + rng.exponential(0.005, n)
    inside = (arrival >= FROM_S) & (arrival < to_s)
    arrival = arrival + inside * rng.uniform(*burst, n)
    order = np.argsort(arrival, kind="stable")
    return host[order], source[order], arrival[order]


def fed(clock: Clock | ClockLog, found: Stamps) -> tuple[StampVerdicts, F64]:
    """Feed all stamps; return the verdicts and the errors of the mapped times (s)."""
    host, source, arrival = found
    verdicts = clock.feed(START + source, START + arrival, end=True)
    return verdicts, verdicts.host - START - host


def stated(verdicts: StampVerdicts, source: F64) -> F64:
    """Return the stated standard deviation (s) of each mapped time, by the last line before it."""
    first = [by for by, *_ in verdicts.turns]
    out = []
    for i, at in enumerate(source):
        k = bisect_right(first, i) - 1
        if k < 0:
            out.append(np.inf)
            continue
        line = verdicts.turns[k][2]
        dt = START + at - line.at
        out.append((line.offset_var + dt * (2 * line.cross_var + dt * line.slope_var)) ** 0.5)
    return np.array(out)


@pytest.mark.parametrize("rate_hz", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_a_burst_of_jitter_is_no_reset_and_times_stay_within_the_stated_sd(
    rate_hz: float, seed: int
) -> None:
    found = stamps(rate_hz, seed=seed)
    clock = Clock(30.0)
    verdicts, error = fed(clock, found)
    assert clock.resets == 0
    assert verdicts.ok.all()
    inside = (found[2] >= FROM_S - 10) & (found[2] < TO_S)
    beyond = np.abs(error[inside]) > 2 * stated(verdicts, found[1])[inside] + 0.5e-3
    assert np.mean(beyond) <= 0.01


@pytest.mark.parametrize("seed", range(4))
def test_a_short_burst_and_one_with_some_short_delays_leave_the_line(seed: int) -> None:
    # Of 60 delays in three seconds none may be below 25 ms: then the line moves as far.
    for found, most in (
        (stamps(to_s=FROM_S + 2.5, seed=seed), 1e-3),
        (stamps(burst=(0.0, 0.2), seed=seed), 0.03),
    ):
        clock = Clock(30.0)
        verdicts, error = fed(clock, found)
        assert clock.resets == 0
        assert verdicts.ok.all()
        assert np.abs(error[found[2] >= FROM_S - 10]).max() <= most


@pytest.mark.parametrize("rate_hz", [5.0, 20.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_short_delays_that_return_bring_the_line_back_at_once(rate_hz: float, seed: int) -> None:
    found = stamps(rate_hz, seed=seed)
    verdicts, error = fed(Clock(30.0), found)
    before = np.abs(error[(found[2] >= FROM_S - 10) & (found[2] < FROM_S)]).max()
    assert np.abs(error[(found[2] >= TO_S - 10) & (found[2] < TO_S)]).min() >= 0.04
    # A delayed stamp may arrive 0.2 s after the end; then a bin of short delays is enough.
    assert np.abs(error[found[2] >= TO_S + 1.3]).max() <= before + 0.5e-3
    slopes = [line.slope for by, _, line in verdicts.turns if found[2][by] < FROM_S]
    assert verdicts.turns[-1][2].slope == pytest.approx(slopes[-1], abs=10e-6)


@pytest.mark.parametrize("size", [0.5, -0.5, 30.0])
@pytest.mark.parametrize("at", [FROM_S + 1.5, FROM_S + 30])
@pytest.mark.parametrize("seed", range(3))
def test_a_step_of_the_clock_within_a_burst_is_a_reset(size: float, at: float, seed: int) -> None:
    found = stamps(step=(at, size), seed=seed)
    clock = Clock(60.0)
    _, error = fed(clock, found)
    assert clock.resets == 1
    assert abs(clock.reset_at - START - at) <= 2.5
    late = found[2] >= at + 3
    assert np.abs(error[late & (found[2] < TO_S)]).max() <= 0.2
    assert np.abs(error[found[2] >= TO_S + 10]).max() <= 0.01


def test_a_step_that_chance_shows_in_a_burst_is_taken_back() -> None:
    host, source, arrival = stamps(burst=(0.0, 0.0))
    first = int(np.argmax(arrival >= FROM_S))
    jitter = np.random.default_rng(5).uniform(0.05, 0.2, 60)
    jitter[:5] = 0.12
    arrival = host + 0.002
    arrival[first : first + 60] += jitter
    order = np.argsort(arrival, kind="stable")
    found = host[order], source[order], arrival[order]
    clock = Clock(30.0)
    verdicts, error = fed(clock, found)
    assert clock.resets <= 1
    assert len(verdicts.steps) >= 1
    assert np.abs(error[found[2] >= FROM_S + 4.5]).max() <= 2.5e-3


def test_a_constant_delay_that_ends_brings_the_old_line_back() -> None:
    found = stamps(burst=(0.8, 0.8))
    clock = Clock(30.0)
    verdicts, error = fed(clock, found)
    assert clock.resets == 2
    # Delayed and other stamps arrive in turns for 0.8 s at the end.
    assert verdicts.ok[found[2] < TO_S].all()
    assert np.abs(error[found[2] >= TO_S + 1]).max() <= 0.5e-3


@pytest.mark.parametrize("step", [None, (FROM_S + 1.5, -0.5), (FROM_S + 30, 0.5)])
def test_a_burst_is_judged_the_same_however_fed_and_after_a_resume(
    step: tuple[float, float] | None,
) -> None:
    host, source, arrival = stamps(rate_hz=10.0, step=step)
    whole, _ = fed(Clock(30.0), (host, source, arrival))
    clock, start, mapped, lines = Clock(30.0), 0, [], []
    for stop in range(1, len(host) + 1):
        part = slice(start, stop)
        j = clock.feed(START + source[part], START + arrival[part], stop == len(host))
        mapped.append(j.host[: j.decided])
        lines += [line for _, _, line in j.turns]
        start += j.decided
        clock = Clock.from_snapshot(clock.snapshot())
    assert np.array_equal(np.concatenate(mapped), whole.host)
    assert np.array_equal(np.array(lines), np.array([x[2] for x in whole.turns]), equal_nan=True)


def test_the_clock_of_two_passes_is_back_on_its_line_after_a_burst() -> None:
    host, source, arrival = stamps()
    log, start = ClockLog(30.0), 0
    for stop in range(50, len(host) + 50, 50):
        part = slice(start, min(stop, len(host)))
        j = log.feed(START + source[part], START + arrival[part], stop >= len(host))
        start += j.decided
    path = log.path()
    part = path.parts(0, len(host))
    error = source + path.offset(part, START + source) - host
    calm = (arrival < FROM_S - 1) | (arrival > TO_S + 2)
    assert np.abs(error[calm]).max() <= 2e-3


def test_stamps_that_queued_do_not_persist() -> None:
    burst, queued = DelayBurst(), DelayBurst()
    for k in range(40):
        late = 0.1 + 0.01 * (k % 3)
        burst.add(0.1 * k, late, late)
        queued.add(0.1 * k, 4.0 - 0.1 * k, 4.0 - 0.1 * k)
    assert burst.persists(4.6, 4.7, 0.02)
    assert not queued.persists(4.6, 4.7, 0.02)
